"""`CountedKeys`: the keys of a threshold rule, and how near each came to an alert."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runner.alerts.bursts import CountedEvent, bursts_in
from runner.rules.rule_tables import Threshold
from runner.search.buckets import keyed_events
from runner.search.threshold_keys import least_cardinality

_SHOWN = 10
"""Most keys that are shown of those with alerts, and as many of the others."""


@dataclass(frozen=True, slots=True)
class CountedKey:
    """The events of one key: all of them, the alerts that they make, and where they come nearest to one.

    `count` events with `values` different values of the cardinality field lie between `first` and `last`, in
    nanoseconds since 1970, not further apart than the rule looks back.
    """

    terms: tuple[Any, ...]
    events: int
    alerts: int
    count: int
    values: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class CountedKeys:
    """What a threshold rule counts in some events: the keys with alerts, then those that came nearest to one."""

    fields: tuple[str, ...]
    needed: int
    cardinality_field: str
    cardinality_needed: int
    reach: int
    """Nanoseconds that the events of an alert are apart at most."""
    keys: int
    """How many keys there are in all."""
    alerts: int
    shown: tuple[CountedKey, ...]
    near: tuple[CountedKey, ...]


def count_keys(events: Iterable[Any], threshold: Threshold, reach: int) -> CountedKeys:
    """The keys of some keyed events, as `FoundRows` gives them; `reach` as in `CountedKeys`."""
    found = [
        _key(terms, [_counted(number, *row) for number, row in rows.items()], threshold, reach=reach)
        for terms, rows in keyed_events(events, len(threshold.field))
    ]
    firing = sorted((one for one in found if one.alerts), key=lambda one: (-one.alerts, -one.count))
    others = [one for one in found if not one.alerts]
    others.sort(key=lambda one: (-_nearness(one.count, one.values, threshold), one.first))
    return CountedKeys(
        fields=threshold.field,
        needed=threshold.value,
        cardinality_field=threshold.cardinality[0].field if threshold.cardinality else "",
        cardinality_needed=least_cardinality(threshold),
        reach=reach,
        keys=len(found),
        alerts=sum(one.alerts for one in found),
        shown=tuple(firing[:_SHOWN]),
        near=tuple(others[:_SHOWN]),
    )


def _counted(number: int, time: int, values: set[Any]) -> CountedEvent:
    return CountedEvent(time, str(number).encode(), frozenset(values))


def _key(terms: tuple[Any, ...], events: list[CountedEvent], threshold: Threshold, *, reach: int) -> CountedKey:
    events.sort(key=lambda event: event.time)
    alerts = sum(1 for _ in bursts_in(events, threshold, reach))
    count, values, first, last = _nearest(events, threshold, reach)
    return CountedKey(terms, len(events), alerts, count, values, events[first].time, events[last].time)


def _nearest(events: Sequence[CountedEvent], threshold: Threshold, reach: int) -> tuple[int, int, int, int]:
    """Of the spans that are as long as the reach the one that comes nearest to the condition: how many events it has,
    how many values, and the places of its first and last event."""
    best, nearest = (0, 0, 0, 0), -1.0
    seen: Counter[Any] = Counter()
    first = 0
    for last, event in enumerate(events):
        seen.update(event.values)
        while event.time - events[first].time > reach:
            for value in events[first].values:
                seen[value] -= 1
                if not seen[value]:
                    del seen[value]
            first += 1
        near = _nearness(last - first + 1, len(seen), threshold)
        if (near, last - first + 1) > (nearest, best[0]):
            best, nearest = (last - first + 1, len(seen), first, last), near
    return best


def _nearness(count: int, values: int, threshold: Threshold) -> float:
    """The smaller of the parts that are there of the events and of the values that are needed; 1 is enough of both."""
    least = least_cardinality(threshold)
    return min(1.0, count / threshold.value, values / least if least else 1.0)
