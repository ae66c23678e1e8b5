"""`Watch`: which stages of sequences are worth looking for in which events.

An event of a later stage matters only where one of the stage before it came earlier, no more than `maxspan` before.
So every stage but the first sleeps: it is looked for where the stage before it has been met, and in those events
before which another one may yet come, as they are not read in the order of time. Most sequences begin rarely, and
their later stages, which are often met by every other event, cost nothing until then.
A stage that is awake for long is looked for everywhere: events are not looked at a second time for its sake.

Elasticsearch, too, asks for the stages of a sequence one after the other, and stops where one is not met.
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
"""Longer than from any time in 64 bits to any other."""
_LONG = 0.25
"""The part of a batch's time for which a stage has to be awake to be so for all of the next batch."""
_DISORDERED = 0.5
"""Part of a batch's events before which others may yet come from which on every gate is open for the batch: one search
of all events for all stages then costs less than two of most events (350 rules, events shuffled by half a minute)."""
_LAST: int = int(np.iinfo(np.int64).max)
NOWHERE = Watermark(NO_TIME)
"""The edge within which there is no event."""


@dataclass(frozen=True, slots=True)
class Search:
    """Stages to look for, by their numbers as bits, and the rows to look at; None: all."""

    stages: int
    rows: Rows | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """One of the stages that are looked for: that of an ask, by its place among all stages of the plan."""

    ask: int
    place: int
    plan: Plan
    scripted: bool


class Watch:
    """What has been met so far of the stages of many asks."""

    def __init__(self, watched: Sequence[Watched], *, field: str, patient: Collection[int]) -> None:
        """`field` is the timestamp that the edges are meant of; of other asks, and of `patient` ones, all stages are
        always looked for. A script may fail on an event, so it is not skipped either."""
        numbers = {(one.ask, one.place): number for number, one in enumerate(watched)}
        self.late: set[int] = set()
        """The asks for which a stage was met so late that events of the stage after it have been skipped."""
        self._asks = [one.ask for one in watched]
        self._spans = [_FOREVER if one.plan.maxspan is None else one.plan.maxspan for one in watched]
        self._before: dict[int, int] = {}
        self._after: dict[int, list[int]] = {}
        for number, one in enumerate(watched):
            place = _place_before(one)
            able = one.ask not in patient and one.plan.timestamp.name == field and one.plan.tiebreaker is None
            if place is not None and able and not one.scripted:
                before = self._before[number] = numbers[one.ask, place]
                self._after.setdefault(before, []).append(number)
        self._sleepers = sum(1 << number for number in self._before)
        self._depths = {number: self._depth(number) for number in self._before}
        self._restless: frozenset[int] = frozenset()
        self._latest = dict.fromkeys(self._after, NO_TIME)
        self._skipped: dict[int, Watermark] = {}

    def turn(self, times: NDArray[np.int64], base: int, edge: Watermark) -> Turn:
        """What to look for in the next batch; all events within the edge have come then."""
        return Turn(self, times, base, edge)

    def open_since(self, start: int) -> dict[int, int]:
        """The sleepers before which an event stands that is still within `maxspan` at that time, each with the time
        until when one is."""
        return {
            number: latest + self._spans[number]
            for number, before in self._before.items()
            if (latest := self._latest[before]) != NO_TIME and start - latest <= self._spans[number]
        }

    def by_depth(self, numbers: Iterable[int]) -> list[list[int]]:
        """The sleepers in groups, such that the stage before any of them is in a group before its own or in none."""
        groups: dict[int, list[int]] = {}
        for number in numbers:
            groups.setdefault(self._depths[number], []).append(number)
        return [groups[depth] for depth in sorted(groups)]

    def _depth(self, number: int) -> int:
        before = self._before.get(number)
        return 0 if before is None else 1 + self._depth(before)

    def sleepers(self) -> int:
        """All stages that may sleep, as bits."""
        return self._sleepers

    def follow(self, number: int, times: NDArray[np.int64], events: NDArray[np.int64]) -> dict[int, int]:
        """Take note that a stage was met by these events; returns the stages after it, which matter now, each with how
        long after any of the events it does."""
        after = self._after.get(number, ())
        if not len(times) or not after:
            return {}
        first = int(times.min())
        self._latest[number] = max(self._latest[number], int(times.max()))
        for following in after:
            skipped = self._skipped.get(following, NOWHERE)
            if first <= skipped.time and skipped.passed(times, events).any():
                self.late.add(self._asks[following])
        return {following: self._spans[following] for following in after}

    def restless(self) -> frozenset[int]:
        """The sleepers that were awake for long in the last batch. In the next one they do not sleep at all: to look at
        events a second time, for their sake, costs more than to look for them in all events at once."""
        return self._restless

    def rest(self, restless: Iterable[int]) -> None:
        """Take note of the sleepers that were awake for long in a batch."""
        self._restless = frozenset(restless)

    def skip(self, stages: int, edge: Watermark) -> None:
        """Take note that these stages may have been met by events within the edge that were not looked at."""
        for number in bits_of(stages):
            self._skipped[number] = max(self._skipped.get(number, NOWHERE), edge, key=_edge_order)


