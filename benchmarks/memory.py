"""Peak memory of one pass, in a process of its own."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from searches import rule_set, searched


def peak_megabytes(events: Path, rules: Path, *, times: int = 1) -> float:
    """The peak of a fresh process that searches the events, given `times` over on its standard input if more than
    once."""
    name = str(events) if times == 1 else "-"
    command = [sys.executable, __file__, name, str(rules)]
    if times == 1:
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(times):
            with events.open("rb") as file:
                while part := file.read(1 << 20):
                    process.stdin.write(part)
        process.stdin.close()
        answer = process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return float(answer)


def main() -> None:
    events, rules = sys.argv[1:]
    asyncio.run(searched(events, rule_set("", Path(rules))))
    print(peak_kilobytes() / 1024)


def peak_kilobytes() -> float:
    """Linux counts the peak since the program was started; elsewhere what a parent used before may be in the figure."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return float(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak() -> None:
    """Count the peak from here on, where Linux allows it (https://man7.org/linux/man-pages/man5/proc.5.html)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
