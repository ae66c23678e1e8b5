"""The fields that an analyst should see of an event: those that its rule highlights, those it reads, and more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runner import eql, esql, kql, lucene
from runner.alerts.event_fields import text_at, texts_at, value_at, values_at
from runner.events.documents import flatten
from runner.messages.query_errors import QueryError
from runner.triage.details.event_topics import EVENT, TOPICS, Topic
from runner.triage.details.meanings import meaning_of
from runner.triage.details.section import Detail, Section, sections
from runner.triage.details.signatures import signatures_of

OF_THE_RULE: Final = "Read by the rule"
"""The title of the fields that the rule highlights or reads."""
_IN_THE_HEAD: Final = frozenset({
    "@timestamp", "event.category", "event.action", "event.kind", "host.name", "host.os.type", "user.name",
    "process.name", "process.pid",
})  # fmt: skip
"""Shown of every event in its first line, with the host or in the process chain."""
_COMMON: Final = frozenset({
    "@timestamp", "@version", "@metadata", "Endpoint", "Memory_protection", "Persistence", "Ransomware", "Responses",
    "Target", "agent", "as", "beat",
    "client", "cloud", "code_signature", "container", "data_stream", "destination", "device", "dll", "dns", "driver",
    "ecs", "elastic", "email", "error", "event", "faas", "file", "fileset", "geo", "group", "hash", "host", "http",
    "input", "kibana", "labels", "library", "log", "message", "network", "observer", "offset", "orchestrator",
    "organization", "os", "package", "pe", "process", "registry", "related", "rule", "rule_runner", "server",
    "service", "source", "stream", "tags", "threat", "tls", "trace", "transaction", "url", "user", "user_agent",
    "volume", "vulnerability", "winlog", "x509", "signal",
})  # fmt: skip
"""Objects of many fields, of which those that no topic names say little; others are of a product."""
_OF_WINDOWS: Final = ("winlog.event_data.", "winlog.user_data.")
_REPEATED: Final = frozenset({
    "CommandLine", "CurrentDirectory", "FileVersion", "Hashes", "Image", "LogonGuid", "NewProcessId", "NewProcessName",
    "ParentCommandLine", "ParentImage", "ParentProcessGuid", "ParentProcessId", "ParentProcessName", "ParentUser",
    "ProcessGuid", "ProcessId", "ProcessName", "Product", "RuleName", "SourceImage", "SourceProcessGUID",
    "SourceProcessId", "SourceUser", "SubjectLogonId", "SubjectUserSid", "TerminalSessionId", "UtcTime", "User",
    "xml_name",
})  # fmt: skip
"""Values of the event log that the process and the user of the event have under other names."""
_SAYS_LITTLE: Final = frozenset({"process.executable", *EVENT.fields})
_RAW: Final = frozenset(f"auditd.data.{name}" for name in ("a0", "a1", "a2", "a3", "arch", "proctitle")) | {
    "auditd.message_type"
}
"""Arguments of a system call as addresses and in hexadecimal."""
_ANOMALY: Final = frozenset({
    "actual", "bucket_span", "by_field_name", "by_field_value", "detector_index", "field_name", "function",
    "function_description", "influencers", "initial_record_score", "is_interim", "job_id", "multi_bucket_impact",
    "over_field_name", "over_field_value", "partition_field_name", "partition_field_value", "probability",
    "record_score", "result_type", "timestamp", "typical",
})  # fmt: skip
"""Fields of an anomaly record, which the facts of its alert have."""
_OF_THE_HEAD: Final = ("user.name", "user.domain", "user.id", "host.name", "host.id")
_MAY_REPEAT: Final = ("winlog.", "client.", "dns.answers.name")
"""Beginnings of fields that are left out where they repeat what is shown; those of a source itself are, too."""
_ENVELOPE: Final = ("Event.System.", "Event.#attributes", "Event.Events.")
"""What surrounds an event of the Windows event log in its own form: shown after what the event says."""
_INSTEAD_OF: Final = {"process.args": "process.command_line"}
"""Fields that are shown where another has no value."""
_EMPTY: Final = frozenset({"-", "--", "null", "NULL"})
"""What event logs write where there is no value."""
_UNTOLD: Final = {"event.outcome": "unknown"}
"""Values that say nothing, by field."""
_NOTHING: Final = frozenset({"0x0", "S-1-0-0"})
"""What Windows writes where a handle or a user is of no one."""
_MOST_BESIDE: Final = 24


@dataclass(frozen=True, slots=True)
class EventDetails:
    """What describes an event, by topic."""

    sections: tuple[Section, ...]
    left_out: int
    """Fields of the event's source that are in its document and not in a section, beyond what a page can show."""

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(field, value) of all sections, each field once."""
        return tuple({one.label: one.value for part in self.sections for one in part.details}.items())


def read_fields(rule: Mapping[str, Any], prefix: str) -> tuple[str, ...]:
    """The fields that a rule highlights, then those that its query reads, counts or takes terms of, in order; `prefix`
    is where its parameters are."""
    names = [*texts_at(rule, f"{prefix}.investigation_fields.field_names")]
    if query := text_at(rule, f"{prefix}.query"):
        try:
            names += _names_of(query, text_at(rule, f"{prefix}.language"))
        except QueryError:
            names += ()  # of another version of the language: the alert is shown without
    names += texts_at(rule, f"{prefix}.new_terms_fields")
    names += texts_at(rule, f"{prefix}.threshold.field")
    for group in _objects(rule, f"{prefix}.threat_mapping"):
        names += [text_at(entry, "field") for entry in _objects(group, "entries")]
    return tuple(name for name in dict.fromkeys(names) if name)


def _objects(document: Mapping[str, Any], path: str) -> list[Mapping[str, Any]]:
    return [entry for entry in values_at(document, path) if isinstance(entry, Mapping)]


def _names_of(query: str, language: str) -> Sequence[str]:
    """The fields that a query names. Raises QueryError."""
    if language in ("eql", ""):
        return [name.name for name in eql.parse(query).names()]
    if language in ("kuery", "lucene"):
        parsed = kql.parse(query) if language == "kuery" else lucene.parse(query)
        return [name for name in parsed.names() if "*" not in name]
    return esql.parse(query).column_names if language == "esql" else ()


def details_of(document: Mapping[str, Any], fields: Sequence[str]) -> EventDetails:
    """What describes an event: the rule's `fields`, those of each topic, signatures, and what its source alone has.

    `message` is shown if there is nothing else of a topic, or if the rule reads it.
    """
    wanted = [name for name in fields if name not in _IN_THE_HEAD]
    categories = frozenset(texts_at(document, "event.category"))
    topics = [topic for topic in TOPICS if _applies(topic, document, categories)]
    flat = flatten(document, dict.fromkeys([*wanted, *(name for topic in topics for name in topic.fields)]))
    of_rule = _details(document, flat, wanted, known=())
    known = {one.label for one in of_rule}
    seen: set[str] = set()
    _new(of_rule, seen)
    parts: list[tuple[str, list[Detail]]] = [(OF_THE_RULE, of_rule)]
    for topic in topics:
        found = _new(_details(document, flat, topic.fields, known=known), seen)
        known |= {one.label for one in found}
        parts.append((topic.title, found))
    parts.append(("Signatures", [Detail(name, text) for name, text in signatures_of(document)]))
    seen |= {text.casefold() for name in _OF_THE_HEAD for text in texts_at(document, name)}
    beside = [one for one in _new(_beside(document, wanted, known), seen) if one.value not in _NOTHING]
    parts.append(("More of its source", beside[:_MOST_BESIDE]))
    if not {one.label for _, part in parts for one in part} - _SAYS_LITTLE - {one.label for one in beside}:
        parts.append(("Message", _details(document, {}, ["message"], known=known)))
    return EventDetails(sections(*parts), max(0, len(beside) - _MOST_BESIDE))


def _details(
    document: Mapping[str, Any], flat: Mapping[str, Sequence[Any]], names: Iterable[str], *, known: Collection[str]
) -> list[Detail]:
    """The fields of these names that have values, without those that are known."""
    found: list[Detail] = []
    for name in names:
        instead = _INSTEAD_OF.get(name)
        if name in known or instead in known or any(one.label == instead for one in found):
            continue
        # The value of a multi-field, such as `process.name.text`, is that of its field.
        values = flat.get(name) or [*texts_at(document, name), *texts_at(document, name.rpartition(".")[0])]
        text = _joined(values)
        if text and text != _UNTOLD.get(name):
            if name.endswith(".name") and any(_names(one, name, text) for one in found):
                continue
            found.append(Detail(name, text, meaning_of(name, text)))
    return found


def _applies(topic: Topic, document: Mapping[str, Any], categories: frozenset[str]) -> bool:
    if topic.needs and not topic.needs & categories:
        return False
    if topic.only_without and value_at(document, topic.only_without) is not None:
        return False
    return not topic.only_with or any(value_at(document, name) is not None for name in topic.only_with)


def _names(path: Detail, name: str, text: str) -> bool:
    """Whether a path that is shown ends with the name of the same object."""
    place = name.removesuffix("name")
    return path.label in (f"{place}path", f"{place}executable") and path.value.endswith(text)


def _new(details: Iterable[Detail], seen: set[str]) -> list[Detail]:
    """The details without those of the source itself that repeat a value of ECS, which are added to `seen`."""
    found: list[Detail] = []
    for one in details:
        if _is_repeated(one, seen):
            continue
        found.append(one)
        if not _is_own(one.label) or one.label.startswith("winlog.logon."):
            seen.update(filter(None, (_said(one.value), _said(one.meaning))))
    return found


def _said(text: str) -> str:
    """The text as it is compared: in lower case, an IPv4 address without the prefix of IPv6."""
    return text.casefold().rstrip(".").removeprefix("::ffff:")


def _joined(values: Iterable[Any]) -> str:
    """The values as one text, without objects and without what stands for no value."""
    texts = [
        str(value).lower() if isinstance(value, bool) else str(value)
        for value in values
        if value is not None and not isinstance(value, Mapping)
    ]
    told = dict.fromkeys(text.strip() for text in texts)
    return ", ".join(text for text in told if text and text not in _EMPTY)


def _is_repeated(detail: Detail, seen: Collection[str]) -> bool:
    """Whether a field of the source itself has the value of one that is shown already."""
    if not (detail.label.startswith(_MAY_REPEAT) or _is_own(detail.label)):
        return False
    return (len(detail.value) > 1 and _said(detail.value) in seen) or _said(detail.meaning) in seen


def _beside(document: Mapping[str, Any], names: Sequence[str], known: Collection[str]) -> Iterator[Detail]:
    """The fields that the event's source alone has, those beside a field of the rule first."""
    beside = {parent for name in names if "." in name and (parent := name.rpartition(".")[0])}
    others: list[Detail] = []
    last_of_all: list[Detail] = []
    has_process = bool(text_at(document, "process.executable") or text_at(document, "process.name"))
    is_anomaly = value_at(document, "record_score") is not None
    own = {name: value for name, value in document.items() if _is_own(name)}
    for name, values in flatten(own).items():
        is_windows = name.startswith("winlog.")
        parent, _, last = name.rpartition(".")
        if name in known or (is_windows and not name.startswith(_OF_WINDOWS)):
            continue
        if is_anomaly and name.partition(".")[0] in _ANOMALY:
            continue
        if (is_windows and has_process and last in _REPEATED) or name in _RAW:
            continue
        if text := _joined(values):
            found = Detail(name, text, meaning_of(name, text))
            if name.startswith(_ENVELOPE):
                last_of_all.append(found)
            elif parent in beside:
                yield found
            else:
                others.append(found)
    yield from (*others, *last_of_all)


def _is_own(name: str) -> bool:
    """Whether a field at the top of a document, or the object around it, is of the event's source alone."""
    top = name.partition(".")[0]
    return top == "winlog" or top not in _COMMON
