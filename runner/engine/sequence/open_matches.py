"""Open matches: of each query, the stage events that its answer may still use.

When the watermark of a pass advances, the matcher runs over the events before it: complete sequences are taken out, and
of the rest only the events of open partial sequences stay. Partial sequences older than `maxspan` are dropped, and so
are events of later stages without an earlier one under the same key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from runner.engine.plan import Limit, Plan
from runner.engine.sequence.join_keys import KeyCodes, key_reader
from runner.engine.sequence.sample_matcher import match_samples
from runner.engine.sequence.sequence_matcher import FoundSequence, Key, SequenceMatcher, StageColumns, StageEvent
from runner.engine.sequence.stage_rows import StageRows, joined, no_rows
from runner.engine.watermark import Watermark

_NO_EVENT = -1


@dataclass(frozen=True, slots=True)
class KeyedEvent:
    """An event of a query for single events, under one combination of the values of its key fields."""

    time: int
    """The time by which the scope has selected the event, in nanoseconds since 1970."""
    event: int
    """Its number, by which its document is fetched."""
    key: Key
    """A value for each key field, as an aggregation shows them: dates in epoch milliseconds, addresses as text. None:
    the event has no value of an optional one."""


class FoundRows(Sequence[FoundSequence]):
    """Matches as columns; one is built when it is read, since there may be as many as there are events."""

    def __init__(
        self,
        events: NDArray[np.int64],
        keys: NDArray[np.int32],
        show: Callable[[tuple[int, ...]], Key],
        times: NDArray[np.int64] | None = None,
    ) -> None:
        """One row of event ids for each match, -1 for a missing one; `show` prints the key of these codes. `times` are
        those of single events."""
        self._events, self._keys, self._show, self._times = events, keys, show, times

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, place: int) -> FoundSequence: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[FoundSequence]: ...
    def __getitem__(self, place: int | slice) -> FoundSequence | Sequence[FoundSequence]:
        if isinstance(place, slice):
            times = None if self._times is None else self._times[place]
            return FoundRows(self._events[place], self._keys[place], self._show, times)
        events = tuple([None if event == _NO_EVENT else event for event in self._events[place].tolist()])
        return FoundSequence(self._show(tuple(self._keys[place].tolist())), events)

    def __iter__(self) -> Iterator[FoundSequence]:
        return map(self.__getitem__, range(len(self)))

    def keyed(self) -> Iterator[KeyedEvent]:
        """Single events, ascending in time, once for each combination of their keys' values; no document is read."""
        assert self._times is not None
        shown: dict[tuple[int, ...], Key] = {}
        columns = zip(self._times.tolist(), self._events[:, 0].tolist(), map(tuple, self._keys.tolist()), strict=True)
        for time, event, codes in columns:
            if (key := shown.get(codes)) is None:
                key = shown[codes] = self._show(codes)
            yield KeyedEvent(time, event, key)

    def frequent(self, width: int, least: int) -> FoundRows:
        """Single events whose first `width` keys are together those of at least `least` events."""
        if not len(self):
            return self
        events = self._events[:, 0]
        groups = np.zeros(len(self), dtype=np.int64)
        for column in self._keys[:, :width].T:
            groups = np.unique(groups * (int(column.max()) + 2) + column + 1, return_inverse=True)[1]
        order = np.lexsort((events, groups))
        first = np.ones(len(self), dtype=np.bool_)
        first[1:] = (groups[order][1:] != groups[order][:-1]) | (events[order][1:] != events[order][:-1])
        rows = np.bincount(groups[order][first])[groups] >= least
        times = None if self._times is None else self._times[rows]
        return FoundRows(self._events[rows], self._keys[rows], self._show, times)

    def columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Of single events the times, the numbers and the codes of the keys, a row for each combination of them."""
        assert self._times is not None
        return self._times, self._events[:, 0], self._keys

    def shown(self, codes: Iterable[int]) -> Key:
        """The key of these codes."""
        return self._show(tuple(codes))

    def distinct(self) -> FoundRows:
        """The first of the matches on the same events."""
        if not self._keys.shape[1] or len(np.unique(self._events[:, 0])) == len(self):
            return self
        rows = np.sort(np.unique(self._events, axis=0, return_index=True)[1])
        if len(rows) == len(self):
            return self
        times = None if self._times is None else self._times[rows]
        return FoundRows(self._events[rows], self._keys[rows], self._show, times)


def distinct(found: Sequence[FoundSequence]) -> Sequence[FoundSequence]:
    """The first of the matches on the same events under several join keys: they make one alert."""
    return found.distinct() if isinstance(found, FoundRows) else found


@dataclass(slots=True)
class OpenEvents:
    """The stage rows of one query; this class serves event queries, whose rows are matches as they are."""

    plan: Plan
    limit: Limit | None = None
    """The first of the query: the most matches that can ever be needed."""
    history: tuple[int, int] | None = None
    """A number of an event and a span in nanoseconds. Single events with keys before that number count only as
    sightings of their keys; within the span, the first and the last of a key are enough."""
    crowded: set[int] = field(default_factory=set)
    """Events that were left out, as they have too many join keys."""
    parts: list[StageRows] = field(default_factory=list)
    advanced: int = 0
    """Count of rows left by the last advance; they are the first part."""
    added: int = 0
    """Count of rows added since."""

    def __len__(self) -> int:
        """Count of rows held."""
        return self.advanced + self.added

    def add(self, stage_rows: StageRows) -> None:
        """Add events that met a stage."""
        self.parts.append(stage_rows)
        self.added += len(stage_rows)

    def advance(self, watermark: Watermark, codes: KeyCodes) -> None:
        """Drop what no match can use any more, now that all events up to the watermark have come."""
        if self.limit is not None:
            stage_rows = self._all_rows()
            order = stage_rows.order()
            count = self.limit.count
            self._keep(
                stage_rows.at(order[:count] if self.limit.side == "head" else order[max(0, len(order) - count) :])
            )
        elif self.history is not None:
            self._keep(_thinned(self._all_rows(), codes, *self.history))

    def found(self, codes: KeyCodes) -> FoundRows:
        """All matches, ascending, as far as the limit can need them."""
        stage_rows = self._all_rows()
        stage_rows = stage_rows.at(stage_rows.order())
        # The keys are shown as those of an aggregation, like those of samples.
        shows = [None if ref is None else key_reader(ref.exact).show for ref in self.plan.stages[0].keys]

        def show(key: tuple[int, ...]) -> Key:
            pairs = zip(shows, codes.values(key), strict=True)
            return tuple([value if by is None or value is None else by(value, True) for by, value in pairs])

        return FoundRows(stage_rows.events[:, None], stage_rows.keys, show, stage_rows.times)

    def event_columns(self) -> list[NDArray[np.int64]]:
        """The ids of all events that the answer may still use."""
        return [part.events for part in self.parts]

    def key_columns(self) -> list[NDArray[np.int32]]:
        """The codes of all join keys that are held."""
        return [part.keys for part in self.parts]

    def recode(self, new_codes: NDArray[np.int32]) -> None:
        """Replace the codes of join keys: `new_codes` holds the new one at the index of the old one."""
        self.parts = [
            StageRows(part.events, part.times, part.stages, new_codes[part.keys], part.ties) for part in self.parts
        ]

    def _all_rows(self) -> StageRows:
        plan = self.plan
        empty = no_rows(len(plan.stages[0].keys), tied=plan.tiebreaker is not None)
        return joined(self.parts) if self.parts else empty

    def _keep(self, stage_rows: StageRows) -> None:
        self.parts = [stage_rows] if len(stage_rows) else []
        self.advanced, self.added = len(stage_rows), 0


def _thinned(rows: StageRows, codes: KeyCodes, before: int, gap: int) -> StageRows:
    """The rows without those before a time that lie between two others of the same key within a slot of `gap`."""
    groups = rows.groups(codes)
    slots = np.where(rows.times < before, rows.times // max(gap, 1), np.iinfo(np.int64).max)
    order = np.lexsort((rows.times, slots, groups))
    edges = np.ones(len(order) + 1, dtype=np.bool_)
    edges[1:-1] = (np.diff(groups[order]) != 0) | (slots[order][1:] != slots[order][:-1])
    wanted = edges[:-1] | edges[1:] | (rows.times[order] >= before)
    return rows.at(np.sort(order[wanted]))


@dataclass(slots=True)
class OpenSamples(OpenEvents):
    """The stage rows of a sample: it can use no more than the first few events of each stage and key."""

    most: int = 1
    """The most samples of one key."""

    def advance(self, watermark: Watermark, codes: KeyCodes) -> None:
        stage_rows = self._all_rows()
        stage_rows = stage_rows.at(np.argsort(stage_rows.events, kind="stable"))
        stages = len(self.plan.stages)
        both = stage_rows.groups(codes) * stages + stage_rows.stages
        order = np.argsort(both, kind="stable")
        ordered = both[order]
        firsts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(ordered) else ordered
        rank = np.arange(len(ordered)) - np.repeat(firsts, np.diff(np.append(firsts, len(ordered))))
        self._keep(stage_rows.at(np.sort(order[rank < stages + self.most - 1])))

    def found(self, codes: KeyCodes) -> FoundRows:
        """Samples of the keys that every stage has, ascending by key."""
        stage_rows = self._all_rows()
        groups = stage_rows.groups(codes)
        everywhere = np.ones(int(groups.max(initial=0)) + 1, dtype=np.bool_)
        for stage in range(len(self.plan.stages)):
            present = np.zeros(len(everywhere), dtype=np.bool_)
            present[groups[stage_rows.stages == stage]] = True
            everywhere &= present
        stage_rows = stage_rows.at(everywhere[groups])
        stage_rows = stage_rows.at(np.lexsort((stage_rows.stages, stage_rows.events)))
        columns = zip(stage_rows.events.tolist(), stage_rows.stages.tolist(), stage_rows.keys.tolist(), strict=True)
        given = [StageEvent(0, event, stage, codes.values(key)) for event, stage, key in columns]
        rows = list(match_samples(given, len(self.plan.stages), max_per_key=self.most, sort_key=self._sort_keys(given)))
        events = np.array([sample.events for sample in rows], dtype=np.int64).reshape(-1, len(self.plan.stages))
        places = np.arange(len(rows), dtype=np.int32)[:, None]
        return FoundRows(events, places, lambda place: _printed_key(self.plan, rows[place[0]].key, "sample"))

    def _sort_keys(self, events: Sequence[StageEvent]) -> dict[Key, tuple[object, ...]]:
        readers = [key_reader(key.exact) if key is not None else None for key in self.plan.stages[0].keys]
        return {
            event.key: tuple(
                (0,) if value is None or reader is None else (1, reader.order(value))
                for reader, value in zip(readers, event.key, strict=True)
            )
            for event in events
        }


@dataclass(slots=True)
class OpenSequences(OpenEvents):
    """The stage rows of a sequence: those after the watermark, and those of open partial sequences."""

    watermark: Watermark | None = None
    """How far the matcher has run; None before the first advance."""
    late: bool = False
    """An event older than the watermark came: what is found is invalid, and the query must be run again."""
    events: list[NDArray[np.int64]] = field(default_factory=list)
    keys: list[NDArray[np.int32]] = field(default_factory=list)
    """Of the complete sequences: event ids of the positive stages, one row each, and the codes of their keys."""

    def add(self, stage_rows: StageRows) -> None:
        watermark = self.watermark
        self.late |= watermark is not None and bool(watermark.passed(stage_rows.times, stage_rows.events).any())
        OpenEvents.add(self, stage_rows)

    def advance(self, watermark: Watermark, codes: KeyCodes) -> None:
        if self.plan.tiebreaker is not None:
            watermark = Watermark(watermark.time)
        if self.watermark is not None and watermark <= self.watermark:
            return
        matcher, maxspan = self._matcher(), self.plan.maxspan
        self.watermark = watermark
        if matcher.missing and max(matcher.missing) > matcher.positive[-1]:
            # The absence of a last missing event is certain only when its time is over.
            assert maxspan is not None
            watermark = Watermark(watermark.time - maxspan)
        stage_rows = self._all_rows()
        groups = stage_rows.groups(codes)
        passed = watermark.passed(stage_rows.times, stage_rows.events)
        complete, kept = _run_matcher(matcher, stage_rows, passed, groups)
        self._add_complete(complete)
        kept |= ~passed
        if matcher.missing:
            kept &= ~np.isin(stage_rows.stages, matcher.missing)
            # Only times count for missing events; at the very time of the watermark more may come.
            known = stage_rows.times < self.watermark.time
            kept |= _missing_rows(matcher, stage_rows, groups, kept, known=known, passed=passed)
        if maxspan is not None:
            kept &= stage_rows.times >= watermark.time - maxspan
        self._keep(stage_rows.at(kept))

    def _add_complete(self, complete: tuple[NDArray[np.int64], NDArray[np.int32]]) -> None:
        self.events.append(complete[0])
        self.keys.append(complete[1])
        if self.limit is not None:
            events, keys = np.concatenate(self.events), np.concatenate(self.keys)
            start = 0 if self.limit.side == "head" else max(0, len(events) - self.limit.count)
            self.events = [events[start : start + self.limit.count]]
            self.keys = [keys[start : start + self.limit.count]]

    def found(self, codes: KeyCodes) -> FoundRows:
        """All sequences, ascending by their last event."""
        matcher, stage_rows = self._matcher(), self._all_rows()
        last, last_keys = _run_matcher(matcher, stage_rows, None, stage_rows.groups(codes))[0]
        events = np.concatenate([*self.events, last])
        columns = np.full((len(events), len(self.plan.stages)), _NO_EVENT, dtype=np.int64)
        columns[:, list(matcher.positive)] = events
        keys = np.concatenate([*self.keys, last_keys])
        return FoundRows(columns, keys, lambda key: _printed_key(self.plan, codes.values(key), "sequence"))

    def event_columns(self) -> list[NDArray[np.int64]]:
        return [*(part.events for part in self.parts), *(events.ravel() for events in self.events)]

    def key_columns(self) -> list[NDArray[np.int32]]:
        return [*(part.keys for part in self.parts), *self.keys]

    def recode(self, new_codes: NDArray[np.int32]) -> None:
        OpenEvents.recode(self, new_codes)
        self.keys = [new_codes[keys] for keys in self.keys]

    def _matcher(self) -> SequenceMatcher:
        stages = self.plan.stages
        return SequenceMatcher(
            positive=[place for place, stage in enumerate(stages) if not stage.missing],
            missing=[place for place, stage in enumerate(stages) if stage.missing],
            maxspan=self.plan.maxspan,
            until=len(stages) if self.plan.until is not None else None,
        )


def _run_matcher(
    matcher: SequenceMatcher, stage_rows: StageRows, passed: NDArray[np.bool_] | None, groups: NDArray[np.int64]
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int32]], NDArray[np.bool_]]:
    """Complete sequences of the rows that have passed (None: all), and a mask of the rows of open partial sequences.

    Missing events count wherever they stand among all rows.
    """
    positive = list(matcher.positive)
    rows = stage_rows.order()
    stage_rows, groups = stage_rows.at(rows), groups[rows]
    usable = np.ones(len(rows), dtype=np.bool_) if passed is None else passed[rows]
    absent = np.isin(stage_rows.stages, matcher.missing)
    usable &= ~absent
    # A row can be part of a sequence only after a row of the previous stage with its key.
    same = np.concatenate(([0], np.cumsum(stage_rows.events[1:] != stage_rows.events[:-1]))) if len(rows) else groups
    count = int(groups.max(initial=0)) + 1
    first = np.full(count, -1, dtype=np.int64)
    reached = np.zeros(count, dtype=np.int64)
    for place, stage in enumerate(positive):
        here = np.flatnonzero(usable & (stage_rows.stages == stage))
        fitting = here[same[here] > first[groups[here]]]
        usable[here] = False
        usable[fitting] = True
        first = np.full(count, len(rows), dtype=np.int64)
        first[groups[fitting[::-1]]] = same[fitting[::-1]]  # of equal ones the last counts, which is the first here
        reached[groups[fitting]] = place
    # Of keys with events of the first stage alone only the newest event counts; at the end only complete ones count.
    wanted = len(positive) - 1 if passed is None else min(1, len(positive) - 1)
    running = np.flatnonzero((usable | absent) & (reached[groups] >= wanted))
    part = StageColumns(
        stage_rows.times[running],
        stage_rows.events[running],
        stage_rows.stages[running].astype(np.int64),
        groups[running],
    )
    complete, open_ones = matcher.run(part)
    ends = np.array([found[-1] for found in complete], dtype=np.intp)
    events = part.events[np.array(complete, dtype=np.intp).reshape(-1, len(positive))]
    kept = np.zeros(len(rows), dtype=np.bool_)
    if passed is not None:
        kept[rows[running[[row for found in open_ones for row in found]]]] = True
        if len(positive) > 1:
            idle = np.flatnonzero(usable & (reached[groups] == 0))
            kept[rows[_beginnings(matcher, stage_rows, groups, idle)]] = True
    return (events, stage_rows.keys[running[ends]]), kept


def _beginnings(
    matcher: SequenceMatcher, stage_rows: StageRows, groups: NDArray[np.int64], rows: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Of keys with events of the first stage alone: the newest event, unless an `until` event came after it."""
    last = np.full(int(groups.max(initial=0)) + 1, -1, dtype=np.intp)
    is_first = stage_rows.stages[rows] == matcher.positive[0]
    last[groups[rows[is_first]]] = rows[is_first]
    if matcher.until is not None:
        ended = np.full(len(last), -1, dtype=np.int64)
        ending = rows[~is_first]
        ended[groups[ending]] = stage_rows.events[ending]
        begun = np.flatnonzero(last >= 0)
        # An event that meets both the first stage and `until` ends what it begins, whatever the order of its rows.
        later = np.full(len(last), -1, dtype=np.intp)
        later[groups[ending]] = ending
        over = (later[begun] > last[begun]) | (ended[begun] == stage_rows.events[last[begun]])
        last[begun[over]] = -1
    return last[last >= 0]


