"""Rules of type new_terms in a cluster."""
