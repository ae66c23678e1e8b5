"""Rules asked over windows of events, one protocol and three ways: the EQL API, fetch and match, files."""