def _missing_rows(
    matcher: SequenceMatcher,
    stage_rows: StageRows,
    groups: NDArray[np.int64],
    held: NDArray[np.bool_],
    *,
    known: NDArray[np.bool_],
    passed: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """A mask of the events of missing stages that can still prevent a match; `held` are the kept rows of other stages.

    These are: events at times up to which not all events are `known`; events of a key with a held row; for a missing
    stage before the first one, the newest event of each key. For a missing stage after the last one, events that have
    `passed` are decided and dropped.
    """
    wanted = np.zeros(len(stage_rows), dtype=np.bool_)
    has_held = np.zeros(int(groups.max(initial=0)) + 1, dtype=np.bool_)
    has_held[groups[held]] = True
    for stage in matcher.missing:
        here = stage_rows.stages == stage
        chosen = here & (~known | has_held[groups])
        if stage > matcher.positive[-1]:
            chosen &= ~passed
        elif stage < matcher.positive[0]:
            rows = np.flatnonzero(here & known)
            rows = rows[np.argsort(stage_rows.times[rows], kind="stable")]
            newest = np.full(len(has_held), -1, dtype=np.intp)
            newest[groups[rows]] = rows
            chosen[newest[newest >= 0]] = True
        wanted |= chosen
    return wanted


def _printed_key(plan: Plan, key: Key, kind: str) -> Key:
    """The key's values as the API prints them."""
    refs = plan.stages[0].keys
    return tuple(
        value if ref is None or value is None else key_reader(ref.exact).show(value, kind == "sample")
        for ref, value in zip(refs, key, strict=True)
    )
