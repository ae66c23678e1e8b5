"""`StageRows`: events that meet stages, as columns: one row for each event, stage and combination of join keys.

Most events of a pass may meet a stage (`[any where true]`), so there is no Python object per event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.engine.sequence.join_keys import MISSING_KEY, KeyCodes
from runner.events.fields.timestamp_column import NO_TIME

Places: TypeAlias = NDArray[np.intp]
"""Indices of rows."""


@dataclass(frozen=True, slots=True)
class StageRows:
    """The columns. `times` in nanoseconds since 1970, `NO_TIME` where there is none or where order does not count."""

    events: NDArray[np.int64]
    """Ids of the events in the order of reading, which decides between equal times and tiebreakers."""
    times: NDArray[np.int64]
    stages: NDArray[np.int16]
    keys: NDArray[np.int32]
    """Shape (rows, join keys): the code of each value, see `KeyCodes`."""
    ties: NDArray[np.object_] | None = None
    """Sort keys of the tiebreaker, if the query has one."""

    def __len__(self) -> int:
        return len(self.events)

    def at(self, rows: Places | NDArray[np.bool_]) -> StageRows:
        """The rows at these indices, or where the mask is true."""
        ties = None if self.ties is None else self.ties[rows]
        return StageRows(self.events[rows], self.times[rows], self.stages[rows], self.keys[rows], ties)

    def order(self) -> Places:
        """Indices in ascending order: by time (none last), tiebreaker (none last), event; stable."""
        untimed = self.times == NO_TIME
        columns = [self.events, self.times, untimed] if untimed.any() else [self.events, self.times]
        if self.ties is not None:
            columns.insert(1, _ranks(self.ties))
        return np.lexsort(columns)

    def groups(self, codes: KeyCodes) -> NDArray[np.int64]:
        """A group code for each row, equal for rows with equal keys; from 0, less than the number of rows."""
        found = np.zeros(len(self), dtype=np.int64)
        equal = np.append(codes.equal(), MISSING_KEY)  # the code of a missing key, -1, is an index of the last element
        for column in self.keys.T:
            both = found * (len(equal) + 1) + equal[column] + 1
            found = np.unique(both, return_inverse=True)[1]
        return found


def joined(parts: Sequence[StageRows]) -> StageRows:
    """The rows of one or more parts, in the order of the parts."""
    if len(parts) == 1:
        return parts[0]
    ties = [part.ties for part in parts if part.ties is not None]
    return StageRows(
        np.concatenate([part.events for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.stages for part in parts]),
        np.concatenate([part.keys for part in parts]),
        np.concatenate(ties) if ties else None,
    )


def no_rows(keys: int, *, tied: bool) -> StageRows:
    """No rows, with `keys` columns of join keys."""
    column = np.zeros(0, dtype=np.int64)
    ties = np.zeros(0, dtype=np.object_) if tied else None
    return StageRows(column, column, np.zeros(0, dtype=np.int16), np.zeros((0, keys), dtype=np.int32), ties)


def tie_column(values: Iterable[object]) -> NDArray[np.object_]:
    """Sort keys of tiebreakers: numbers before texts, none last; of several values the first counts."""
    ranks: list[tuple[int, object]] = []
    for value in values:
        first = (value[0] if value else None) if isinstance(value, tuple) else value
        ranks.append((2, 0) if first is None else (int(isinstance(first, str)), first))
    return np.fromiter(ranks, dtype=np.object_, count=len(ranks))


def _ranks(ties: NDArray[np.object_]) -> NDArray[np.int64]:
    values = ties.tolist()
    places = {value: place for place, value in enumerate(sorted(set(values)))}
    return np.fromiter(map(places.__getitem__, values), dtype=np.int64, count=len(values))
