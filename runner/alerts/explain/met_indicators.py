"""`MetIndicators`: what the events of a rule of type threat_match and its indicators have in common, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.alerts.event_fields import text_at
from runner.engine.sequence.open_matches import KeyedEvent
from runner.search.indicators.table import IndicatorTable
from runner.search.protocol import MatchedIndicator

SHOWN = 20
"""Most events that are shown."""


@dataclass(frozen=True, slots=True)
class ComparedFields:
    """One entry of the mapping: how many different values the events and the indicators have, and how many of them are
    the same."""

    group: int
    """From 1; one group has to hold, all entries of it for one indicator."""
    field: str
    value: str
    """The indicator's field."""
    negate: bool
    events: int
    """Events that have a value."""
    values: int
    indicators: int
    same: int


@dataclass(frozen=True, slots=True)
class MetEvent:
    """An event, by its number, with the indicators that it matches."""

    event: int
    indicators: tuple[MatchedIndicator, ...]


@dataclass(frozen=True, slots=True)
class MetIndicators:
    """The indicators of a rule, how its events compare with them, and the first events that match."""

    indicators: int
    """Documents that are one of the rule's."""
    groups: int
    fields: tuple[ComparedFields, ...]
    matched: int
    """Events that match an indicator."""
    shown: tuple[MetEvent, ...]
    remarks: tuple[str, ...] = ()


def compare_fields(table: IndicatorTable, rows: Iterable[KeyedEvent]) -> tuple[ComparedFields, ...]:
    """The entries of the mapping over events; the key of a row has a value, or None, for each field that is compared,
    in the order of `table.event_fields()`."""
    places = {field.name: place for place, field in enumerate(table.event_fields())}
    values: list[set[Any]] = [set() for _ in places]
    events: list[set[int]] = [set() for _ in places]
    for row in rows:
        for place, value in enumerate(row.key):
            if value is not None:
                values[place].add(value)
                events[place].add(row.event)
    found: list[ComparedFields] = []
    for number, group in enumerate(table.groups, start=1):
        for pair in group.pairs:
            place = places[pair.event.name]
            same = sum(table.has_value(pair, value) for value in values[place])
            found.append(
                ComparedFields(
                    number, pair.entry.field, pair.entry.value, pair.entry.negate,
                    len(events[place]), len(values[place]), table.values_of(pair), same,
                )
            )  # fmt: skip
    return tuple(found)


def texts_of(met: MetEvent) -> Iterable[str]:
    """What of the event is an indicator's, and whose."""
    for one in met.indicators:
        source: Mapping[str, Any] = {} if one.hit is None else one.hit.source
        yield f"{one.field} {one.value}{_named(source, one.hit.id if one.hit is not None else '')}"


def _named(source: Mapping[str, Any], id_: str) -> str:
    feed = text_at(source, "threat.feed.name")
    return f" ({', '.join(filter(None, (feed, id_)))})" if feed or id_ else ""
