"""Where alerts and the ledger are kept: SQLite, Elasticsearch, memory; alerts are created if absent, never changed."""
