"""The reasons why events that meet the stages of a sequence or sample do not form one: keys, order, maxspan, until."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runner.engine.plan import Plan
from runner.eql.explain.event_verdict import EventVerdict, KeyValues
from runner.messages.quantities import length_of_time
from runner.rules.model_errors import shortened


@dataclass(frozen=True, slots=True)
class TestedEvent:
    """An event of a test by the name that messages have for it, and its verdict at every stage."""

    name: str
    verdict: EventVerdict

    def time(self) -> int:
        """Nanoseconds since 1970; 0 without a time, which no stage of a sequence accepts."""
        return self.verdict.time or 0


@dataclass(frozen=True, slots=True)
class _Link:
    """One event of a chain with the index of its stage."""

    event: TestedEvent
    stage: int

    @property
    def keys(self) -> tuple[KeyValues, ...]:
        return self.event.verdict.stages[self.stage].keys


def unjoined(plan: Plan, chain: Sequence[TestedEvent], events: Sequence[TestedEvent]) -> Iterator[str]:
    """The reasons why a chain, an event for each positive stage that meets it, is no match among all events.

    Those that lie in the chain itself come alone: only without any the other events are looked at.
    """
    positive = [place for place, stage in enumerate(plan.stages) if not stage.missing]
    links = [_Link(event, stage) for event, stage in zip(chain, positive, strict=True)]
    own = list(_own(plan, links))
    if own or plan.kind != "sequence":
        yield from own
        return
    yield from _others(plan, links, [event for event in events if event not in chain])


def _own(plan: Plan, links: Sequence[_Link]) -> Iterator[str]:
    for left, right in pairwise(links):
        for one, other in zip(left.keys, right.keys, strict=True):
            if not set(one.values) & set(other.values):
                yield (
                    f"join keys differ: event {right.event.name} of stage {right.stage + 1} has {_key(other)}, "
                    f"event {left.event.name} of stage {left.stage + 1} has {_key(one)}"
                )
        gap = right.event.time() - left.event.time()
        if plan.kind == "sequence" and gap < 0:
            yield f"event {right.event.name} comes {length_of_time(-gap)} before event {left.event.name}, not after it"
    first, last = links[0].event, links[-1].event
    span = last.time() - first.time()
    if plan.maxspan is not None and span > plan.maxspan:
        apart = f"{length_of_time(span)} apart, maxspan is {length_of_time(plan.maxspan)}"
        yield f"events {first.name} and {last.name} are {apart}"


def _others(plan: Plan, links: Sequence[_Link], events: Sequence[TestedEvent]) -> Iterator[str]:
    """What other events have done to the chain."""
    first, last = links[0].event, links[-1].event
    for event in events:
        for place, stage in enumerate(plan.all_stages()):
            verdict = event.verdict.stages[place]
            if not verdict.met or not _same_key(verdict.keys, links[0].keys):
                continue
            if place == len(plan.stages):
                if first.time() <= event.time() <= last.time():
                    yield f"event {event.name}, an until event, came between {first.name} and {last.name}"
            elif stage.missing:
                if _is_near(plan, links, place, event):
                    yield f"event {event.name} meets stage {place + 1}, of which no event may be there"
            else:
                yield from _rival(links, place, event)


def _rival(links: Sequence[_Link], place: int, event: TestedEvent) -> Iterator[str]:
    """That another event of the same key took the part of one of the chain."""
    number = next(number for number, link in enumerate(links) if link.stage == place)
    own, label = links[number].event, f"stage {place + 1}"
    if number + 1 < len(links) and own.time() < event.time() <= links[number + 1].event.time():
        yield f"event {event.name} meets {label}, too, after {own.name}: the newest event of a stage counts"
    elif number and links[number - 1].event.time() < event.time() < own.time():
        yield f"event {event.name} meets {label}, too, before {own.name}: the first one continues a sequence"


def _is_near(plan: Plan, links: Sequence[_Link], place: int, event: TestedEvent) -> bool:
    """Whether an event of a missing stage is in the span that must have none."""
    first, last, reach = links[0].event.time(), links[-1].event.time(), plan.maxspan or 0
    if place < links[0].stage:
        return event.time() < first and last - event.time() <= reach
    if place > links[-1].stage:
        return event.time() > last and event.time() - first <= reach
    following = next(number for number, link in enumerate(links) if link.stage > place)
    return links[following - 1].event.time() < event.time() < links[following].event.time()


def _same_key(one: Sequence[KeyValues], other: Sequence[KeyValues]) -> bool:
    return all(set(left.values) & set(right.values) for left, right in zip(one, other, strict=True))


def _key(key: KeyValues) -> str:
    values = ", ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in key.values)
    return f"{key.name} {shortened(values, 80) if key.values else 'without a value'}"
