"""The time before the first event: start, loading and compilation of rules."""

from __future__ import annotations

import subprocess
import sys
import time

from searches import RuleSet


def startup_seconds(sets: list[RuleSet]) -> dict[str, float]:
    """Milliseconds: wall time of `--version` (best of five), processor time of loading and compiling each set."""
    best = min(_version_seconds() for _ in range(5))
    found = {"rule-runner --version (ms)": best * 1000}
    for rules in sets:
        found[f"load {len(rules.rules)} rules (ms)"] = rules.load_seconds * 1000
        found[f"parse, check and compile {len(rules.rules)} rules (ms)"] = rules.compile_seconds * 1000
    return found


def _version_seconds() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "runner", "--version"], check=True, capture_output=True)
    return time.perf_counter() - started
