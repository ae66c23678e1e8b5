"""The fields that an analyst should see of an event: those that its rule highlights, those it reads, and more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from runner import eql, esql, kql, lucene
from runner.alerts.event_fields import flat_values, text_at, texts_at
from runner.events.documents import flatten
from runner.messages.query_errors import QueryError

_GENERAL: Final = (
    "process.command_line", "process.executable", "file.path", "file.Ext.original.path", "file.size", "registry.path",
    "registry.data.strings", "dns.question.name", "dns.question.type", "dns.resolved_ip", "dll.path", "library.path",
    "destination.domain", "url.full", "http.request.method",
)  # fmt: skip
"""Shown of every event that has them."""
_LOGON: Final = (
    "event.outcome", "event.code", "event.reason", "source.domain", "source.address", "client.ip", "winlog.logon.type",
    "winlog.logon.id", "winlog.event_data.AuthenticationPackageName", "winlog.event_data.LogonProcessName",
    "winlog.event_data.WorkstationName", "winlog.event_data.SubjectUserName", "winlog.event_data.TargetUserName",
    "winlog.event_data.Status", "winlog.event_data.SubStatus", "winlog.event_data.FailureReason",
    "winlog.logon.failure.reason", "winlog.logon.failure.status", "winlog.logon.failure.sub_status",
    "system.auth.ssh.event", "system.auth.ssh.method", "system.auth.sudo.command", "user.effective.name",
    "user.target.name", "user.changes.name", "group.name", "user_agent.original",
)  # fmt: skip
"""Shown of a logon: whether it succeeded, from where, and how."""
_LOGON_CATEGORIES: Final = frozenset({"authentication", "session", "iam"})
_IN_THE_HEAD: Final = frozenset({
    "@timestamp", "event.category", "event.action", "event.kind", "host.name", "host.os.type", "user.name",
    "process.name", "process.pid",
})  # fmt: skip
"""Shown of every event in its first line, or with the host."""
_COMMON: Final = frozenset({
    "@timestamp", "agent", "client", "cloud", "container", "data_stream", "destination", "dll", "dns", "ecs", "elastic",
    "event", "file", "group", "host", "http", "kibana", "labels", "library", "log", "message", "network", "observer",
    "orchestrator", "organization", "process", "registry", "related", "rule", "server", "service", "source", "tags",
    "threat", "url", "user", "user_agent", "winlog",
})  # fmt: skip
"""Objects of many fields, of which those beside one that a rule reads say little; others are of a product."""
_MOST_BESIDE: Final = 24


def read_fields(rule: Mapping[str, Any], prefix: str) -> tuple[str, ...]:
    """The fields that a rule highlights, then those that its query reads, in order; `prefix` is where its parameters
    are."""
    highlighted = texts_at(rule, f"{prefix}.investigation_fields.field_names")
    names: Sequence[str] = ()
    if query := text_at(rule, f"{prefix}.query"):
        try:
            names = _names_of(query, text_at(rule, f"{prefix}.language"))
        except QueryError:
            names = ()  # of another version of the language: the alert is shown without
    return tuple(dict.fromkeys((*highlighted, *names)))


def _names_of(query: str, language: str) -> Sequence[str]:
    """The fields that a query names. Raises QueryError."""
    if language in ("eql", ""):
        return [name.name for name in eql.parse(query).names()]
    if language in ("kuery", "lucene"):
        parsed = kql.parse(query) if language == "kuery" else lucene.parse(query)
        return [name for name in parsed.names() if "*" not in name]
    return esql.parse(query).column_names if language == "esql" else ()


def details_of(document: Mapping[str, Any], fields: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(field, value) of what describes an event: the rule's `fields`, those of its category, and, of a product's own
    objects, what stands beside a field of the rule. `message` is shown if there is nothing else."""
    is_logon = _LOGON_CATEGORIES.intersection(texts_at(document, "event.category"))
    wanted = [name for name in fields if name not in _IN_THE_HEAD]
    found = dict(_values(document, [*wanted, *_GENERAL, *(_LOGON if is_logon else ())]))
    if not found.keys() - {"event.code", "event.outcome", "event.type"}:
        found |= dict(_values(document, ["message"]))
    shown = set(found.values())
    beside = [(name, text) for name, text in _beside(document, wanted) if name not in found and text not in shown]
    return (*found.items(), *beside[:_MOST_BESIDE])


def _values(document: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    flat = flatten(document, dict.fromkeys(names))
    for name in names:
        # The value of a multi-field, such as `process.name.text`, is that of its field.
        values = flat.get(name) or [*texts_at(document, name), *texts_at(document, name.rpartition(".")[0])]
        text = ", ".join(str(value) for value in values if value is not None and not isinstance(value, Mapping))
        if text:
            yield name, text


def _beside(document: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What stands in the same object as one of the fields, in their order."""
    parents = dict.fromkeys(parent for name in names if (parent := name.rpartition(".")[0]) and parent not in _COMMON)
    for parent in parents:
        if parent.partition(".")[0] in _COMMON - {"winlog"}:
            continue
        for name, value in flat_values(document):
            if name.startswith(f"{parent}.") and (text := text_at({name: value}, name)):
                yield name, text
