"""Which exception would have kept a stored alert from being made, as far as its documents show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from runner.alerts.ecs_alert import alert_document, is_external
from runner.alerts.event_fields import value_at
from runner.events.fields.schema import Schema, shipped_schema
from runner.exceptions.conditions import resolve_items
from runner.exceptions.item import ExceptionItem

_OF_THE_ALERT = ("kibana", "signal")
_KEPT = {"kibana.alert.original_event.": "event.", "kibana.alert.original_data_stream.": "data_stream."}


@cache
def alert_schema() -> Schema:
    """The types that the fields of stored alerts are read by: those of the shipped table, else those of the values."""
    return Schema(shipped_schema().fields, lenient=True)


def original_event(alert: Mapping[str, Any]) -> dict[str, Any]:
    """The event that an alert was made of, as far as the alert has kept it."""
    document = alert_document(alert) if is_external(alert) else alert
    event = {name: value for name, value in document.items() if name.partition(".")[0] not in (*_OF_THE_ALERT, "event")}
    for kept, name in _KEPT.items():
        event |= {name + path[len(kept) :]: value for path, value in document.items() if path.startswith(kept)}
    event["@timestamp"] = value_at(document, "kibana.alert.original_time")
    return event


def exception_for(
    events: Iterable[Mapping[str, Any]], items: Sequence[ExceptionItem], now_ns: int
) -> ExceptionItem | None:
    """The exception that hits one of some events; None if none does."""
    resolved = resolve_items(items, alert_schema())
    found = (resolved.item_for(event, now_ns) for event in events)
    return next((item for item in found if item is not None), None)
