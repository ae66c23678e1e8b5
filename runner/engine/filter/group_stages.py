"""What a group of events leaves: the stages that it may meet, each with its open conditions.

The conditions on group fields are evaluated once per distinct group. Groups that leave the same form one class. By the
values of the fields that are read next, the stages of a class are reduced further, in two steps at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Any, Literal

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
from runner.events.fields.schema import DataType, Field
from runner.events.fields.values import Canonical

GROUP_FIELDS = (
    "process.name",
    "event.action",
    "process.parent.name",
    "process.executable",
    "process.parent.executable",
    "host.os.type",
    "event.type",
    "event.category",
    "event.dataset",
    "event.kind",
    "file.extension",
    "auditd.data.syscall",
)
"""Fields with few values that many rules have conditions on. What rules out most stands first, arrays stand behind
texts, which take half as long to read."""
_ENOUGH_GROUP_FIELDS = 3
_WORTH_A_FIELD = 5
"""Stages with conditions on a field for which it is read of every event, if they have conditions on others, too."""
_FEWEST_GROUP_FIELDS = 2
_COMMON = frozenset(GROUP_FIELDS)
_LOOKED_UP = 100_000
"""Most combinations of bitmaps remembered for one choice of fields."""
_NODE_SIZE = 5
"""Values that take as much memory as a node."""
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class StageConditions:
    """One stage of one query, as conditions on an event; `index` is that among all stages."""

    index: int
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
    read: frozenset[str]
    """The fields that are read together: those of the conditions, and what is carried if most events meet these."""
    selective: frozenset[frozenset[str]]
    """The fields of each of the conditions that few events meet."""
    given: dict[tuple[int, int], OpenStage | None] = field(default_factory=dict)
    """What is left of it, by known lookups and their truths."""


@dataclass(eq=False, slots=True)
class Node:
    """The stages that some events may meet, given the fields that have been read of them, and what is read next."""

    met: tuple[int, ...]
    """Stages of which no condition is open but for scripts."""
    open: tuple[OpenStage, ...]
    step: Step | None
    """The fields that are looked up next; None if no stage is open."""
    read: frozenset[str]
    """All fields that may be looked up from here on, or are carried by most events: the class's projection."""
    carried: frozenset[str]
    """The fields that are carried by the stages that are met."""
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
        codes = [truths.of(values) for truths, values in zip(self._truths, columns, strict=True)]
        keys = list(zip(nodes, *codes, strict=True))
        found = list(map(known.get, keys))
        if None in found:
            for place, node in enumerate(found):
                if node is None:
                    found[place] = self._worked_out(keys[place], [values[place] for values in columns], made)
        return found

    def _worked_out(self, key: tuple[Any, ...], values: Sequence[Canonical], made: Nodes) -> Node | Literal[False]:
        """The same for one event; remembered unless a bit that matters had to be worked out for its values."""
        node: Node = key[0]
        matters, bits, is_known = node.matters & self.safe, 0, True
        for truths, code, value in zip(self._truths, key[1:], values, strict=True):
            is_known = is_known and not truths.unknown[code] & matters
            bits |= truths.known(value, code, matters)
        bits &= matters
        found = node.following.get(bits)
        if found is None:
            found = node.following[bits] = made.after(node, self, bits)
        if is_known:
            self._known[key] = found
        return found


