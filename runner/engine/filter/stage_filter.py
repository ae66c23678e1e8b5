"""`StageFilter`: which events of a batch meet which of many stages, in one pass. Group, read, look up:

1. The scan reads a few group fields of every line; events with the same values of them are one group (`EventGroups`).
2. What a group leaves is worked out once: some stages with their open conditions. Groups that leave the same are one
   class (`GroupStages`).
3. One projection per class reads the fields of its open conditions, and the join keys, of its events only.
4. The truth table has a bitmap for each distinct value: the conditions that it meets (`TruthTable`).
5. The stages that are met are looked up by class and bitmaps, in two steps: first the fewest fields of which each stage
   has a selective condition, then all others for the events that are left (`Nodes`).
6. Scripts come last.

So the cost of an event depends little on the number of stages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.engine.filter.group_stages import GroupStages, Node, Nodes, StageConditions, Step, group_fields
from runner.engine.filter.predicates import Predicate, fields_of, interned
from runner.engine.filter.scripts import meeting
from runner.engine.filter.truth_table import TruthTable
from runner.engine.scope import Scope, ScopeMasks
from runner.events.columns.batch import Columns, EventBatch, Rows
from runner.events.columns.event_groups import EventGroups
from runner.events.columns.projections import SLICE, Projection
from runner.events.columns.row_decoder import Row
from runner.events.fields.schema import DataType
from runner.events.fields.values import Canonical

_GROUPS = 50_000
"""Most groups of events remembered. With more of them, the group field with the most values is dropped."""
_FIELD_VALUES = 5_000
"""Most distinct values of a group field. One with more is dropped: too many groups would be of one event each."""
_VALUES = 200_000
"""Most values remembered with their bitmaps."""
_BITMAPS = 50_000
"""Most bitmaps with a number; beyond it everything starts anew."""
_NODE_SIZE = 5
"""Values that take as much memory as a node."""
_KEPT, _LARGE = 4, 100_000
"""Filters kept for later passes, and the most groups and values that such a one may remember."""

EVERY_STAGE = -1
"""Has the bits of all stages."""

_Met: TypeAlias = dict[int, list[NDArray[np.intp]]]


@dataclass(frozen=True, slots=True)
class StageSearch:
    """A stage whose events are searched for: all `predicates` within the scope. `carried` names the fields that are
    read of the events that are found."""

    predicates: tuple[Predicate, ...]
    scope: Scope
    carried: frozenset[str] = frozenset()


class _Grouping:
    """One choice of group fields for some columns, and all that is known by it."""

    def __init__(
        self, columns: Columns, names: Sequence[str], stages: Sequence[StageConditions], scopes: ScopeMasks
    ) -> None:
        parts = [part for stage in stages for part in (*stage.conditions, *stage.scripts)]
        self.columns = columns
        self.groups = EventGroups(columns.fields[name] for name in names)
        self.truths = TruthTable(parts, lambda name: columns.fields[name].type is DataType.NULL)
        self.nodes = Nodes(self.truths, names)
        self.stages = GroupStages(stages, self.groups, self.truths, scopes, self.nodes)
        self._first: dict[tuple[int, int], Node | None] = {}
        columns.group_by(self.groups)

    def node(self, number: int, searched: int) -> Node | None:
        """The first node of a class if these stages, as bits, are searched for; None if none of them is left."""
        key = number, searched
        if key not in self._first:
            left = [one for one in self.stages.classes[number] if searched >> one.stage.number & 1]
            self._first[key] = self.nodes.node(left) if left else None
            self.nodes.made += bool(left)
        return self._first[key]

    def remembered(self) -> int:
        """How much is remembered of values, in values."""
        return len(self.truths) + _NODE_SIZE * self.nodes.made

    def forget(self) -> None:
        """Forget all values, and what followed of them."""
        self.truths.forget()
        self.nodes.forget()
        self._first.clear()


@dataclass(frozen=True, slots=True)
class _Seen:
    """Some rows, and what a projection has read of them: these fields. No projection: nothing."""

    rows: list[int]
    names: frozenset[str] = frozenset()
    look: Projection | None = None
    decoded: Sequence[Row] = ()

    def at(self, places: Sequence[int]) -> _Seen:
        """Some of the rows."""
        decoded = [self.decoded[place] for place in places] if self.names else ()
        return _Seen([self.rows[place] for place in places], self.names, self.look, decoded)

    def take(self, batch: EventBatch, name: str) -> list[Canonical]:
        """The field's value in each of the rows."""
        if self.look is not None and name in self.names:
            return self.look.take(name, self.decoded)
        return batch.held(name, self.rows)

    def note(self, batch: EventBatch, carried: frozenset[str]) -> None:
        """Keep the values of these fields in the batch, as far as they have been read."""
        for name in carried & self.names:
            batch.note(name, self.rows, self.take(batch, name))


