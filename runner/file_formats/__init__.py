"""Formats of files that people have: what a file is by its first bytes, and records around documents."""
