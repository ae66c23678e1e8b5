"""The part of an alert that comes from its rule: `kibana.alert.rule.*`, and what an event may override of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runner.alerts.event_fields import flat_values, value_at, values_at
from runner.rules.new_terms import new_terms_of
from runner.rules.rule import Rule
from runner.rules.threat_match import threat_match_of

_COPIED: Final = (
    "actions", "author", "description", "exceptions_list", "false_positives", "from", "interval", "license",
    "max_signals", "note", "references", "risk_score", "risk_score_mapping", "rule_id", "severity",
    "severity_mapping", "tags", "threat", "to", "type", "version",
)  # fmt: skip
_COPIED_IF_SET: Final = (
    "building_block_type", "namespace", "rule_name_override", "throttle", "timeline_id", "timeline_title",
    "timestamp_override",
)  # fmt: skip
_PARAMETERS: Final = (
    "description", "risk_score", "severity", "building_block_type", "namespace", "note", "license",
    "timeline_id", "timeline_title", "meta", "rule_name_override", "timestamp_override",
    "timestamp_override_fallback_disabled", "author", "false_positives", "from", "rule_id", "max_signals",
    "risk_score_mapping", "severity_mapping", "threat", "to", "references", "version", "exceptions_list",
    "immutable", "rule_source", "related_integrations", "required_fields", "setup", "investigation_fields",
    "response_actions", "type", "language", "index", "data_view_id", "query", "filters", "timestamp_field",
    "event_category_override", "tiebreaker_field", "saved_id", "threshold", "alert_suppression",
)  # fmt: skip
_ONLY_IF_SET: Final = frozenset({"meta", "response_actions", "timestamp_override_fallback_disabled"})
_TYPE_NAMES: Final = {
    "eql": ("siem.eqlRule", "Event Correlation Rule"),
    "esql": ("siem.esqlRule", "ES|QL Rule"),
    "machine_learning": ("siem.mlRule", "Machine Learning Rule"),
    "new_terms": ("siem.newTermsRule", "New Terms Rule"),
    "query": ("siem.queryRule", "Custom Query Rule"),
    "saved_query": ("siem.savedQueryRule", "Saved Query Rule"),
    "threat_match": ("siem.indicatorRule", "Indicator Match Rule"),
    "threshold": ("siem.thresholdRule", "Threshold Rule"),
}
_UNUSED: Final = {
    "esql": ("index", "filters"),
    "machine_learning": ("language", "index", "query", "filters"),
}
_OWN_PARAMETERS: Final = {
    "machine_learning": ("anomaly_threshold", "machine_learning_job_id"),
    "new_terms": ("new_terms_fields", "history_window_start"),
    "threat_match": (
        "threat_filters", "threat_query", "threat_mapping", "threat_language", "threat_index", "threat_indicator_path",
        "concurrent_searches", "items_per_search",
    ),
}  # fmt: skip
"""Beside those of every rule, by its type."""
_SEVERITIES: Final = ("low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Overrides:
    """Severity, risk score and name of one alert: the rule's own, or those that its mappings give the event."""

    severity: str
    risk_score: float
    name: str


def rule_fields(rule: Rule, *, owner: str) -> dict[str, Any]:
    """`kibana.alert.rule.*` as far as the rule alone decides it; `owner` is the rule's uuid, unset values are absent.

    The name is left out: it belongs to the overrides.
    """
    values = _rule_values(rule)
    fields = {f"kibana.alert.rule.{name}": values[name] for name in _COPIED}
    fields |= {f"kibana.alert.rule.{name}": values[name] for name in _COPIED_IF_SET if values.get(name) is not None}
    fields |= {f"kibana.alert.rule.meta.{path}": value for path, value in flat_values(values.get("meta", {}))}
    type_id, category = _TYPE_NAMES[rule.type]
    return fields | {
        "kibana.alert.rule.category": category,
        "kibana.alert.rule.consumer": "siem",
        "kibana.alert.rule.enabled": rule.enabled,
        "kibana.alert.rule.immutable": False,
        "kibana.alert.rule.indices": values["index"],
        "kibana.alert.rule.parameters": {name: values[name] for name in _parameters_of(rule) if name in values}
        | {"immutable": False, "rule_source": {"type": "internal"}},
        "kibana.alert.rule.producer": "siem",
        "kibana.alert.rule.revision": rule.revision,
        "kibana.alert.rule.rule_type_id": type_id,
        "kibana.alert.rule.uuid": owner,
    }