class StageFilter:
    """Finds the events of all stages, batch by batch; what it remembers serves the batches to come."""

    def __init__(
        self,
        searches: Sequence[StageSearch],
        *,
        most_groups: int = _GROUPS,
        most_values: int = _VALUES,
        most_bitmaps: int = _BITMAPS,
        most_field_values: int = _FIELD_VALUES,
    ) -> None:
        """The bounds are how many of each are remembered; a group field has at most `most_field_values`."""
        self._most_groups, self._most_values, self._most_bitmaps = most_groups, most_values, most_bitmaps
        self._most_field_values = most_field_values
        self._searches = searches
        self._scopes = ScopeMasks(one.scope for one in searches)
        parts = interned([one.predicates for one in searches])
        self._stages = [_stage(number, one, own) for number, (one, own) in enumerate(zip(searches, parts, strict=True))]
        self._group_fields = group_fields(self._stages, self._scopes.stream_fields())
        self._dropped: set[str] = set()
        """The group fields that had too many values."""
        self._grouping: _Grouping | None = None

    @property
    def columns(self) -> Columns | None:
        """The columns of the batches so far: what is remembered serves for no others. None before the first batch."""
        return None if self._grouping is None else self._grouping.columns

    def searches_for(self, searches: Sequence[StageSearch]) -> bool:
        """Whether these are the same stages in the same indices: the very same predicates, not equal ones."""
        return len(searches) == len(self._searches) and all(
            one.predicates is other.predicates
            and one.scope.indices == other.scope.indices
            and one.carried == other.carried
            for one, other in zip(searches, self._searches, strict=True)
        )

    def turn_to(self, searches: Sequence[StageSearch]) -> None:
        """Go on with the same stages in other times."""
        self._searches = searches
        self._scopes.turn_to(one.scope for one in searches)

    def rest(self) -> None:
        """Drop the last batch."""
        self._scopes.turn_to(())

    def remembered(self) -> int:
        """How many groups and values are remembered."""
        return 0 if self._grouping is None else len(self._grouping.groups) + self._grouping.remembered()

    def prepare(self, columns: Columns) -> None:
        """Group the events of batches of these columns, from the next batch on."""
        names = [name for name in self._group_fields if name not in self._dropped]
        self._grouping = _Grouping(columns, names, self._stages, self._scopes)

    def filter(
        self, batch: EventBatch, searched: int = EVERY_STAGE, rows: Rows | None = None
    ) -> Iterator[tuple[int, Rows | ValueError]]:
        """The stages that events of the batch meet, by number, with those events.

        Only these stages (as bits) are searched for, and only these rows. A ValueError in the place of the rows says
        that a script failed on a value.
        """
        within, is_whole = self._scopes.begin(batch), rows is None
        rows = np.flatnonzero(within) if rows is None else rows[within[rows]]
        if not len(rows) or not self._stages:
            return
        grouping = self._grouping_of(batch.columns, is_whole=is_whole)
        met: _Met = {}
        self._search(batch, grouping, searched, rows, met)
        for number in sorted(met):
            yield from self._checked(batch, number, _united(met[number]), grouping.truths)
        if grouping.remembered() > self._most_values:
            grouping.forget()

    def _grouping_of(self, columns: Columns, *, is_whole: bool) -> _Grouping:
        """The grouping of the columns. Between two batches a group field with too many values is dropped, and all
        starts anew if there are too many groups or bitmaps."""
        known = self._grouping
        if known is not None and known.columns is columns and not is_whole:
            return known
        if known is not None and known.columns is columns:
            crowded = known.groups.crowded(self._most_field_values, self._most_groups)
            self._dropped |= crowded
            is_full = len(known.groups) > self._most_groups or known.truths.bitmaps() > self._most_bitmaps
            if not crowded and not is_full:
                return known
        self.prepare(columns)
        assert self._grouping is not None
        return self._grouping

    def _search(self, batch: EventBatch, grouping: _Grouping, searched: int, rows: Rows, met: _Met) -> None:
        """Add the stages that these rows meet. Events whose next step is the same are looked up together."""
        classes = grouping.stages.of(batch.groups(grouping.groups)[rows])
        nodes: dict[int, Node] = {}
        steps: dict[Step, list[NDArray[np.intp]]] = {}
        for number, places in _grouped(classes):
            node = grouping.node(number, searched)
            if node is None:
                continue
            nodes[number] = node
            for stage in node.met:
                met.setdefault(stage, []).append(rows[places])
            if node.step is not None:
                steps.setdefault(node.step, []).append(places)
            elif node.carried:
                for seen in self._read(batch, node.carried, rows[places].tolist()):
                    seen.note(batch, node.carried)
        for step, parts in steps.items():
            places = _united(parts)
            owners = list(map(nodes.__getitem__, classes[places].tolist()))
            rest = iter(owners)
            for seen in self._read(batch, _fields_of(owners).union(step.names), rows[places].tolist()):
                self._look_up(batch, grouping, step, list(islice(rest, len(seen.rows))), seen, met)

    def _read(self, batch: EventBatch, names: frozenset[str], rows: list[int]) -> Iterator[_Seen]:
        """The rows, a slice at a time, with those of the fields that the scan has not read."""
        names = batch.unread(names)
        if not names:
            yield _Seen(rows)
            return
        for start in range(0, len(rows), SLICE):
            part = rows[start : start + SLICE]
            yield _Seen(part, names, *batch.project(names, part))

    def _look_up(
        self, batch: EventBatch, grouping: _Grouping, step: Step, nodes: Sequence[Node], seen: _Seen, met: _Met
    ) -> None:
        """Projection up what follows of the values of a step; the second step follows for the events that are left."""
        _note_carried(batch, nodes, seen)
        found = step.following(nodes, [seen.take(batch, name) for name in step.names], grouping.nodes)
        places = [place for place, node in enumerate(found) if node]
        left = [node for node in found if node]
        if not places:
            return
        following = seen.at(places)
        steps: dict[Step, list[int]] = {}
        by_node: dict[Node, list[int]] = {}
        for place, node in enumerate(left):
            by_node.setdefault(node, []).append(place)
        for node, members in by_node.items():
            if node.met:
                rows = np.array([following.rows[place] for place in members], dtype=np.intp)
                for stage in node.met:
                    met.setdefault(stage, []).append(rows)
            if node.step is not None:
                steps.setdefault(node.step, []).extend(members)
            elif node.carried:
                following.at(members).note(batch, node.carried)
        for next_step, members in steps.items():
            owners = [left[place] for place in members]
            self._look_up(batch, grouping, next_step, owners, following.at(members), met)

    def _checked(
        self, batch: EventBatch, number: int, rows: Rows, truths: TruthTable
    ) -> Iterator[tuple[int, Rows | ValueError]]:
        """Of the events that meet a stage's conditions, those in its time that its scripts let pass."""
        rows = self._scopes.inside(self._searches[number].scope, rows)
        for script in self._stages[number].scripts:
            if len(rows):
                try:
                    rows = rows[meeting(batch, script, rows, truths)]
                except ValueError as error:
                    yield number, error
                    return
        if len(rows):
            yield number, rows


