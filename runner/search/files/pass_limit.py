"""`PassLimit`: the progress of reading files, which ends a pass that takes too long or that a signal stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from runner.errors import StoppedError
from runner.events.files.line_blocks import ReadProgress
from runner.messages.quantities import in_whole_units


class PassLimit:
    """A `ReadProgress` that passes the count on and raises StoppedError if a pass is to end, with the place."""

    def __init__(self, reported: ReadProgress, limit: timedelta | None, place: Callable[[], str]) -> None:
        self.is_stopped = False
        """Whether the last pass was stopped."""
        self._reported = reported
        self._limit = limit
        self._place = place
        self._deadline: float | None = None

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """A block in which the time limit holds."""
        self.is_stopped = False
        self._deadline = None if self._limit is None else time.monotonic() + self._limit.total_seconds()
        try:
            yield
        finally:
            self._deadline = None

    def __call__(self, count: int) -> None:
        try:
            self._reported(count)
            if self._limit is not None and self._deadline is not None and time.monotonic() > self._deadline:
                limit = in_whole_units(self._limit // timedelta(milliseconds=1))
                raise StoppedError(f"the search took longer than {limit} (RUNNER_SEARCH_TIMEOUT) and was stopped")
        except StoppedError as error:
            self.is_stopped = True
            place = self._place()
            raise StoppedError(f"{error}{f', in {place}' if place else ''}; its window stays owed") from None
