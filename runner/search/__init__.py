"""Rules searched over windows of events: one protocol, three implementations (EQL API, fetch and match, files)."""
