"""`Window`: the span of time that one search covers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A span of time, both ends included, as aware UTC datetimes; `start <= end`.

    Both ends are inclusive because the range filter of Kibana's detection engine is (`gte`, `lte`): an event on the
    border of two windows is found by both, and its alert's id keeps it from being written twice.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start > self.end:
            raise ValueError(f"window starts at {self.start.isoformat()}, after its end {self.end.isoformat()}")

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    @property
    def start_ns(self) -> int:
        """Start in nanoseconds since 1970."""
        return nanoseconds(self.start)

    @property
    def end_ns(self) -> int:
        """End in nanoseconds since 1970, inclusive: the last nanosecond of the end's millisecond."""
        return nanoseconds(self.end) // 1_000_000 * 1_000_000 + 999_999

    def __str__(self) -> str:
        return f"{iso(self.start)} to {iso(self.end)}"


def nanoseconds(moment: datetime) -> int:
    """Nanoseconds since 1970 of an aware datetime, exactly (no float in between)."""
    since = moment - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def from_nanoseconds(value: int) -> datetime:
    """The aware UTC datetime of nanoseconds since 1970, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=value // 1_000)


def iso(moment: datetime) -> str:
    """ISO text in UTC with milliseconds and `Z`, as Elasticsearch and Kibana write it.

    >>> iso(datetime(2026, 3, 2, 10, 5, 1, 204000, tzinfo=UTC))
    '2026-03-02T10:05:01.204Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def merge(windows: Iterable[Window]) -> tuple[Window, ...]:
    """The same time as few windows as possible, ascending: overlapping and touching ones become one."""
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return tuple(merged)


def subtract(window: Window, covered: Iterable[Window]) -> tuple[Window, ...]:
    """What of `window` lies in none of `covered`, ascending; ends are shared with the covered parts beside them."""
    open_parts: list[Window] = []
    start = window.start
    for done in merge(covered):
        if done.end <= start:
            continue
        if done.start >= window.end:
            break
        if done.start > start:
            open_parts.append(Window(start, done.start))
        start = done.end
    if start < window.end:
        open_parts.append(Window(start, window.end))
    return tuple(open_parts)


def clipped(windows: Iterable[Window], end: datetime) -> tuple[Window, ...]:
    """What of the windows lies before `end`, in their order."""
    return tuple(Window(window.start, min(window.end, end)) for window in windows if window.start <= end)
