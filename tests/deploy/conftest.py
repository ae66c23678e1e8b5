"""The sample events that the command line is tried on."""

from __future__ import annotations

from tests.cli.conftest import sample

__all__ = ["sample"]
