"""Alerts on one event that two sources have seen, as Sysmon and the Windows Security log see the start of a process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from runner.alerts.event_fields import text_at, texts_at, value_at
from runner.alerts.event_time import event_time_ns

MOST_APART_NS: Final = 2_000_000_000
"""How far apart the two sources' times of an event may be."""
_OBJECTS: Final = (
    "process.command_line", "process.executable", "process.name", "file.path", "registry.path", "dll.path",
    "dns.question.name", "destination.ip", "destination.port",
)  # fmt: skip
"""What an event is about, of which nothing may differ that both sources have."""


class SeenAlert(Protocol):
    """A stored alert: its id and its document."""

    @property
    def id(self) -> str: ...

    @property
    def document(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Sighting:
    """An alert on the same event, from another source."""

    id: str
    source: str
    rule: str

    def as_json(self) -> dict[str, str]:
        return {"id": self.id, "source": self.source, "rule": self.rule}


@dataclass(frozen=True, slots=True)
class _Event:
    sighting: Sighting
    time: int
    pids: frozenset[str]
    entities: frozenset[str]
    categories: frozenset[str]
    objects: Mapping[str, str]


def also_seen_by(alerts: Sequence[SeenAlert]) -> dict[str, tuple[Sighting, ...]]:
    """Of each alert whose event others of these are on, from another source, those others.

    That is an event of the same host, category and process, not two seconds away, whose command line, executable, file
    and so on are the same where both have them.
    """
    by_host: dict[str, list[_Event]] = {}
    for alert in alerts:
        if (event := _event(alert)) is not None:
            by_host.setdefault(_host(alert.document), []).append(event)
    found: dict[str, tuple[Sighting, ...]] = {}
    for events in by_host.values():
        events.sort(key=lambda event: event.time)
        for first, second in _near(events):
            if _is_same(first, second):
                for one, other in ((first, second), (second, first)):
                    found[one.sighting.id] = (*found.get(one.sighting.id, ()), other.sighting)
    return found


def source_of(document: Mapping[str, Any]) -> str:
    """What has seen the event: its data set, module, channel or provider; "" if it does not say."""
    names = ("data_stream.dataset", "event.dataset", "winlog.channel", "event.provider", "event.module")
    original = ("kibana.alert.original_data_stream.dataset", "kibana.alert.original_event.dataset")
    return next(filter(None, (text_at(document, name) for name in (*original, *names))), "")


def _event(alert: SeenAlert) -> _Event | None:
    document = alert.document
    source, time = source_of(document), event_time_ns(document)
    pids = frozenset(texts_at(document, "process.pid"))
    entities = frozenset(texts_at(document, "process.entity_id"))
    is_sequence = (
        value_at(document, "kibana.alert.group.id") is not None
        and value_at(document, "kibana.alert.group.index") is None
    )
    if not source or time is None or not (pids or entities) or not _host(document) or is_sequence:
        return None
    objects = {name: " ".join(text_at(document, name).casefold().split()) for name in _OBJECTS}
    return _Event(
        Sighting(alert.id, source, text_at(document, "kibana.alert.rule.name")),
        time,
        pids,
        entities,
        frozenset(texts_at(document, "event.category")),
        {name: text for name, text in objects.items() if text},
    )


def _near(events: Sequence[_Event]) -> Iterator[tuple[_Event, _Event]]:
    """Pairs of events, sorted by time, that are not far apart."""
    for index, first in enumerate(events):
        for second in events[index + 1 :]:
            if second.time - first.time > MOST_APART_NS:
                break
            yield first, second


def _is_same(first: _Event, second: _Event) -> bool:
    both = first.objects.keys() & second.objects.keys()
    return (
        first.sighting.source != second.sighting.source
        and bool(first.pids & second.pids or first.entities & second.entities)
        and bool(first.categories & second.categories or not first.categories or not second.categories)
        and bool(both)
        and all(first.objects[name] == second.objects[name] for name in both)
    )


def _host(document: Mapping[str, Any]) -> str:
    """The host's short name, by which sources that know its domain and those that do not agree; else its id."""
    name = text_at(document, "host.name") or text_at(document, "host.hostname")
    return name.casefold().partition(".")[0] if name else text_at(document, "host.id")
