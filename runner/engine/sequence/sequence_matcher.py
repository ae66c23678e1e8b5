"""Sequences: a pure state machine over the events of the stages, as in Elasticsearch's SequenceMatcher.

For every key there is one slot per stage, which holds the newest partial sequence whose last event is of that stage:
older ones could never be continued, since an event always continues the newest. Keys are independent, so the events of
one key are processed after those of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Key: TypeAlias = tuple[object, ...]
SequenceRows: TypeAlias = tuple[int, ...]
"""The events of a complete or a partial sequence, as rows of `StageColumns`."""
Ended: TypeAlias = Literal["continued", "maxspan", "until", "replaced", "missing event"]
"""What ended a partial sequence: the event of the next stage, in time or too late for maxspan; an until event; a newer
partial sequence at the same stage. Or, of a complete one, an event that had to be missing."""
OnEnd: TypeAlias = Callable[[SequenceRows, Ended, int], None]
"""Called with a sequence that ended, and the row of the event that ended it (its own last row for `missing event`)."""


@dataclass(frozen=True, slots=True)
class StageEvent:
    """An event that meets one stage, under one combination of join key values. `time` in nanoseconds since 1970."""

    time: int
    event: int
    """The event's position in the order of reading, which orders equal times with equal tiebreakers."""
    stage: int
    key: Key


@dataclass(frozen=True, slots=True)
class FoundSequence:
    """A complete sequence: an event number per stage, None for a missing event."""

    key: Key
    events: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class StageColumns:
    """Stage events in ascending order, as columns; `groups` are codes of the keys, from 0."""

    times: NDArray[np.int64]
    events: NDArray[np.int64]
    stages: NDArray[np.int64]
    groups: NDArray[np.int64]


def stage_columns(events: Sequence[StageEvent]) -> StageColumns:
    """The events as columns."""
    codes: dict[Key, int] = {}
    return StageColumns(
        np.array([event.time for event in events], dtype=np.int64),
        np.array([event.event for event in events], dtype=np.int64),
        np.array([event.stage for event in events], dtype=np.int64),
        np.array([codes.setdefault(event.key, len(codes)) for event in events], dtype=np.int64),
    )


