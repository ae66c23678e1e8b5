"""The events that meet the stages of a query, as columns, and what is left of them when the keys are compared.

A stage may be met by most events of a run (`[any where true]`), so nothing here is a Python object per event until it
is known that each stage has an event with the same join keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.eql.ast import FieldRef
from runner.eql.keys import MISSING_KEY, SEVERAL_KEYS, KeyNumbers, key_reader
from runner.eql.scope import Scope
from runner.eql.sequence import StageEvent
from runner.events.batch import EventBatch, Rows
from runner.events.decode import Canonical
from runner.events.schema import DataType, Field
from runner.events.timestamps import NO_TIME

_Place: TypeAlias = tuple[object, ...]


@dataclass(slots=True)
class Candidates:
    """The events that meet one stage of one ask, each with every combination of its join keys' numbers."""

    ask: int
    stage: int
    keys: tuple[FieldRef | None, ...]
    scope: Scope
    timestamp: Field | None
    """None where the order in time does not matter."""
    tiebreaker: Field | None
    timed: bool
    """Events without a time do not count."""
    events: list[NDArray[np.int64]] = field(default_factory=list)
    times: list[NDArray[np.int64]] = field(default_factory=list)
    tiebreakers: list[list[Any]] = field(default_factory=list)
    numbers: list[NDArray[np.int32]] = field(default_factory=list)

    def add(self, batch: EventBatch, rows: Rows, numbers: KeyNumbers) -> Rows:
        """Take in rows that meet the stage; returns those that have what it takes to be part of a match."""
        if self.timed and self.timestamp is not None:
            rows = rows[batch.timestamps(self.timestamp.name)[rows] != NO_TIME]
        if self.keys:
            rows, keys = _keyed(batch, rows, self.keys, numbers)
            if len(rows):
                self.numbers.append(keys)
        if len(rows):
            self.events.append(rows.astype(np.int64) + batch.base)
            if self.timestamp is not None:
                self.times.append(batch.timestamps(self.timestamp.name)[rows])
            if self.tiebreaker is not None:
                distinct, places = np.unique(rows, return_inverse=True)
                ranks = _ranks(self.tiebreaker, batch.values(self.tiebreaker.name, distinct))
                self.tiebreakers.append([ranks[place] for place in places.tolist()])
        return rows


def _keyed(
    batch: EventBatch, rows: Rows, keys: Sequence[FieldRef | None], numbers: KeyNumbers
) -> tuple[Rows, NDArray[np.int32]]:
    """Rows with the numbers of their keys: a row for each combination, and none if a key is missing."""
    found = np.full((len(rows), len(keys)), MISSING_KEY, dtype=np.int32)
    usable = np.ones(len(rows), dtype=np.bool_)
    for place, key in enumerate(keys):
        if key is not None:
            found[:, place] = column = numbers.of(batch, key.exact, rows)
            if not key.optional:
                usable &= column != MISSING_KEY
    several = usable & (found == SEVERAL_KEYS).any(axis=1)
    if not several.any():
        return rows[usable], found[usable]
    places = [rows[usable & ~several]]
    combinations = [found[usable & ~several]]
    for at in np.flatnonzero(several).tolist():
        row = rows[at : at + 1]
        choices = []
        for key, number in zip(keys, found[at].tolist(), strict=True):
            is_several = key is not None and number == SEVERAL_KEYS
            choices.append(numbers.several(batch, key.exact, row) if key is not None and is_several else [number])
        expanded = list(product(*choices))
        places.append(np.repeat(row, len(expanded)))
        combinations.append(np.array(expanded, dtype=np.int32))
    return np.concatenate(places), np.concatenate(combinations)


