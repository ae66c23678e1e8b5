"""Matches to alert documents as Kibana writes them: identity, documents, the cap, and the view for triage."""