class Nodes:
    """The nodes of one grouping of the events, each worked out once."""

    def __init__(self, truths: TruthTable) -> None:
        self._truths = truths
        self._stages: dict[tuple[object, ...], OpenStage] = {}
        self._nodes: dict[tuple[bool, tuple[OpenStage, ...]], Node] = {}
        self._steps: dict[tuple[str, ...], Step] = {}
        self._cover = lru_cache(_LOOKED_UP)(_cover)

    def __len__(self) -> int:
        """Count of the nodes, once more for each way to one."""
        return sum(1 + len(node.following) for node in self._nodes.values())

    def stage(self, stage: StageConditions, conditions: Sequence[Predicate]) -> OpenStage:
        """The stage with these conditions open."""
        key = (stage.index, *map(shape, conditions))
        known = self._stages.get(key)
        if known is None:
            safe = [part for part in conditions if not part.scripted]
            matters = sum({1 << one.index for part in conditions for one in lookups_in(part) if not one.scripted})
            reads = [frozenset(fields_of(part)) for part in safe if is_selective(part)]
            reads = reads or [frozenset(fields_of(part)) for part in safe]
            selective = frozenset(names for names in reads if not names <= _COMMON) or frozenset(reads)
            fields: frozenset[str] = frozenset(name for part in safe for name in fields_of(part))
            read = fields | stage.carried if fields <= _COMMON else fields
            known = self._stages[key] = OpenStage(stage, tuple(conditions), matters, fields, read, selective)
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
        return self.node(left, is_last=True) if left else False

    def node(self, stages: Sequence[OpenStage], *, is_last: bool = False) -> Node:
        """The node of events that may meet these stages. The first step looks up the fewest fields of which each stage
        has a selective condition, the last one all that are left."""
        key = is_last, tuple(stages)
        known = self._nodes.get(key)
        if known is None:
            met = tuple(one.stage for one in stages if not one.fields)
            left = tuple(one for one in stages if one.fields)
            fields: frozenset[str] = frozenset().union(*(one.fields for one in left))
            matters = 0
            for one in left:
                matters |= one.matters
            step = None
            if left:
                names = tuple(sorted(fields)) if is_last else self._cover(frozenset(one.selective for one in left))
                step = self._step(names)
            carried: frozenset[str] = frozenset().union(*(stage.carried for stage in met))
            read: frozenset[str] = carried.union(*(one.read for one in left))
            known = Node(tuple(stage.index for stage in met), left, step, read, carried, matters)
            self._nodes[key] = known
        return known

    def _step(self, names: tuple[str, ...]) -> Step:
        if names not in self._steps:
            self._steps[names] = Step({name: self._truths.by_field[name] for name in names})
        return self._steps[names]


class GroupStages:
    """The groups of events by some fields, and the stages that each leaves."""

    def __init__(
        self, stages: Sequence[StageConditions], names: Iterable[str], fields: Mapping[str, Field], scopes: ScopeMasks
    ) -> None:
        """Groups by the fields of these `names`; `fields` are all that are read."""
        self.groups = EventGroups(fields[name] for name in names)
        untyped = {name for name, field in fields.items() if field.type is DataType.NULL}
        self.truths = truths = TruthTable([part for one in stages for part in (*one.conditions, *one.scripts)], untyped)
        self.nodes = nodes = Nodes(truths)
        self._classes: list[tuple[OpenStage, ...]] = []
        self._whole = [nodes.stage(one, (*one.conditions, *one.scripts)) for one in stages]
        self._fields = [name for name in self.groups.fields if name in truths.by_field]
        self._ruled_out = [cache(partial(_ruled_out, _needing(stages, truths.by_field[name]))) for name in self._fields]
        self._selected = cache(partial(_selected, stages, scopes))
        self._known = truths.safe(self._fields)
        self._class_of = np.full(1024, _UNKNOWN, dtype=np.int32)
        self._by_truths: dict[tuple[object, ...], int] = {}
        self._by_stages: dict[tuple[OpenStage, ...], int] = {}
        self._first: dict[tuple[int, int], Node | None] = {}

    def remembered(self) -> int:
        """What is remembered of values, in values."""
        return len(self.truths) + _NODE_SIZE * len(self.nodes)

    def of(self, groups: NDArray[np.int32]) -> NDArray[np.int32]:
        """The class of each group."""
        if len(self._class_of) < len(self.groups):
            grown = np.full(2 * len(self.groups), _UNKNOWN, dtype=np.int32)
            grown[: len(self._class_of)] = self._class_of
            self._class_of = grown
        found = self._class_of[groups]
        new = np.unique(groups[found == _UNKNOWN])
        if len(new):
            self._class_of[new] = self._classified(new.tolist())
            found = self._class_of[groups]
        return found

    def node(self, index: int, searched: int) -> Node | None:
        """The first node of a class if these stages, as bits, are searched for; None if none of them is left."""
        key = index, searched
        if key not in self._first:
            left = [one for one in self._classes[index] if searched >> one.stage.index & 1]
            self._first[key] = self.nodes.node(left) if left else None
        return self._first[key]

    def _classified(self, new: Sequence[int]) -> list[int]:
        """The class of each of some new groups."""
        columns = []
        for name in self._fields:
            truths, values = self.truths.by_field[name], self.groups.values(name)
            columns.append(truths.bitmaps([values[group] for group in new], truths.safe))
        classes = []
        for stream, *bitmaps in zip(map(self.groups.stream, new), *columns, strict=True):
            key = stream, *bitmaps
            index = self._by_truths.get(key)
            if index is None:
                left = self._left(stream, bitmaps)
                index = self._by_truths[key] = self._by_stages.setdefault(left, len(self._classes))
                if index == len(self._classes):
                    self._classes.append(left)
            classes.append(index)
        return classes

    def _left(self, stream: str | None, bitmaps: Sequence[int]) -> tuple[OpenStage, ...]:
        """The stages that a group with these truths leaves."""
        left, bits = self._selected(stream), 0
        for ruled_out, bitmap in zip(self._ruled_out, bitmaps, strict=True):
            left &= ~ruled_out(bitmap)
            bits |= bitmap
        found = (self.nodes.reduced(self._whole[index], self._known, bits) for index in bits_of(left))
        return tuple(one for one in found if one is not None)


