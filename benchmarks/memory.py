"""Peak memory of one pass, in a process of its own."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from searches import rule_set, searched

_ROOT = Path(__file__).resolve().parent.parent
_END = "2026-03-01T12:00:00Z"


def peak_megabytes(events: Path, rules: Path) -> float:
    """The peak of a fresh process that searches the events of a file."""
    return _peak(str(events), rules)


def peak_megabytes_of_stream(events: int, rules: Path) -> float:
    """The peak of a fresh process that searches `events` sample events on its standard input, in the order of time and
    with new process ids throughout, like live ones."""
    source = [sys.executable, "-m", "runner", "sample", "--events", str(events), "--end", _END, "--out", "-"]
    with subprocess.Popen(source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=_ROOT) as made:
        found = _peak("-", rules, made.stdout)
    if made.returncode:
        raise subprocess.CalledProcessError(made.returncode, source)
    return found


def _peak(name: str, rules: Path, stdin: IO[bytes] | None = None) -> float:
    command = [sys.executable, __file__, name, str(rules)]
    return float(subprocess.run(command, check=True, stdin=stdin, stdout=subprocess.PIPE).stdout)


def main() -> None:
    events, rules = sys.argv[1:]
    asyncio.run(searched(events, rule_set("", Path(rules))))
    print(peak_kilobytes() / 1024)


def peak_kilobytes() -> float:
    """The peak of this process on Linux; elsewhere it may include the memory of the parent before the start."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return float(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak() -> None:
    """Restart the count of the peak, on Linux only (https://man7.org/linux/man-pages/man5/proc.5.html)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
