"""Typed conditions over one event, of no query language in particular."""
