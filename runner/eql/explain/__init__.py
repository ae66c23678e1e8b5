"""Explanations of a query: its reading, and the verdict on each event."""
