"""What a group of events leaves: the stages that it may meet, each with its open conditions.

The conditions on group fields are evaluated once per distinct group. Groups that leave the same form one class. By the
values of the fields that are read next, the stages of a class are reduced further, in two steps at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.engine.filter.predicates import (
    Lookup,
    Predicate,
    fields_of,
    is_equality,
    is_selective,
    lookups_in,
    reduced,
    shape,
)
from runner.engine.filter.truth_table import FieldTruths, TruthTable
from runner.engine.scope import ScopeMasks
from runner.engine.stage_sets import bits_of
from runner.events.columns.event_groups import EventGroups
from runner.events.fields.values import Canonical

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
_COMMON = frozenset(GROUP_FIELDS)
_LOOKED_UP = 100_000
"""Most combinations of bitmaps remembered for one choice of fields."""
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class StageConditions:
    """One stage of one query, as conditions on an event. `number` is its place among all stages."""

    number: int
    indices: tuple[str, ...]
    conditions: tuple[Predicate, ...]
    scripts: tuple[Predicate, ...]
    """What may fail on a value: evaluated only for events that meet all conditions."""
    carried: frozenset[str]
    """Fields that are read of the events that meet the conditions: those of the scripts, join keys, the tiebreaker."""


@dataclass(eq=False, slots=True)
class OpenStage:
    """A stage that may be met, with the conditions that are open; scripts are always among them."""

    stage: StageConditions
    open: tuple[Predicate, ...]
    matters: int
    """The lookups of these conditions, as bits."""
    fields: frozenset[str]
    """The fields of these conditions; none if only scripts are left."""
    selective: frozenset[frozenset[str]]
    """The fields of each of the conditions that few events meet."""
    given: dict[tuple[int, int], OpenStage | None] = field(default_factory=dict)
    """What is left of it, by known lookups and their truths."""


@dataclass(eq=False, slots=True)
class Node:
    """The stages that some events may meet, given the fields that have been read of them, and what is read next."""

    met: tuple[int, ...]
    """Stages of which no condition is open but for scripts."""
    carried: frozenset[str]
    """The fields that those stages carry."""
    open: tuple[OpenStage, ...]
    step: Step | None
    """The fields that are looked up next; None if no stage is open."""
    read: frozenset[str]
    """All fields that may be looked up or carried from here on: the class's projection."""
    matters: int
    """The lookups on which the open stages depend, as bits."""
    following: dict[int, Node | Literal[False]] = field(default_factory=dict)
    """The nodes after the step, by the truths that matter; False if no stage is left."""


class Step:
    """Fields whose values are looked up together, whatever nodes the events have."""

    def __init__(self, truths: dict[str, FieldTruths]) -> None:
        self.names = tuple(truths)
        self.safe = sum(one.safe for one in truths.values())
        self._truths = tuple(truths.values())
        self._known: dict[tuple[Any, ...], Node | Literal[False]] = {}

    def following(
        self, nodes: Sequence[Node], columns: Sequence[Sequence[Canonical]], made: Nodes
    ) -> Sequence[Node | Literal[False] | None]:
        """The next node of each event, given its node and its values, field by field; False if no stage is left."""
        known = self._known
        if len(known) > _LOOKED_UP:
            known.clear()
        numbers = [truths.of(values) for truths, values in zip(self._truths, columns, strict=True)]
        keys = list(zip(nodes, *numbers, strict=True))
        found = list(map(known.get, keys))
        if None in found:
            for place, answer in enumerate(found):
                if answer is None:
                    found[place] = self._worked_out(keys[place], [values[place] for values in columns], made)
        return found

    def _worked_out(self, key: tuple[Any, ...], values: Sequence[Canonical], made: Nodes) -> Node | Literal[False]:
        """The same for one event; remembered unless a bit that matters had to be worked out for its values."""
        node: Node = key[0]
        matters, bits, is_known = node.matters & self.safe, 0, True
        for truths, number, value in zip(self._truths, key[1:], values, strict=True):
            if truths.unknown[number] & matters:
                is_known = False
                bits |= truths.known(value, number, matters)
            else:
                bits |= truths.bits[number]
        bits &= matters
        answer = node.following.get(bits)
        if answer is None:
            answer = node.following[bits] = made.after(node, self, bits)
        if is_known:
            self._known[key] = answer
        return answer


_Shape: TypeAlias = tuple[object, ...]


