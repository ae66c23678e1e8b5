"""What an alert says of the matches that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.alerts.event_fields import text_at, value_at, values_at
from runner.alerts.suppression import SUPPRESSION
from runner.dates.dates import date_text, read_date


def suppressed_count(document: Mapping[str, Any]) -> int:
    """How many further matches the alert stands for."""
    count = value_at(document, f"{SUPPRESSION}.docs_count")
    return count if isinstance(count, int) and not isinstance(count, bool) else 0


def suppressed_text(document: Mapping[str, Any]) -> str:
    """The further matches, until when, and what they have in common; "" for an alert that stands for itself alone.

    >>> suppressed_text({"kibana.alert.suppression.docs_count": 41,
    ...     "kibana.alert.suppression.end": "2026-03-02T10:35:07.120Z",
    ...     "kibana.alert.suppression.terms": [{"field": "host.name", "value": ["web-01"]}]})
    'and 41 more until 2026-03-02 10:35:07, by host.name'
    """
    count = suppressed_count(document)
    if not count:
        return ""
    terms = [term for term in values_at(document, f"{SUPPRESSION}.terms") if isinstance(term, Mapping)]
    names = [text_at(term, "field") for term in terms]
    until = value_at(document, f"{SUPPRESSION}.end")
    try:
        shown = date_text(read_date(until, nanos=True))[:19].replace("T", " ") if until is not None else ""
    except (ValueError, TypeError, OverflowError):
        shown = ""
    end = f" until {shown}" if shown else ""
    by = f", by {', '.join(names)}" if names else ""
    return f"and {count:,} more{end}{by}"
