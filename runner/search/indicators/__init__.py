"""Indicators of rules of type threat_match: which there are, which events they match, and what alerts show of them."""
