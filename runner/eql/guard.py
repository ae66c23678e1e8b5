"""Which fields tell the kind of an event: those that rule out much, and that have few distinct values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.eql.evaluate import Evaluator
from runner.eql.partial import bound, reads_only
from runner.eql.predicates import Predicate, fields_of
from runner.events.batch import Columns, EventBatch
from runner.events.decode import Canonical
from runner.events.schema import DataType

_SAMPLE = 256
"""Events of a batch that are looked at."""
_LATER, _SOON = 8, 2
_ALWAYS_FEW = 16
_FEW = 6.0
"""So many times the root of the events that have a value is how many distinct ones a telling field may have: fields
like names soon have no new values, where fields like paths have more with every event."""
_UNTELLING = frozenset({DataType.NULL, DataType.DATE, DataType.DATE_NANOS})

# Roughly, in nanoseconds an event.
_FURTHER_LOOK = 2000.0
_OPEN_STAGE = 100.0
_TELLING_FIELD, _TELLING_VALUE = 25.0, 75.0
_NEW_KIND, _NEW_KIND_BY_STAGE = 300.0, 4.0
"""Less than they cost: the kinds of a sample are rarer in all events than in itself."""
_WORTH_A_CHANGE = 300.0

_Mask: TypeAlias = NDArray[np.bool_]


@dataclass(slots=True)
class _Left:
    """What some telling fields leave open in a sample: by stage and event whether it may be met, by stage the
    conditions that are still to be decided."""

    telling: tuple[str, ...]
    alive: _Mask
    undecided: NDArray[np.int64]

    def cost(self) -> float:
        """What is left to do for an event, in nanoseconds."""
        pending = self.alive[self.undecided > 0]
        events = max(1, self.alive.shape[1])
        open_events, open_stages = int(pending.any(axis=0).sum()), int(pending.sum())
        return (open_events * _FURTHER_LOOK + open_stages * _OPEN_STAGE) / int(events)


class Guard:
    """Chooses the telling fields from samples of the batches.

    The first batches of a file may not show what comes later, so it looks again at batch 2, 16, 128, and so on; after
    a batch of few events, as live files give, it does so sooner.
    """

    def __init__(
        self, conditions: Sequence[Sequence[Predicate]], evaluator: Evaluator, always: Collection[str]
    ) -> None:
        """`conditions` are those of each stage; the fields in `always` are telling whatever they are like."""
        self._undecided = np.array([len(predicates) for predicates in conditions], dtype=np.int64)
        self._readers: dict[str, list[tuple[int, Predicate]]] = {}
        for stage, predicates in enumerate(conditions):
            for predicate in predicates:
                for name in set(fields_of(predicate)):
                    self._readers.setdefault(name, []).append((stage, predicate))
        self._evaluator = evaluator
        self._always = tuple(always)
        self._batches, self._next = 0, 1
        self._strictness = 1.0
        self.fields: tuple[str, ...] = self._always

    def look(self, batch: EventBatch) -> bool:
        """Learn from a batch if it is one to look at; returns whether the telling fields are others now."""
        self._batches += 1
        if self._batches < self._next:
            return False
        self._next = max(2, (_LATER if len(batch) >= _SAMPLE else _SOON) * self._batches)
        rows = batch.all_rows()
        rows = rows[:: -(-len(rows) // _SAMPLE)]
        names = self._candidates(batch.columns)
        sample = batch.sample((*self._always, *names), rows)
        few = [name for name in names if self._has_few(sample[name])]
        given = EventBatch.of_values(batch.columns, sample, len(rows))
        nothing = _Left((), np.ones((len(self._undecided), len(rows)), dtype=np.bool_), self._undecided)
        left = nothing
        kinds: list[tuple[object, ...]] = [()] * len(rows)
        chosen = []
        for name in few:
            after = self._after(left, given, name)
            finer = [(*kind, value) for kind, value in zip(kinds, sample[name], strict=True)]
            new_kind = _NEW_KIND + _NEW_KIND_BY_STAGE * len(self._undecided)
            present = sum(value is not None for value in sample[name])
            price = _TELLING_VALUE * present + new_kind * (len(set(finer)) - len(set(kinds)))
            if left.cost() - after.cost() > (_TELLING_FIELD + price / len(rows)) * self._strictness:
                left, kinds = after, finer
                chosen.append(name)
        before = self.fields
        if self._batches > 1 and set(before) <= {*few, *self._always}:
            kept = nothing
            for name in before:
                kept = self._after(kept, given, name)
            if kept.cost() - left.cost() < _WORTH_A_CHANGE:
                return False
        self.fields = (*self._always, *chosen)
        return set(self.fields) != set(before)

    def be_stricter(self) -> None:
        """There were too many kinds: learn anew from the next batch, and choose fewer fields."""
        self._batches, self._next = 0, 1
        self._strictness *= 4

    def _after(self, left: _Left, sample: EventBatch, name: str) -> _Left:
        """What is left open if this field is telling, too."""
        telling = (*left.telling, name)
        alive, undecided = left.alive.copy(), left.undecided.copy()
        rows = sample.all_rows()
        for stage, predicate in self._readers.get(name, ()):
            undecided[stage] -= reads_only(predicate, telling)
            if alive[stage].any():
                found = bound(predicate, telling)
                if not isinstance(found, bool):
                    alive[stage] &= self._evaluator.mask(sample, found, rows)
        return _Left(telling, alive, undecided)

    def _candidates(self, columns: Columns) -> list[str]:
        """The fields that may be telling, the most used first."""
        names = [
            name
            for name in self._readers
            if name not in self._always
            and columns.fields[name].type not in _UNTELLING
            and columns.decoder.comparable(name)
        ]
        return sorted(names, key=lambda name: (-len(self._readers[name]), name))

    def _has_few(self, values: Sequence[Canonical]) -> bool:
        present = [value for value in values if value is not None]
        return len(set(present)) <= max(_ALWAYS_FEW, _FEW * sqrt(len(present)))
