"""`Entries`: events that meet stages, as columns: a row for each event, stage and combination of join keys.

A stage may be met by most events of a run (`[any where true]`), so nothing here is a Python object per event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.engine.sequence.join_keys import MISSING_KEY, KeyNumbers
from runner.events.fields.timestamp_column import NO_TIME

Places: TypeAlias = NDArray[np.intp]
"""Which rows: their places among the entries."""


@dataclass(frozen=True, slots=True)
class Entries:
    """The columns. `times` in nanoseconds since 1970, `NO_TIME` where there is none or where it does not matter."""

    events: NDArray[np.int64]
    """The events' numbers: equal times with equal tiebreakers are in this order."""
    times: NDArray[np.int64]
    stages: NDArray[np.int16]
    keys: NDArray[np.int32]
    """A column for each join key: the number of its value."""
    ties: NDArray[np.object_] | None = None
    """What the tiebreakers are ordered by, where there is one."""

    def __len__(self) -> int:
        return len(self.events)

    def at(self, rows: Places | NDArray[np.bool_]) -> Entries:
        """Some of the rows."""
        ties = None if self.ties is None else self.ties[rows]
        return Entries(self.events[rows], self.times[rows], self.stages[rows], self.keys[rows], ties)

    def order(self) -> Places:
        """The rows ascending: by time (none last), tiebreaker (none last), event; rows of one event as they were."""
        untimed = self.times == NO_TIME
        columns = [self.events, self.times, untimed] if untimed.any() else [self.events, self.times]
        if self.ties is not None:
            columns.insert(1, _ranks(self.ties))
        return np.lexsort(columns)

    def groups(self, numbers: KeyNumbers) -> NDArray[np.int64]:
        """Of each row a number that is the same for rows with equal keys; from 0, less than there are rows."""
        found = np.zeros(len(self), dtype=np.int64)
        equal = np.append(numbers.equal(), MISSING_KEY)  # the number of a missing key, -1, finds itself at the end
        for column in self.keys.T:
            both = found * (len(equal) + 1) + equal[column] + 1
            found = np.unique(both, return_inverse=True)[1]
        return found


def joined(parts: Sequence[Entries]) -> Entries:
    """All rows of at least one part, in the order of the parts."""
    if len(parts) == 1:
        return parts[0]
    ties = [part.ties for part in parts if part.ties is not None]
    return Entries(
        np.concatenate([part.events for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.stages for part in parts]),
        np.concatenate([part.keys for part in parts]),
        np.concatenate(ties) if ties else None,
    )


def nothing(keys: int, *, tied: bool) -> Entries:
    """No rows, of so many keys."""
    number = np.zeros(0, dtype=np.int64)
    ties = np.zeros(0, dtype=np.object_) if tied else None
    return Entries(number, number, np.zeros(0, dtype=np.int16), np.zeros((0, keys), dtype=np.int32), ties)


def tie_column(values: Iterable[object]) -> NDArray[np.object_]:
    """A column of tiebreakers as `Entries` wants it: numbers before texts, none last; of several values the first
    counts."""
    ranks: list[tuple[int, object]] = []
    for value in values:
        first = (value[0] if value else None) if isinstance(value, tuple) else value
        ranks.append((2, 0) if first is None else (int(isinstance(first, str)), first))
    return np.fromiter(ranks, dtype=np.object_, count=len(ranks))


def _ranks(ties: NDArray[np.object_]) -> NDArray[np.int64]:
    values = ties.tolist()
    places = {value: place for place, value in enumerate(sorted(set(values)))}
    return np.fromiter(map(places.__getitem__, values), dtype=np.int64, count=len(values))
