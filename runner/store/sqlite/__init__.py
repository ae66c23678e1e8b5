"""Alerts and ledger in one SQLite file."""
