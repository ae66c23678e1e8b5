"""`AlertRow`: an alert as the stores without a stack keep it, and what of it a filter can ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runner.alerts.alert import Alert
from runner.alerts.event_fields import value_at, values_at
from runner.json_text import write_json
from runner.store.alert_filter import AlertFilter
from runner.windows import nanoseconds


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One stored alert with the columns that are searched."""

    id: str
    rule_id: str
    kind: str
    group_id: str | None
    group_index: int | None
    detected: int
    """`@timestamp` in nanoseconds since 1970."""
    host_name: str
    """Names of the host, each between line ends, so that one of several can be looked for; likewise ids."""
    host_id: str
    severity: str
    document: bytes
    """The whole document as JSON."""

    def is_wanted(self, wanted: AlertFilter) -> bool:
        """Whether the filter lets this alert through; its limit is not looked at."""
        host = None if wanted.host is None else f"\n{wanted.host}\n"
        return (
            (wanted.building_blocks or self.kind != "building_block")
            and (wanted.rule_id is None or self.rule_id == wanted.rule_id)
            and (wanted.since is None or self.detected >= nanoseconds(wanted.since))
            and (wanted.until is None or self.detected <= nanoseconds(wanted.until))
            and (host is None or host in self.host_name or host in self.host_id)
        )


def alert_row(alert: Alert) -> AlertRow:
    """The row of an alert; raises ValueError, saying why, for a document that cannot be stored."""
    document = alert.document
    try:
        text = write_json(document)
    except TypeError as error:
        raise ValueError(f"the document is not JSON: {error}") from None
    group, position = value_at(document, "kibana.alert.group.id"), value_at(document, "kibana.alert.group.index")
    return AlertRow(
        id=alert.id,
        rule_id=alert.rule_id,
        kind=alert.kind,
        group_id=None if group is None else str(group),
        group_index=position if isinstance(position, int) else None,
        detected=_detected(document),
        host_name=_lines(document, "host.name"),
        host_id=_lines(document, "host.id"),
        severity=str(value_at(document, "kibana.alert.severity") or ""),
        document=text,
    )


def _detected(document: Mapping[str, Any]) -> int:
    value = value_at(document, "@timestamp")
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        moment = None
    if moment is not None and moment.tzinfo is not None:
        return nanoseconds(moment)
    raise ValueError(f"its `@timestamp` is {value!r}, expected ISO 8601 text with a time zone")


def _lines(document: Mapping[str, Any], path: str) -> str:
    values = values_at(document, path)
    return "".join(("\n", *(f"{value}\n" for value in values))) if values else ""