@dataclass(frozen=True, slots=True)
class SequenceMatcher:
    """Matches one sequence query. `positive` are the indices of the stages that are not missing events, ascending.

    `maxspan` is in nanoseconds, inclusive; None is unlimited. `until` is the index of the until stage, or None.
    """

    positive: Sequence[int]
    missing: Sequence[int] = ()
    maxspan: int | None = None
    until: int | None = None

    def match(self, events: Iterable[Sequence[StageEvent]]) -> list[FoundSequence]:
        """All sequences, ascending by their last event.

        `events` are groups of the stage events of one document, the groups in ascending order.
        """
        given = [event for group in events for event in group]
        columns = stage_columns(given)
        complete, _ = self.run(columns)
        return [FoundSequence(given[rows[-1]].key, self.with_gaps(columns.events[list(rows)])) for rows in complete]

    def run(self, columns: StageColumns, on_end: OnEnd | None = None) -> tuple[list[SequenceRows], list[SequenceRows]]:
        """The complete sequences, ascending by their last event, and the partial ones that may still be continued.

        To continue later, it is enough to put the rows of the partial sequences before the new ones: of one key, the
        further a partial sequence has come, the older all of its events are, so each reaches its slot again. `on_end`
        receives every other partial sequence, key by key, and the complete ones that `missing` refuses.
        """
        complete, partial = self._advanced(columns, on_end)
        complete.sort(key=lambda rows: rows[-1])
        if self.missing and complete:
            absent = _Absent(self, columns)
            found, complete = complete, []
            for rows in found:
                if absent.accepts(rows):
                    complete.append(rows)
                elif on_end is not None:
                    on_end(rows, "missing event", rows[-1])
        return complete, partial

    def with_gaps(self, events: NDArray[np.int64]) -> tuple[int | None, ...]:
        """The events of the positive stages with None in the places of the missing ones."""
        places: list[int | None] = [None] * (len(self.positive) + len(self.missing))
        for stage, event in zip(self.positive, events.tolist(), strict=True):
            places[stage] = event
        return tuple(places)

    def _advanced(self, columns: StageColumns, on_end: OnEnd | None) -> tuple[list[SequenceRows], list[SequenceRows]]:
        """The complete and the partial sequences, regardless of missing events."""
        places = self._places(columns.stages)
        # Of one event the last stage first, since a sequence uses an event once; until after all of them.
        within = np.where(places < 0, 1, -places)
        same = np.concatenate(([0], np.cumsum(columns.events[1:] != columns.events[:-1]))) if len(places) else places
        order = np.lexsort((within, same, columns.groups))
        order = order[places[order] != _NO_PLACE]
        events, times = columns.events.tolist(), columns.times.tolist()
        last, maxspan = len(self.positive) - 1, self.maxspan
        complete: list[SequenceRows] = []
        partial: list[SequenceRows] = []
        slots: list[SequenceRows | None] = [None] * (last + 1)
        current = -1
        walk = zip(order.tolist(), places[order].tolist(), columns.groups[order].tolist(), strict=True)
        for row, place, group in walk:
            if group != current:
                partial.extend(rows for rows in slots if rows is not None)
                slots, current = [None] * (last + 1), group
            if place > 0:
                before = slots[place - 1]
                if before is None or events[before[-1]] == events[row]:
                    continue
                slots[place - 1] = None
                is_late = maxspan is not None and times[row] - times[before[0]] > maxspan
                if on_end is not None:
                    on_end(before, "maxspan" if is_late else "continued", row)
                if is_late:
                    continue
                grown: SequenceRows = (*before, row)
            elif place == 0:
                grown = (row,)
            else:
                if on_end is not None:
                    _end_all(slots, on_end, row)
                slots = [None] * (last + 1)
                continue
            if place == last:
                complete.append(grown)
                continue
            if on_end is not None and (older := slots[place]) is not None:
                on_end(older, "replaced", row)
            slots[place] = grown
        partial.extend(rows for rows in slots if rows is not None)
        return complete, partial

    def _places(self, stages: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place of each stage among the positive ones; `_UNTIL` and `_NO_PLACE` for the others."""
        by_stage = np.full(max([*self.positive, *self.missing, self.until or 0]) + 1, _NO_PLACE, dtype=np.int64)
        by_stage[list(self.positive)] = np.arange(len(self.positive))
        if self.until is not None:
            by_stage[self.until] = _UNTIL
        return by_stage[stages]


_UNTIL, _NO_PLACE = -1, -2


def _end_all(slots: Iterable[SequenceRows | None], on_end: OnEnd, row: int) -> None:
    for rows in slots:
        if rows is not None:
            on_end(rows, "until", row)


class _Absent:
    """The events of missing stages, by key. Only their timestamps count, not tiebreakers."""

    def __init__(self, matcher: SequenceMatcher, columns: StageColumns) -> None:
        assert matcher.maxspan is not None
        self._positive, self._maxspan = matcher.positive, matcher.maxspan
        self._columns = columns
        self._stages: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        for stage in matcher.missing:
            rows = np.flatnonzero(columns.stages == stage)
            rows = rows[np.argsort(columns.groups[rows], kind="stable")]
            self._stages[stage] = columns.groups[rows], columns.times[rows]

    def accepts(self, rows: SequenceRows) -> bool:
        """Whether no event stands where the sequence needs one to be missing."""
        positive = self._positive
        moments = self._columns.times[list(rows)].tolist()
        start, end = moments[0], moments[-1]
        before: list[int] = []
        after: list[int] = []
        leading = trailing = False
        for stage in self._stages:
            times = self._times(stage, rows)
            if stage < positive[0]:
                leading = True
                before.extend(times[: np.searchsorted(times, start)][-1:].tolist())
            elif stage > positive[-1]:
                trailing = True
                after.extend(times[np.searchsorted(times, end, side="right") :][:1].tolist())
            else:
                following = next(place for place, number in enumerate(positive) if number > stage)
                later = times[np.searchsorted(times, moments[following - 1], side="right") :]
                if len(later) and later[0] < moments[following]:
                    return False
        if leading and trailing:
            return not before or not after or min(after) - max(before) > self._maxspan
        if leading:
            return not before or end - max(before) > self._maxspan
        return not trailing or not after or min(after) - start > self._maxspan

    def _times(self, stage: int, rows: SequenceRows) -> NDArray[np.int64]:
        """The times of a missing stage's events with the key of the sequence, ascending."""
        groups, times = self._stages[stage]
        group = self._columns.groups[rows[-1]]
        return times[np.searchsorted(groups, group) : np.searchsorted(groups, group, side="right")]