class StageFilterPool:
    """The filters of the last passes, for passes that search for the same stages: what they remember of the events
    serves again. Each is taken for one pass at a time."""

    def __init__(self) -> None:
        self._kept: deque[StageFilter] = deque(maxlen=_KEPT)

    def take(self, searches: Sequence[StageSearch]) -> StageFilter:
        """A filter for these stages, which is no longer kept here: the one of an earlier pass or a new one."""
        for kept in tuple(self._kept):
            if kept.searches_for(searches):
                self._kept.remove(kept)
                kept.turn_to(searches)
                return kept
        return StageFilter(searches)

    def give_back(self, used: StageFilter) -> None:
        """Keep a filter whose pass is over, unless it remembers too much: old events would stay in memory for good."""
        used.rest()
        if used.remembered() <= _LARGE:
            self._kept.append(used)


def _stage(number: int, search: StageSearch, predicates: Sequence[Predicate]) -> StageConditions:
    conditions = tuple(predicate for predicate in predicates if not predicate.scripted)
    scripts = tuple(predicate for predicate in predicates if predicate.scripted)
    carried = search.carried.union(name for script in scripts for name in fields_of(script))
    return StageConditions(number, search.scope.indices, conditions, scripts, carried)


def _grouped(numbers: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each of the numbers with the places where it stands, ascending; they are counted from zero on."""
    counts = np.bincount(numbers)
    order = np.argsort(numbers.astype(np.uint16) if len(counts) < 1 << 16 else numbers, kind="stable")
    ends = counts.cumsum().tolist()
    for number in np.flatnonzero(counts).tolist():
        yield number, order[ends[number] - counts[number] : ends[number]]


def _united(parts: Sequence[Rows]) -> Rows:
    return parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts))


def _note_carried(batch: EventBatch, nodes: Sequence[Node], seen: _Seen) -> None:
    """Keep what the stages carry that are met already."""
    for carrying in {node for node in set(nodes) if node.carried}:
        seen.at([place for place, node in enumerate(nodes) if node is carrying]).note(batch, carrying.carried)


def _fields_of(nodes: Collection[Node]) -> frozenset[str]:
    """The fields that may be read of any of the nodes' events."""
    return frozenset().union(*(node.read for node in set(nodes)))
