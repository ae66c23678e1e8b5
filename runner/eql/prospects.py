"""Prospects: what can become of an event, as far as its kind tells.

The telling fields of a kind rule out most stages, and decide some. What is left of the conditions of the others is put
together once for all kinds with the same prospect: which fields have to be read, and what of their values matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.eql.evaluate import Evaluator
from runner.eql.partial import bound, parts_within, reads_only, settled
from runner.eql.predicates import Lookup, Predicate, fields_of, is_selective, lookups_in
from runner.eql.scope import ScopeMasks
from runner.eql.signatures import Signatures, Test, all_of, test_for
from runner.eql.tree import Node, plant
from runner.events.batch import Columns, EventBatch, Rows
from runner.events.kinds import Kinds
from runner.events.schema import DataType

Mask = NDArray[np.bool_]
_UNKNOWN = -1
_REMEMBERED = 20_000
"""So many combinations of signatures are remembered for one prospect."""
_COSTLY = 5
"""A prospect that was arrived at by values takes the room of so many values."""
_MORE, _FEW_MORE = 2, 4
"""Signatures that are there already serve where they tell up to so many times the conditions asked for, and a few."""


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


@dataclass(slots=True)
class Prospect:
    """What is known of an event, and what is to be asked next: the stages that it meets, and the fields on which most
    depends of those that it may yet meet. By their values it has another prospect, and so on until nothing is open."""

    met: tuple[int, ...]
    carried: frozenset[str]
    """Further fields that are read of the events, for the sake of the stages that they meet."""
    asked: tuple[tuple[str, Signatures], ...] = ()
    shifts: tuple[int, ...] = ()
    """Where the bits of each field's signature begin in what `next` is given."""
    next: Callable[[int], Prospect | None] | None = None
    """The prospect by the bits of all signatures; None if no further stage can be met."""
    read: frozenset[str] = frozenset()
    """All fields that may be asked for or carried before nothing is open: a line is best looked at once."""
    _answers: dict[tuple[int, ...], Prospect | None] = field(default_factory=dict)

    def answers(self, signatures: Sequence[Iterable[int]]) -> list[Prospect | None]:
        """The further prospect of each event, given the signatures of its values, field by field."""
        known = self._answers
        if len(known) > _REMEMBERED:
            known.clear()
        keys = list(zip(*signatures, strict=True))
        try:
            return list(map(known.__getitem__, keys))
        except KeyError:
            return [known[key] if key in known else self._answer(key) for key in keys]

    def _answer(self, key: tuple[int, ...]) -> Prospect | None:
        assert self.next is not None
        bits = sum(signature << shift for signature, shift in zip(key, self.shifts, strict=True))
        answer = self._answers[key] = self.next(bits)
        return answer

    def forget(self) -> None:
        """Forget all answers."""
        self._answers.clear()


@dataclass(frozen=True, slots=True)
class _Decided:
    """A part of an open condition that the telling fields decide: its test, and by field the bits that it looks at."""

    predicate: Predicate
    test: Test
    masks: tuple[tuple[str, int], ...]


_Open: TypeAlias = tuple[Stage, tuple[Predicate, ...]]
"""A stage that may be met, with those of its conditions on which it depends."""


@dataclass(frozen=True, slots=True)
class _Alive:
    """Stages that some kinds cannot rule out."""

    stages: tuple[_Open, ...]
    parts: tuple[_Decided, ...]
    masks: tuple[tuple[str, int], ...]
    """The telling fields that these parts read, with the bits of their signatures that matter."""
    known: dict[tuple[int, ...], int] = field(default_factory=dict)
    """The number of the prospect, by these bits."""


