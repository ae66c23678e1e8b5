"""Elasticsearch's own cases, where they are at hand."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.paths import ROOT, SHARED

pytestmark = pytest.mark.slow

SUITE = SHARED / "conformance" / "run.py"


@pytest.mark.skipif(not SUITE.exists(), reason="the conformance cases are not here")
def test_every_case_passes() -> None:
    done = subprocess.run(
        [sys.executable, str(SUITE), "--list-failures"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert "conformance: 306/306 cases" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
