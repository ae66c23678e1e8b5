"""`Stop`: the orderly end of a command with an event loop, after a signal."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType

from runner.cli.signals import ENDING, Interrupted, cut_off, cut_off_later, name_of
from runner.errors import StoppedError

GRACE_S = 0.9
"""Seconds after the signal in which what is in hand may be finished and written."""
_SAME_SIGNAL_S = 1.0
"""Seconds within which signals count as one: `timeout`, shells and supervisors signal process and group."""

Progress = Callable[[int], None]


class Stop:
    """The wish of a signal that the command ends: none as long as `number` is 0."""

    def __init__(self) -> None:
        self.number = 0
        self._at = 0.0
        self._limits: list[tuple[asyncio.Timeout, float]] = []

    def __bool__(self) -> bool:
        return self.number != 0

    @property
    def code(self) -> int:
        """The exit status of a command that the signal has ended."""
        return 128 + self.number

    def __str__(self) -> str:
        return f"interrupted by {name_of(self.number)}"

    def checked(self, progress: Progress) -> Progress:
        """The same progress of reading, which raises StoppedError after the signal. Called in any thread."""

        def advance(count: int) -> None:
            if self:
                raise StoppedError(str(self))
            progress(count)

        return advance

    @asynccontextmanager
    async def within(self, seconds: float = 0.0) -> AsyncIterator[None]:
        """A block that is left without an error `seconds` after the signal, wherever it waits."""
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limits.append((limit, seconds))
                if self:
                    limit.reschedule(self._at + seconds)
                yield
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self._limits = [pair for pair in self._limits if pair[0] is not limit]

    def set(self, number: int, now: float) -> None:
        """The signal has come; called in the loop."""
        self.number, self._at = number, now
        for limit, seconds in self._limits:
            limit.reschedule(now + seconds)


def on_signals(
    stop: Callable[[], None] = lambda: None, *, code: int | None = None, hangup: Callable[[], None] | None = None
) -> Stop:
    """The stop that the first signal sets, which calls `stop`, too; in a running loop.

    A later Ctrl-C ends the process at once; further SIGTERMs do not. `code` is the exit status of a process that is cut
    off, if that is not the signal's. With `hangup` SIGHUP calls that and ends nothing.
    """
    loop = asyncio.get_running_loop()
    wish = Stop()

    def note(number: int) -> None:
        wish.set(number, loop.time())
        stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        now, status = time.monotonic(), 128 + number if code is None else code
        if not first:
            first.append(now)
            wish.number = number  # at once, for the threads that read
            cut_off_later(status, number)
            if loop.is_closed():  # the report is being written
                raise Interrupted(number, status)
            loop.call_soon_threadsafe(note, number)
        elif number == signal.SIGINT and now - first[0] > _SAME_SIGNAL_S:
            cut_off(status, number)

    first: list[float] = []
    if hangup is not None:
        signal.signal(signal.SIGHUP, lambda number, frame: loop.call_soon_threadsafe(hangup))
    for number in ENDING if hangup is None else (signal.SIGINT, signal.SIGTERM):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, on_signal)
    return wish
