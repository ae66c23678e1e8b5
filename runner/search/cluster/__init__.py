"""Rules searched in a cluster: through the EQL API, or by fetching candidates and matching them here."""
