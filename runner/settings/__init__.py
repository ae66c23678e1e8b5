"""Flags, environment and `.env` as checked settings."""
