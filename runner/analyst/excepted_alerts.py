"""The stored alerts that exceptions would have removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from runner.exceptions import ExceptionItem
from runner.store.protocol import AlertFilter, AlertStore, StoredAlert
from runner.triage.excepted_alert import exception_for, original_event
from runner.windows import nanoseconds


async def excepted_alerts(
    alerts: AlertStore, items: Mapping[str, Sequence[ExceptionItem]], selected: AlertFilter, now: datetime
) -> list[tuple[StoredAlert, ExceptionItem]]:
    """The alerts that one of their rule's exceptions hits; `items` are those by rule id."""
    found: list[tuple[StoredAlert, ExceptionItem]] = []
    async for alert in alerts.find(selected):
        own = items.get(str(alert.document.get("kibana.alert.rule.rule_id")), ())
        if not own:
            continue
        documents = [alert.document]
        group = alert.document.get("kibana.alert.group.id")
        if group is not None:
            documents = [block.document for block in await alerts.group(str(group))] or documents
        item = exception_for(map(original_event, documents), own, nanoseconds(now))
        if item is not None:
            found.append((alert, item))
    return found
