"""`new_rule`: a rule with its tests, as files to begin with: of an event, or of a plain one of Elastic Defend's."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal, TypeAlias

from runner.checks.categories import CATEGORIES

NewRuleType: TypeAlias = Literal["eql", "query", "threshold", "new_terms", "threat_match", "esql"]
TYPES: tuple[NewRuleType, ...] = ("eql", "query", "threshold", "new_terms", "threat_match", "esql")
_CONDITIONS = (
    "host.os.type", "event.type", "event.action", "event.dataset", "event.outcome", "process.name",
    "process.parent.name", "registry.path", "file.path", "dns.question.name", "url.domain", "destination.port",
)  # fmt: skip
"""The fields of an event that a new rule asks for, the one that tells most last."""
_NAMED = ("host.id", "host.name", "user.id", "user.name", "source.ip", "cloud.account.id", "agent.id")
"""Fields that say who or what an event is about."""
_INDICATORS = {
    "destination.ip": "threat.indicator.ip",
    "source.ip": "threat.indicator.ip",
    "dns.question.name": "threat.indicator.url.domain",
    "url.full": "threat.indicator.url.full",
    "file.hash.sha256": "threat.indicator.file.hash.sha256",
    "process.hash.sha256": "threat.indicator.file.hash.sha256",
}
_COUNT = 3
_TIME = "2026-03-02T10:00:0{}Z"
_PLAIN: dict[str, Any] = {
    "data_stream": {"type": "logs", "dataset": "endpoint.events.process", "namespace": "default"},
    "host": {"id": "host-1", "name": "web-1", "os": {"type": "linux"}},
    "user": {"name": "root"},
    "event": {"category": ["process"], "type": ["start"], "action": "exec"},
    "process": {"name": "nc", "executable": "/usr/bin/nc", "args": ["nc", "203.0.113.9", "4444"]},
}
_CONNECTION: dict[str, Any] = {
    **_PLAIN,
    "data_stream": {"type": "logs", "dataset": "endpoint.events.network", "namespace": "default"},
    "event": {"category": ["network"], "type": ["start"], "action": "connection_attempted"},
    "process": {"name": "nc", "executable": "/usr/bin/nc"},
    "destination": {"ip": "203.0.113.9", "port": 4444},
}


class UnusableEventError(ValueError):
    """An event that no rule of the type can be made of."""


@dataclass(frozen=True, slots=True)
class NewRule:
    """The texts of the rule's file and of its test file; "" for a rule that cannot be tested over events."""

    rule: str
    tests: str


def new_rule(
    name: str, kind: NewRuleType, *, rule_id: str, today: date, event: Mapping[str, Any] | None = None
) -> NewRule:
    """The files of a new rule. Raises UnusableEventError for an event that has no field to ask for."""
    plain = _CONNECTION if kind == "threat_match" else _PLAIN
    source = _Event(copy.deepcopy(dict(event if event is not None else plain)))
    head = {
        "rule_id": rule_id,
        "name": name,
        "description": "What it finds, and why that is worth an alert.",
        "author": ["us"],
        "severity": "medium",
        "risk_score": 47,
        "type": kind,
        "language": {"eql": "eql", "esql": "esql"}.get(kind, "kuery"),
        "from": "now-9m",
        "interval": "5m",
        "index": [source.index],
    }
    if kind == "esql":
        del head["index"]
    day = today.strftime("%Y/%m/%d")
    lines = ["[metadata]", f'creation_date = "{day}"', f'updated_date = "{day}"', 'maturity = "production"', ""]
    lines += ["[rule]", *(f"{key} = {_toml(value)}" for key, value in head.items())]
    lines += [f"query = {_query(_asked(kind, source))}", *_condition(kind, source)]
    return NewRule("\n".join(lines) + "\n", "" if kind == "esql" else _tests(name, kind, source))


