"""Rules of type threat_match in a cluster."""
