"""The command line: the only place that reads arguments, prints and exits."""

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the command line and exit with its code."""
    _open_closed_streams()
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # Ctrl-C while the modules are read ends the process without a traceback
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from runner.cli.app import run

        run()
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)


def _open_closed_streams() -> None:
    """Stand-ins for standard streams that are closed (`>&-`): else another file would get their descriptors."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115 open to the end


__all__ = ["main"]
