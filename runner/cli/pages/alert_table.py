"""Summaries of alerts: rows of a table, objects of a JSON list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from runner.alerts.event_fields import text_at
from runner.cli.console import SEVERITY_STYLES, is_narrow, moment, printable, table
from runner.dates.dates import date_text
from runner.json_text import deep_stack
from runner.store.alert_filter import event_order, event_time_ns
from runner.store.protocol import StoredAlert

SHORT_ID = 12
"""Characters of an id in a table; `alerts show` accepts any unique prefix."""


def alert_table(alerts: Sequence[StoredAlert]) -> Table:
    """A table of alerts, a line each; without the risk score on a narrow terminal."""
    narrow = is_narrow()
    columns = ["id", "event time (UTC)", "severity", "rule", "host", "user"]
    if not narrow:
        columns.insert(3, "risk")
    shown = table(*columns, right=("risk",))
    for alert in alerts:
        row = summary(alert)
        severity = Text(row["severity"], style=SEVERITY_STYLES.get(row["severity"], ""))
        time = event_time_ns(alert.document)
        with deep_stack():  # of an array of arrays in its place
            shown_time = moment(row["event_time"] if time is None else date_text(time))
        cells: list[str | Text] = [alert.id[: 8 if narrow else SHORT_ID], shown_time, severity]
        cells += [] if narrow else [_risk(row["risk_score"])]
        shown.add_row(*cells, *(Text(printable(row[name])) for name in ("rule", "host", "user")))
    return shown


def by_event_time(alerts: Iterable[StoredAlert]) -> list[StoredAlert]:
    """The alerts by the time of their events, earliest first; those without a readable time before all others."""
    return sorted(alerts, key=lambda alert: event_order(alert.document))


def summary(alert: StoredAlert) -> dict[str, Any]:
    """The fields of an alert that a list shows."""
    document = alert.document
    return {
        "id": alert.id,
        "detected": document.get("@timestamp"),
        "event_time": document.get("kibana.alert.original_time"),
        "severity": str(document.get("kibana.alert.severity", "")),
        "risk_score": document.get("kibana.alert.risk_score"),
        "rule_id": document.get("kibana.alert.rule.rule_id"),
        "rule": str(document.get("kibana.alert.rule.name", "")),
        "host": text_at(document, "host.name") or text_at(document, "host.id"),
        "user": text_at(document, "user.name"),
        "reason": document.get("kibana.alert.reason"),
        "status": document.get("kibana.alert.workflow_status"),
    }


def _risk(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else "-"
