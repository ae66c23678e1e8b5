"""The outcome of every partial sequence: `trace` runs `SequenceMatcher` and keeps how each one ended."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from runner.engine.plan import Plan
from runner.engine.sequence.join_keys import key_reader
from runner.engine.sequence.sequence_matcher import (
    Ended,
    FoundSequence,
    Key,
    SequenceMatcher,
    SequenceRows,
    StageEvent,
    stage_columns,
)
from runner.eql.explain.unparse import unparse

PartialOutcome: TypeAlias = Literal[
    "continued", "maxspan", "until", "replaced", "no event", "other key", "only before", "missing event"
]
"""The end of a partial sequence.

- `continued`: an event of the next stage continued it
- `maxspan`: the event that would have continued it came too late and ended it
- `until`: an until event ended it
- `replaced`: a newer partial sequence of the same key came to the same stage
- `no event`: no event at all meets the next stage; `other key`: some do, none of this key; `only before`: those of this
  key were used up or not later
- `missing event`: it was complete, but an event that had to be missing was there
"""

_MOST_COMPARED = 200
_MOST_FOLLOWING = 20


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one partial sequence with its events in stage order; `by` is the event that ended it, if any."""

    fate: PartialOutcome
    events: tuple[int, ...]
    by: int | None = None
    span_ns: int = 0
    """`maxspan`: the time from the first event to `by`."""


@dataclass(frozen=True, slots=True)
class KeyDifference:
    """A join key in which two events differ, with the value that each has."""

    left: str
    left_value: object
    right: str
    right_value: object


@dataclass(frozen=True, slots=True)
class NearKey:
    """A partial sequence without a continuation, and the event of the next stage that nearly continued it."""

    last: int
    next: int
    differs: tuple[KeyDifference, ...]


@dataclass(frozen=True, slots=True)
class PartialStep:
    """The outcomes of the partial sequences that reached one stage; `came` is their count.

    `nearest` is the one that exceeded maxspan by least, `examples` has one for each other outcome.
    """

    label: str
    next_label: str
    came: int
    fates: tuple[tuple[PartialOutcome, int], ...]
    nearest: Ending | None
    examples: tuple[Ending, ...]
    near_key: NearKey | None


@dataclass(frozen=True, slots=True)
class Trace:
    """The steps between the positive stages, how many sequences were complete, and how many a missing event refused."""

    steps: tuple[PartialStep, ...]
    complete: int
    refused: tuple[Ending, ...]
    found: tuple[FoundSequence, ...]
    watched: dict[tuple[int, ...], tuple[Ending, ...]]
    """The endings of the watched partial sequences, by their events."""


@dataclass(slots=True)
class _StageTrace:
    """One positive stage: the outcomes of the partial sequences that reached it, and the rows of its events."""

    arrivals: list[int]
    keys: set[Key]
    outcomes: Counter[PartialOutcome] = field(default_factory=Counter)
    examples: dict[PartialOutcome, Ending] = field(default_factory=dict)
    nearest: Ending | None = None

    def add(self, ending: Ending) -> None:
        self.outcomes[ending.fate] += 1
        if ending.fate != "maxspan":
            self.examples.setdefault(ending.fate, ending)
        elif self.nearest is None or ending.span_ns < self.nearest.span_ns:
            self.nearest = ending


def trace(plan: Plan, groups: Sequence[Sequence[StageEvent]], *, watch: Collection[tuple[int, ...]] = ()) -> Trace:
    """The outcomes of the partial sequences of a plan over its stage events.

    `groups` are the stage events by event, ascending. `watch` are the event numbers of partial sequences, from the
    first stage on, whose endings are recorded one by one.
    """
    positive = [index for index, stage in enumerate(plan.stages) if not stage.missing]
    missing = [index for index, stage in enumerate(plan.stages) if stage.missing]
    until = len(plan.stages) if plan.until is not None else None
    matcher = SequenceMatcher(positive=positive, missing=missing, maxspan=plan.maxspan, until=until)
    tracer = _Tracer(plan, positive, [event for group in groups for event in group])
    columns = stage_columns(tracer.given)
    ended: list[tuple[SequenceRows, Ended, int]] = []
    complete, partial = matcher.run(columns, lambda rows, outcome, by: ended.append((rows, outcome, by)))
    order = _machine_order(groups, until)
    endings = tracer.endings([one for one in ended if one[1] != "missing event"], partial, order)
    refused = tracer.refused([rows for rows, outcome, _ in ended if outcome == "missing event"], missing)
    watched: dict[tuple[int, ...], list[Ending]] = {}
    for ending in (*endings, *refused):
        if ending.events in watch:
            watched.setdefault(ending.events, []).append(ending)
    found = tuple(
        FoundSequence(tracer.given[rows[-1]].key, matcher.with_gaps(columns.events[list(rows)])) for rows in complete
    )
    return Trace(
        tracer.steps(),
        len(complete) + len(refused),
        tuple(refused),
        found,
        {events: tuple(each) for events, each in watched.items()},
    )


def _machine_order(groups: Sequence[Sequence[StageEvent]], until: int | None) -> list[int]:
    """All rows, event by event, in the order in which the machine takes those of one event: last stage first, until
    after all of them."""
    documents = [(number, event) for number, group in enumerate(groups) for event in group]
    ranked = [(number, event.stage == until, -event.stage, row) for row, (number, event) in enumerate(documents)]
    return [row for *_, row in sorted(ranked)]


