"""The progress of a replay on a terminal: finished windows, time reached, time remaining."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from runner.cli.console import err, moment
from runner.service.replay import WINDOWS_AT_A_TIME


class ReplayBar:
    """A progress bar over windows. A pass over files finishes many windows at its end; its bytes stand for them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("reading events", total=None)
        self._bytes = self._read = 0
        self._windows = self._done = 0

    def expect_bytes(self, count: int) -> None:
        """Set the bytes of one pass over the files."""
        self._bytes = count

    def expect_windows(self, count: int, *, done: int) -> None:
        """Set the count of windows, and of those that were done before."""
        self._windows, self._done, self._read = count, done, 0
        self._progress.update(self._task, description="replaying", total=count, completed=done)

    def advance(self, count: int) -> None:
        """Add `count` bytes that were read."""
        self._read += count
        if self._windows and self._bytes:
            part = min(WINDOWS_AT_A_TIME, self._windows - self._done)
            share = min(1.0, self._read / self._bytes)
            self._progress.update(self._task, completed=self._done + int(part * share * 0.99))

    def reached(self, end: datetime, *, left: int) -> None:
        """Record that the windows up to `end` are done and `left` remain."""
        self._done, self._read = self._windows - left, 0
        self._progress.update(self._task, description=f"replaying {moment(end)}", completed=self._done)


@contextmanager
def replay_bar() -> Iterator[ReplayBar]:
    """A bar on stderr, shown only on a terminal."""
    if not sys.stderr.isatty():
        yield ReplayBar(Progress(disable=True))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err(), transient=True) as progress:
        yield ReplayBar(progress)
