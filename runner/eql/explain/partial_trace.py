"""`trace`: the outcomes of all partial sequences of a query.

A `SequenceMatcher` that records how each partial sequence ends: slower and with more memory, to explain, not to search.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from runner.engine.plan import Plan
from runner.engine.sequence.join_keys import key_reader
from runner.engine.sequence.sequence_matcher import FoundSequence, Key, SequenceMatcher, StageEvent
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


@dataclass(frozen=True, slots=True)
class _Partial:
    key: Key
    events: tuple[int, ...]
    times: tuple[int, ...]

    def ended(self, fate: PartialOutcome, by: StageEvent | None = None) -> Ending:
        span = by.time - self.times[0] if by is not None and fate == "maxspan" else 0
        return Ending(fate, self.events, by.event if by is not None else None, span)


@dataclass(slots=True)
class _StageTrace:
    """One positive stage: the outcomes of the partial sequences that reached it, and its events."""

    came: int = 0
    fates: Counter[PartialOutcome] = field(default_factory=Counter)
    examples: dict[PartialOutcome, Ending] = field(default_factory=dict)
    nearest: Ending | None = None
    keys: set[Key] = field(default_factory=set)
    arrivals: list[StageEvent] = field(default_factory=list)

    def note(self, ending: Ending) -> None:
        self.fates[ending.fate] += 1
        if ending.fate != "maxspan":
            self.examples.setdefault(ending.fate, ending)
        elif self.nearest is None or ending.span_ns < self.nearest.span_ns:
            self.nearest = ending


def trace(plan: Plan, groups: Sequence[Sequence[StageEvent]], *, watch: Collection[tuple[int, ...]] = ()) -> Trace:
    """The outcomes of the partial sequences of a plan over its stage events.

    `groups` are the stage events by event, ascending. `watch` are the event numbers of partial sequences, from the
    first stage on, whose endings are recorded one by one.
    """
    tracer = _Tracer(plan, frozenset(watch))
    tracer.run(groups)
    missing = [place for place, stage in enumerate(plan.stages) if stage.missing]
    matcher = SequenceMatcher(
        positive=tracer.positive,
        missing=missing,
        maxspan=plan.maxspan,
        until=len(plan.stages) if plan.until is not None else None,
    )
    found = tuple(matcher.match(groups))
    refused = tracer.refused(found, missing, groups)
    return Trace(tracer.steps(), len(tracer.complete), refused, found, tracer.watched())


class _Tracer:
    """A `SequenceMatcher` that records the partial sequences that leave its slots."""

    def __init__(self, plan: Plan, watch: frozenset[tuple[int, ...]]) -> None:
        self.positive = [place for place, stage in enumerate(plan.stages) if not stage.missing]
        self.complete: list[_Partial] = []
        self._plan = plan
        self._watch = watch
        self._watched: dict[tuple[int, ...], list[Ending]] = {}
        self._slots: dict[Key, list[_Partial | None]] = {}
        self._places = [_StageTrace() for _ in self.positive]
        self._number = {stage: place for place, stage in enumerate(self.positive)}

    def run(self, groups: Iterable[Sequence[StageEvent]]) -> None:
        for group in groups:
            ended: list[StageEvent] = []
            for event in sorted(group, key=lambda item: -item.stage):
                if event.stage == len(self._plan.stages):
                    ended.append(event)
                elif event.stage in self._number:
                    self._advance(event, self._number[event.stage])
            for event in ended:
                for place, partial in enumerate(self._slots.pop(event.key, ())):
                    if partial is not None:
                        self._end(place, partial.ended("until", event))
        for slots in self._slots.values():
            for place, partial in enumerate(slots):
                if partial is not None:
                    self._end(place, partial.ended(self._unfollowed(place, partial.key)))

    def _advance(self, event: StageEvent, place: int) -> None:
        here = self._places[place]
        here.keys.add(event.key)
        here.arrivals.append(event)
        grown = _Partial(event.key, (event.event,), (event.time,))
        if place:
            slots = self._slots.get(event.key)
            before = slots[place - 1] if slots is not None else None
            if slots is None or before is None or before.events[-1] == event.event:
                return
            slots[place - 1] = None
            if self._plan.maxspan is not None and event.time - before.times[0] > self._plan.maxspan:
                self._end(place - 1, before.ended("maxspan", event))
                return
            self._end(place - 1, before.ended("continued", event))
            grown = _Partial(event.key, (*before.events, event.event), (*before.times, event.time))
        here.came += 1
        if place == len(self.positive) - 1:
            self.complete.append(grown)
            return
        slots = self._slots.setdefault(event.key, [None] * (len(self.positive) - 1))
        older = slots[place]
        if older is not None:
            self._end(place, older.ended("replaced", event))
        slots[place] = grown

    def _end(self, place: int, ending: Ending) -> None:
        self._places[place].note(ending)
        if ending.events in self._watch:
            self._watched.setdefault(ending.events, []).append(ending)

    def _unfollowed(self, place: int, key: Key) -> PartialOutcome:
        following = self._places[place + 1]
        if not following.keys:
            return "no event"
        return "only before" if key in following.keys else "other key"

    def watched(self) -> dict[tuple[int, ...], tuple[Ending, ...]]:
        return {events: tuple(endings) for events, endings in self._watched.items()}

    def steps(self) -> tuple[PartialStep, ...]:
        """The outcomes of the partial sequences at each stage but the last."""
        names = [f"stage {stage + 1}" for stage in self.positive]
        return tuple(
            PartialStep(
                label=names[place],
                next_label=names[place + 1],
                came=found.came,
                fates=tuple((fate, count) for fate, count in found.fates.most_common()),
                nearest=found.nearest,
                examples=tuple(ending for fate, ending in found.examples.items() if fate != "continued"),
                near_key=self._near_key(place) if found.fates["other key"] else None,
            )
            for place, found in enumerate(self._places[:-1])
        )

    def _near_key(self, place: int) -> NearKey | None:
        """The partial sequence that a later event nearly continues, among those whose key has no event there."""
        following = self._places[place + 1].arrivals
        times = [event.time for event in following]
        best: tuple[int, int, _Partial, StageEvent] | None = None
        waiting = [slots[place] for key, slots in self._slots.items() if key not in self._places[place + 1].keys]
        for partial in [partial for partial in waiting if partial is not None][:_MOST_COMPARED]:
            start = bisect_right(times, partial.times[-1])
            for event in following[start : start + _MOST_FOLLOWING]:
                differing = sum(one != other for one, other in zip(partial.key, event.key, strict=True))
                rank = differing, event.time - partial.times[-1]
                if best is None or rank < best[:2]:
                    best = (*rank, partial, event)
        if best is None:
            return None
        _, _, partial, event = best
        differs = tuple(self._differences(place, partial.key, event.key))
        return NearKey(partial.events[-1], event.event, differs)

    def _differences(self, place: int, left: Key, right: Key) -> Iterable[KeyDifference]:
        first = self._plan.stages[self.positive[place]].keys
        second = self._plan.stages[self.positive[place + 1]].keys
        for one, one_value, other, other_value in zip(first, left, second, right, strict=True):
            if one_value != other_value:
                shown = [
                    value if ref is None or value is None else key_reader(ref.exact).show(value, False)
                    for ref, value in ((one, one_value), (other, other_value))
                ]
                names = ["null" if ref is None else unparse(ref) for ref in (one, other)]
                yield KeyDifference(names[0], shown[0], names[1], shown[1])

    def refused(
        self, found: Sequence[FoundSequence], missing: Sequence[int], groups: Sequence[Sequence[StageEvent]]
    ) -> tuple[Ending, ...]:
        """The complete sequences that an event of a missing stage refused; `by` is one such event."""
        if not missing:
            return ()
        kept = Counter(
            (sequence.key, tuple(number for number in sequence.events if number is not None)) for sequence in found
        )
        absent: dict[tuple[int, Key], list[StageEvent]] = {}
        for group in groups:
            for event in group:
                if event.stage in missing:
                    absent.setdefault((event.stage, event.key), []).append(event)
        refused = []
        for partial in self.complete:
            if kept[partial.key, partial.events] > 0:
                kept[partial.key, partial.events] -= 1
                continue
            present = [event for stage in missing for event in absent.get((stage, partial.key), ())]
            inside = [event for event in present if self._is_near(partial, event)]
            ending = partial.ended("missing event", inside[0] if inside else None)
            refused.append(ending)
            if partial.events in self._watch:
                self._watched.setdefault(partial.events, []).append(ending)
        return tuple(refused)

    def _is_near(self, partial: _Partial, event: StageEvent) -> bool:
        """Whether an event of a missing stage is in the span that must have none."""
        assert self._plan.maxspan is not None
        start, end, maxspan = partial.times[0], partial.times[-1], self._plan.maxspan
        if event.stage < self.positive[0]:
            return event.time < start and end - event.time <= maxspan
        if event.stage > self.positive[-1]:
            return event.time > end and event.time - start <= maxspan
        following = next(place for place, stage in enumerate(self.positive) if stage > event.stage)
        return partial.times[following - 1] < event.time < partial.times[following]
