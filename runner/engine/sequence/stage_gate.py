"""`StageGate`: in which events the later stages of sequences have to be searched for.

An event of a later stage matters only if one of the stage before came earlier, at most `maxspan` before. So the gate of
every stage but the first is closed: the stage is searched for only after an event of the stage before, and in events
after the watermark, before which such an event may yet come. A gate that was open for long stays open for the next
batch, since a second search of some events costs more than one of all. Elasticsearch, too, queries the stages of a
sequence one after the other, and stops where one has no event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runner.engine.plan import Plan
from runner.engine.stage_sets import bits_of
from runner.engine.watermark import Watermark
from runner.events.columns.batch import Rows
from runner.events.fields.timestamp_column import NO_TIME

_FOREVER = 1 << 64
"""Nanoseconds; longer than between any two times of 64 bits."""
_LONG = 0.25
"""Part of a batch's time for which a gate has to be open to stay open for all of the next batch."""
_DISORDERED = 0.5
"""Part of a batch after the watermark from which on all gates are open: one search of all events for all stages costs
less then than two searches of most events (350 rules, events shuffled by half a minute)."""
_LAST: int = int(np.iinfo(np.int64).max)
NO_WATERMARK = Watermark(NO_TIME)
"""A watermark before all events."""


@dataclass(frozen=True, slots=True)
class BatchSearch:
    """A set of stages (bits) to search for, and the rows to search; None: all rows."""

    stages: int
    rows: Rows | None = None


@dataclass(frozen=True, slots=True)
class GatedStage:
    """One stage of one query, by its index among all stages of the plan."""

    ask: int
    place: int
    plan: Plan
    scripted: bool
    """It has a script, which may fail."""


class StageGate:
    """The gates of all stages of many queries, and what opens them: events met so far."""

    def __init__(self, stages: Sequence[GatedStage], *, field: str, unordered: Collection[int]) -> None:
        """`field` is the timestamp field of the watermarks. Queries with another one and `unordered` queries have no
        gates, and neither have stages with a script, which may fail on any event."""
        indices = {(one.ask, one.place): stage for stage, one in enumerate(stages)}
        self.late: set[int] = set()
        """Queries of which a stage was met so late that events of the stage after it have been skipped."""
        self._asks = [one.ask for one in stages]
        self._spans = [_FOREVER if one.plan.maxspan is None else one.plan.maxspan for one in stages]
        self._before: dict[int, int] = {}
        self._after: dict[int, list[int]] = {}
        for stage, one in enumerate(stages):
            place = _place_before(one)
            able = one.ask not in unordered and one.plan.timestamp.name == field and one.plan.tiebreaker is None
            if place is not None and able and not one.scripted:
                before = self._before[stage] = indices[one.ask, place]
                self._after.setdefault(before, []).append(stage)
        self.gated = sum(1 << stage for stage in self._before)
        """All stages with a gate, as bits."""
        self._depths: dict[int, int] = {}
        for stage, before in self._before.items():  # ascending: the stage before comes first
            self._depths[stage] = 1 + self._depths.get(before, 0)
        self.kept_open: frozenset[int] = frozenset()
        """Gated stages that were open for over a quarter of the last batch, and are open for all of the next."""
        self._latest = dict.fromkeys(self._after, NO_TIME)
        self._skipped: dict[int, Watermark] = {}

    def open_since(self, start: int) -> dict[int, int]:
        """The gated stages that an event opens within `maxspan` before that time, each with the time until it does."""
        return {
            stage: latest + self._spans[stage]
            for stage, before in self._before.items()
            if (latest := self._latest[before]) != NO_TIME and start - latest <= self._spans[stage]
        }

    def by_depth(self, indices: Iterable[int]) -> list[list[int]]:
        """Stages in groups such that the stage before any of them is in an earlier group, or in none."""
        groups: dict[int, list[int]] = {}
        for stage in indices:
            groups.setdefault(self._depths[stage], []).append(stage)
        return [groups[depth] for depth in sorted(groups)]

    def record_met(self, stage: int, times: NDArray[np.int64], events: NDArray[np.int64]) -> dict[int, int]:
        """Record events that met a stage; returns the stages that they open, each with for how long (nanoseconds)."""
        after = self._after.get(stage, ())
        if not len(times) or not after:
            return {}
        first = int(times.min())
        self._latest[stage] = max(self._latest[stage], int(times.max()))
        for following in after:
            skipped = self._skipped.get(following, NO_WATERMARK)
            if first <= skipped.time and skipped.passed(times, events).any():
                self.late.add(self._asks[following])
        return {following: self._spans[following] for following in after}

    def skip(self, stages: int, watermark: Watermark) -> None:
        """Record that these stages may be met by events up to the watermark that were not searched."""
        for stage in bits_of(stages):
            self._skipped[stage] = max(self._skipped.get(stage, NO_WATERMARK), watermark)


