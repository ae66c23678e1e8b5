"""The clock: only the service and the command line hold one; everything else is given times."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEADY: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """Something that says what time it is, and how much of it passes."""

    def now(self) -> datetime:
        """The time, as an aware UTC `datetime`; it jumps when somebody sets the clock."""
        ...

    def elapsed(self) -> timedelta:
        """The time since some moment, which no setting of the clock changes."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> timedelta:
        """With the time that the machine was suspended, where the system counts that."""
        return timedelta(seconds=time.clock_gettime(_STEADY) if _STEADY is not None else time.monotonic())


class FakeClock:
    """A clock that stands still until it is told to move, for `--now` and for tests."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)
        self._elapsed = timedelta(0)

    def now(self) -> datetime:
        return self._now

    def elapsed(self) -> timedelta:
        return self._elapsed

    def advance(self, by: timedelta) -> None:
        """Let time pass; a negative `by` sets the clock back, as no time can pass backwards."""
        self._now += by
        self._elapsed += max(by, timedelta(0))

    def step(self, by: timedelta) -> None:
        """Set the clock, as an administrator or NTP may: no time passes."""
        self._now += by


@dataclass(frozen=True, slots=True)
class SetBack:
    """The clock was set back: what it said between `right_until` and now was ahead of the time."""

    by: timedelta
    right_until: datetime | None
    """The last look at which the clock was right; None if it was ahead at every look before."""


class ClockSteps:
    """Notices when the clock is set, by comparing it with the time that passes.

    A clock that is set forwards may have been wrong before or be wrong from then on. Only when it is set back is it
    plain that it was ahead, and since when: since the look before it was set forwards.
    """

    tolerance = timedelta(seconds=2)
    """Smaller steps are taken for the usual corrections."""

    def __init__(self) -> None:
        self._looks: list[tuple[timedelta, datetime]] = []
        """How far the clock was ahead of the time that has passed, ascending, each with the last look at it."""

    def check(self, clock: Clock) -> SetBack | None:
        """Whether the clock was set back since the last look."""
        now, passed = clock.now(), clock.elapsed()
        ahead = (now - _EPOCH) - passed
        found: SetBack | None = None
        if self._looks and ahead < self._looks[-1][0] - self.tolerance:
            by = self._looks[-1][0] - ahead
            while self._looks and self._looks[-1][0] > ahead + self.tolerance:
                self._looks.pop()
            found = SetBack(by, self._looks[-1][1] if self._looks else None)
        if self._looks and abs(ahead - self._looks[-1][0]) <= self.tolerance:
            self._looks.pop()
        self._looks.append((ahead, now))
        return found
