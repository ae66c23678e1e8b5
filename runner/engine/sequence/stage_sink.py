"""`StageSink`: takes in the events that meet one stage of a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from runner.engine.plan import Plan
from runner.engine.sequence.join_keys import MISSING_KEY, SEVERAL_KEYS, KeyCodes, key_reader
from runner.engine.sequence.open_matches import OpenEvents
from runner.engine.sequence.stage_rows import StageRows, tie_column
from runner.events.columns.batch import EventBatch, Rows
from runner.events.fields.schema import DATES, DataType, Field
from runner.events.fields.timestamp_column import NO_TIME
from runner.expressions.nodes import FieldRef

MOST_KEYS = 1 << 16
"""Combinations of join keys that an event may have. Lists of a thousand values in three keys would have a billion."""


@dataclass(frozen=True, slots=True)
class StageSink:
    """Reads time, tiebreaker and join keys of events that meet one stage of one query into `StageRows`.

    An event with several values of a join key gives a row for each combination; one with over `MOST_KEYS` of them is
    left out, and noted as crowded.
    """

    ask: int
    stage: int
    plan: Plan
    open_events: OpenEvents
    times: tuple[str, ...] = ()
    """The fields by which the scope selects events: the time of a single event with keys is that of the first of them
    with a value."""
    shown_from: int | None = None
    """Of single events before that time no document is wanted."""

    def add(self, batch: EventBatch, rows: Rows, codes: KeyCodes) -> Rows:
        """Add rows that meet the stage; returns those that can be part of a match (no key or time missing)."""
        plan = self.plan
        if plan.kind == "sequence":
            rows = rows[batch.timestamps(plan.timestamp.name)[rows] != NO_TIME]
        keys = np.zeros((len(rows), 0), dtype=np.int32)
        join_keys = plan.all_stages()[self.stage].keys
        if join_keys:
            rows, keys, crowded = _keyed(batch, rows, join_keys, codes)
            self.open_events.crowded.update((crowded + batch.base).tolist())
        if len(rows):
            if plan.kind == "sample":  # order in time does not count
                times = np.full(len(rows), NO_TIME, dtype=np.int64)
            else:
                times = self._times_of(batch, rows, keyed=plan.kind == "event" and bool(join_keys))
            stages = np.full(len(rows), self.stage, dtype=np.int16)
            ties = None if plan.tiebreaker is None else _ties(batch, rows, plan.tiebreaker)
            self.open_events.add(StageRows(rows.astype(np.int64) + batch.base, times, stages, keys, ties))
            if self.shown_from is not None:
                rows = rows[times >= self.shown_from]
        return rows

    def _times_of(self, batch: EventBatch, rows: Rows, *, keyed: bool) -> NDArray[np.int64]:
        first, *others = self.times if keyed and self.times else (self.plan.timestamp.name,)
        times = batch.timestamps(first)[rows]
        for name in others:
            times = np.where(times == NO_TIME, batch.timestamps(name)[rows], times)
        return times


def _keyed(
    batch: EventBatch, rows: Rows, keys: Sequence[FieldRef | None], codes: KeyCodes
) -> tuple[Rows, NDArray[np.int32], Rows]:
    """Rows with the codes of their keys: one for each combination, none if a key is missing; and the crowded rows."""
    found = np.full((len(rows), len(keys)), MISSING_KEY, dtype=np.int32)
    usable = np.ones(len(rows), dtype=np.bool_)
    for place, key in enumerate(keys):
        if key is not None:
            found[:, place] = column = codes.codes_of(batch, key.exact, rows)
            if not key.optional:
                usable &= column != MISSING_KEY
    several_codes = usable & (found == SEVERAL_KEYS).any(axis=1)
    if not several_codes.any():
        return rows[usable], found[usable], rows[:0]
    chosen = np.flatnonzero(several_codes)
    choices: list[list[list[int]]] = []
    for key, column in zip(keys, found[chosen].T, strict=True):
        each = [[number] for number in column.tolist()]
        if key is not None:
            at = np.flatnonzero(column == SEVERAL_KEYS)
            for place, given in zip(at.tolist(), codes.several_codes(batch, key.exact, rows[chosen[at]]), strict=True):
                each[place] = given
        choices.append(each)
    given_keys = list(zip(*choices, strict=True))
    is_crowded = np.array([prod(map(len, given)) > MOST_KEYS for given in given_keys], dtype=np.bool_)
    crowded, chosen = rows[chosen[is_crowded]], chosen[~is_crowded]
    expanded = [list(product(*given)) for given, left_out in zip(given_keys, is_crowded, strict=True) if not left_out]
    combinations = np.array([one for row in expanded for one in row], dtype=np.int32).reshape(-1, len(keys))
    repeated = np.repeat(rows[chosen], list(map(len, expanded)))
    plain = usable & ~several_codes
    return np.concatenate((rows[plain], repeated)), np.concatenate((found[plain], combinations)), crowded


_READ_TO_ORDER = DATES | {DataType.IP, DataType.VERSION}


def _ties(batch: EventBatch, rows: Rows, tiebreaker: Field) -> NDArray[np.object_]:
    """Sort keys of rows with equal times."""
    distinct, places = np.unique(rows, return_inverse=True)
    given = batch.values(tiebreaker.name, distinct)
    values: Sequence[object] = given
    if tiebreaker.type in _READ_TO_ORDER:
        reader = key_reader(tiebreaker)
        values = [(reader.order(found[0]),) if (found := reader.read(value)) else None for value in given]
    return tie_column(values)[places]
