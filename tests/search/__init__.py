"""Tests of the ways to search."""