class Turn:
    """The searches of one batch: what is met in one says what the next ones are about."""

    def __init__(self, watch: Watch, times: NDArray[np.int64], base: int, edge: Watermark) -> None:
        self._watch, self._times = watch, times
        self._events = np.arange(base, base + len(times), dtype=np.int64)
        self._timed = times != NO_TIME
        self._passed = edge.passed(times, self._events) & self._timed
        self._asleep = 0
        self._start = 0
        self._order: NDArray[np.intp] | None = None
        self._woken: dict[int, list[_Spans]] = {}
        """When events matter to stages that sleep otherwise, or would if they were not restless."""
        if self._passed.any():
            self._start = start = int(times[self._timed].min())
            awake = sum(1 << number for number in watch.restless())
            for number, until in watch.open_since(start).items():
                if until > _LAST:
                    awake |= 1 << number
                else:
                    self._woken[number] = [_Spans(np.array([start]), np.array([until]))]
            ahead = np.count_nonzero(self._timed & ~self._passed)
            if ahead <= _DISORDERED * len(times):
                self._asleep = watch.sleepers() & ~awake

    def searches(self) -> Iterable[Search]:
        """One search after the other; what each has met must have been noted before the next one is asked for."""
        asleep = self._asleep
        yield Search(~asleep)
        if not self._passed.any():
            return
        newest = int(self._times[self._passed].max())
        if asleep:
            yield from self._searches_of_sleepers(asleep)
            last = int(self._events[self._passed & (self._times == newest)][-1])
            self._watch.skip(asleep, Watermark(newest, last))
        if newest > self._start:
            self._watch.rest(number for number, spans in self._woken.items() if self._is_long(spans, newest))

    def _searches_of_sleepers(self, asleep: int) -> Iterable[Search]:
        # Before these a stage may yet be met, by events that are still to come.
        ahead = np.flatnonzero(~self._passed & self._timed)
        if len(ahead):
            woken = {number: spans.copy() for number, spans in self._woken.items()}
            yield Search(asleep, ahead)
            self._woken = woken  # what is met after the edge wakes nothing before it
        for numbers in self._watch.by_depth(bits_of(asleep)):
            here = [number for number in numbers if number in self._woken]
            if here:
                rows = self._within([spans for number in here for spans in self._woken[number]])
                if len(rows):
                    yield Search(sum(1 << number for number in here), rows)

    def note(self, number: int, rows: Rows) -> None:
        """Take note that a stage was met in these rows."""
        times, restless = self._times[rows], self._watch.restless()
        for following, span in self._watch.follow(number, times, self._events[rows]).items():
            if self._asleep >> following & 1 or following in restless:
                ends = np.minimum(times, _LAST - span) + span if span < _FOREVER else np.full(len(times), _LAST)
                self._woken.setdefault(following, []).append(_Spans(times, ends))

    def _is_long(self, spans: Sequence[_Spans], newest: int) -> bool:
        """Whether the spans make up much of the time of the batch, up to its newest event within the edge."""
        starts = np.concatenate([one.starts for one in spans])
        order = np.argsort(starts, kind="stable")
        starts = np.minimum(starts[order], newest)
        ends = np.maximum.accumulate(np.minimum(np.concatenate([one.ends for one in spans])[order], newest))
        covered = np.minimum(ends, np.append(starts[1:], newest)) - starts
        return int(covered.sum()) > (newest - self._start) * _LONG

    def _within(self, spans: Sequence[_Spans]) -> Rows:
        """The rows within the edge that are in any of the spans, ascending."""
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


def _place_before(one: Watched) -> int | None:
    """The place of the stage without which this one does not matter."""
    if one.plan.kind != "sequence":
        return None
    positive = [place for place, stage in enumerate(one.plan.stages) if not stage.missing]
    if one.place == len(one.plan.stages):
        return positive[0]  # until: it ends what has begun
    return max((place for place in positive if place < one.place), default=None)


def _edge_order(edge: Watermark) -> tuple[int, int]:
    return edge.time, edge.event
