"""Nothing missed, double or wrong, whatever happens to the logs: the short form of `benchmarks/untidy.py`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.scenarios.starter import Starter
from tests.scenarios.untidy import KINDS, untidy_round

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="watches foreign processes the Linux way"),
]


def test_every_kind_of_incident_once(tmp_path: Path) -> None:
    with Starter(tmp_path) as starter:
        report = untidy_round(tmp_path, starter, seed=20_260_302, incidents=len(KINDS), longest_pause=0.1)
    assert report.faults == []
    assert report.kinds.keys() == set(KINDS)
    assert report.expected > 0
