"""Elasticsearch's own cases, where they are at hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).parents[3] / "shared" / "conformance" / "run.py"


@pytest.mark.skipif(not SUITE.exists(), reason="the conformance cases are not here")
def test_every_case_passes() -> None:
    done = subprocess.run(
        [sys.executable, str(SUITE), "--list-failures"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert "conformance: 306/306 cases" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
