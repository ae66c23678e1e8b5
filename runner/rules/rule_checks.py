"""What a rule file must have beyond the form of each key: keys that go together, and a schedule that leaves no gap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from runner.errors import Severity
from runner.messages.quantities import in_whole_units
from runner.messages.suggestions import near_name
from runner.rules.date_math import at_reference, is_relative, read_duration
from runner.rules.model_errors import METADATA_KEYS, RULE_KEYS, FieldFinding, unknown_key
from runner.rules.new_terms import new_terms_findings
from runner.rules.rule import Rule, RuleFields
from runner.rules.rule_tables import AlertSuppression
from runner.rules.threat_match import threat_match_findings
from runner.rules.threshold_checks import threshold_findings

RuleTable = Mapping[str, Any]

_LANGUAGES: Mapping[str, tuple[str, ...]] = {
    "eql": ("eql",),
    "esql": ("esql",),
    "query": ("kuery", "lucene"),
    "saved_query": ("kuery", "lucene"),
    "threshold": ("kuery", "lucene"),
    "new_terms": ("kuery", "lucene"),
    "threat_match": ("kuery", "lucene"),
}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "eql": ("language", "query"),
    "esql": ("language", "query"),
    "threshold": ("query", "threshold"),
    "new_terms": ("query", "new_terms"),
    "threat_match": ("query", "threat_index", "threat_mapping"),
    "machine_learning": ("anomaly_threshold", "machine_learning_job_id"),
    "saved_query": ("saved_id",),
}
_WITH_INDICES = ("eql", "new_terms", "query", "saved_query", "threat_match", "threshold")
"""Types of rules that name the indices of their events."""
_NEW_TERMS_OF_THE_API = ("new_terms_fields", "history_window_start")


def check_document(document: RuleTable) -> list[FieldFinding]:
    """Every finding about a parsed file that has a `[rule]` table, in no particular order.

    Works on the raw tables so that a wrong value in one key hides nothing about the others.
    """
    rule = document["rule"]
    return [
        *_own_names(rule),
        *_unknown_tables(document),
        *_unknown_metadata(document.get("metadata")),
        *_needed_keys(rule),
        *_language(rule),
        *_where_events_are(rule),
        *_suppression(rule),
        *threshold_findings(rule),
        *new_terms_findings(rule),
        *threat_match_findings(rule),
        *_window(rule),
        *_gaps(rule),
        *_unapplied(rule),
    ]


_CHANGEABLE = ("index", "alert_suppression", "from_", "interval")


_OWN_INDICES = {
    "esql": "`index` cannot be changed: the query names its indices itself",
    "machine_learning": "`index` cannot be changed: the rule searches the results of its jobs",
}


def check_changed(rule: Rule, values: Mapping[str, Any]) -> list[FieldFinding]:
    """The findings that a rule would have with other `values` of some attributes, and has not as it is."""
    if not any(name in values for name in _CHANGEABLE):
        return []
    if "index" in values and rule.type in _OWN_INDICES:
        others = {name: value for name, value in values.items() if name != "index"}
        return [FieldFinding(("rule", "index"), _OWN_INDICES[rule.type], at="key"), *check_changed(rule, others)]
    table: dict[str, Any] = {
        "type": rule.type, "interval": rule.interval, "from": rule.from_, "to": rule.to,
    }  # fmt: skip
    if rule.data_view_id is not None:
        table["data_view_id"] = rule.data_view_id
    if "index" in rule.model_fields_set:
        table["index"] = rule.index
    if rule.alert_suppression is not None:
        table["alert_suppression"] = rule.alert_suppression.model_dump(exclude_none=True)
    known = set(_of_changed(table))
    for name in _CHANGEABLE:
        if name in values:
            value = values[name]
            plain = value.model_dump(exclude_none=True) if isinstance(value, AlertSuppression) else value
            table["from" if name == "from_" else name] = plain
    return [finding for finding in _of_changed(table) if finding not in known]


def _of_changed(rule: RuleTable) -> Iterator[FieldFinding]:
    yield from _where_events_are(rule)
    yield from _suppression(rule)
    yield from _window(rule)
    yield from _gaps(rule)
    yield from _unapplied(rule)


def _own_names(rule: RuleTable) -> Iterator[FieldFinding]:
    """Attributes of `Rule` that are no keys of the format, such as `path`."""
    for name in rule:
        if name in OWN_NAMES:
            yield FieldFinding(("rule", name), unknown_key(("rule", name), RULE_KEYS), at="key", code="unknown-key")


OWN_NAMES = frozenset(
    {"path", "query_line", "query_column", "query_escaped", "query_unread", "saved", "metadata", "transform", "from_"}
)
"""Attributes of `Rule` that no file may set: they are taken out before the model reads the table."""


def _unknown_tables(document: RuleTable) -> Iterator[FieldFinding]:
    for name in document:
        if name not in ("rule", "metadata", "transform"):
            if name in RULE_KEYS:
                message = f"`{name}` stands above the header of its table; it belongs in [rule]"
            elif name in METADATA_KEYS:
                message = f"`{name}` stands above the header of its table; it belongs in [metadata]"
            else:
                message = unknown_key((name,), ("rule", "metadata", "transform"))
            yield FieldFinding((name,), message, at="key", code="unknown-key")


def _unknown_metadata(metadata: object) -> Iterator[FieldFinding]:
    """Unknown metadata is a warning: it cannot change what a rule finds, and teams add keys of their own."""
    if not isinstance(metadata, dict):
        return
    for name in metadata:
        if name not in METADATA_KEYS:
            message = unknown_key(("metadata", name), METADATA_KEYS)
            severity: Severity = "error" if name in RULE_KEYS else "warning"
            yield FieldFinding(("metadata", name), message, at="key", severity=severity, code="unknown-key")


def _needed_keys(rule: RuleTable) -> Iterator[FieldFinding]:
    kind = rule.get("type")
    unknown = [name for name in rule if name not in RULE_KEYS]
    for name in _NEEDED.get(kind, ()) if isinstance(kind, str) else ():
        if name not in rule and not (name == "new_terms" and all(key in rule for key in _NEW_TERMS_OF_THE_API)):
            if near_name(name, unknown) is None:  # else its misspelling is reported
                message = f"`{name}` is missing in [rule]: a rule of type {kind} needs it"
                yield FieldFinding(("rule",), message, at="key", code="missing-key")
        elif name == "query" and isinstance(rule[name], str) and not rule[name].strip():
            yield FieldFinding(("rule", "query"), "`query` is empty")


def _language(rule: RuleTable) -> Iterator[FieldFinding]:
    kind, language = rule.get("type"), rule.get("language")
    if not isinstance(kind, str) or not isinstance(language, str):
        return
    fitting = _LANGUAGES.get(kind, ())
    if fitting and language not in fitting and any(language in each for each in _LANGUAGES.values()):
        message = f"`language` is `{language}`, but a rule of type {kind} is written in {' or '.join(fitting)}"
        yield FieldFinding(("rule", "language"), message, code="wrong-language")


def _where_events_are(rule: RuleTable) -> Iterator[FieldFinding]:
    """Data views are kept in Kibana: a rule that names only a data view says nothing about its indices here."""
    if rule.get("type") == "esql" and "index" in rule:
        message = "`index` has no effect: an ES|QL query names its indices itself"
        yield FieldFinding(("rule", "index"), message, at="key", severity="warning", code="without-effect")
    if "data_view_id" not in rule or rule.get("type") not in _WITH_INDICES:
        return
    if "index" in rule:
        message = "`data_view_id` has no effect beside `index`"
        yield FieldFinding(("rule", "data_view_id"), message, at="key", severity="warning", code="without-effect")
    else:
        message = "data views are kept in Kibana and cannot be looked up here: name the index patterns in `index`"
        yield FieldFinding(("rule", "data_view_id"), message, at="key", code="data-view")


def _suppression(rule: RuleTable) -> Iterator[FieldFinding]:
    suppression = rule.get("alert_suppression")
    if not isinstance(suppression, dict):
        return
    if rule.get("type") == "threshold":
        if "duration" not in suppression:
            message = "`duration` is missing in [rule.alert_suppression]: a rule of type threshold needs it"
            yield FieldFinding(("rule", "alert_suppression"), message, at="key", code="missing-key")
    elif not suppression.get("group_by"):
        message = "`group_by` is missing in [rule.alert_suppression]"
        yield FieldFinding(("rule", "alert_suppression"), message, at="key", code="missing-key")


def _window(rule: RuleTable) -> Iterator[FieldFinding]:
    start, end = _moment(rule, "from"), _moment(rule, "to")
    if start is None or end is None or start < end:
        return
    key = "from" if "from" in rule else "to"
    relation = "the same time as" if start == end else "later than"
    message = f"`from` ({_text(rule, 'from')}) is {relation} `to` ({_text(rule, 'to')}): no event can be in between"
    yield FieldFinding(("rule", key), message, code="empty-window")


def _gaps(rule: RuleTable) -> Iterator[FieldFinding]:
    """A look-back that is shorter than the interval; date math that rounds has no fixed length and is left out."""
    start, end = _moment(rule, "from"), _moment(rule, "to")
    if start is None or end is None or start >= end or "/" in _text(rule, "from") + _text(rule, "to"):
        return
    try:
        interval = read_duration(_text(rule, "interval"))
    except ValueError:
        return
    if interval > end - start and is_relative(_text(rule, "from")):
        missed = _words(interval - (end - start))
        key = next((name for name in ("from", "interval", "to") if name in rule), "rule_id")
        message = (
            f"the look-back of {_words(end - start)} is shorter than the interval of {_words(interval)}: "
            f"{missed} between two runs are never searched"
        )
        yield FieldFinding(("rule", key), message, severity="warning", code="window-gap")


_UNAPPLIED = {
    "actions": "are not carried out: they stand in the alert only",
    "response_actions": "are not carried out: they stand in the alert only",
}
"""Keys that change what Kibana does with a match, and what becomes of them here."""


def _unapplied(rule: RuleTable) -> Iterator[FieldFinding]:
    if rule.get("type") not in _WITH_INDICES:
        return
    for key, fate in _UNAPPLIED.items():
        if rule.get(key):
            yield FieldFinding(("rule", key), f"`{key}` {fate}", at="key", severity="warning", code="not-carried-out")


def _text(rule: RuleTable, key: str) -> str:
    """The value of a key or its default, "" if it is no string."""
    name = "from_" if key == "from" else key
    value = rule.get(key, RuleFields.model_fields[name].default)
    return value if isinstance(value, str) else ""


def _moment(rule: RuleTable, key: str) -> datetime | None:
    """The time that `from` or `to` is at a fixed moment; None where it is not valid or cannot be compared."""
    if is_relative(_text(rule, "from")) != is_relative(_text(rule, "to")):
        return None
    try:
        return at_reference(_text(rule, key))
    except ValueError:
        return None


def _words(length: timedelta) -> str:
    return in_whole_units(length // timedelta(milliseconds=1))
