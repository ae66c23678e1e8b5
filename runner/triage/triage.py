"""`triage`: the view of an alert for an analyst, from its stored documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

from runner.alerts.alert_texts import found_text, suppressed_text
from runner.alerts.event_fields import flat_values, text_at, texts_at, value_at, values_at
from runner.dates.dates import read_date
from runner.triage.details.alert_facts import alert_facts
from runner.triage.details.section import Section
from runner.triage.event_details import details_of, read_fields
from runner.triage.follow_ups import follow_ups
from runner.triage.guide_buttons import GuideButton, resolved_guide
from runner.triage.lookups import Supplement
from runner.triage.network import NetworkConnection, connection_of
from runner.triage.next_searches import FollowUp
from runner.triage.process_chain import ProcessStep, file_name, pid_at, process_chains
from runner.triage.verdict import AlertVerdict, verdict_of
from runner.windows import from_nanoseconds

_HOST_NAMES: Final = ("host.name", "host.hostname", "host.id", "winlog.computer_name", "observer.hostname")
_HASHED: Final = ("process", "process.parent", "file", "dll", "library")

T = TypeVar("T")


class AlertDocument(Protocol):
    """A stored alert: its id and its document."""

    @property
    def id(self) -> str: ...

    @property
    def document(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class EventView:
    """One event of the match."""

    position: int
    """From 1, in the order of the match."""
    id: str
    index: str
    time: datetime | None
    gap: timedelta | None
    """Since the event before; None for the first event, or if a time is missing."""
    category: str
    action: str
    """`event.action`; of an event without one, its type."""
    dataset: str
    host: str
    user: str
    process: str
    pid: int | None
    details: tuple[tuple[str, str], ...]
    """(field, value) of what the rule highlights and reads, and of more that describes the event."""
    sections: tuple[Section, ...] = ()
    """The same by topic, with the meaning of coded values: first what the rule reads, then logon, registry, file ..."""
    left_out: int = 0
    """Fields of the event's source that are only in its document."""
    user_domain: str = ""
    code: str = ""
    provider: str = ""


@dataclass(frozen=True, slots=True)
class HostView:
    """A host of the match."""

    name: str
    id: str
    os: str
    addresses: tuple[str, ...]
    agent_id: str


@dataclass(frozen=True, slots=True)
class UserView:
    """A user of the match; `domain` is empty on Linux."""

    name: str
    id: str
    domain: str


@dataclass(frozen=True, slots=True)
class HashView:
    """A hash of a file of the match."""

    of: str
    algorithm: str
    value: str
    file: str


@dataclass(frozen=True, slots=True)
class AttackTactic:
    """A tactic of MITRE ATT&CK with its techniques and sub-techniques as (id, name, page)."""

    framework: str
    tactic: tuple[str, str, str]
    techniques: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class TriageView:
    """An alert prepared for an analyst; unknown parts are empty."""

    id: str
    rule_id: str
    rule_name: str
    description: str
    severity: str
    risk_score: float | None
    reason: str
    status: str
    verdict: AlertVerdict
    detected: datetime | None
    url: str
    events: tuple[EventView, ...]
    processes: tuple[tuple[ProcessStep, ...], ...]
    """Chains from the oldest ancestor down."""
    connections: tuple[NetworkConnection, ...]
    users: tuple[UserView, ...]
    hosts: tuple[HostView, ...]
    hashes: tuple[HashView, ...]
    threats: tuple[AttackTactic, ...]
    tags: tuple[str, ...]
    guide: str
    """The rule's investigation guide, in Markdown; of its buttons only the number and the label are left."""
    setup: str
    false_positives: tuple[str, ...]
    references: tuple[str, ...]
    query: str
    follow_ups: tuple[FollowUp, ...]
    suppressed: str
    """The further matches that the alert stands for, as text; "" for none."""
    counted: str
    """What a threshold rule has counted, or what is new to a rule of type new_terms, as text; "" for any other."""
    missing_blocks: bool
    """True for a shell without stored building blocks; the view then has only the fields that its events share."""
    rule_type: str = ""
    query_language: str = ""
    facts: tuple[Section, ...] = ()
    """What the alert says beyond its events: counted, new terms, anomaly, indicators."""
    guide_buttons: tuple[GuideButton, ...] = ()
    """The searches and osquery queries of the guide, with the alert's values."""
    examples: tuple[EventView, ...] = ()
    """Some of the events that a threshold rule has counted, if they were looked up; in the order of time."""
    notes: tuple[str, ...] = ()
    """What is not known, and why."""