def _parameters_of(rule: Rule) -> tuple[str, ...]:
    """The keys of `kibana.alert.rule.parameters`, as Kibana has them for the rule's type."""
    unused = _UNUSED.get(rule.type, ())
    return (*(name for name in _PARAMETERS if name not in unused), *_OWN_PARAMETERS.get(rule.type, ()))


def _rule_values(rule: Rule) -> dict[str, Any]:
    """The rule's fields in JSON, under the TOML's names, without what is not set."""
    values: dict[str, Any] = rule.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"path", "transform"}
    )
    values["threat"] = [entry.model_dump(mode="json", exclude_unset=True) for entry in rule.threat]
    values["note"] = rule.guide
    if rule.type == "threshold" and rule.threshold is not None:
        values["threshold"] = rule.threshold.model_dump(mode="json", exclude_unset=True) | {
            "field": list(rule.threshold.field)
        }
        if rule.alert_suppression is not None:
            values["alert_suppression"] = rule.alert_suppression.model_dump(mode="json", include={"duration"})
    if rule.type == "new_terms":
        condition = new_terms_of(rule)
        values["new_terms_fields"] = list(condition.fields)
        values["history_window_start"] = condition.history_start
    if (indicators := threat_match_of(rule)) is not None:
        values["threat_mapping"] = [group.model_dump(mode="json", exclude_unset=True) for group in rule.threat_mapping]
        values["threat_language"], values["threat_indicator_path"] = indicators.language, indicators.path
    return {name: value for name, value in values.items() if value or name not in _ONLY_IF_SET}


def own_values(rule: Rule) -> Overrides:
    """The rule's severity, risk score and name, for alerts that no event may change: blocks and shells of sequences."""
    return Overrides(rule.severity, rule.risk_score, rule.name)


def overridden(rule: Rule, document: Mapping[str, Any]) -> Overrides:
    """Severity, risk score and name of an alert on one event, by the rule's mappings and its name override."""
    return Overrides(_severity(rule, document), _risk_score(rule, document), _name(rule, document))


def _severity(rule: Rule, document: Mapping[str, Any]) -> str:
    """The highest severity whose mapping finds its value; `event.severity` is compared as a number."""
    matched = [
        mapping.severity
        for mapping in rule.severity_mapping
        if _has_value(values_at(document, mapping.field), mapping.value, as_number=mapping.field == "event.severity")
    ]
    return max(matched, key=_SEVERITIES.index, default=rule.severity)


def _has_value(values: list[Any], wanted: str, *, as_number: bool) -> bool:
    if as_number:
        number = _number(wanted)
        return number is not None and any(_number(value) == int(number) for value in values)
    return any((str(value).lower() if isinstance(value, bool) else str(value)) == wanted for value in values)


def _risk_score(rule: Rule, document: Mapping[str, Any]) -> float:
    """The highest number from 0 to 100 in the first mapping's field, else the rule's own score."""
    if not rule.risk_score_mapping:
        return rule.risk_score
    numbers = (_number(value) for value in values_at(document, rule.risk_score_mapping[0].field))
    return max((number for number in numbers if number is not None and 0 <= number <= 100), default=rule.risk_score)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() else number


def _name(rule: Rule, document: Mapping[str, Any]) -> str:
    value = value_at(document, rule.rule_name_override) if rule.rule_name_override else None
    return value if isinstance(value, str) and value else rule.name
