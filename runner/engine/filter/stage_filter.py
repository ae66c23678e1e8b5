"""`StageFilter`: which events of a batch meet which of many stages, in one pass. Group, read, look up:

1. The scan reads a few group fields of every line; events with the same values of them are one group (`EventGroups`).
2. What a group leaves is worked out once: some stages with their open conditions. Groups that leave the same are one
   class (`GroupStages`).
3. One projection per class reads the fields of its open conditions, of its events only.
4. The truth table has a bitmap for each distinct value: the conditions that it meets (`TruthTable`).
5. The stages that are met are looked up by class and bitmaps, in two steps: first the fewest fields of which each stage
   has a selective condition, then all others for the events that are left (`Nodes`).
6. Scripts come last. Their fields and the join keys are read of events that meet all else (late materialisation).

So the cost of an event depends little on the number of stages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.engine.filter.excluding import Decided, Excluding, is_excluding
from runner.engine.filter.group_stages import GroupStages, Node, StageConditions, Step, group_fields
from runner.engine.filter.predicates import Combination, Predicate, fields_of, interned
from runner.engine.filter.scripts import meeting
from runner.engine.filter.truth_table import TruthTable
from runner.engine.scope import Scope, ScopeMasks
from runner.events.columns.batch import Columns, EventBatch, Rows
from runner.events.columns.projections import SLICE, Projection
from runner.events.columns.row_decoder import Row
from runner.events.fields.values import Canonical

_GROUPS = 50_000
"""Most groups of events remembered. With more of them, the group field with the most values is dropped."""
_FIELD_VALUES = 5_000
"""Most distinct values of a group field. One with more is dropped: too many groups would be of one event each."""
_VALUES = 200_000
"""Most values remembered with their bitmaps."""
_BITMAPS = 50_000
"""Most bitmaps remembered."""
_KEPT, _LARGE = 4, 100_000
"""Filters kept for later passes, and the most groups and values that such a one may remember."""

EVERY_STAGE = -1
"""Has the bits of all stages."""

OnExcluded: TypeAlias = Callable[[int, Combination, Iterable[tuple[Sequence[int], list[int]]]], None]

_Met: TypeAlias = dict[int, list[NDArray[np.intp]]]


@dataclass(frozen=True, slots=True)
class StageSearch:
    """A stage whose events are searched for: all `predicates` within the scope. `carried` names the fields that are
    read of the events that are found."""

    predicates: tuple[Predicate, ...]
    scope: Scope
    carried: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Read:
    """Some rows, and these fields of them as a projection has decoded them; no fields: nothing was decoded."""

    rows: NDArray[np.intp]
    names: frozenset[str] = frozenset()
    projection: Projection | None = None
    decoded: Sequence[Row] = ()

    def at(self, places: Sequence[int]) -> _Read:
        """Some of the rows."""
        decoded = [self.decoded[place] for place in places] if self.names else ()
        return _Read(self.rows[places], self.names, self.projection, decoded)

    def values(self, batch: EventBatch, name: str) -> list[Canonical]:
        """The field's value in each of the rows."""
        if self.projection is not None and name in self.names:
            return self.projection.take(name, self.decoded)
        return batch.held(name, self.rows.tolist())


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
        self._stages = [_stage(index, one, own) for index, (one, own) in enumerate(zip(searches, parts, strict=True))]
        self._excluding = Excluding([one.scripts for one in self._stages])
        self._group_fields = group_fields(self._stages, self._scopes.stream_fields())
        self._grouped: GroupStages | None = None
        self.columns: Columns | None = None
        """The columns of the batches so far: what is remembered is of no use for others. None before the first batch.
        """

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
        """Count of the groups and values remembered."""
        return 0 if self._grouped is None else len(self._grouped.groups) + self._grouped.remembered()

    def prepare(self, columns: Columns) -> GroupStages:
        """Group the events of batches of these columns, from the next batch on."""
        self.columns = columns
        self._grouped = GroupStages(self._stages, self._group_fields, columns.fields, self._scopes)
        columns.group_by(self._grouped.groups)
        return self._grouped

    def filter(
        self,
        batch: EventBatch,
        searched: int = EVERY_STAGE,
        rows: Rows | None = None,
        on_excluded: OnExcluded | None = None,
    ) -> Iterator[tuple[int, Rows | ValueError]]:
        """The indices of the stages that events of the batch meet, with those events.

        Only these stages (as bits) are searched for, and only in these rows. A ValueError instead of rows: a script
        failed on a value. `on_excluded` is called for events that meet all of a stage but that a disjunction of many
        must not hold: with the stage, the disjunction, and rows with the operands that hold for
        them.
        """
        within, is_whole = self._scopes.begin(batch), rows is None
        rows = np.flatnonzero(within) if rows is None else rows[within[rows]]
        if not len(rows) or not self._stages:
            return
        grouped = self._grouped_by(batch.columns, is_whole=is_whole)
        met: _Met = {}
        self._search(batch, grouped, searched, rows, met)
        found = {index: self._scopes.inside(self._searches[index].scope, _united(met[index])) for index in sorted(met)}
        carrying: dict[frozenset[str], list[Rows]] = {}
        for index, met_rows in found.items():
            carrying.setdefault(self._stages[index].carried, []).append(met_rows)
        for carried, parts in sorted(carrying.items(), key=lambda item: -len(item[0])):
            batch.load(carried, np.unique(np.concatenate(parts)))
        decided = self._excluding.decide(batch, found) if self._excluding else None
        for index, met_rows in found.items():
            excluded = None if decided is None else self._excluding.rows(index, met_rows, decided)
            if excluded is not None and decided is not None:
                if on_excluded is not None:
                    self._tell(batch, index, met_rows[excluded], grouped.truths, decided, on_excluded)
                met_rows = met_rows[~excluded]
            passing = self._passing(batch, index, met_rows, grouped.truths)
            if isinstance(passing, ValueError) or len(passing):
                yield index, passing

    def _grouped_by(self, columns: Columns, *, is_whole: bool) -> GroupStages:
        """The groups for batches of the columns. Between two batches a group field with too many values is dropped, and
        everything starts anew if too much is remembered."""
        known = self._grouped
        if known is None or self.columns is not columns:
            return self.prepare(columns)
        if not is_whole:
            return known
        crowded = known.groups.crowded(self._most_field_values, self._most_groups)
        is_full = (
            len(known.groups) > self._most_groups
            or known.truths.bitmaps() > self._most_bitmaps
            or known.remembered() > self._most_values
        )
        if not crowded and not is_full:
            return known
        self._group_fields = tuple(name for name in self._group_fields if name not in crowded)
        return self.prepare(columns)

    def _search(self, batch: EventBatch, grouped: GroupStages, searched: int, rows: Rows, met: _Met) -> None:
        """Add the stages that these rows meet. Events whose next step is the same are looked up together."""
        classes = grouped.of(batch.groups(grouped.groups)[rows])
        nodes: dict[int, Node] = {}
        steps: dict[Step, list[NDArray[np.intp]]] = {}
        for index, places in _by_class(classes):
            node = grouped.node(index, searched)
            if node is not None:
                nodes[index] = node
                _add_met(node, rows[places], met)
                if node.step is not None:
                    steps.setdefault(node.step, []).append(places)
        for step, parts in steps.items():
            places = _united(parts)
            owners = list(map(nodes.__getitem__, classes[places].tolist()))
            names = batch.unread(frozenset(step.names).union(*(node.read for node in set(owners))))
            part = _Read(rows[places])
            for start in range(0, len(places), SLICE if names else len(places)):
                if names:
                    chosen = rows[places[start : start + SLICE]]
                    part = _Read(chosen, names, *batch.project(names, chosen.tolist()))
                nodes_here = owners[start : start + len(part.rows)]
                for node in set(nodes_here):
                    if node.carried:
                        _keep(batch, node, part.at([place for place, one in enumerate(nodes_here) if one is node]))
                self._look_up(batch, grouped, step, nodes_here, part, met)

    def _look_up(
        self, batch: EventBatch, grouped: GroupStages, step: Step, nodes: Sequence[Node], read: _Read, met: _Met
    ) -> None:
        """Add the stages that follow from the values of a step; events that it does not decide go on to the next."""
        found = step.following(nodes, [read.values(batch, name) for name in step.names], grouped.nodes)
        by_node: dict[Node, list[int]] = {}
        for place, node in enumerate(found):
            if node:
                by_node.setdefault(node, []).append(place)
        steps: dict[Step, list[int]] = {}
        for node, places in by_node.items():
            _add_met(node, read.rows[places], met)
            if node.carried:
                _keep(batch, node, read.at(places))
            if node.step is not None:
                steps.setdefault(node.step, []).extend(places)
        for next_step, places in steps.items():
            owners = [node for place in places if (node := found[place])]
            self._look_up(batch, grouped, next_step, owners, read.at(places), met)

    def _passing(self, batch: EventBatch, index: int, rows: Rows, truths: TruthTable) -> Rows | ValueError:
        """Of the events that meet a stage's conditions, those that its scripts let pass."""
        try:
            for script in self._stages[index].scripts:
                if len(rows) and not is_excluding(script):
                    rows = rows[meeting(batch, script, rows, truths)]
        except ValueError as error:
            return error
        return rows

    def _tell(
        self, batch: EventBatch, index: int, rows: Rows, truths: TruthTable, decided: Decided, on_excluded: OnExcluded
    ) -> None:
        """Call `on_excluded` for excluded rows that the stage's scripts would let pass, or fail on."""
        passing = self._passing(batch, index, rows, truths)
        rows = rows if isinstance(passing, ValueError) else passing
        if len(rows):
            for one, found in self._excluding.operands(index, rows, decided):
                on_excluded(index, one, found)


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