def triage(
    head: AlertDocument,
    blocks: Sequence[AlertDocument],
    supplement: Supplement = Supplement(),  # noqa: B008  # frozen
    *,
    search_options: Sequence[str] = (),
) -> TriageView:
    """The view of an event alert, or of a shell alert with its building blocks in the order of their index.

    `supplement` is what was looked up beside the alert; `search_options` stand in each command that searches events.
    """
    document = head.document
    is_shell = value_at(document, "kibana.alert.group.id") is not None
    is_shell = is_shell and value_at(document, "kibana.alert.group.index") is None
    documents = [block.document for block in blocks] or [document]
    rule = "kibana.alert.rule"
    fields = read_fields(document, f"{rule}.parameters")
    events = _event_views(documents, fields)
    detected = _time(value_at(document, "@timestamp"))
    times = [event.time for event in events if event.time is not None]
    span = (min(times), max(times)) if times else (detected, detected) if detected else None
    until = (span[0], max(span[1], detected or span[1])) if span else None
    guide, buttons = resolved_guide(text_at(document, f"{rule}.note"), documents, until, search_options)
    risk_score = value_at(document, "kibana.alert.risk_score")
    return TriageView(
        id=head.id,
        rule_id=text_at(document, f"{rule}.rule_id"),
        rule_name=text_at(document, f"{rule}.name"),
        description=text_at(document, f"{rule}.description").strip(),
        severity=text_at(document, "kibana.alert.severity"),
        risk_score=risk_score if isinstance(risk_score, (int, float)) else None,
        reason=text_at(document, "kibana.alert.reason"),
        status=text_at(document, "kibana.alert.workflow_status"),
        verdict=verdict_of(document),
        detected=detected,
        url=text_at(document, "kibana.alert.url"),
        events=events,
        processes=process_chains(documents, supplement.ancestors),
        connections=_unique(connection_of(one) for one in documents),
        users=_unique(_user(one) for one in documents),
        hosts=_unique(_host(one) for one in documents),
        hashes=_unique(found for one in documents for found in _hashes(one)),
        threats=tuple(_threat(entry) for entry in values_at(document, f"{rule}.threat") if isinstance(entry, Mapping)),
        tags=texts_at(document, f"{rule}.tags"),
        guide=guide,
        setup=text_at(document, f"{rule}.parameters.setup"),
        false_positives=texts_at(document, f"{rule}.false_positives"),
        references=texts_at(document, f"{rule}.references"),
        query=text_at(document, f"{rule}.parameters.query"),
        follow_ups=follow_ups(document, documents, span, search_options),
        suppressed=suppressed_text(document),
        counted=found_text(document),
        missing_blocks=is_shell and not blocks,
        rule_type=text_at(document, f"{rule}.parameters.type") or text_at(document, f"{rule}.type"),
        query_language=text_at(document, f"{rule}.parameters.language"),
        facts=alert_facts(document),
        guide_buttons=buttons,
        examples=_event_views(supplement.examples, fields),
        notes=supplement.notes,
    )


def _event_views(documents: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> tuple[EventView, ...]:
    views: list[EventView] = []
    for position, document in enumerate(documents, start=1):
        time = _time(value_at(document, "kibana.alert.original_time")) or _time(_own_time(document))
        before = views[-1].time if views else None
        source = _source_of(document)
        details = details_of(document, fields)
        views.append(
            EventView(
                position=position,
                id=str(source.get("id", "")),
                index=str(source.get("index", "")),
                time=time,
                gap=time - before if time is not None and before is not None else None,
                category=text_at(document, "event.category"),
                action=text_at(document, "event.action") or text_at(document, "event.type"),
                dataset=text_at(document, "event.dataset") or text_at(document, "data_stream.dataset"),
                host=next(filter(None, (text_at(document, name) for name in _HOST_NAMES)), ""),
                user=text_at(document, "user.name"),
                process=text_at(document, "process.name") or file_name(text_at(document, "process.executable")),
                pid=pid_at(document, "process.pid"),
                details=details.pairs,
                sections=details.sections,
                left_out=details.left_out,
                user_domain=text_at(document, "user.domain"),
                code=text_at(document, "event.code"),
                provider=text_at(document, "event.provider"),
            )
        )
    return tuple(views)


def _own_time(document: Mapping[str, Any]) -> Any:
    """The time of an event that is no alert; None of an alert, whose `@timestamp` is that of its detection."""
    return None if value_at(document, "kibana.alert.uuid") is not None else value_at(document, "@timestamp")


def _source_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The last ancestor of an event alert or building block: the event itself."""
    entries = [entry for entry in values_at(document, "kibana.alert.ancestors") if isinstance(entry, Mapping)]
    return entries[-1] if entries else {}


def _host(document: Mapping[str, Any]) -> HostView | None:
    name, id_ = text_at(document, "host.name") or text_at(document, "host.hostname"), text_at(document, "host.id")
    if not (name or id_):
        return None
    os_parts = (text_at(document, "host.os.name"), text_at(document, "host.os.version"))
    os_name = text_at(document, "host.os.full") or " ".join(part for part in os_parts if part)
    os_name = os_name or text_at(document, "host.os.type")
    return HostView(name, id_, os_name, texts_at(document, "host.ip"), text_at(document, "agent.id"))


def _user(document: Mapping[str, Any]) -> UserView | None:
    user = UserView(*(text_at(document, f"user.{part}") for part in ("name", "id", "domain")))
    return user if user.name or user.id else None


def _hashes(document: Mapping[str, Any]) -> Iterable[HashView]:
    for of in _HASHED:
        hashes = value_at(document, f"{of}.hash")
        if isinstance(hashes, Mapping):
            names = (text_at(document, f"{of}.{part}") for part in ("executable", "path", "name"))
            file = next(filter(None, names), "")
            yield from (HashView(of, name, str(value), file) for name, value in flat_values(hashes) if value)


def _threat(entry: Mapping[str, Any]) -> AttackTactic:
    techniques: list[tuple[str, str, str]] = []
    for technique in values_at(entry, "technique"):
        techniques.append(_reference(technique))
        techniques += [_reference(sub) for sub in values_at(technique, "subtechnique")]
    return AttackTactic(text_at(entry, "framework"), _reference(value_at(entry, "tactic") or {}), tuple(techniques))


def _reference(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return text_at(entry, "id"), text_at(entry, "name"), text_at(entry, "reference")


def _time(value: Any) -> datetime | None:
    """The time in a document's value, to the microsecond; None if it is no readable date."""
    if not isinstance(value, (str, int, float)):
        return None
    try:
        return from_nanoseconds(read_date(value, nanos=True))
    except (ValueError, OverflowError):
        return None


def _unique(items: Iterable[T | None]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(item for item in items if item is not None))
