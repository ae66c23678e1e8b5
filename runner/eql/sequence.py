"""Sequences: a pure state machine over the events of the stages, as in Elasticsearch's SequenceMatcher.

It sees the stages' events in ascending order, once. For every key there is one slot per stage, which holds the newest
partial sequence whose last event is of that stage: older ones could never be continued, since an event always takes the
newest.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class StageEvent:
    """An event that meets one stage, under one combination of join key values. `time` in nanoseconds since 1970."""

    time: int
    event: int
    """The event's number in the order of reading; equal times with equal tiebreakers are in this order."""
    stage: int
    key: Key


@dataclass(frozen=True, slots=True)
class FoundSequence:
    """A complete sequence: an event number per stage, None where a missing event was asked for."""

    key: Key
    events: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class _Partial:
    first: int
    last: int
    events: tuple[int, ...]
    times: tuple[int, ...]


@dataclass(slots=True)
class SequenceMatcher:
    """Matches one sequence query. `positive` are the numbers of the stages that are not missing events, ascending.

    `maxspan` is in nanoseconds, inclusive; None is unlimited. `until` is the number of the until stage, or None.
    """

    positive: Sequence[int]
    missing: Sequence[int] = ()
    maxspan: int | None = None
    until: int | None = None
    _slots: dict[Key, list[_Partial | None]] = field(default_factory=dict)

    def match(self, events: Iterable[Sequence[StageEvent]]) -> list[FoundSequence]:
        """All sequences, ascending by their last event.

        `events` are groups of the stage events of one document, the groups in ascending order.
        """
        complete: list[tuple[Key, _Partial]] = []
        absent: dict[tuple[int, Key], list[int]] = {}
        places = {stage: place for place, stage in enumerate(self.positive)}
        missing = set(self.missing)
        for group in events:
            ended: list[Key] = []
            for event in sorted(
                group, key=lambda item: -item.stage
            ):  # last stage first: an event is used once a sequence
                if event.stage == self.until:
                    ended.append(event.key)
                elif event.stage in missing:
                    absent.setdefault((event.stage, event.key), []).append(event.time)
                else:
                    done = self._advance(event, places[event.stage])
                    if done is not None:
                        complete.append((event.key, done))
            for key in ended:
                self._slots.pop(key, None)
        kept = [item for item in complete if not missing or self._nothing_present(item[0], item[1], absent)]
        return [FoundSequence(key, self._with_gaps(partial)) for key, partial in kept]

    def _advance(self, event: StageEvent, place: int) -> _Partial | None:
        """Move the machine of the event's key; the sequence that is complete with it, or None."""
        last_place = len(self.positive) - 1
        if place == 0:
            grown = _Partial(event.time, event.event, (event.event,), (event.time,))
        else:
            slots = self._slots.get(event.key)
            before = slots[place - 1] if slots is not None else None
            if slots is None or before is None or before.last == event.event:
                return None
            slots[place - 1] = None
            if self.maxspan is not None and event.time - before.first > self.maxspan:
                return None
            grown = _Partial(before.first, event.event, (*before.events, event.event), (*before.times, event.time))
        if place == last_place:
            return grown
        self._slots.setdefault(event.key, [None] * last_place)[place] = grown
        return None

    def _with_gaps(self, partial: _Partial) -> tuple[int | None, ...]:
        places: list[int | None] = [None] * (len(self.positive) + len(self.missing))
        for stage, event in zip(self.positive, partial.events, strict=True):
            places[stage] = event
        return tuple(places)

    def _nothing_present(self, key: Key, partial: _Partial, absent: dict[tuple[int, Key], list[int]]) -> bool:
        """Whether the missing events are missing indeed. Only timestamps count here, tiebreakers do not."""
        assert self.maxspan is not None
        start, end = partial.times[0], partial.times[-1]
        before: int | None = None
        after: int | None = None
        leading = trailing = False
        for stage in self.missing:
            times = absent.get((stage, key), [])
            if stage < self.positive[0]:
                leading = True
                place = bisect_left(times, start)
                if place and (before is None or times[place - 1] > before):
                    before = times[place - 1]
            elif stage > self.positive[-1]:
                trailing = True
                place = bisect_right(times, end)
                if place < len(times) and (after is None or times[place] < after):
                    after = times[place]
            else:
                following = next(place for place, positive in enumerate(self.positive) if positive > stage)
                place = bisect_right(times, partial.times[following - 1])
                if place < len(times) and times[place] < partial.times[following]:
                    return False
        if leading and trailing:
            return before is None or after is None or after - before > self.maxspan
        if leading:
            return before is None or end - before > self.maxspan
        return not trailing or after is None or after - start > self.maxspan