def joined(
    candidates: Sequence[Candidates], numbers: KeyNumbers, *, required: Sequence[int]
) -> Iterator[tuple[_Place, list[StageEvent]]]:
    """The stage events of each event in ascending order, for those keys alone that all required stages have."""
    given = [stage for stage in candidates if stage.events]
    if not given:
        return
    events = np.concatenate([part for stage in given for part in stage.events])
    times = _column([part for stage in given for part in stage.times], len(events))
    stages = np.repeat([stage.stage for stage in given], [sum(map(len, stage.events)) for stage in given])
    keys = _key_columns(given, len(events))
    kept = _complete(keys, stages, numbers, required)
    ties: list[Any] | None = None
    if candidates[0].tiebreaker is not None:
        every = [tie for stage in given for part in stage.tiebreakers for tie in part]
        ties = [every[place] for place in kept.tolist()]
    events, times, stages, keys = events[kept], times[kept], stages[kept], keys[kept]
    columns = (times.tolist(), events.tolist(), stages.tolist(), map(tuple, keys.tolist()))
    entries: list[tuple[_Place, StageEvent]] = []
    for place, (time, event, stage, key) in enumerate(zip(*columns, strict=True)):
        order = _order_of(time, None if ties is None else ties[place], event)
        entries.append((order, StageEvent(time, event, stage, numbers.values(key))))
    entries.sort(key=lambda entry: entry[0])
    for place, group in groupby(entries, key=lambda entry: entry[0]):
        yield place, [event for _, event in group]


def _column(parts: Sequence[NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.full(count, NO_TIME, dtype=np.int64)


def _key_columns(candidates: Sequence[Candidates], count: int) -> NDArray[np.int32]:
    parts = [part for stage in candidates for part in stage.numbers]
    return np.concatenate(parts) if parts else np.zeros((count, 0), dtype=np.int32)


def _complete(
    keys: NDArray[np.int32], stages: NDArray[np.int64], numbers: KeyNumbers, required: Sequence[int]
) -> NDArray[np.intp]:
    """The places of the events whose keys all required stages have."""
    groups = np.zeros(len(stages), dtype=np.int64)
    equal = np.append(numbers.equal(), MISSING_KEY)  # the number of a missing key, -1, finds itself at the end
    for column in keys.T:
        both = groups * (len(equal) + 1) + equal[column] + 1
        groups = np.unique(both, return_inverse=True)[1]
    everywhere = np.ones(int(groups.max(initial=0)) + 1, dtype=np.bool_)
    for stage in required:
        present = np.zeros(len(everywhere), dtype=np.bool_)
        present[groups[stages == stage]] = True
        everywhere &= present
    return np.flatnonzero(everywhere[groups])


def ascending(candidates: Candidates) -> list[int]:
    """The events of an event query in order."""
    if not candidates.events:
        return []
    events, times = np.concatenate(candidates.events), np.concatenate(candidates.times)
    if candidates.tiebreaker is None:
        untimed = times == NO_TIME
        return [int(event) for event in events[np.lexsort((events, times, untimed))]]
    ties = [value for batch in candidates.tiebreakers for value in batch]
    ordered = sorted(zip(times.tolist(), ties, events.tolist(), strict=True), key=lambda item: _order_of(*item))
    return [event for _, _, event in ordered]


_READ_TO_ORDER = frozenset({DataType.DATE, DataType.DATE_NANOS, DataType.IP, DataType.VERSION})


def _ranks(tiebreaker: Field, values: list[Canonical]) -> list[Any]:
    """What the values of a tiebreaker are ordered by."""
    if tiebreaker.type not in _READ_TO_ORDER:
        return values
    reader = key_reader(tiebreaker)
    return [(reader.order(found[0]),) if (found := reader.read(value)) else None for value in values]


def _order_of(time: int, tiebreaker: Any, event: int) -> _Place:
    """The place of an event: by time (no time last), tiebreaker (none last), order of reading."""
    if isinstance(tiebreaker, tuple):
        tiebreaker = tiebreaker[0] if tiebreaker else None
    if tiebreaker is None:
        rank: tuple[object, ...] = (2, 0)
    else:
        rank = (1, tiebreaker) if isinstance(tiebreaker, str) else (0, tiebreaker)
    return time == NO_TIME, time, rank, event
