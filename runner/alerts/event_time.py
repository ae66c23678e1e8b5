"""The time of an alert's event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.alerts.event_fields import value_at
from runner.dates.dates import read_date


def event_time_ns(document: Mapping[str, Any]) -> int | None:
    """The time of an alert's event in nanoseconds since 1970, in whatever format the event has it; None without."""
    value = value_at(document, "kibana.alert.original_time")
    try:
        return read_date(value, nanos=True) if isinstance(value, (str, int, float)) else None
    except (ValueError, OverflowError):
        return None


def event_order(document: Mapping[str, Any]) -> tuple[bool, int]:
    """The key that sorts alerts by the times of their events; those without a readable time come before all others."""
    time = event_time_ns(document)
    return time is not None, time or 0