def _needing(stages: Sequence[StageConditions], truths: FieldTruths) -> dict[int, int]:
    """By bit of a condition on a group field, the stages (bits) that need it."""
    needing: dict[int, int] = {}
    for stage in stages:
        for part in stage.conditions:
            if isinstance(part, Lookup) and truths.safe >> part.index & 1:
                needing[1 << part.index] = needing.get(1 << part.index, 0) | 1 << stage.index
    return needing


def _ruled_out(needing: Mapping[int, int], bitmap: int) -> int:
    """The stages, as bits, that a value with this bitmap cannot meet."""
    found = 0
    for bit, stages in needing.items():
        if not bitmap & bit:
            found |= stages
    return found


def _selected(stages: Sequence[StageConditions], scopes: ScopeMasks, stream: str | None) -> int:
    """The stages, as bits, whose index patterns name the stream."""
    return sum(1 << stage.index for stage in stages if scopes.selects(stage.indices, stream))


def group_fields(stages: Sequence[StageConditions], streams: Sequence[str]) -> tuple[str, ...]:
    """The fields by whose values events are grouped: those of the data stream, and of a fixed list those on which five
    stages have conditions that have some on fewer than three fields before it, or one stage that has none on those. If
    fewer than two are chosen from the list, the fields with the most equality conditions are added."""
    conditions = [[part for part in stage.conditions if isinstance(part, Lookup)] for stage in stages]
    chosen: list[str] = []
    for name in GROUP_FIELDS:
        reading = [fields for parts in conditions if name in (fields := {part.field for part in parts})]
        lacking = [count for fields in reading if (count := len(fields.intersection(chosen))) < _ENOUGH_GROUP_FIELDS]
        if 0 in lacking or len(lacking) >= _WORTH_A_FIELD:
            chosen.append(name)
    if len(chosen) < _FEWEST_GROUP_FIELDS:
        parts = [one for stage in stages for part in stage.conditions for one in lookups_in(part)]
        equalities = Counter(one.field for one in parts if one.field not in chosen and is_equality(one))
        most = sorted(equalities, key=lambda name: (-equalities[name], name))
        chosen += most[: _FEWEST_GROUP_FIELDS - len(chosen)]
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
