"""Tests of the connection to a cluster."""
