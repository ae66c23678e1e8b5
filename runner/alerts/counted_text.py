"""What the alert of a threshold rule says of the events that it has counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.alerts.bursts import RESULT
from runner.alerts.event_fields import text_at, value_at, values_at
from runner.dates.dates import date_text, read_date


def counted_text(document: Mapping[str, Any]) -> str:
    """Who, how many and when; "" for an alert of another rule.

    >>> counted_text({"kibana.alert.original_time": "2026-03-02T10:03:40.120Z", "kibana.alert.threshold_result": {
    ...     "terms": [{"field": "host.id", "value": "web-01"}], "count": 1031, "from": "2026-03-02T09:58:02.001Z",
    ...     "cardinality": [{"field": "source.ip", "value": 12}]}})
    '1,031 events of host.id web-01 from 2026-03-02 09:58:02 to 2026-03-02 10:03:40, with 12 values of source.ip'
    """
    result = value_at(document, RESULT)
    if not isinstance(result, Mapping) or not isinstance(count := result.get("count"), int):
        return ""
    terms = [f"{text_at(one, 'field')} {one.get('value')}" for one in _entries(result, "terms")]
    of = f" of {', '.join(terms)}" if terms else ""
    start, end = _moment(result.get("from")), _moment(value_at(document, "kibana.alert.original_time"))
    when = f" from {start} to {end}" if start and end and start != end else f" at {start or end}"
    values = [f", with {one.get('value')} values of {text_at(one, 'field')}" for one in _entries(result, "cardinality")]
    return f"{count:,} event{'s' * (count != 1)}{of}{when}{''.join(values)}"


def _entries(result: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [entry for entry in values_at(result, name) if isinstance(entry, Mapping)]


def _moment(value: Any) -> str:
    try:
        return date_text(read_date(value, nanos=True))[:19].replace("T", " ") if value is not None else ""
    except (ValueError, TypeError, OverflowError):
        return ""