class _Tracer:
    """The stage events of a plan as rows, and the outcomes at each stage."""

    def __init__(self, plan: Plan, positive: Sequence[int], given: Sequence[StageEvent]) -> None:
        self.given = given
        self._plan = plan
        self._positive = positive
        self._stages: list[_StageTrace] = []
        for stage in positive:
            arrivals = [row for row, event in enumerate(given) if event.stage == stage]
            self._stages.append(_StageTrace(arrivals, {given[row].key for row in arrivals}))
        self._open: list[SequenceRows] = []
        """The partial sequences that nothing ended."""

    def endings(
        self, ended: Sequence[tuple[SequenceRows, Ended, int]], partial: Iterable[SequenceRows], order: Sequence[int]
    ) -> list[Ending]:
        """The endings of all partial sequences in the order of time, those that nothing ended last."""
        rank = {row: position for position, row in enumerate(order)}
        pairs = [
            (rows, self._ending(rows, outcome, by)) for rows, outcome, by in sorted(ended, key=lambda one: rank[one[2]])
        ]
        begun: dict[Key, int] = {}
        for row in order:
            event = self.given[row]
            if event.stage == len(self._plan.stages):
                begun.pop(event.key, None)
            elif event.stage == self._positive[0]:
                begun.setdefault(event.key, rank[row])
        self._open = sorted(partial, key=lambda rows: (begun[self.given[rows[0]].key], len(rows)))
        pairs += [(rows, self._ending(rows, self._unfollowed(rows))) for rows in self._open]
        for rows, ending in pairs:
            self._stages[len(rows) - 1].add(ending)
        return [ending for _, ending in pairs]

    def _ending(self, rows: SequenceRows, outcome: PartialOutcome, by: int | None = None) -> Ending:
        events = tuple(self.given[row].event for row in rows)
        if by is None:
            return Ending(outcome, events)
        span = self.given[by].time - self.given[rows[0]].time if outcome == "maxspan" else 0
        return Ending(outcome, events, self.given[by].event, span)

    def _unfollowed(self, rows: SequenceRows) -> PartialOutcome:
        following = self._stages[len(rows)]
        if not following.keys:
            return "no event"
        return "only before" if self.given[rows[0]].key in following.keys else "other key"

    def steps(self) -> tuple[PartialStep, ...]:
        """The outcomes at each stage but the last."""
        names = [f"stage {stage + 1}" for stage in self._positive]
        return tuple(
            PartialStep(
                label=names[place],
                next_label=names[place + 1],
                came=sum(found.outcomes.values()),
                fates=tuple(found.outcomes.most_common()),
                nearest=found.nearest,
                examples=tuple(ending for outcome, ending in found.examples.items() if outcome != "continued"),
                near_key=self._near_key(place) if found.outcomes["other key"] else None,
            )
            for place, found in enumerate(self._stages[:-1])
        )

    def _near_key(self, place: int) -> NearKey | None:
        """The partial sequence that a later event nearly continues, among those whose key has no event there."""
        given, following = self.given, self._stages[place + 1]
        times = [given[row].time for row in following.arrivals]
        best: tuple[int, int, StageEvent, StageEvent] | None = None
        waiting = [rows for rows in self._open if len(rows) == place + 1 and given[rows[0]].key not in following.keys]
        for last in (given[rows[-1]] for rows in waiting[:_MOST_COMPARED]):
            start = bisect_right(times, last.time)
            for event in (given[row] for row in following.arrivals[start : start + _MOST_FOLLOWING]):
                differing = sum(one != other for one, other in zip(last.key, event.key, strict=True))
                rank = differing, event.time - last.time
                if best is None or rank < best[:2]:
                    best = (*rank, last, event)
        if best is None:
            return None
        _, _, last, event = best
        return NearKey(last.event, event.event, tuple(self._differences(place, last.key, event.key)))

    def _differences(self, place: int, left: Key, right: Key) -> Iterable[KeyDifference]:
        first = self._plan.stages[self._positive[place]].keys
        second = self._plan.stages[self._positive[place + 1]].keys
        for one, one_value, other, other_value in zip(first, left, second, right, strict=True):
            if one_value != other_value:
                shown = [
                    value if ref is None or value is None else key_reader(ref.exact).show(value, False)
                    for ref, value in ((one, one_value), (other, other_value))
                ]
                names = ["null" if ref is None else unparse(ref) for ref in (one, other)]
                yield KeyDifference(names[0], shown[0], names[1], shown[1])

    def refused(self, sequences: Iterable[SequenceRows], missing: Sequence[int]) -> list[Ending]:
        """The endings of complete sequences that an event of a missing stage refused; `by` is one such event."""
        absent: dict[tuple[int, Key], list[int]] = {}
        for row, event in enumerate(self.given):
            if event.stage in missing:
                absent.setdefault((event.stage, event.key), []).append(row)
        endings = []
        for rows in sequences:
            key = self.given[rows[0]].key
            present = (row for stage in missing for row in absent.get((stage, key), ()))
            by = next((row for row in present if self._is_near(rows, self.given[row])), None)
            endings.append(self._ending(rows, "missing event", by))
        return endings

    def _is_near(self, rows: SequenceRows, event: StageEvent) -> bool:
        """Whether an event of a missing stage is in the span that must have none."""
        assert self._plan.maxspan is not None
        times, positive, maxspan = [self.given[row].time for row in rows], self._positive, self._plan.maxspan
        start, end = times[0], times[-1]
        if event.stage < positive[0]:
            return event.time < start and end - event.time <= maxspan
        if event.stage > positive[-1]:
            return event.time > end and event.time - start <= maxspan
        following = next(place for place, stage in enumerate(positive) if stage > event.stage)
        return times[following - 1] < event.time < times[following]