class Nodes:
    """The nodes of one grouping of the events. What is made is remembered until `forget`."""

    def __init__(self, truths: TruthTable, group_fields: Iterable[str]) -> None:
        self.made = 0
        """How many nodes were reached by values."""
        self._truths, self._group_fields = truths, frozenset(group_fields)
        self._stages: dict[_Shape, OpenStage] = {}
        self._nodes: dict[tuple[bool, tuple[OpenStage, ...]], Node] = {}
        self._steps: dict[tuple[str, ...], Step] = {}
        self._cover = lru_cache(_LOOKED_UP)(_cover)

    def forget(self) -> None:
        """Forget all nodes; those that are in use stay as they are."""
        for one in self._stages.values():
            one.given.clear()
        self._stages.clear()
        self._nodes.clear()
        self._steps.clear()
        self.made = 0

    def stage(self, stage: StageConditions, conditions: Sequence[Predicate]) -> OpenStage:
        """The stage with these conditions open."""
        key = (stage.number, *map(shape, conditions))
        known = self._stages.get(key)
        if known is None:
            safe = [part for part in conditions if not part.scripted]
            matters = sum({1 << one.number for part in conditions for one in lookups_in(part) if not one.scripted})
            reads = [frozenset(fields_of(part)) for part in safe if is_selective(part)]
            reads = reads or [frozenset(fields_of(part)) for part in safe]
            selective = frozenset(names for names in reads if not names <= _COMMON) or frozenset(reads)
            fields: frozenset[str] = frozenset(name for part in safe for name in fields_of(part))
            known = self._stages[key] = OpenStage(stage, tuple(conditions), matters, fields, selective)
        return known

    def reduced(self, one: OpenStage, known: int, bits: int) -> OpenStage | None:
        """What is left of a stage, given the truths of the known lookups; None if it cannot be met."""
        known &= one.matters
        key = known, bits & known
        if key not in one.given:
            left = [reduced(part, known, bits) for part in one.open]
            is_out = False in left
            one.given[key] = None if is_out else self.stage(one.stage, [p for p in left if not isinstance(p, bool)])
        return one.given[key]

    def after(self, node: Node, step: Step, bits: int) -> Node | Literal[False]:
        """The node of events that have these truths at a step."""
        left = [found for one in node.open if (found := self.reduced(one, step.safe, bits)) is not None]
        self.made += 1
        return self.node(left, is_last=True) if left else False

    def node(self, stages: Sequence[OpenStage], *, is_last: bool = False) -> Node:
        """The node of events that may meet these stages. The first step looks up the fewest fields of which each stage
        has a selective condition, the last one all that are left."""
        key = is_last, tuple(stages)
        known = self._nodes.get(key)
        if known is None:
            met = [one.stage for one in stages if not one.fields]
            left = tuple(one for one in stages if one.fields)
            carried = frozenset(name for stage in met for name in stage.carried).difference(self._group_fields)
            fields: frozenset[str] = frozenset().union(*(one.fields for one in left))
            later = frozenset(name for one in left for name in one.stage.carried)
            matters = 0
            for one in left:
                matters |= one.matters
            step = None
            if left:
                names = tuple(sorted(fields)) if is_last else self._cover(frozenset(one.selective for one in left))
                step = self._step(names)
            read = carried.union(fields, later).difference(self._group_fields)
            numbers = tuple(stage.number for stage in met)
            known = self._nodes[key] = Node(numbers, carried, left, step, read, matters)
        return known

    def _step(self, names: tuple[str, ...]) -> Step:
        if names not in self._steps:
            self._steps[names] = Step({name: self._truths.by_field[name] for name in names})
        return self._steps[names]


