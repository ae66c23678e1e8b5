"""The events that meet the stages of a query, read into entries as they are met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from runner.engine.scope import Scope
from runner.engine.sequence.join_keys import MISSING_KEY, SEVERAL_KEYS, KeyNumbers, key_reader
from runner.engine.sequence.open_matches import Gathered
from runner.engine.sequence.stage_rows import Entries, tie_column
from runner.events.columns.batch import EventBatch, Rows
from runner.events.fields.schema import DataType, Field
from runner.events.fields.timestamp_column import NO_TIME
from runner.expressions.nodes import FieldRef


@dataclass(frozen=True, slots=True)
class Candidates:
    """Where the events go that meet one stage of one ask, each with every combination of its join keys' numbers."""

    ask: int
    stage: int
    keys: tuple[FieldRef | None, ...]
    scope: Scope
    timestamp: Field | None
    """None where the order in time does not matter."""
    tiebreaker: Field | None
    timed: bool
    """Events without a time do not count."""
    gathered: Gathered

    def add(self, batch: EventBatch, rows: Rows, numbers: KeyNumbers) -> Rows:
        """Take in rows that meet the stage; returns those that have what it takes to be part of a match."""
        if self.timed and self.timestamp is not None:
            rows = rows[batch.timestamps(self.timestamp.name)[rows] != NO_TIME]
        keys = np.zeros((len(rows), 0), dtype=np.int32)
        if self.keys:
            rows, keys = _keyed(batch, rows, self.keys, numbers)
        if len(rows):
            times = np.full(len(rows), NO_TIME, dtype=np.int64)
            if self.timestamp is not None:
                times = batch.timestamps(self.timestamp.name)[rows]
            stages = np.full(len(rows), self.stage, dtype=np.int16)
            ties = None if self.tiebreaker is None else _ties(batch, rows, self.tiebreaker)
            self.gathered.add(Entries(rows.astype(np.int64) + batch.base, times, stages, keys, ties))
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
    chosen = np.flatnonzero(several)
    choices: list[list[list[int]]] = []
    for key, column in zip(keys, found[chosen].T, strict=True):
        each = [[number] for number in column.tolist()]
        if key is not None:
            at = np.flatnonzero(column == SEVERAL_KEYS)
            for place, given in zip(at.tolist(), numbers.several(batch, key.exact, rows[chosen[at]]), strict=True):
                each[place] = given
        choices.append(each)
    expanded = [list(product(*given)) for given in zip(*choices, strict=True)]
    combinations = np.array([one for row in expanded for one in row], dtype=np.int32)
    repeated = np.repeat(rows[chosen], list(map(len, expanded)))
    plain = usable & ~several
    return np.concatenate((rows[plain], repeated)), np.concatenate((found[plain], combinations))


_READ_TO_ORDER = frozenset({DataType.DATE, DataType.DATE_NANOS, DataType.IP, DataType.VERSION})


def _ties(batch: EventBatch, rows: Rows, tiebreaker: Field) -> NDArray[np.object_]:
    """What the rows are ordered by where their times are equal."""
    distinct, places = np.unique(rows, return_inverse=True)
    given = batch.values(tiebreaker.name, distinct)
    values: Sequence[object] = given
    if tiebreaker.type in _READ_TO_ORDER:
        reader = key_reader(tiebreaker)
        values = [(reader.order(found[0]),) if (found := reader.read(value)) else None for value in given]
    return tie_column(values)[places]
