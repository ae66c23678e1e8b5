"""Outlooks: which stages events of a kind may meet, and what of their conditions the telling fields leave open.

A value of a telling field rules out every stage that has a condition on this field alone which the value does not meet.
Values with the same signature rule out the same stages: a set of stages as bits, worked out once. What is left by all
telling fields of a kind are a few stages, of which the other conditions are looked at one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.eql.needles import bits_of
from runner.eql.partial import bound, parts_within, reads_only, settled
from runner.eql.predicates import Lookup, Predicate, is_equality, lookups_in
from runner.eql.scope import ScopeMasks
from runner.eql.signatures import FieldSignatures, Signatures, Test, test_for
from runner.events.decode import Canonical
from runner.events.kinds import Kinds

GROUP_FIELDS = (
    "process.name",
    "process.parent.name",
    "process.executable",
    "process.parent.executable",
    "event.action",
    "host.os.type",
    "event.type",
    "event.category",
    "event.dataset",
    "event.kind",
)
"""Fields with few values that many rules have conditions on. What rules out most stands first, arrays stand behind
texts, which take half as long to read."""
_ENOUGH_GROUP_FIELDS = 3
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of one query, as conditions on an event. `number` is its place among all stages."""

    number: int
    indices: tuple[str, ...]
    conditions: tuple[Predicate, ...]
    scripts: tuple[Predicate, ...]
    """What may fail on a value, so that it must not be asked of events that do not meet all conditions."""
    carried: frozenset[str]
    """Fields that are read of the events that meet the conditions: those of the scripts, join keys, the tiebreaker."""


Open: TypeAlias = tuple[Stage, tuple[Predicate, ...]]
"""A stage that may be met, with those of its conditions on which it depends."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The stages that events of some kinds may meet, each with those of its conditions that are open."""

    stages: tuple[Open, ...]
    bits: int
    """The numbers of the stages as bits."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the telling fields say of one stage, beside what each of them says alone."""

    open: Open
    bounds: tuple[Test, ...]
    """What must hold for the stage to be met."""
    decided: tuple[tuple[int, Test], ...]
    """The parts of its open conditions that are decided, by their `id`."""
    matters: int
    """The bits of the signatures on which all of this depends."""
    known: dict[int, Open | None] = field(default_factory=dict)

    def after(self, bits: int) -> Open | None:
        """What is left of the stage, given these bits; None if it cannot be met."""
        bits &= self.matters
        if bits not in self.known:
            is_possible = all(test(bits) for test in self.bounds)
            self.known[bits] = (
                settled_stage(self.open, {mark: test(bits) for mark, test in self.decided}) if is_possible else None
            )
        return self.known[bits]


@dataclass(frozen=True, slots=True)
class _Left:
    """Stages that none of the telling fields rules out alone."""

    stages: tuple[_Judged, ...]
    matters: int
    known: dict[int, int] = field(default_factory=dict)
    """The number of the outlook by these bits."""


class Outlooks:
    """The outlooks of the kinds of one choice of telling fields."""

    def __init__(self, stages: Sequence[Stage], kinds: Kinds, signatures: FieldSignatures, scopes: ScopeMasks) -> None:
        self.kinds = kinds
        self.made: list[Outlook] = []
        self._stages, self._scopes = stages, scopes
        self._telling = kinds.fields.keys()
        self._places = signatures.places
        self._fields = [
            _Field(signatures.by_field[name], kinds.values(name))
            for name in kinds.fields
            if name in signatures.by_field
        ]
        self._all = 0
        self._bounds: dict[int, list[Predicate]] = {}
        self._take_bounds()
        self._numbers = np.full(1024, _UNKNOWN, dtype=np.int32)
        self._known: dict[tuple[object, ...], int] = {}
        self._judged: dict[int, _Judged] = {}
        self._left: dict[int, _Left] = {}
        self._selected: dict[str | None, int] = {}

    def of(self, kinds: NDArray[np.int32]) -> NDArray[np.int32]:
        """The number, in `made`, of the outlook of each kind."""
        if len(self._numbers) < len(self.kinds):
            grown = np.full(2 * len(self.kinds), _UNKNOWN, dtype=np.int32)
            grown[: len(self._numbers)] = self._numbers
            self._numbers = grown
        found = self._numbers[kinds]
        new = np.unique(kinds[found == _UNKNOWN])
        if len(new):
            self._numbers[new] = self._worked_out(new.tolist())
            found = self._numbers[kinds]
        return found

    def _take_bounds(self) -> None:
        """Sort what the telling fields say of each stage by what it reads: one field, or several."""
        field_of = {mark: one for one in self._fields for mark in one.signatures.places}
        for stage in self._stages:
            bounds = [bound(part, self._telling) for part in (*stage.conditions, *stage.scripts)]
            if False in bounds:
                continue
            bit = 1 << stage.number
            self._all |= bit
            for part in bounds:
                if isinstance(part, Lookup):
                    one = field_of[id(part)]
                    mark = 1 << self._places[id(part)]
                    one.needed[mark] = one.needed.get(mark, 0) | bit
                elif not isinstance(part, bool):
                    self._bounds.setdefault(stage.number, []).append(part)

    def _worked_out(self, new: Sequence[int]) -> list[int]:
        """The numbers of the outlooks of some kinds."""
        columns = [one.numbers(new) for one in self._fields]
        streams = [self.kinds.stream(kind) for kind in new]
        numbers = []
        for key in zip(streams, *columns, strict=True):
            number = self._known.get(key)
            if number is None:
                number = self._known[key] = self._outlook(key[0], key[1:])
            numbers.append(number)
        return numbers

    def _outlook(self, stream: str | None, signatures: Sequence[int]) -> int:
        """The number of the outlook of events from a stream, given the signatures of their telling fields."""
        left, bits = self._all & self._selected_by(stream), 0
        for one, number in zip(self._fields, signatures, strict=True):
            left &= ~one.ruled_out(number)
            bits |= one.signatures.bits[number]
        known = self._left.get(left)
        if known is None:
            judged = tuple(map(self._judgement, bits_of(left)))
            matters = 0
            for stage in judged:
                matters |= stage.matters
            known = self._left[left] = _Left(judged, matters)
        bits &= known.matters
        found = known.known.get(bits)
        if found is None:
            found = known.known[bits] = len(self.made)
            self.made.append(_outlook(known.stages, bits))
        return found

    def _selected_by(self, stream: str | None) -> int:
        """The stages whose index patterns name the stream."""
        known = self._selected.get(stream)
        if known is None:
            known = self._selected[stream] = selected_by(self._stages, self._scopes, stream)
        return known

    def _judgement(self, number: int) -> _Judged:
        known = self._judged.get(number)
        if known is None:
            stage, bounds = self._stages[number], self._bounds.get(number, ())
            parts = tuple(part for part in stage.conditions if not reads_only(part, self._telling))
            decided = {id(part): part for one in parts for part in parts_within(one, self._telling)}
            matters = 0
            for lookup in (lookup for part in (*bounds, *decided.values()) for lookup in lookups_in(part)):
                matters |= 1 << self._places[id(lookup)]
            known = self._judged[number] = _Judged(
                (stage, parts),
                tuple(test_for(part, self._places) for part in bounds),
                tuple((mark, test_for(part, self._places)) for mark, part in decided.items()),
                matters,
            )
        return known


