"""The verified cases of KQL and Lucene's syntax, where they are at hand."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.paths import ROOT, SHARED

pytestmark = pytest.mark.slow

SUITE = SHARED / "conformance" / "kql" / "run.py"


@pytest.mark.skipif(not SUITE.exists(), reason="the conformance cases are not here")
def test_every_case_passes() -> None:
    command = [sys.executable, str(SUITE), "--list-failures", "--at-least", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
