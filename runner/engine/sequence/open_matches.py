"""What a pass has gathered for each ask: as little of the events that met its stages as the answer may still need.

The events of a sequence are settled when it is known that no earlier one comes any more: what is complete is taken
out, and only open partial sequences are kept, as the rows of their events. Those that `maxspan` has closed go, and so
do events of later stages that nothing of their key came before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from runner.engine.plan import Limit, Plan
from runner.engine.sequence.join_keys import KeyNumbers, key_reader
from runner.engine.sequence.sample_matcher import match_samples
from runner.engine.sequence.sequence_matcher import FoundSequence, Key, SequenceMatcher, StageColumns, StageEvent
from runner.engine.sequence.stage_rows import Entries, joined, nothing
from runner.engine.watermark import Edge

_NO_EVENT = -1


class FoundRows(Sequence[FoundSequence]):
    """Matches as columns; each is made when it is asked for, since there may be as many as there are events."""

    def __init__(
        self, events: NDArray[np.int64], keys: NDArray[np.int32], show: Callable[[tuple[int, ...]], Key]
    ) -> None:
        """A row of events for each match, -1 for a missing one; `show` gives the key that has these numbers."""
        self._events, self._keys, self._show = events, keys, show

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, place: int) -> FoundSequence: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[FoundSequence]: ...
    def __getitem__(self, place: int | slice) -> FoundSequence | Sequence[FoundSequence]:
        if isinstance(place, slice):
            return FoundRows(self._events[place], self._keys[place], self._show)
        events = tuple([None if event == _NO_EVENT else event for event in self._events[place].tolist()])
        return FoundSequence(self._show(tuple(self._keys[place].tolist())), events)

    def __iter__(self) -> Iterator[FoundSequence]:
        return map(self.__getitem__, range(len(self)))


@dataclass(slots=True)
class Gathered:
    """The entries of one ask; those of an event query as they are."""

    plan: Plan
    limit: Limit | None = None
    """The first one, which says how many matches can ever be wanted."""
    parts: list[Entries] = field(default_factory=list)
    settled: int = 0
    """How many rows were left by the last settling; they are the first part."""
    fresh: int = 0
    """How many rows came since."""

    def add(self, entries: Entries) -> None:
        """Take in what met a stage."""
        self.parts.append(entries)
        self.fresh += len(entries)

    def settle(self, edge: Edge, numbers: KeyNumbers) -> None:
        """Keep no more than what is needed, given that all events within the edge have come."""
        if self.limit is not None:
            entries = self._entries()
            order = entries.order()
            count = self.limit.count
            self._keep(entries.at(order[:count] if self.limit.side == "head" else order[max(0, len(order) - count) :]))

    def found(self, numbers: KeyNumbers) -> FoundRows:
        """All matches, ascending, as far as the limit may want them."""
        entries = self._entries()
        events = entries.events[entries.order()]
        return FoundRows(events[:, None], np.zeros((len(events), 0), dtype=np.int32), lambda key: ())

    def event_columns(self) -> list[NDArray[np.int64]]:
        """All events that the answer may still need."""
        return [part.events for part in self.parts]

    def key_columns(self) -> list[NDArray[np.int32]]:
        """All numbers of keys that are held."""
        return [part.keys for part in self.parts]

    def renumber(self, renumbered: NDArray[np.int32]) -> None:
        """Replace the numbers of keys by those that stand in their places."""
        self.parts = [
            Entries(part.events, part.times, part.stages, renumbered[part.keys], part.ties) for part in self.parts
        ]

    def _entries(self) -> Entries:
        plan = self.plan
        empty = nothing(len(plan.stages[0].keys), tied=plan.tiebreaker is not None)
        return joined(self.parts) if self.parts else empty

    def _keep(self, entries: Entries) -> None:
        self.parts = [entries] if len(entries) else []
        self.settled, self.fresh = len(entries), 0


@dataclass(slots=True)
class GatheredSamples(Gathered):
    """The entries of a sample: of each key the first few events of each stage are all that it can ever use."""

    most: int = 1
    """How many samples of a key are wanted."""

    def settle(self, edge: Edge, numbers: KeyNumbers) -> None:
        entries = self._entries()
        entries = entries.at(np.argsort(entries.events, kind="stable"))
        stages = len(self.plan.stages)
        both = entries.groups(numbers) * stages + entries.stages
        order = np.argsort(both, kind="stable")
        ordered = both[order]
        firsts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(ordered) else ordered
        rank = np.arange(len(ordered)) - np.repeat(firsts, np.diff(np.append(firsts, len(ordered))))
        self._keep(entries.at(np.sort(order[rank < stages + self.most - 1])))

    def found(self, numbers: KeyNumbers) -> FoundRows:
        """Samples of the keys that every stage has, ascending by key."""
        entries = self._entries()
        groups = entries.groups(numbers)
        everywhere = np.ones(int(groups.max(initial=0)) + 1, dtype=np.bool_)
        for stage in range(len(self.plan.stages)):
            present = np.zeros(len(everywhere), dtype=np.bool_)
            present[groups[entries.stages == stage]] = True
            everywhere &= present
        entries = entries.at(everywhere[groups])
        entries = entries.at(np.lexsort((entries.stages, entries.events)))
        columns = zip(entries.events.tolist(), entries.stages.tolist(), entries.keys.tolist(), strict=True)
        given = [StageEvent(0, event, stage, numbers.values(key)) for event, stage, key in columns]
        rows = list(match_samples(given, len(self.plan.stages), max_per_key=self.most, sort_key=self._sort_keys(given)))
        events = np.array([sample.events for sample in rows], dtype=np.int64).reshape(-1, len(self.plan.stages))
        places = np.arange(len(rows), dtype=np.int32)[:, None]
        return FoundRows(events, places, lambda place: _printed(self.plan, rows[place[0]].key, "sample"))

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
class GatheredSequences(Gathered):
    """The entries of a sequence: those that are not settled yet, and the rows of open partial sequences."""

    edge: Edge | None = None
    """How far it was settled."""
    late: bool = False
    """An event came after all that belongs into what was settled: what is found is worth nothing."""
    events: list[NDArray[np.int64]] = field(default_factory=list)
    keys: list[NDArray[np.int32]] = field(default_factory=list)
    """Of the complete sequences the events of the positive stages, and the keys."""

    def add(self, entries: Entries) -> None:
        if self.edge is not None and len(entries) and self.edge.passed(entries.times, entries.events).any():
            self.late = True
        Gathered.add(self, entries)

    def settle(self, edge: Edge, numbers: KeyNumbers) -> None:
        if self.plan.tiebreaker is not None:
            edge = Edge(edge.time)
        if self.edge is not None and (edge.time, edge.event) <= (self.edge.time, self.edge.event):
            return
        matcher, maxspan = self._matcher(), self.plan.maxspan
        self.edge = edge
        if matcher.missing and max(matcher.missing) > matcher.positive[-1]:
            # Whether a last missing event comes is known when the time is over in which it may.
            assert maxspan is not None
            edge = Edge(edge.time - maxspan)
        entries = self._entries()
        groups = entries.groups(numbers)
        passed = edge.passed(entries.times, entries.events)
        complete, kept = _advanced(matcher, entries, passed, groups)
        self._note(complete)
        kept |= ~passed
        if matcher.missing:
            kept &= ~np.isin(entries.stages, matcher.missing)
            # Only times count for these, so those at the very time of the edge are not known to be all of it.
            known = entries.times < self.edge.time
            kept |= _absent(matcher, entries, groups, kept, known=known, passed=passed)
        if maxspan is not None:
            kept &= entries.times >= edge.time - maxspan
        self._keep(entries.at(kept))

    def _note(self, complete: tuple[NDArray[np.int64], NDArray[np.int32]]) -> None:
        self.events.append(complete[0])
        self.keys.append(complete[1])
        if self.limit is not None:
            events, keys = np.concatenate(self.events), np.concatenate(self.keys)
            start = 0 if self.limit.side == "head" else max(0, len(events) - self.limit.count)
            self.events = [events[start : start + self.limit.count]]
            self.keys = [keys[start : start + self.limit.count]]

    def found(self, numbers: KeyNumbers) -> FoundRows:
        """All sequences, ascending by their last event."""
        matcher, entries = self._matcher(), self._entries()
        last, last_keys = _advanced(matcher, entries, None, entries.groups(numbers))[0]
        events = np.concatenate([*self.events, last])
        columns = np.full((len(events), len(self.plan.stages)), _NO_EVENT, dtype=np.int64)
        columns[:, list(matcher.positive)] = events
        keys = np.concatenate([*self.keys, last_keys])
        return FoundRows(columns, keys, lambda key: _printed(self.plan, numbers.values(key), "sequence"))

    def event_columns(self) -> list[NDArray[np.int64]]:
        return [*(part.events for part in self.parts), *(events.ravel() for events in self.events)]

    def key_columns(self) -> list[NDArray[np.int32]]:
        return [*(part.keys for part in self.parts), *self.keys]

    def renumber(self, renumbered: NDArray[np.int32]) -> None:
        Gathered.renumber(self, renumbered)
        self.keys = [renumbered[keys] for keys in self.keys]

    def _matcher(self) -> SequenceMatcher:
        stages = self.plan.stages
        return SequenceMatcher(
            positive=[place for place, stage in enumerate(stages) if not stage.missing],
            missing=[place for place, stage in enumerate(stages) if stage.missing],
            maxspan=self.plan.maxspan,
            until=len(stages) if self.plan.until is not None else None,
        )


def _advanced(
    matcher: SequenceMatcher, entries: Entries, passed: NDArray[np.bool_] | None, groups: NDArray[np.int64]
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int32]], NDArray[np.bool_]]:
    """The complete sequences of the entries that have passed (None: all), and a mask of the rows of open ones.

    Events of missing stages are looked for among all entries.
    """
    positive = list(matcher.positive)
    rows = entries.order()
    entries, groups = entries.at(rows), groups[rows]
    usable = np.ones(len(rows), dtype=np.bool_) if passed is None else passed[rows]
    absent = np.isin(entries.stages, matcher.missing)
    usable &= ~absent
    # A row can be part of a sequence if one of the stage before came before it, under its key.
    same = np.concatenate(([0], np.cumsum(entries.events[1:] != entries.events[:-1]))) if len(rows) else groups
    count = int(groups.max(initial=0)) + 1
    first = np.full(count, -1, dtype=np.int64)
    reached = np.zeros(count, dtype=np.int64)
    for place, stage in enumerate(positive):
        here = np.flatnonzero(usable & (entries.stages == stage))
        fitting = here[same[here] > first[groups[here]]]
        usable[here] = False
        usable[fitting] = True
        first = np.full(count, len(rows), dtype=np.int64)
        first[groups[fitting[::-1]]] = same[fitting[::-1]]  # of equal ones the last counts, which is the first here
        reached[groups[fitting]] = place
    # Where only beginnings came, the newest is all that counts; what is left at the end counts only if it is complete.
    wanted = len(positive) - 1 if passed is None else min(1, len(positive) - 1)
    running = np.flatnonzero((usable | absent) & (reached[groups] >= wanted))
    part = StageColumns(
        entries.times[running], entries.events[running], entries.stages[running].astype(np.int64), groups[running]
    )
    complete, open_ones = matcher.run(part)
    ends = np.array([found[-1] for found in complete], dtype=np.intp)
    events = part.events[np.array(complete, dtype=np.intp).reshape(-1, len(positive))]
    kept = np.zeros(len(rows), dtype=np.bool_)
    if passed is not None:
        kept[rows[running[[row for found in open_ones for row in found]]]] = True
        if len(positive) > 1:
            idle = np.flatnonzero(usable & (reached[groups] == 0))
            kept[rows[_beginnings(matcher, entries, groups, idle)]] = True
    return (events, entries.keys[running[ends]]), kept


def _beginnings(
    matcher: SequenceMatcher, entries: Entries, groups: NDArray[np.int64], rows: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Of keys that only have events of the first stage, the newest one unless what ends it came after."""
    last = np.full(int(groups.max(initial=0)) + 1, -1, dtype=np.intp)
    is_first = entries.stages[rows] == matcher.positive[0]
    last[groups[rows[is_first]]] = rows[is_first]
    if matcher.until is not None:
        ended = np.full(len(last), -1, dtype=np.int64)
        ending = rows[~is_first]
        ended[groups[ending]] = entries.events[ending]
        begun = np.flatnonzero(last >= 0)
        # Of one event what it begins is ended, too, wherever the two rows stand.
        later = np.full(len(last), -1, dtype=np.intp)
        later[groups[ending]] = ending
        over = (later[begun] > last[begun]) | (ended[begun] == entries.events[last[begun]])
        last[begun[over]] = -1
    return last[last >= 0]


