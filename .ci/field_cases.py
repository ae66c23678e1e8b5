#!/usr/bin/env python3
"""Runs field cases and compares with those that held before: `field_cases.py CHECK.PY`, with `rule-runner` on the PATH.

`field_cases.txt` beside this file names the cases that hold; lines are only ever added. Exits with 1 if one of them no
longer holds or is gone. Cases that hold and are not named yet are printed, to be added.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

KNOWN = Path(__file__).with_name("field_cases.txt")


def names_in(text: str) -> list[str]:
    """The names of a list, one a line; lines that begin with # say something."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def outcome(printed: str, *, known: Collection[str], present: Collection[str]) -> tuple[list[str], list[str]]:
    """Of what `check.py` printed: the known cases that do not hold any more, and those that hold and are not known."""
    wrong = set(re.findall(r"^WRONG (\S+):", printed, re.MULTILINE))
    not_judged = set(re.findall(r"^not judged (\S+):", printed, re.MULTILINE))
    lost = sorted(name for name in known if name in wrong or name not in present)
    return lost, sorted(set(present) - wrong - not_judged - set(known))


def main() -> int:
    check = Path(sys.argv[1])
    ran = subprocess.run([sys.executable, str(check)], stdout=subprocess.PIPE, text=True, check=False)
    sys.stdout.write(ran.stdout)
    if not re.search(r"^\d+ of \d+ hold$", ran.stdout, re.MULTILINE):
        print(f"{check} did not come to its end", file=sys.stderr)
        return 1
    known = names_in(KNOWN.read_text("utf-8"))
    present = [path.parent.name for path in check.parent.glob("*/expect.json")]
    lost, fresh = outcome(ran.stdout, known=known, present=present)
    if fresh:
        print(f"hold, and can be added to {KNOWN.name}: {' '.join(fresh)}")
    if lost:
        print(f"held before, and do not any more: {' '.join(lost)}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
