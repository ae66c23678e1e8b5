"""An alert as Elastic's Security app shows alerts of other products: `event.kind: alert` in the fields of ECS.

What Kibana's own alerts have under `kibana.*` stands under `rule_runner.*` here, since a document with
`kibana.alert.rule.uuid` is taken for one of the Alerts page, whose status can be changed there. The category says
"intrusion detection" in place of the event's own: else rules over `logs-*` would find the event again in its alert.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

from runner.alerts.event_fields import value_at, values_at
from runner.events.documents import remove_path

PREFIX: Final = "rule_runner"
"""The first part of field names, in place of `kibana`."""

_REPLACED: Final = f"{PREFIX}.replaced"
"""The document's own values of the replaced fields, by their full names."""
_MODULE: Final = "rule_runner"
_SEVERITIES: Final = {"low": 21, "medium": 47, "high": 73, "critical": 99}
"""The risk scores that Elastic's own rules have by severity."""
_RULE: Final = "kibana.alert.rule."
_RULE_FIELDS: Final = {
    "rule.author": "author",
    "rule.category": "category",
    "rule.description": "description",
    "rule.id": "rule_id",
    "rule.license": "license",
    "rule.name": "name",
    "rule.reference": "references",
    "rule.uuid": "uuid",
}
_THREAT_FIELDS: Final = ("id", "name", "reference")


def external_document(document: Mapping[str, Any], *, stream: str) -> dict[str, Any]:
    """The alert's document as an external alert in the data stream `stream`, named `logs-<dataset>-<namespace>`.

    Every value is kept: `alert_document` gives the alert back.
    """
    kept: dict[str, Any] = {}
    renamed: dict[str, Any] = {}
    for key, value in document.items():
        top, _, rest = key.partition(".")
        if top == "kibana" and rest:
            renamed[f"{PREFIX}.{rest}"] = value
        else:
            kept[key] = copy.deepcopy(value)
    ours = _fields_of(document, stream)
    # All of them: a rule that has no category must not seem to have that of another rule, which the event names.
    replaced = {path: value for path in sorted(_OURS) if (value := value_at(kept, path)) is not None}
    for path in _OURS:
        remove_path(kept, path)
    return {**kept, **ours, **renamed, _REPLACED: replaced}


def alert_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """The alert that an external alert was made of; any other document as it is.

    >>> made = external_document({"kibana.alert.uuid": "a", "event.kind": "signal"}, stream="logs-x-y")
    >>> made["event.kind"], alert_document(made)
    ('alert', {'kibana.alert.uuid': 'a', 'event.kind': 'signal'})
    """
    if _REPLACED not in document:
        return dict(document)
    replaced = document[_REPLACED]
    alert: dict[str, Any] = {}
    for key, value in document.items():
        top, _, rest = key.partition(".")
        if top == PREFIX and rest:
            if key != _REPLACED:
                alert[f"kibana.{rest}"] = value
        elif key not in _OURS:
            alert[key] = value
    return {**alert, **replaced}


def is_external(document: Mapping[str, Any]) -> bool:
    """Whether the document is an alert in this form."""
    return _REPLACED in document


def _fields_of(document: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """The ECS fields that describe an external alert; those without a value are absent."""
    type_, dataset, namespace = stream.split("-", 2)
    reason = document.get("kibana.alert.reason")
    detected = document.get("@timestamp")
    is_block = document.get("kibana.alert.group.index") is not None
    threat = dict(_threat_fields(document))
    fields = {
        "data_stream.dataset": dataset,
        "data_stream.namespace": namespace,
        "data_stream.type": type_,
        "event.category": ["intrusion_detection"],
        "event.created": detected,
        "event.dataset": dataset,
        "event.id": document.get("kibana.alert.uuid"),
        # By this time rules search that promote external alerts; that of the event may be long ago.
        "event.ingested": detected,
        # One sequence is one alert; its events follow as events.
        "event.kind": "event" if is_block else "alert",
        "event.module": _MODULE,
        "event.reason": reason,
        "event.risk_score": document.get("kibana.alert.risk_score"),
        "event.severity": _SEVERITIES.get(str(document.get("kibana.alert.severity"))),
        "event.type": ["info"],
        "event.url": document.get("kibana.alert.url"),
        "message": reason,
        **{name: document.get(_RULE + source) for name, source in _RULE_FIELDS.items()},
        "rule.ruleset": "rule-runner",
        "rule.version": _text(document.get(f"{_RULE}version")),
        **{name: threat.get(name) for name in _THREAT_NAMES},
    }
    return {name: value for name, value in fields.items() if value not in (None, "", [])}


def _threat_fields(document: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """`threat.*` of ECS from the rule's threat mapping, each value once."""
    entries = [entry for entry in values_at(document, f"{_RULE}threat") if isinstance(entry, Mapping)]
    tactics = [entry["tactic"] for entry in entries if isinstance(entry.get("tactic"), Mapping)]
    techniques = [technique for entry in entries for technique in entry.get("technique") or ()]
    below = [inner for technique in techniques for inner in technique.get("subtechnique") or ()]
    yield "threat.framework", _distinct(entries, "framework")
    for name in _THREAT_FIELDS:
        yield f"threat.tactic.{name}", _distinct(tactics, name)
        yield f"threat.technique.{name}", _distinct(techniques, name)
        yield f"threat.technique.subtechnique.{name}", _distinct(below, name)


def _distinct(entries: list[Mapping[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(str(entry[name]) for entry in entries if entry.get(name)))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


_THREAT_NAMES: Final = (
    "threat.framework",
    *(f"threat.{part}.{name}" for part in ("tactic", "technique", "technique.subtechnique") for name in _THREAT_FIELDS),
)
_OURS: Final = frozenset(
    {
        *(f"data_stream.{name}" for name in ("dataset", "namespace", "type")),
        *("event.category", "event.created", "event.dataset", "event.id", "event.ingested", "event.kind"),
        *("event.module", "event.reason", "event.risk_score", "event.severity", "event.type", "event.url", "message"),
        *_RULE_FIELDS,
        *("rule.ruleset", "rule.version"),
        *_THREAT_NAMES,
    }
)
"""Every field that `_fields_of` may set."""
