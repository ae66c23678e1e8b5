"""The clock: only the service and the command line hold one; everything else is given times."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEADY: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """The time, and how much of it passes."""

    def now(self) -> datetime:
        """The time, as an aware UTC `datetime`; it jumps when the clock is set."""
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
    """A clock that moves by calls alone, for `--now` and for tests."""

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
    """The clock was set back: between `right_until` and now it was ahead of the time."""

    by: timedelta
    right_until: datetime | None
    """The last check at which the clock was right; None if it was ahead at every check before."""


class ClockSteps:
    """Notices when the clock is set, by comparing it with the time that passes.

    A clock that is set forwards may have been wrong before or be wrong from then on. Only when it is set back is it
    plain that it was ahead, and since when: since the check before it was set forwards.
    """

    tolerance = timedelta(seconds=2)
    """Smaller steps count as the usual corrections."""

    def __init__(self) -> None:
        self._checks: list[tuple[timedelta, datetime]] = []
        """How far the clock was ahead of the time that has passed, ascending, each with the last such check."""

    def check(self, clock: Clock) -> SetBack | None:
        """How far the clock was set back since the last check; None if it was not."""
        now, passed = clock.now(), clock.elapsed()
        ahead = (now - _EPOCH) - passed
        found: SetBack | None = None
        if self._checks and ahead < self._checks[-1][0] - self.tolerance:
            by = self._checks[-1][0] - ahead
            while self._checks and self._checks[-1][0] > ahead + self.tolerance:
                self._checks.pop()
            found = SetBack(by, self._checks[-1][1] if self._checks else None)
        if self._checks and abs(ahead - self._checks[-1][0]) <= self.tolerance:
            self._checks.pop()
        self._checks.append((ahead, now))
        return found
