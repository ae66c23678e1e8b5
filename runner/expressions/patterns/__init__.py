"""Wildcards and regular expressions, matched as Elasticsearch matches them."""
