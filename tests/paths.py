"""Folders that tests read: of the project, of the specifications, and of the corpora beside the project."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
SPECS = ROOT / "tests" / "specs"
SHARED = ROOT.parent / "shared"
"""Conformance suites and corpora under licences of others; tests that need them skip where it is absent."""