class Prospects:
    """The prospects of the kinds of one choice of telling fields."""

    def __init__(
        self, stages: Sequence[Stage], kinds: Kinds, columns: Columns, evaluator: Evaluator, scopes: ScopeMasks
    ) -> None:
        self._stages, self._kinds, self._columns = stages, kinds, columns
        self._evaluator, self._scopes = evaluator, scopes
        self._telling = kinds.fields.keys()
        self._tree = self._planted()
        self._indices = list(dict.fromkeys(stage.indices for stage in stages))
        self._index_of = np.array([self._indices.index(stage.indices) for stage in stages], dtype=np.intp)
        self._open = [
            tuple(part for part in stage.conditions if not reads_only(part, self._telling)) for stage in stages
        ]
        self.made: list[Prospect] = []
        self._numbers = np.full(1024, _UNKNOWN, dtype=np.int32)
        self._told: dict[str, Signatures] = {}
        self._decided = self._parts_decided()
        self._endings: dict[tuple[int, ...], Prospect] = {}
        self._followed = 0
        self._alive: dict[bytes, _Alive] = {}
        self._signatures: dict[str, list[tuple[int, Signatures]]] = {}
        self._marks: dict[int, int] = {}

    def of(self, kinds: NDArray[np.int32]) -> NDArray[np.int32]:
        """The number, in `made`, of the prospect of each kind."""
        if len(self._numbers) < len(self._kinds):
            grown = np.full(2 * len(self._kinds), _UNKNOWN, dtype=np.int32)
            grown[: len(self._numbers)] = self._numbers
            self._numbers = grown
        found = self._numbers[kinds]
        new = np.unique(kinds[found == _UNKNOWN])
        if len(new):
            self._numbers[new] = self._worked_out(new.tolist())
            found = self._numbers[kinds]
        return found

    def remembered(self) -> int:
        """How much is remembered of values, by the room that a value with its signature takes."""
        values = sum(len(signatures) for made in self._signatures.values() for _, signatures in made)
        return values + _COSTLY * self._followed

    def forget(self) -> None:
        """Forget all of that."""
        for signatures in (signatures for made in self._signatures.values() for _, signatures in made):
            signatures.clear()
        for prospect in self.made:
            prospect.forget()
        self._endings.clear()
        self._followed = 0

    def _planted(self) -> Node[int]:
        """The tree of what the telling fields say of each stage."""
        bounded: list[tuple[list[Predicate], int]] = []
        for stage in self._stages:
            bounds = [bound(part, self._telling) for part in (*stage.conditions, *stage.scripts)]
            if False not in bounds:
                bounded.append(([part for part in bounds if not isinstance(part, bool)], stage.number))
        users = Counter(name for parts, _ in bounded for name in {name for part in parts for name in fields_of(part)})
        ordered = sorted(users, key=lambda name: (-users[name], name))
        return plant(bounded, {name: place for place, name in enumerate(ordered)})

    def _parts_decided(self) -> list[list[_Decided]]:
        """By stage, what the telling fields decide of its open conditions; makes their signatures."""
        found = [[within for part in parts for within in parts_within(part, self._telling)] for parts in self._open]
        by_field: dict[str, dict[int, Lookup]] = {}
        for lookup in (lookup for parts in found for part in parts for lookup in lookups_in(part)):
            by_field.setdefault(lookup.field, {})[id(lookup)] = lookup
        places: dict[int, int] = {}
        for name, lookups in by_field.items():
            self._told[name] = signatures = Signatures(list(lookups.values()), untyped=False, first=len(places))
            places |= signatures.places
        made: dict[int, _Decided] = {}
        for part in (part for parts in found for part in parts):
            if id(part) not in made:
                masks: dict[str, int] = {}
                for lookup in lookups_in(part):
                    masks[lookup.field] = masks.get(lookup.field, 0) | 1 << places[id(lookup)]
                made[id(part)] = _Decided(part, test_for(part, places), tuple(masks.items()))
        return [[made[id(part)] for part in parts] for parts in found]

    def _worked_out(self, new: Sequence[int]) -> NDArray[np.int32]:
        columns = {}
        for name in self._telling:
            values = self._kinds.values(name)
            columns[name] = [values[kind] for kind in new]
        batch = EventBatch.of_values(self._columns, columns, len(new))
        alive = np.zeros((len(self._stages), len(new)), dtype=np.bool_)
        self._descend(batch, self._tree, batch.all_rows(), alive)
        self._rule_out_by_index(new, alive)
        numbers = np.zeros(len(new), dtype=np.int32)
        groups: dict[bytes, list[int]] = {}
        for place, packed in enumerate(np.packbits(np.ascontiguousarray(alive.T), axis=1)):
            groups.setdefault(packed.tobytes(), []).append(place)
        for mark, places in groups.items():
            known = self._alive.get(mark)
            if known is None:
                known = self._alive[mark] = self._gathered(np.flatnonzero(alive[:, places[0]]).tolist())
            numbers[places] = self._told_apart(known, [new[place] for place in places])
        return numbers

    def _descend(self, batch: EventBatch, node: Node[int], rows: Rows, alive: Mask) -> None:
        for stage in node.sinks:
            alive[stage, rows] = True
        for lookups in node.lookups.values():
            for child, met in self._evaluator.each(batch, lookups, rows):
                self._descend(batch, child, met, alive)
        for predicate, child in node.others:
            met = rows[self._evaluator.mask(batch, predicate, rows)]
            if len(met):
                self._descend(batch, child, met, alive)

    def _rule_out_by_index(self, new: Sequence[int], alive: Mask) -> None:
        names = [self._kinds.stream(kind) for kind in new]
        places = {name: place for place, name in enumerate(dict.fromkeys(names))}
        selected = np.array([[self._scopes.selects(indices, name) for name in places] for indices in self._indices])
        if not selected.all():
            alive &= selected[self._index_of][:, [places[name] for name in names]]

    def _gathered(self, numbers: Iterable[int]) -> _Alive:
        stages = tuple((self._stages[number], self._open[number]) for number in numbers)
        decided = {id(part.predicate): part for stage, _ in stages for part in self._decided[stage.number]}
        masks: dict[str, int] = {}
        for part in decided.values():
            for name, mask in part.masks:
                masks[name] = masks.get(name, 0) | mask
        return _Alive(stages, tuple(decided.values()), tuple(masks.items()))

    def _told_apart(self, alive: _Alive, kinds: Sequence[int]) -> list[int]:
        """The number of the prospect of each kind, all of which have the same stages left."""
        columns = []
        for name, mask in alive.masks:
            values = self._kinds.values(name)
            columns.append([bits & mask for bits in self._told[name].of([values[kind] for kind in kinds])])
        numbers = []
        for key in zip(*columns, strict=True) if columns else [()] * len(kinds):
            number = alive.known.get(key)
            if number is None:
                bits = sum(key)  # each field has bits of its own
                number = alive.known[key] = len(self.made)
                truths = {id(part.predicate): part.test(bits) for part in alive.parts}
                self.made.append(self._prospect(alive.stages, truths))
            numbers.append(number)
        return numbers

    def _prospect(self, stages: Iterable[_Open], known: Mapping[int, bool]) -> Prospect:
        """The prospect of events that may meet these stages, given the truth of some parts of the conditions."""
        met: list[int] = []
        carried: set[str] = set()
        left: list[_Open] = []
        for stage, conditions in stages:
            parts = [settled(part, known) for part in conditions]
            if False in parts:
                continue
            open_parts = tuple(part for part in parts if not isinstance(part, bool))
            if open_parts:
                left.append((stage, open_parts))
            else:
                met.append(stage.number)
                carried |= stage.carried
        if not left:
            return self._ending(tuple(met), carried)
        pivots = _pivots(left)
        bounds = [[found for part in parts if not isinstance(found := bound(part, pivots), bool)] for _, parts in left]
        by_field: dict[str, dict[int, Lookup]] = {name: {} for name in pivots}
        for lookup in (lookup for _, parts in left for part in parts for lookup in lookups_in(part)):
            if lookup.field in by_field:
                by_field[lookup.field][id(lookup)] = lookup
        places: dict[int, int] = {}
        asked, shifts, width = [], [], 0
        for name, lookups in by_field.items():
            signatures = self._signatures_of(name, lookups)
            places.update((mark, width + signatures.places[mark]) for mark in lookups)
            asked.append((name, signatures))
            shifts.append(width)
            width += len(signatures.places)
        tests = [all_of(parts, places) for parts in bounds]

        def following(bits: int) -> Prospect | None:
            alive = [one for one, test in zip(left, tests, strict=True) if test(bits)]
            if not alive:
                return None
            self._followed += 1
            return self._prospect(alive, {mark: bool(bits >> place & 1) for mark, place in places.items()})

        own = frozenset(carried - self._telling)
        later = {name for _, parts in left for part in parts for name in fields_of(part)}
        later = later.union(*(stage.carried for stage, _ in left)) - self._telling
        return Prospect(tuple(met), own, tuple(asked), tuple(shifts), following, own | later)

    def _ending(self, met: tuple[int, ...], carried: set[str]) -> Prospect:
        """The prospect that leaves nothing open."""
        known = self._endings.get(met)
        if known is None:
            own = frozenset(carried - self._telling)
            known = self._endings[met] = Prospect(met, own, read=own)
        return known

    def _signatures_of(self, name: str, lookups: Mapping[int, Lookup]) -> Signatures:
        """The signatures by these conditions on a field, and perhaps by some more: prospects ask for much the same."""
        made = self._signatures.setdefault(name, [])
        most = _MORE * len(lookups) + _FEW_MORE
        marks = 0  # sets of lookups as bits: hundreds of them are compared
        for lookup in lookups:
            marks |= self._marks.setdefault(lookup, 1 << len(self._marks))
        fitting = [known for mark, known in made if mark & marks == marks and len(known.places) <= most]
        if fitting:
            return min(fitting, key=lambda known: len(known.places))
        untyped = self._columns.fields[name].type is DataType.NULL
        made.append((marks, Signatures(list(lookups.values()), untyped=untyped)))
        return made[-1][1]


def _pivots(stages: Sequence[_Open]) -> list[str]:
    """Fields, as few as may be, of which each of the stages has a condition: most events fail them all."""
    waiting: list[set[frozenset[str]]] = []
    for _, parts in stages:
        telling = [part for part in parts if is_selective(part)] or parts
        waiting.append({frozenset(fields_of(part)) for part in telling})
    chosen: dict[str, None] = {}
    while waiting:
        wanted = Counter(names.difference(chosen) for reads in waiting for names in reads)
        best = min(wanted, key=lambda names: (len(names), -wanted[names], sorted(names)))
        chosen |= dict.fromkeys(sorted(best))
        waiting = [reads for reads in waiting if not any(names <= chosen.keys() for names in reads)]
    return list(chosen)