class BatchGate:
    """The searches of one batch; what one of them finds decides what the next ones search."""

    def __init__(self, gate: StageGate, times: NDArray[np.int64], base: int, watermark: Watermark) -> None:
        """With this batch all events up to the watermark have come."""
        self._gate, self._times = gate, times
        self._events = np.arange(base, base + len(times), dtype=np.int64)
        self._timed = times != NO_TIME
        self._passed = watermark.passed(times, self._events) & self._timed
        self._closed = 0
        self._start = 0
        self._order: NDArray[np.intp] | None = None
        self._opened: dict[int, list[_Spans]] = {}
        """The spans of time in which a gate is open."""
        if self._passed.any():
            self._start = start = int(times[self._timed].min())
            open_ = sum(1 << stage for stage in gate.kept_open)
            for stage, until in gate.open_since(start).items():
                if until > _LAST:
                    open_ |= 1 << stage
                else:
                    self._opened[stage] = [_Spans(np.array([start]), np.array([until]))]
            ahead = np.count_nonzero(self._timed & ~self._passed)
            if ahead <= _DISORDERED * len(times):
                self._closed = gate.gated & ~open_

    def searches(self) -> Iterable[BatchSearch]:
        """One search after the other; call `record_rows` with what it found before taking the next one."""
        closed = self._closed
        yield BatchSearch(~closed)
        if not self._passed.any():
            return
        newest = int(self._times[self._passed].max())
        if closed:
            yield from self._searches_of_closed(closed)
            last = int(self._events[self._passed & (self._times == newest)][-1])
            self._gate.skip(closed, Watermark(newest, last))
        if newest > self._start:
            self._gate.kept_open = frozenset(
                stage for stage, spans in self._opened.items() if self._is_long(spans, newest)
            )

    def _searches_of_closed(self, closed: int) -> Iterable[BatchSearch]:
        # Events that are still to come may open gates before these.
        ahead = np.flatnonzero(~self._passed & self._timed)
        if len(ahead):
            opened = {stage: spans.copy() for stage, spans in self._opened.items()}
            yield BatchSearch(closed, ahead)
            self._opened = opened  # what is met after the watermark opens nothing before it
        for indices in self._gate.by_depth(bits_of(closed)):
            here = [stage for stage in indices if stage in self._opened]
            if here:
                rows = self._within([spans for stage in here for spans in self._opened[stage]])
                if len(rows):
                    yield BatchSearch(sum(1 << stage for stage in here), rows)

    def record_rows(self, stage: int, rows: Rows) -> None:
        """Record rows that met a stage."""
        times, kept_open = self._times[rows], self._gate.kept_open
        for following, span in self._gate.record_met(stage, times, self._events[rows]).items():
            if self._closed >> following & 1 or following in kept_open:
                ends = np.minimum(times, _LAST - span) + span if span < _FOREVER else np.full(len(times), _LAST)
                self._opened.setdefault(following, []).append(_Spans(times, ends))

    def _is_long(self, spans: Sequence[_Spans], newest: int) -> bool:
        """Whether the spans cover much of the batch's time, up to its newest event within the watermark."""
        starts = np.concatenate([one.starts for one in spans])
        order = np.argsort(starts, kind="stable")
        starts = np.minimum(starts[order], newest)
        ends = np.maximum.accumulate(np.minimum(np.concatenate([one.ends for one in spans])[order], newest))
        covered = np.minimum(ends, np.append(starts[1:], newest)) - starts
        return int(covered.sum()) > (newest - self._start) * _LONG

    def _within(self, spans: Sequence[_Spans]) -> Rows:
        """The rows up to the watermark that are in any of the spans, ascending."""
        if self._order is None:
            self._order = np.argsort(self._times, kind="stable")
        ascending, count = self._times[self._order], len(self._times)
        first = np.searchsorted(ascending, np.concatenate([one.starts for one in spans]), side="left")
        last = np.searchsorted(ascending, np.concatenate([one.ends for one in spans]), side="right")
        begun = np.bincount(first, minlength=count + 1) - np.bincount(last, minlength=count + 1)
        rows = self._order[np.cumsum(begun)[:count] > 0]
        return np.sort(rows[self._passed[rows]])


@dataclass(frozen=True, slots=True)
class _Spans:
    """Spans of time, each from its start to its end, both inclusive."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def _place_before(one: GatedStage) -> int | None:
    """The index of the stage that opens this one's gate; None: it has no gate."""
    if one.plan.kind != "sequence":
        return None
    positive = [place for place, stage in enumerate(one.plan.stages) if not stage.missing]
    if one.place == len(one.plan.stages):
        return positive[0]  # until: it ends what has begun
    return max((place for place in positive if place < one.place), default=None)