class GroupStages:
    """The stages that the groups of one choice of group fields leave."""

    def __init__(
        self,
        stages: Sequence[StageConditions],
        groups: EventGroups,
        truths: TruthTable,
        scopes: ScopeMasks,
        nodes: Nodes,
    ) -> None:
        self.groups = groups
        self.classes: list[tuple[OpenStage, ...]] = []
        self._scopes, self._nodes, self._stages = scopes, nodes, stages
        self._whole = [nodes.stage(one, (*one.conditions, *one.scripts)) for one in stages]
        self._fields = [
            _GroupField(truths.by_field[name], groups.values(name)) for name in groups.fields if name in truths.by_field
        ]
        self._known = truths.safe(groups.fields)
        self._take_needed()
        self._numbers = np.full(1024, _UNKNOWN, dtype=np.int32)
        self._by_truths: dict[tuple[object, ...], int] = {}
        self._by_stages: dict[tuple[OpenStage, ...], int] = {}
        self._selected: dict[str | None, int] = {}

    def of(self, groups: NDArray[np.int32]) -> NDArray[np.int32]:
        """The number, in `classes`, of the class of each group."""
        if len(self._numbers) < len(self.groups):
            grown = np.full(2 * len(self.groups), _UNKNOWN, dtype=np.int32)
            grown[: len(self._numbers)] = self._numbers
            self._numbers = grown
        found = self._numbers[groups]
        new = np.unique(groups[found == _UNKNOWN])
        if len(new):
            self._numbers[new] = self._classified(new.tolist())
            found = self._numbers[groups]
        return found

    def _take_needed(self) -> None:
        """Note which stages need which condition on a group field."""
        for one in self._fields:
            for stage in self._stages:
                for part in stage.conditions:
                    if isinstance(part, Lookup) and one.truths.safe >> part.number & 1:
                        bit = 1 << part.number
                        one.needed[bit] = one.needed.get(bit, 0) | 1 << stage.number

    def _classified(self, new: Sequence[int]) -> list[int]:
        columns = [one.bitmaps(new) for one in self._fields]
        streams = [self.groups.stream(group) for group in new]
        numbers = []
        for stream, *bitmaps in zip(streams, *columns, strict=True):
            key = stream, *bitmaps
            number = self._by_truths.get(key)
            if number is None:
                left = self._left(stream, bitmaps)
                number = self._by_stages.setdefault(left, len(self.classes))
                if number == len(self.classes):
                    self.classes.append(left)
                self._by_truths[key] = number
            numbers.append(number)
        return numbers

    def _left(self, stream: str | None, bitmaps: Sequence[int]) -> tuple[OpenStage, ...]:
        """The stages that a group with these truths leaves."""
        left, bits = self._selected_by(stream), 0
        for one, bitmap in zip(self._fields, bitmaps, strict=True):
            left &= ~one.ruled_out(bitmap)
            bits |= bitmap
        found = (self._nodes.reduced(self._whole[number], self._known, bits) for number in bits_of(left))
        return tuple(one for one in found if one is not None)

    def _selected_by(self, stream: str | None) -> int:
        """The stages, as bits, whose index patterns name the stream."""
        known = self._selected.get(stream)
        if known is None:
            selects = {indices: self._scopes.selects(indices, stream) for indices in {s.indices for s in self._stages}}
            known = sum(1 << stage.number for stage in self._stages if selects[stage.indices])
            self._selected[stream] = known
        return known


class _GroupField:
    """The truths of one group field, and the stages that its values rule out."""

    def __init__(self, truths: FieldTruths, values: Sequence[Canonical]) -> None:
        """`values` are those of the groups by their numbers; there will be more of them."""
        self.truths = truths
        self.needed: dict[int, int] = {}
        """By bit of a condition, the stages that need it."""
        self._values = values
        self._out: dict[int, int] = {}

    def bitmaps(self, groups: Sequence[int]) -> list[int]:
        """The bitmap of each group's value."""
        values = [self._values[group] for group in groups]
        truths = self.truths
        return [
            truths.known(value, number, truths.safe) & truths.safe
            for value, number in zip(values, truths.of(values), strict=True)
        ]

    def ruled_out(self, bitmap: int) -> int:
        """The stages, as bits, that a value with this bitmap cannot meet."""
        known = self._out.get(bitmap)
        if known is None:
            known = 0
            for bit, stages in self.needed.items():
                if not bitmap & bit:
                    known |= stages
            self._out[bitmap] = known
        return known


def group_fields(stages: Sequence[StageConditions], streams: Sequence[str]) -> tuple[str, ...]:
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


def _cover(open_stages: frozenset[frozenset[frozenset[str]]]) -> tuple[str, ...]:
    """Fields, as few as may be, that decide a condition of each stage, given what each of its selective conditions
    reads (greedy set cover): most events fail them all."""
    chosen: frozenset[str] = frozenset()
    while open_stages:
        wanted = Counter(names for reads in open_stages for names in reads)
        best: frozenset[str] = min(wanted, key=lambda names: (len(names), -wanted[names], sorted(names)))
        chosen |= best
        rests = (frozenset(names - chosen for names in reads) for reads in open_stages)
        open_stages = frozenset(rest for rest in rests if frozenset() not in rest)
    return tuple(sorted(chosen))
