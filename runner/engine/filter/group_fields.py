"""Which fields tell the kind of an event: those that rule out much, and that have few distinct values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from math import sqrt
from operator import or_

from runner.engine.filter.partial import perhaps_met
from runner.engine.filter.predicates import Predicate, fields_of
from runner.engine.filter.truth_table import FieldSignatures
from runner.events.columns.batch import Columns, EventBatch
from runner.events.columns.event_groups import Kinds
from runner.events.fields.schema import DataType
from runner.events.fields.values import Canonical

_SAMPLE = 256
"""Events of a batch that are looked at."""
_LATER, _SOON = 8, 2
_ALWAYS_FEW = 16
_FEW = 6.0
"""So many times the root of the events that have a value is how many distinct ones a telling field may have: fields
like names soon have no new values, where fields like paths have more with every event."""
_UNTELLING = frozenset({DataType.DATE, DataType.DATE_NANOS})

# Roughly, in nanoseconds an event.
_FURTHER_LOOK = 4000.0
_OPEN_STAGE = 100.0
_TELLING_FIELD, _TELLING_VALUE = 25.0, 75.0
_NEW_KIND = 600.0
"""Less than they cost: the kinds of a sample are rarer in all events than in itself."""
_WORTH_A_CHANGE = 300.0


@dataclass(frozen=True, slots=True)
class _Reader:
    """A condition, the fields that it reads, and the stages that it stands in."""

    predicate: Predicate
    fields: frozenset[str]
    stages: list[int]


@dataclass(frozen=True, slots=True)
class _Left:
    """What some telling fields leave open in a sample.

    `pending` holds, by stage, the events that may meet it, as bits; stages that no event may meet, and those whose
    conditions all are decided, are not in it. `undecided` counts the conditions that are still to be decided.
    """

    telling: frozenset[str]
    pending: dict[int, int]
    undecided: dict[int, int]

    def cost(self, events: int) -> float:
        """What is left to do for an event of the sample, in nanoseconds."""
        open_events = reduce(or_, self.pending.values(), 0).bit_count()
        open_stages = sum(map(int.bit_count, self.pending.values()))
        return (open_events * _FURTHER_LOOK + open_stages * _OPEN_STAGE) / max(1, events)


class _Sample:
    """Some events of a batch, and which of them meet the conditions on single fields."""

    def __init__(self, values: dict[str, Sequence[Canonical]], size: int, signatures: FieldSignatures) -> None:
        self.values, self.size = values, size
        self.everything = (1 << size) - 1
        self.met: dict[int, int] = {}
        """By `id` of a lookup the events that meet it, as bits: those of the fields that were evaluated."""
        self._signatures = signatures.by_field
        self._evaluated: set[str] = set()

    def evaluate(self, name: str) -> None:
        """Find out which events meet the conditions on a field."""
        signatures = self._signatures.get(name)
        if signatures is None or name in self._evaluated:
            return
        self._evaluated.add(name)
        events: dict[int, int] = {}
        values = self.values[name]
        for place, number in enumerate(signatures.of(values)):
            if signatures.pending[number]:
                number = signatures.settled(values[place], -1)
            events[number] = events.get(number, 0) | 1 << place
        told = [(signatures.bits[number], having) for number, having in events.items()]
        for mark, place in signatures.places.items():
            self.met[mark] = reduce(or_, (having for bits, having in told if bits >> place & 1), 0)


class Guard:
    """Chooses the telling fields from samples of the batches.

    The first batches of a file may not show what comes later, so it looks again at batch 2, 16, 128, and so on; after
    a batch of few events, as live files give, it does so sooner.
    """

    def __init__(
        self,
        conditions: Sequence[Sequence[Predicate]],
        always: Collection[str],
        selected: Callable[[str | None], int] = lambda stream: -1,
    ) -> None:
        """`conditions` are those of each stage; the fields in `always` are telling whatever they are like. `selected`
        are the stages, as bits, that events of a stream may meet."""
        self._undecided = {stage: len(predicates) for stage, predicates in enumerate(conditions)}
        self._readers: dict[str, list[_Reader]] = {}
        self._take_in(conditions)
        self._users = {name: sum(len(reader.stages) for reader in readers) for name, readers in self._readers.items()}
        self._always = tuple(always)
        self._selected = selected
        self._batches, self._next = 0, 1
        self._strictness = 1.0
        self.fields: tuple[str, ...] = self._always

    def _take_in(self, conditions: Sequence[Sequence[Predicate]]) -> None:
        """Note which fields each condition reads; one that stands in several stages is one reader."""
        known: dict[int, _Reader] = {}
        for stage, predicates in enumerate(conditions):
            for predicate in predicates:
                reader = known.get(id(predicate))
                if reader is not None:
                    reader.stages.append(stage)
                    continue
                known[id(predicate)] = reader = _Reader(predicate, frozenset(fields_of(predicate)), [stage])
                for name in reader.fields:
                    self._readers.setdefault(name, []).append(reader)

    def look(
        self, batch: EventBatch, signatures: FieldSignatures, looked_for: int = -1, told: Kinds | None = None
    ) -> bool:
        """Learn from a batch if it is one to look at; returns whether the telling fields are others now.

        Only the stages that are looked for count, by their numbers as bits. `told` are the kinds by the telling fields
        so far: they show how many values those have in all events, and not only in a sample.
        """
        self._batches += 1
        if self._batches < self._next:
            return False
        self._next = max(2, (_LATER if len(batch) >= _SAMPLE else _SOON) * self._batches)
        rows = batch.all_rows()
        rows = rows[:: -(-len(rows) // _SAMPLE)]
        names = self._candidates(batch.columns)
        sample = _Sample(batch.sample((*self._always, *names), rows), len(rows), signatures)
        few = [name for name in names if _has_few(name, sample.values[name], told)]
        nothing = self._nothing(sample, [looked_for & self._selected(name) for name in batch.streams(rows)])
        left = self._chosen(few, sample, nothing)
        before = self.fields
        if self._batches > 1 and set(before) <= {*few, *self._always}:
            if left.telling == set(before):
                return False
            kept = nothing
            for name in before:
                kept = self._after(kept, sample, name)
            if kept.cost(sample.size) - left.cost(sample.size) < _WORTH_A_CHANGE:
                return False
        self.fields = (*self._always, *(name for name in few if name in left.telling and name not in self._always))
        return set(self.fields) != set(before)

    def be_stricter(self) -> None:
        """There were too many kinds: learn anew from the next batch, and choose fewer fields."""
        self._batches, self._next = 0, 1
        self._strictness *= 4

    def _chosen(self, few: Sequence[str], sample: _Sample, left: _Left) -> _Left:
        """What is left open if those of the fields are telling that are worth it, taken in this order."""
        size = sample.size
        kinds, count = [0] * size, min(1, size)
        for name in self._always:
            left = self._after(left, sample, name)
        cost = left.cost(size)
        for name in few:
            after = self._after(left, sample, name)
            cost_after = after.cost(size)
            if cost_after >= cost:
                continue
            values = sample.values[name]
            finer = {kind: number for number, kind in enumerate(set(zip(kinds, values, strict=True)))}
            present = size - values.count(None)
            price = _TELLING_VALUE * present + _NEW_KIND * (len(finer) - count)
            if cost - cost_after > (_TELLING_FIELD + price / size) * self._strictness:
                left, cost, count = after, cost_after, len(finer)
                kinds = [finer[kind] for kind in zip(kinds, values, strict=True)]
        return left

    def _nothing(self, sample: _Sample, possible: Sequence[int]) -> _Left:
        """All that is open as long as no field is telling; `possible` are the stages that each event may meet."""
        events: dict[int, int] = {}
        for place, stages in enumerate(possible):
            events[stages] = events.get(stages, 0) | 1 << place
        pending = {}
        for stage, count in self._undecided.items():
            having = reduce(or_, (bits for stages, bits in events.items() if stages >> stage & 1), 0)
            if count and having:
                pending[stage] = having
        return _Left(frozenset(), pending, self._undecided)

    def _after(self, left: _Left, sample: _Sample, name: str) -> _Left:
        """What is left open if this field is telling, too."""
        telling = left.telling | {name}
        pending, undecided = left.pending.copy(), left.undecided.copy()
        readers = [reader for reader in self._readers.get(name, ()) if not pending.keys().isdisjoint(reader.stages)]
        sample.evaluate(name)
        for reader in readers:
            perhaps = perhaps_met(reader.predicate, telling, sample.met, sample.everything)
            is_decided = not reader.predicate.scripted and reader.fields <= telling
            for stage in reader.stages:
                if stage in pending:
                    undecided[stage] -= is_decided
                    pending[stage] &= perhaps
                    if not pending[stage] or not undecided[stage]:
                        del pending[stage]
        return _Left(telling, pending, undecided)

    def _candidates(self, columns: Columns) -> list[str]:
        """The fields that may be telling, the most used first."""
        names = [
            name for name in self._readers if name not in self._always and columns.fields[name].type not in _UNTELLING
        ]
        return sorted(names, key=lambda name: (-self._users[name], name))


def _has_few(name: str, values: Sequence[Canonical], told: Kinds | None) -> bool:
    """Whether a field has few distinct values, by those of a sample and by the kinds that it tells already."""
    if told is not None and name in told.fields and told.events > len(values):
        distinct, count = len(set(told.values(name))), told.events
    else:
        present = [value for value in values if value is not None]
        distinct, count = len(set(present)), len(present)
    return distinct <= max(_ALWAYS_FEW, _FEW * sqrt(count))
