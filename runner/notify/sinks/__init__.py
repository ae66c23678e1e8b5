"""Sending to each type of target."""
