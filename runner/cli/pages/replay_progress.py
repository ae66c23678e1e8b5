"""The progress of a replay on a terminal: windows done, how far in time, and how long it will take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from runner.cli.console import err, moment
from runner.service.replay import WINDOWS_AT_A_TIME


class ReplayBar:
    """Counts windows. One pass over files answers many windows at its end: within it, bytes stand for them."""

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._task: TaskID | None = None if progress is None else progress.add_task("reading events", total=None)
        self._bytes = self._read = 0
        self._windows = self._done = 0

    def expect_bytes(self, count: int) -> None:
        """How many bytes one pass over the files has."""
        self._bytes = count

    def expect_windows(self, count: int, *, done: int) -> None:
        """How many windows there are, and how many of them were done before."""
        self._windows, self._done, self._read = count, done, 0
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description="replaying", total=count, completed=done)

    def advance(self, count: int) -> None:
        """So many more bytes were read."""
        self._read += count
        if self._progress is None or self._task is None or not self._windows or not self._bytes:
            return
        part = min(WINDOWS_AT_A_TIME, self._windows - self._done)
        share = min(1.0, self._read / self._bytes)
        self._progress.update(self._task, completed=self._done + int(part * share * 0.99))

    def reached(self, end: datetime, *, left: int) -> None:
        """A window that ends there is done; so many are left."""
        self._done, self._read = self._windows - left, 0
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=f"replaying {moment(end)}", completed=self._done)


@contextmanager
def replay_bar() -> Iterator[ReplayBar]:
    """A bar on stderr, shown only where that is a terminal."""
    if not sys.stderr.isatty():
        yield ReplayBar()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err(), transient=True) as progress:
        yield ReplayBar(progress)
