"""`triage`: the view of an alert for an analyst, from its stored documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

from runner.alerts.alert_texts import found_text, suppressed_text
from runner.alerts.event_fields import flat_values, text_at, texts_at, value_at, values_at
from runner.dates.dates import read_date
from runner.triage.event_details import details_of, read_fields
from runner.triage.network import NetworkConnection, connection_of
from runner.triage.next_searches import Clause, FollowUp, follow_up
from runner.triage.process_chain import ProcessStep, process_chains
from runner.triage.verdict import AlertVerdict, verdict_of
from runner.windows import from_nanoseconds

_HASHED: Final = ("process", "process.parent", "file", "dll", "library")
_REMOTE: Final = frozenset({"public", "private", "shared", "unknown"})

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
    dataset: str
    host: str
    user: str
    process: str
    pid: int | None
    details: tuple[tuple[str, str], ...]
    """(field, value) of what the rule highlights and reads, and of more that describes the event."""


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
    """The rule's investigation guide, in Markdown."""
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


def triage(head: AlertDocument, blocks: Sequence[AlertDocument]) -> TriageView:
    """The view of an event alert, or of a shell alert with its building blocks in the order of their index."""
    document = head.document
    is_shell = value_at(document, "kibana.alert.group.id") is not None
    is_shell = is_shell and value_at(document, "kibana.alert.group.index") is None
    documents = [block.document for block in blocks] or [document]
    rule = "kibana.alert.rule"
    events = _event_views(documents, read_fields(document, f"{rule}.parameters"))
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
        detected=_time(value_at(document, "@timestamp")),
        url=text_at(document, "kibana.alert.url"),
        events=events,
        processes=process_chains(documents),
        connections=_unique(connection_of(one) for one in documents),
        users=_unique(_user(one) for one in documents),
        hosts=_unique(_host(one) for one in documents),
        hashes=_unique(found for one in documents for found in _hashes(one)),
        threats=tuple(_threat(entry) for entry in values_at(document, f"{rule}.threat") if isinstance(entry, Mapping)),
        tags=texts_at(document, f"{rule}.tags"),
        guide=text_at(document, f"{rule}.note"),
        setup=text_at(document, f"{rule}.parameters.setup"),
        false_positives=texts_at(document, f"{rule}.false_positives"),
        references=texts_at(document, f"{rule}.references"),
        query=text_at(document, f"{rule}.parameters.query"),
        follow_ups=_follow_ups(documents, events, detected=_time(value_at(document, "@timestamp"))),
        suppressed=suppressed_text(document),
        counted=found_text(document),
        missing_blocks=is_shell and not blocks,
    )


def _event_views(documents: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> tuple[EventView, ...]:
    views: list[EventView] = []
    for position, document in enumerate(documents, start=1):
        time = _time(value_at(document, "kibana.alert.original_time"))
        before = views[-1].time if views else None
        source = _source_of(document)
        pid = value_at(document, "process.pid")
        views.append(
            EventView(
                position=position,
                id=str(source.get("id", "")),
                index=str(source.get("index", "")),
                time=time,
                gap=time - before if time is not None and before is not None else None,
                category=text_at(document, "event.category"),
                action=text_at(document, "event.action"),
                dataset=text_at(document, "event.dataset") or text_at(document, "data_stream.dataset"),
                host=text_at(document, "host.name") or text_at(document, "host.id"),
                user=text_at(document, "user.name"),
                process=text_at(document, "process.name"),
                pid=pid if isinstance(pid, int) else None,
                details=details_of(document, fields),
            )
        )
    return tuple(views)


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


def _follow_ups(
    documents: Sequence[Mapping[str, Any]], events: Sequence[EventView], *, detected: datetime | None
) -> tuple[FollowUp, ...]:
    """The searches to continue with, of those for which the events have values."""
    times = [event.time for event in events if event.time is not None] or ([detected] if detected else [])
    around = (min(times), max(times)) if times else None
    host_field = "host.id" if any(texts_at(one, "host.id") for one in documents) else "host.name"
    hosts = _all(documents, host_field)
    entities = _all(documents, "process.entity_id")
    parents = _all(documents, "process.parent.entity_id")
    user_field = "user.name" if any(texts_at(one, "user.name") for one in documents) else "user.id"
    users = _all(documents, user_field)
    connections = [found for found in map(connection_of, documents) if found is not None]
    remote = dict.fromkeys(c.destination_ip for c in connections if c.destination_scope in _REMOTE)
    remote.pop("", None)
    candidates = (
        ("Everything on the same host around that time", "any", (Clause(host_field, hosts),), around),
        (
            "All that these processes and their children did",
            "any",
            (Clause("process.entity_id", entities), Clause("process.parent.entity_id", entities)),
            None,
        ),
        ("Other children of the same parent process", "process", (Clause("process.parent.entity_id", parents),), None),
        ("The same destination, on all hosts", "network", (Clause("destination.ip", tuple(remote)),), None),
        ("The same user around that time, on all hosts", "any", (Clause(user_field, users),), around),
        *(
            (f"The same {title}, on all hosts", "any", (Clause(field, _all(documents, field)),), None)
            for title, field in (
                ("file hash", "file.hash.sha256"),
                ("executable", "process.hash.sha256"),
                ("DNS name", "dns.question.name"),
                ("file", "file.path"),
                ("registry path", "registry.path"),
            )
        ),
    )
    searches = [
        follow_up(title, category, clauses=clauses, around=around_)
        for title, category, clauses, around_ in candidates
        if all(clause.values for clause in clauses)
    ]
    return tuple(searches + _other_alerts(Clause(host_field, hosts)))


def _other_alerts(host: Clause) -> list[FollowUp]:
    if not host.values:
        return []
    of_host = follow_up("Other alerts of the same host", "any", clauses=(host,), around=None)
    condition = of_host.eql.removeprefix("any where ")
    eql = f'any where event.kind == "signal" and {condition}'
    return [FollowUp(of_host.title, eql, f"kibana.alert.uuid : * and {of_host.kql}")]


def _all(documents: Sequence[Mapping[str, Any]], path: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for document in documents for text in texts_at(document, path)))


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
