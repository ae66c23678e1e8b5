"""`paged`: output that is longer than the terminal, in the user's pager."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO


class _Page(StringIO):
    """What is printed, kept; to those who print it is the terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def paged(wanted: bool) -> Iterator[None]:
    """Show what is printed on stdout meanwhile in a pager, if stdout is a terminal that is too short for it.

    The pager is what `PAGER` names, else `less`; with `PAGER=cat` or an empty one there is none. `less` gets `LESS=FRX`
    unless that is set: it leaves again what fits, shows colours, and does not clear the screen.
    """
    pager = pager_command() if wanted and _is_terminal() else None
    if pager is None:
        yield
        return
    page = _Page()
    try:
        with redirect_stdout(page):
            yield
    finally:
        _show(page.getvalue(), pager)


def pager_command() -> str | None:
    """The shell command of the pager; None if there is none, or none is wanted."""
    named = os.environ.get("PAGER")
    if named is None:
        return "less" if shutil.which("less") else None
    return None if named.strip() in ("", "cat") else named


def _is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _show(text: str, pager: str) -> None:
    lines = shutil.get_terminal_size().lines
    if text.count("\n") < lines:
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    environ = {"LESS": "FRX", "LV": "-c", **os.environ}
    shown = subprocess.Popen(["/bin/sh", "-c", pager], stdin=subprocess.PIPE, env=environ)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pager
    try:
        with suppress(BrokenPipeError):  # it was left before the end
            shown.communicate(text.encode("utf-8", "replace"))
        failed = shown.wait() in (126, 127)  # the shell's codes for a program that cannot be started
    finally:
        signal.signal(signal.SIGINT, before)
    if failed:
        sys.stdout.write(text)
