"""`EventTimes`: the stretches of time that have events, found in one pass that reads nothing but times."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runner.events.columns.batch import Columns
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.event_files import EventFiles
from runner.events.files.event_stream import TimeWanted
from runner.events.files.line_blocks import ReadProgress, unreported
from runner.events.files.time_index import times_by

_MINUTE = 60 * 10**9
_MOST_SLOTS = 1 << 20
"""Most slots of time that are remembered; where there are more they become twice as long."""
_USUAL_GAP = 86_400 * 10**9
"""Nanoseconds: what lies closer to other events is no outlier."""


@dataclass(frozen=True, slots=True)
class EventTimes:
    """The stretches of time with events, in nanoseconds since 1970, ascending and disjoint, ends exclusive.

    A stretch is made of slots of a minute or more, so that it may have empty time in it; between two there is no event.
    `first` and `last` are the exact times of the first and the last event of each stretch.
    """

    starts: Sequence[int] = ()
    ends: Sequence[int] = ()
    first: Sequence[int] = ()
    last: Sequence[int] = ()

    @property
    def oldest(self) -> int | None:
        return self.first[0] if self.first else None

    @property
    def newest(self) -> int | None:
        return self.last[-1] if self.last else None

    def next_event(self, moment: int) -> int | None:
        """A time from `moment` on before which there is no event, and at which, as far as is known, there may be one;
        None: there is no event any more."""
        place = bisect_left(self.ends, moment + 1)
        return max(moment, self.starts[place]) if place < len(self.starts) else None

    def newest_by(self, now: int) -> tuple[int | None, tuple[int, ...]]:
        """The newest time by a clock that says `now`, and the outliers: the last event of each stretch left out.

        Outliers lie in the future of the clock, more than a day after all others. If every event lies in the future it
        is the clock that is wrong, and there are none.
        """
        if not self.last or self.first[0] > now:
            return self.newest, ()
        place = next(
            (
                place
                for place in range(1, len(self.starts))
                if self.first[place] > now and self.first[place] - self.last[place - 1] > _USUAL_GAP
            ),
            len(self.starts),
        )
        return self.last[place - 1], tuple(self.last[place:])


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time with events: the times of the first and the last of them in nanoseconds since 1970."""

    first: int
    last: int
    events: int


def read_event_times(
    files: EventFiles,
    columns: Columns,
    wanted: TimeWanted,
    selecting: Sequence[tuple[str, ...]],
    progress: ReadProgress = unreported,
) -> EventTimes:
    """The times of all events by each of the `selecting`: a time field, and its fallbacks. Takes a pass."""
    slots = TimeSlots()
    for batch in files.batches(columns, wanted=wanted, progress=progress):
        for names in selecting:
            slots.add(times_by(batch, names))
    return slots.joined()


@dataclass(slots=True)
class TimeSlots:
    """Slots of time with events: a row each of its number, its earliest and its latest time, and its events."""

    width: int = _MINUTE
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    count: int = 0

    def add(self, times: NDArray[np.int64]) -> None:
        timed = np.sort(times[times != NO_TIME])
        if not len(timed):
            return
        numbers, begins = np.unique(timed // self.width, return_index=True)
        ends = np.append(begins[1:], len(timed))
        self.rows.append(np.stack((numbers, timed[begins], timed[ends - 1], ends - begins), axis=1))
        self.count += len(numbers)
        if self.count > 2 * _MOST_SLOTS:
            self._compact()

    def joined(self) -> EventTimes:
        """All slots, those beside each other as one stretch."""
        if not self.rows:
            return EventTimes()
        self._compact()
        numbers, first, last, _ = self.rows[0].T
        begins = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 2) > 1)
        ends = np.append(begins[1:], len(numbers)) - 1
        starts, after = numbers[begins] * self.width, (numbers[ends] + 1) * self.width
        return EventTimes(starts.tolist(), after.tolist(), first[begins].tolist(), last[ends].tolist())

    def stretches(self, gap: int) -> list[Stretch]:
        """All events as few stretches of time, ascending, with at least `gap` nanoseconds between two."""
        if not self.rows:
            return []
        self._compact()
        _, first, last, counts = self.rows[0].T
        begins = np.flatnonzero(np.append(True, first[1:] - last[:-1] >= gap))
        ends = np.append(begins[1:], len(first)) - 1
        return list(map(Stretch, first[begins].tolist(), last[ends].tolist(), np.add.reduceat(counts, begins).tolist()))

    def _compact(self) -> None:
        rows = np.concatenate(self.rows)
        while True:
            rows = rows[np.argsort(rows[:, 0], kind="stable")]
            numbers, begins = np.unique(rows[:, 0], return_index=True)
            columns = (np.minimum, 1), (np.maximum, 2), (np.add, 3)
            rows = np.stack((numbers, *(one.reduceat(rows[:, column], begins) for one, column in columns)), axis=1)
            if len(rows) <= _MOST_SLOTS:
                break
            self.width *= 2
            rows[:, 0] //= 2
        self.rows, self.count = [rows], len(rows)


class NewestTimes:
    """The newest time, how many events are ahead of the clock, and the lags of the newest `most` of the others."""

    def __init__(self, most: int) -> None:
        self.newest = NO_TIME
        self.ahead = 0
        self._most = most
        self._times = self._lags = np.zeros(0, dtype=np.int64)

    def add(self, times: NDArray[np.int64], ingested: NDArray[np.int64], *, latest: int) -> None:
        """Add events with these times; `latest` is that of an event which is not ahead, in nanoseconds since 1970."""
        right = times <= latest
        self.ahead += len(times) - int(np.count_nonzero(right))
        self.newest = max(self.newest, int(times[right].max(initial=NO_TIME)))
        both = right & (times != NO_TIME) & (ingested != NO_TIME)
        all_times = np.concatenate((self._times, times[both]))
        lags = np.concatenate((self._lags, ingested[both] - times[both]))
        newest = np.argsort(all_times, kind="stable")[-self._most :]
        self._times, self._lags = all_times[newest], lags[newest]

    @property
    def lags(self) -> list[int]:
        """From the time of an event to its ingestion, in nanoseconds."""
        return [int(lag) for lag in self._lags]