class _Event:
    """The event that a rule is made of; names may be nested, dotted or both."""

    def __init__(self, document: dict[str, Any]) -> None:
        inner = document.get("_source")
        self.document: dict[str, Any] = inner if isinstance(inner, dict) else document
        self.document.setdefault("@timestamp", _TIME.format(0))

    def value(self, name: str) -> str | int | None:
        """The first value of a field, if it is a whole number, or a text that no language takes for a pattern."""
        holder, key = _holder(self.document, name)
        found = holder.get(key) if holder is not None else None
        if isinstance(found, list):
            found = found[0] if found else None
        if isinstance(found, str):
            return found if found and found.isprintable() and "*" not in found and "?:\\" not in found else None
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    @property
    def index(self) -> str:
        """The pattern of its data stream, `logs-*` without one."""
        kind, dataset = self.value("data_stream.type"), self.value("data_stream.dataset")
        return f"{kind}-{dataset}-*" if kind and dataset else "logs-*"

    @property
    def conditions(self) -> list[tuple[str, str | int]]:
        """Fields and values that the rule asks for."""
        found = [(name, value) for name in _CONDITIONS if (value := self.value(name)) is not None]
        if not found:
            raise UnusableEventError(f"the event has none of the fields {', '.join(_CONDITIONS)}")
        return found

    def one_of(self, names: Sequence[str]) -> str:
        """The first of the fields that it has a value of."""
        for name in names:
            if self.value(name) is not None:
                return name
        raise UnusableEventError(f"the event has none of the fields {', '.join(names)}")

    def changed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The event with other values of some fields."""
        document = copy.deepcopy(self.document)
        for name, value in values.items():
            holder, key = _holder(document, name, make=True)
            assert holder is not None
            holder[key] = value
        return document


def _holder(document: dict[str, Any], name: str, *, make: bool = False) -> tuple[dict[str, Any] | None, str]:
    """The object that has the last part of a name as its key, and that key."""
    if name in document:
        return document, name
    parts = name.split(".")
    for end in range(1, len(parts)):
        inner = document.get(".".join(parts[:end]))
        if isinstance(inner, dict):
            holder, key = _holder(inner, ".".join(parts[end:]), make=make)
            if holder is not None:
                return holder, key
    return (document, name) if make else (None, name)


# The rule.


def _asked(kind: NewRuleType, event: _Event) -> str:
    conditions = event.conditions
    category = event.value("event.category")
    if kind == "eql":
        tests = [f"{name} == {_quoted(value)}" for name, value in conditions]
        written = category if category in CATEGORIES else "any"
        return f"{written} where " + " and\n  ".join(tests)
    if kind == "esql":
        tests = [f"{name} == {_quoted(value)}" for name, value in conditions if name != "event.type"]
        where = "| where " + " and\n    ".join(tests) if tests else "| where @timestamp is not null"
        return f"from {event.index} metadata _id, _index, _version\n{where}\n| keep *"
    if category is not None:
        conditions = [*conditions[:1], ("event.category", category), *conditions[1:]]
    return " and\n  ".join(f"{name}: {_quoted(value)}" for name, value in conditions)


def _quoted(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    escaped = "".join(_ESCAPES.get(char, char) for char in value)
    return f'"{escaped}"'


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _condition(kind: NewRuleType, event: _Event) -> list[str]:
    """The tables of the types that have one."""
    if kind == "threshold":
        return ["", "[rule.threshold]", f"field = [{_toml(event.one_of(_NAMED))}]", f"value = {_COUNT}"]
    if kind == "new_terms":
        fields = list(dict.fromkeys((event.one_of(_NAMED), event.conditions[-1][0])))
        start = ["[[rule.new_terms.history_window_start]]", 'field = "history_window_start"', 'value = "now-7d"']
        return ["", "[rule.new_terms]", 'field = "new_terms_fields"', f"value = {_toml(fields)}", "", *start]
    if kind == "threat_match":
        name = event.one_of(tuple(_INDICATORS))
        asked = [
            'threat_index = ["logs-ti_*"]',
            'threat_language = "kuery"',
            "threat_query = '@timestamp >= \"now-30d/d\"'",
        ]
        entry = ['type = "mapping"', f"field = {_toml(name)}", f"value = {_toml(_INDICATORS[name])}"]
        return [*asked, "", "[[rule.threat_mapping]]", "[[rule.threat_mapping.entries]]", *entry]
    return []


def _query(text: str) -> str:
    if "'''" in text or (not text.isprintable() and not text.replace("\n", "").isprintable()):
        return _toml(text)
    return f"'''\n{text}\n'''"


# Its tests.


def _tests(name: str, kind: NewRuleType, event: _Event) -> str:
    named, value = event.conditions[-1]
    other = value + 1 if isinstance(value, int) else f"other-{value}"
    count = _COUNT if kind == "threshold" else 1
    hits = [event.changed({"event.id": f"hit-{number}"}) for number in range(count)]
    extra: list[str] = []
    if kind == "threat_match":
        field = event.one_of(tuple(_INDICATORS))
        shown = {"@timestamp": event.document["@timestamp"], _INDICATORS[field]: event.value(field)}
        extra = ["", "[[test.indicator]]", *_body(_Event({}).changed(shown))]
    history = event.changed({"event.id": "before", "@timestamp": _day_before(event)})
    lines = [f"# Tests of {json.dumps(name, ensure_ascii=False)}: `rule-runner test` runs them.", ""]
    lines += ["[[test]]", 'name = "finds it"', *extra]
    if kind == "new_terms":
        lines += ["", "[[test.history]]", *_body(_renamed(event, named, other))]
    lines += [line for hit in hits for line in ("", "[[test.event]]", *_body(hit))]
    lines += ["", "[[test.alert]]", *(['events = ["hit-0"]'] if count == 1 else [f"fields = {_counted()}"])]
    lines += ["", "[[test]]", 'name = "leaves others alone"', "alerts = 0", *extra]
    if kind == "new_terms":
        lines += ["", "[[test.history]]", *_body(history)]
        return "\n".join([*lines, "", "[[test.event]]", *_body(hits[0])]) + "\n"
    missed = event.changed({"event.id": "miss", named: other})
    return "\n".join([*lines, "", "[[test.event]]", *_body(missed)]) + "\n"


def _counted() -> str:
    return f'{{ "kibana.alert.threshold_result.count" = {_COUNT} }}'


def _renamed(event: _Event, name: str, value: str | int) -> dict[str, Any]:
    return event.changed({name: value, "event.id": "before", "@timestamp": _day_before(event)})


def _day_before(event: _Event) -> str:
    """A time on an earlier day, in the form of ISO 8601."""
    found = re.match(r"(\d{4}-\d\d-)(\d\d)", str(event.document["@timestamp"]))
    if found is None:
        raise UnusableEventError("the `@timestamp` of the event is no date in the form 2026-03-02T10:00:00Z")
    return f"{date.fromisoformat(found[0]) - timedelta(days=1)}T10:00:00Z"


def _body(document: Mapping[str, Any]) -> list[str]:
    return [f"{_key(name)} = {_toml(value)}" for name, value in document.items() if value is not None]


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    """A value of JSON in TOML, which has no null: without those."""
    if isinstance(value, Mapping):
        parts = [f"{_key(str(name))} = {_toml(inner)}" for name, inner in value.items() if inner is not None]
        return f"{{ {', '.join(parts)} }}" if parts else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(inner) for inner in value if inner is not None)}]"
    if isinstance(value, str):
        text = value.encode("utf-8", "replace").decode()
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
