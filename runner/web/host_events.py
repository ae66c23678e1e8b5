"""What a host did at a time: its events, looked up where they are, in a bounded number and time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from runner.alerts.event_fields import text_at, texts_at, value_at
from runner.dates.dates import read_date
from runner.search.lookup.event_lookup import EventLookup
from runner.triage.next_searches import NEARBY, kql_string
from runner.triage.triage import TriageView
from runner.windows import from_nanoseconds, iso

_MOST: Final = 300
_SECONDS: Final = 15.0
_LEAST_SPAN: Final = timedelta(minutes=1)
_NO_PLACE: Final = (
    "events are not looked up: name where they are with --events (RUNNER_EVENTS), or a cluster with ELASTICSEARCH_HOSTS"
)
_TELLING: Final = (
    "process.command_line", "process.args", "file.path", "registry.path", "dns.question.name", "destination.ip",
    "destination.domain", "dll.path", "message",
)  # fmt: skip
"""The first of these that an event has says what it was about."""


@dataclass(frozen=True, slots=True)
class HostEvent:
    """One event of a host, in a line."""

    time: datetime | None
    category: str
    action: str
    process: str
    pid: str
    parent: str
    user: str
    about: str
    entity_id: str
    parent_id: str
    """The entity id of the parent process."""
    is_of_alert: bool = False


@dataclass(frozen=True, slots=True)
class HostEvents:
    """The events of a host in a span of time, oldest first, and why some may be missing."""

    events: tuple[HostEvent, ...]
    start: datetime | None = None
    end: datetime | None = None
    note: str = ""


async def around_alert(lookup: EventLookup | None, view: TriageView) -> HostEvents:
    """The events of the alert's hosts shortly before its first event and after its last."""
    times = [event.time for event in view.events if event.time is not None]
    named = [("host.id", host.id) if host.id else ("host.name", host.name) for host in view.hosts]
    if not times or not named:
        return HostEvents((), note="the alert has no host, or no time")
    own = {(event.time, event.action) for event in view.events if event.time is not None}
    return await _events(lookup, named, min(times) - NEARBY, max(times) + NEARBY, own=own)


async def processes_of(lookup: EventLookup | None, host: str, start: datetime, end: datetime) -> HostEvents:
    """The processes that started on a host in a span of time."""
    found = await _events(lookup, [("host.name", host), ("host.id", host)], start, end, also="event.category : process")
    return found


async def _events(
    lookup: EventLookup | None,
    hosts: Iterable[tuple[str, str]],
    start: datetime,
    end: datetime,
    *,
    also: str = "",
    own: Collection[tuple[datetime | None, str]] = (),
) -> HostEvents:
    if lookup is None:
        return HostEvents((), start, end, _NO_PLACE)
    end = max(end, start + _LEAST_SPAN)
    host = " or ".join(f"{field} : {kql_string(name)}" for field, name in hosts)
    kql = f'({host}) and @timestamp >= "{iso(start)}" and @timestamp <= "{iso(end)}"'
    found = await lookup.newest(f"{kql} and {also}" if also else kql, size=_MOST + 1, seconds=_SECONDS)
    notes = [f"not all events were looked at: {found.incomplete}"] if found.incomplete else []
    if len(found.documents) > _MOST:
        notes.append(f"only the newest {_MOST} events are shown")
    events = [host_event(document, own) for document in found.documents[:_MOST]]
    return HostEvents(tuple(reversed(events)), start, end, "; ".join(notes))


def host_event(document: Mapping[str, Any], own: Collection[tuple[datetime | None, str]]) -> HostEvent:
    """The line of an event; `own` are the times and actions of the alert's events."""
    time, action = _time(value_at(document, "@timestamp")), ", ".join(texts_at(document, "event.action"))
    return HostEvent(
        time=time,
        category=", ".join(texts_at(document, "event.category")),
        action=action,
        process=text_at(document, "process.name") or text_at(document, "process.executable"),
        pid=", ".join(texts_at(document, "process.pid")),
        parent=text_at(document, "process.parent.name"),
        user=text_at(document, "user.name"),
        about=about_text(document),
        entity_id=text_at(document, "process.entity_id"),
        parent_id=text_at(document, "process.parent.entity_id"),
        is_of_alert=(time, action) in own,
    )


def about_text(document: Mapping[str, Any]) -> str:
    """What an event was about, in a line: the command line, else a file, a name, an address; "" for none."""
    if not text_at(document, "process.command_line") and (args := texts_at(document, "process.args")):
        return " ".join(args)
    return next((", ".join(texts) for name in _TELLING if (texts := texts_at(document, name))), "")


def _time(value: Any) -> datetime | None:
    try:
        return from_nanoseconds(read_date(value, nanos=True)) if isinstance(value, (str, int, float)) else None
    except (ValueError, OverflowError):
        return None
