"""Alerts, ledger, leases and run log in Elasticsearch."""