def _absent(
    matcher: SequenceMatcher,
    entries: Entries,
    groups: NDArray[np.int64],
    held: NDArray[np.bool_],
    *,
    known: NDArray[np.bool_],
    passed: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """A mask of the events of missing stages that may yet matter; `held` are the events of the others that may.

    Those that are not `known` to be all that come up to their time, those of a key that has a held event, and before
    the first event the newest one of each key. After the last event none that has `passed` matters any more: what came
    before it is decided.
    """
    wanted = np.zeros(len(entries), dtype=np.bool_)
    has_held = np.zeros(int(groups.max(initial=0)) + 1, dtype=np.bool_)
    has_held[groups[held]] = True
    for stage in matcher.missing:
        here = entries.stages == stage
        chosen = here & (~known | has_held[groups])
        if stage > matcher.positive[-1]:
            chosen &= ~passed
        elif stage < matcher.positive[0]:
            rows = np.flatnonzero(here & known)
            rows = rows[np.argsort(entries.times[rows], kind="stable")]
            newest = np.full(len(has_held), -1, dtype=np.intp)
            newest[groups[rows]] = rows
            chosen[newest[newest >= 0]] = True
        wanted |= chosen
    return wanted


def _printed(plan: Plan, key: Key, kind: str) -> Key:
    """The key's values as the API prints them."""
    refs = plan.stages[0].keys
    return tuple(
        value if ref is None or value is None else key_reader(ref.exact).show(value, kind == "sample")
        for ref, value in zip(refs, key, strict=True)
    )
