"""What alerts say of what they have counted, of what is new, of indicators, and of the matches that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.alerts.bursts import RESULT
from runner.alerts.event_fields import text_at, texts_at, value_at, values_at
from runner.alerts.suppression import SUPPRESSION
from runner.dates.dates import date_text, read_date

NEW_TERMS = "kibana.alert.new_terms"
_PARAMETERS = "kibana.alert.rule.parameters"
_HOST_FIELDS = frozenset({"host.id", "host.name", "host.hostname"})
"""What a table of alerts has in a column of its own."""
_LONGEST = 48


def found_text(document: Mapping[str, Any]) -> str:
    """What was counted, what is new, or which indicators were met; "" for an alert whose events say it all."""
    return counted_text(document) or _new_terms_text(document) or _indicators_text(document)


def found_summary(document: Mapping[str, Any]) -> str:
    """The same in a few words, for a table.

    >>> found_summary({"kibana.alert.threshold_result": {"count": 1031,
    ...     "cardinality": [{"field": "source.ip", "value": 12}]}})
    '1,031 events, 12 source.ip'
    >>> found_summary({"kibana.alert.new_terms": ["a1", "nc -l"], "kibana.alert.rule.parameters": {
    ...     "new_terms_fields": ["host.id", "process.command_line"]}})
    'new: nc -l'
    """
    result = value_at(document, RESULT)
    if isinstance(result, Mapping) and isinstance(count := result.get("count"), int):
        entries = [entry for entry in values_at(result, "cardinality") if isinstance(entry, Mapping)]
        values = [f", {entry.get('value')} {text_at(entry, 'field')}" for entry in entries]
        return f"{count:,} event{'s' * (count != 1)}{''.join(values)}"
    terms = _new_terms(document)
    shown = [term for field, term in terms if field not in _HOST_FIELDS] or [term for _, term in terms]
    text = f"new: {', '.join(shown)}" if shown else _indicators_text(document)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _new_terms(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The fields and values that are new together."""
    fields = texts_at(document, f"{_PARAMETERS}.new_terms_fields")
    terms = [str(term) for term in values_at(document, NEW_TERMS)]
    return list(zip(fields, terms, strict=True)) if len(fields) == len(terms) else [("", term) for term in terms]


def _new_terms_text(document: Mapping[str, Any]) -> str:
    """What is new, and in which time it was not seen."""
    terms = _new_terms(document)
    if not terms:
        return ""
    shown = ", ".join(f"{field} {term}".strip() for field, term in terms)
    start = text_at(document, f"{_PARAMETERS}.history_window_start")
    together = " together" if len(terms) > 1 else ""
    return f"new{together}: {shown}" + (f"; not seen before since {start}" if start else "")


def _indicators_text(document: Mapping[str, Any]) -> str:
    """The values that the indicators of a rule of type threat_match have, with the feeds that know them.

    >>> _indicators_text({"kibana.alert.rule.type": "threat_match", "threat": {"enrichments": [
    ...     {"matched": {"atomic": "192.0.2.7", "type": "indicator_match_rule"}, "feed": {"name": "lab"}}]}})
    'known: 192.0.2.7 (lab)'
    """
    if value_at(document, "kibana.alert.rule.type") != "threat_match":
        return ""
    feeds: dict[str, dict[str, None]] = {}
    for entry in values_at(document, "threat.enrichments"):
        if isinstance(entry, Mapping) and text_at(entry, "matched.type") == "indicator_match_rule":
            feeds.setdefault(text_at(entry, "matched.atomic"), {})[text_at(entry, "feed.name")] = None
    known = [f"{value} ({', '.join(filter(None, names))})" if any(names) else value for value, names in feeds.items()]
    return f"known: {', '.join(known)}" if known else ""


def counted_text(document: Mapping[str, Any]) -> str:
    """Who, how many and when; "" for an alert of another rule.

    >>> counted_text({"kibana.alert.original_time": "2026-03-02T10:03:40.120Z", "kibana.alert.threshold_result": {
    ...     "terms": [{"field": "host.id", "value": "web-01"}], "count": 1031, "from": "2026-03-02T09:58:02.001Z",
    ...     "cardinality": [{"field": "source.ip", "value": 12}]}})
    '1,031 events of host.id web-01 from 2026-03-02 09:58:02 to 2026-03-02 10:03:40 UTC, with 12 values of source.ip'
    """
    result = value_at(document, RESULT)
    if not isinstance(result, Mapping) or not isinstance(count := result.get("count"), int):
        return ""
    terms = [f"{text_at(one, 'field')} {one.get('value')}" for one in _entries(result, "terms")]
    of = f" of {', '.join(terms)}" if terms else ""
    start, end = _moment(result.get("from")), _moment(value_at(document, "kibana.alert.original_time"))
    one = start or end
    when = f" from {start} to {end} UTC" if start and end and start != end else f" at {one} UTC" if one else ""
    values = [f", with {one.get('value')} values of {text_at(one, 'field')}" for one in _entries(result, "cardinality")]
    return f"{count:,} event{'s' * (count != 1)}{of}{when}{''.join(values)}"


def _entries(result: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [entry for entry in values_at(result, name) if isinstance(entry, Mapping)]


def suppressed_count(document: Mapping[str, Any]) -> int:
    """How many further matches the alert stands for."""
    count = value_at(document, f"{SUPPRESSION}.docs_count")
    return count if isinstance(count, int) and not isinstance(count, bool) else 0


def suppressed_text(document: Mapping[str, Any]) -> str:
    """The further matches, until when, and what they have in common; "" for an alert that stands for itself alone.

    >>> suppressed_text({"kibana.alert.suppression.docs_count": 41,
    ...     "kibana.alert.suppression.end": "2026-03-02T10:35:07.120Z",
    ...     "kibana.alert.suppression.terms": [{"field": "host.name", "value": ["web-01"]}]})
    'and 41 more until 2026-03-02 10:35:07 UTC, by host.name'
    """
    count = suppressed_count(document)
    if not count:
        return ""
    terms = [term for term in values_at(document, f"{SUPPRESSION}.terms") if isinstance(term, Mapping)]
    names = [text_at(term, "field") for term in terms]
    shown = _moment(value_at(document, f"{SUPPRESSION}.end"))
    end = f" until {shown} UTC" if shown else ""
    by = f", by {', '.join(names)}" if names else ""
    return f"and {count:,} more{end}{by}"


def _moment(value: Any) -> str:
    try:
        return date_text(read_date(value, nanos=True))[:19].replace("T", " ") if value is not None else ""
    except (ValueError, TypeError, OverflowError):
        return ""