def _outlook(judged: Iterable[_Judged], bits: int) -> Outlook:
    """The outlook of events that may meet these stages, given the signatures of their telling fields."""
    left = [found for one in judged if (found := one.after(bits)) is not None]
    return Outlook(tuple(left), sum(1 << stage.number for stage, _ in left))


class _Field:
    """One telling field: its signatures, and the stages that each of them rules out."""

    def __init__(self, signatures: Signatures, values: Sequence[Canonical]) -> None:
        """`values` are those of the kinds by their numbers; there will be more of them."""
        self.signatures = signatures
        self.needed: dict[int, int] = {}
        """By bit of the signature, the stages that need it."""
        self._values = values
        self._out: dict[int, int] = {}

    def numbers(self, kinds: Sequence[int]) -> list[int]:
        """The number of the signature of each kind."""
        values = [self._values[kind] for kind in kinds]
        return [
            self.signatures.settled(value, self.signatures.safe) if self.signatures.pending[number] else number
            for value, number in zip(values, self.signatures.of(values), strict=True)
        ]

    def ruled_out(self, number: int) -> int:
        """The stages, as bits, that cannot be met by a value with this signature."""
        known = self._out.get(number)
        if known is None:
            bits, known = self.signatures.bits[number], 0
            for bit, stages in self.needed.items():
                if not bits & bit:
                    known |= stages
            self._out[number] = known
        return known


def group_fields(stages: Sequence[Stage], streams: Sequence[str]) -> tuple[str, ...]:
    """The fields by whose values events are grouped: those of the data stream, and those of a fixed list as far as some
    stage reads them and has conditions on fewer than three that stand before them. If fewer than three are chosen from
    the list, the fields with the most equality conditions are added."""
    conditions = [[part for part in stage.conditions if isinstance(part, Lookup)] for stage in stages]
    chosen: list[str] = []
    for name in GROUP_FIELDS:
        reading = [fields for parts in conditions if name in (fields := {part.field for part in parts})]
        if any(len(fields.intersection(chosen)) < _ENOUGH_GROUP_FIELDS for fields in reading):
            chosen.append(name)
    if len(chosen) < _ENOUGH_GROUP_FIELDS:
        parts = [one for stage in stages for part in stage.conditions for one in lookups_in(part)]
        equalities = Counter(one.field for one in parts if one.field not in chosen and is_equality(one))
        most = sorted(equalities, key=lambda name: (-equalities[name], name))
        chosen += most[: _ENOUGH_GROUP_FIELDS - len(chosen)]
    return (*streams, *(name for name in chosen if name not in streams))


def selected_by(stages: Sequence[Stage], scopes: ScopeMasks, stream: str | None) -> int:
    """The stages, as bits, whose index patterns name the stream."""
    selects = {indices: scopes.selects(indices, stream) for indices in {stage.indices for stage in stages}}
    return sum(1 << stage.number for stage in stages if selects[stage.indices])


def settled_stage(stage: Open, truths: Mapping[int, bool]) -> Open | None:
    """What is left of a stage, given the truth of some parts of its conditions; None if it cannot be met."""
    parts = [settled(part, truths) for part in stage[1]]
    if False in parts:
        return None
    return stage[0], tuple([part for part in parts if not isinstance(part, bool)])
