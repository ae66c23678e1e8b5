"""The queries that rules of type saved_query name: read from exports beside the rules, and put in their place."""