def _stage(index: int, search: StageSearch, predicates: Sequence[Predicate]) -> StageConditions:
    conditions = tuple(predicate for predicate in predicates if not predicate.scripted)
    scripts = tuple(predicate for predicate in predicates if predicate.scripted)
    # What excludes reads its fields itself, for all stages together.
    reading = [script for script in scripts if not is_excluding(script)]
    carried = search.carried.union(name for script in reading for name in fields_of(script))
    return StageConditions(index, search.scope.indices, conditions, scripts, carried)


def _keep(batch: EventBatch, node: Node, read: _Read) -> None:
    """Have the batch keep what the node's stages carry, as far as it was read with their conditions."""
    if read.projection is not None:
        batch.keep(node.carried & read.names, read.rows, read.projection, read.decoded)


def _by_class(classes: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each class with the places where it stands, ascending; classes count from zero."""
    counts = np.bincount(classes)
    order = np.argsort(classes.astype(np.uint16) if len(counts) < 1 << 16 else classes, kind="stable")
    ends = counts.cumsum().tolist()
    for index in np.flatnonzero(counts).tolist():
        yield index, order[ends[index] - counts[index] : ends[index]]


def _united(parts: Sequence[Rows]) -> Rows:
    return parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts))


def _add_met(node: Node, rows: Rows, met: _Met) -> None:
    for stage in node.met:
        met.setdefault(stage, []).append(rows)
