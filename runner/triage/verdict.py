"""The verdict on an alert, in Kibana's workflow fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runner.alerts.event_fields import text_at, texts_at

_FIELD: Final = "kibana.alert.workflow_"
STATUS, REASON = f"{_FIELD}status", f"{_FIELD}reason"
NOTE = f"{_FIELD}note"
"""A field of ours: Kibana has none for a note."""
UPDATED, USER = f"{_FIELD}status_updated_at", f"{_FIELD}user"
ASSIGNEES, TAGS = f"{_FIELD}assignee_ids", f"{_FIELD}tags"


@dataclass(frozen=True, slots=True)
class AlertVerdict:
    """What was decided about an alert, as it is stored; unknown parts are empty."""

    status: str
    reason: str
    """Kibana's value, such as `false_positive`."""
    note: str
    by: str
    at: str
    assignees: tuple[str, ...]
    tags: tuple[str, ...]


def verdict_of(document: Mapping[str, Any]) -> AlertVerdict:
    """The verdict in an alert's document."""
    status, reason, note, by, at = (text_at(document, name) for name in (STATUS, REASON, NOTE, USER, UPDATED))
    assignees, tags = texts_at(document, ASSIGNEES), texts_at(document, TAGS)
    return AlertVerdict(status, reason, note, by, at, assignees, tags)
