"""Comparison of two results of `run.py --json` from one machine: `python benchmarks/compare.py BEFORE AFTER`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    before, after = (json.loads(path.read_text()) for path in (options.before, options.after))
    print(f"{'':62} {'before':>10} {'after':>10} {'change':>8}")
    for name, old, new in _pairs(before, after):
        change = f"{(new / old - 1) * 100:+.1f} %" if old else ""
        print(f"{name:62} {old:>10,.3f} {new:>10,.3f} {change:>8}")


def _pairs(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, float, float]]:
    """The cases and figures of both; a case as share of the bare scan's rate, which depends least on the machine's
    load."""
    old = {f"{row['case']}, of the bare scan": row["of_bare_scan"] for row in before["rows"]} | before["other"]
    new = {f"{row['case']}, of the bare scan": row["of_bare_scan"] for row in after["rows"]} | after["other"]
    return [(name, old[name], new[name]) for name in old if name in new]


if __name__ == "__main__":
    main()
