"""`link`: the reasons why given events, in stage order, form a sequence or sample, or do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.engine.plan import Plan
from runner.engine.sequence.sequence_matcher import StageEvent
from runner.eql.explain.event_verdict import EventVerdict
from runner.eql.explain.partial_trace import Ending, Trace
from runner.eql.explain.query_reading import labels


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A join key of two neighbouring events: its name and values at each stage."""

    left: str
    left_values: tuple[object, ...]
    right: str
    right_values: tuple[object, ...]
    equal: bool
    """Whether they have a value in common."""


@dataclass(frozen=True, slots=True)
class Link:
    """Two neighbouring events of a chain. Times are in nanoseconds; None without a timestamp."""

    label: str
    next_label: str
    event: int
    next_event: int
    keys: tuple[KeyPair, ...]
    gap_ns: int | None
    later: bool
    """Whether the second event comes after the first in the order of sequences; True in samples."""
    span_ns: int | None
    """The time from the first event of the chain to the second of the two."""
    within: bool
    """Whether that is within maxspan; True without one."""
    until: int | None
    """An until event between the two."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Events in stage order. `whole`: there is one for every stage; `formed`: they are one of the sequences found."""

    events: tuple[int, ...]
    meets: tuple[bool, ...]
    labels: tuple[str, ...]
    links: tuple[Link, ...]
    whole: bool
    formed: bool
    returned: bool
    """Whether it is among the matches left after the limits."""
    endings: tuple[Ending, ...] = ()
    """The endings of the longest part that the search built, if the chain's next event did not continue it."""


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """One event of a chain: its number in the order of reading, and its verdict."""

    number: int
    verdict: EventVerdict


def prefixes(events: Sequence[int]) -> list[tuple[int, ...]]:
    """The partial sequences of these events, shortest first, for `trace` to watch."""
    return [tuple(events[:count]) for count in range(1, len(events) + 1)]


def link(
    plan: Plan,
    given: Sequence[ChainEvent],
    groups: Sequence[Sequence[StageEvent]],
    traced: Trace | None,
    *,
    returned: Sequence[Sequence[int | None]],
) -> Chain:
    """The chain of some events. `traced` is that of a sequence with the chain's prefixes watched, None for a sample.

    `returned` are the events of the matches that the search returns. No more events than positive stages may be given.
    """
    positive = [place for place, stage in enumerate(plan.stages) if not stage.missing][: len(given)]
    names = labels(plan)
    events = tuple(item.number for item in given)
    every = sum(not stage.missing for stage in plan.stages)
    places = {group[0].event: place for place, group in enumerate(groups) if group}
    links = tuple(_link(plan, given, positive, place, places=places, groups=groups) for place in range(len(given) - 1))
    shown = [tuple(number for number in match if number is not None) for match in returned]
    built = shown if traced is None else [tuple(n for n in found.events if n is not None) for found in traced.found]
    formed = len(given) == every and events in built
    return Chain(
        events=events,
        meets=tuple(item.verdict.stages[stage].met for item, stage in zip(given, positive, strict=True)),
        labels=tuple(names[stage] for stage in positive),
        links=links,
        whole=len(given) == every,
        formed=formed,
        returned=formed and events in shown,
        endings=() if traced is None or formed else _endings(events, traced),
    )


def _link(
    plan: Plan,
    given: Sequence[ChainEvent],
    positive: Sequence[int],
    place: int,
    *,
    places: dict[int, int],
    groups: Sequence[Sequence[StageEvent]],
) -> Link:
    left, right, first = given[place], given[place + 1], given[0]
    names = labels(plan)
    keys = tuple(
        KeyPair(one.name, one.values, other.name, other.values, bool(set(one.values) & set(other.values)))
        for one, other in zip(
            left.verdict.stages[positive[place]].keys, right.verdict.stages[positive[place + 1]].keys, strict=True
        )
    )
    span = _gap(first.verdict.time, right.verdict.time)
    is_sequence = plan.kind == "sequence"
    return Link(
        label=names[positive[place]],
        next_label=names[positive[place + 1]],
        event=left.number,
        next_event=right.number,
        keys=keys,
        gap_ns=_gap(left.verdict.time, right.verdict.time),
        later=not is_sequence or _is_later(left, right, places),
        span_ns=span,
        within=not is_sequence or plan.maxspan is None or span is None or span <= plan.maxspan,
        until=_until(plan, left.number, right.number, places=places, groups=groups),
    )


def _gap(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else right - left


def _is_later(left: ChainEvent, right: ChainEvent, places: dict[int, int]) -> bool:
    """The order of two events: that of the stage events if both are, else by time, then by the order of reading."""
    if left.number in places and right.number in places:
        return places[left.number] < places[right.number]
    if left.verdict.time is None or right.verdict.time is None:
        return False
    return (left.verdict.time, left.number) < (right.verdict.time, right.number)


def _until(
    plan: Plan, left: int, right: int, *, places: dict[int, int], groups: Sequence[Sequence[StageEvent]]
) -> int | None:
    """The first until event of a key of both events, from the left one on and before the right one."""
    if plan.until is None or left not in places or right not in places:
        return None
    number = len(plan.stages)
    keys = {event.key for event in groups[places[left]]} & {event.key for event in groups[places[right]]}
    for group in groups[places[left] : places[right]]:
        if any(event.stage == number and event.key in keys for event in group):
            return group[0].event
    return None


def _endings(events: tuple[int, ...], traced: Trace) -> tuple[Ending, ...]:
    """The endings of the longest watched part of the chain, except its continuation by the chain's next event."""
    for piece in reversed(prefixes(events)):
        endings = traced.watched.get(piece, ())
        following = events[len(piece)] if len(piece) < len(events) else None
        against = [ending for ending in endings if not (ending.fate == "continued" and ending.by == following)]
        # An event with several keys starts a part for each; those that met another event are more informative.
        against = [ending for ending in against if ending.by is not None] or against[:1]
        if against:
            return tuple(against)
    return ()
