"""Summaries of alerts as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from runner.alerts.event_time import event_time_ns
from runner.analyst.alert_lookup import SHORT_ID
from runner.analyst.alert_summary import NO_OTHERS, SeenBy, summary
from runner.cli.console import SEVERITY_STYLES, is_narrow, moment, printable, table
from runner.dates.dates import date_text
from runner.json_text import deep_stack
from runner.store.protocol import StoredAlert


def alert_table(alerts: Sequence[StoredAlert], seen_by: SeenBy = NO_OTHERS) -> Table:
    """A table of alerts, a line each; without the risk score on a narrow terminal.

    A column has the status if there is one that is not open, another what was counted or is new if anything is,
    another how many further matches an alert stands for if any does, another what else has seen an event if anything
    has.
    """
    narrow = is_narrow()
    rows = [summary(alert, seen_by) for alert in alerts]
    columns = ["id", "event time (UTC)", "severity", *([] if narrow else ["risk"])]
    statuses = any(row["status"] not in ("open", None) for row in rows)
    columns += ["status"] if statuses else []
    columns += ["rule", "host", "user"]
    columns += ["found"] if any(row["found"] for row in rows) and not narrow else []
    columns += ["more"] if any(row["suppressed"] for row in rows) else []
    columns += ["also seen by"] if any(row["also_seen_by"] for row in rows) else []
    shown = table(*columns, right=("risk", "more"))
    for alert, row in zip(alerts, rows, strict=True):
        severity = Text(row["severity"], style=SEVERITY_STYLES.get(row["severity"], ""))
        time = event_time_ns(alert.document)
        with deep_stack():  # of an array of arrays in its place
            shown_time = moment(row["event_time"] if time is None else date_text(time))
        cells: list[str | Text] = [alert.id[: 8 if narrow else SHORT_ID], shown_time, severity]
        cells += [] if narrow else [_risk(row["risk_score"])]
        cells += [_status(row)] if statuses else []
        cells += [Text(printable(row[name])) for name in ("rule", "host", "user")]
        if "found" in columns:
            cells.append(printable(row["found"] or ""))
        if "more" in columns:
            cells.append(f"+{row['suppressed']:,}" if row["suppressed"] else "")
        others = [f"{other['source']} ({other['id'][:8]})" for other in row["also_seen_by"]]
        shown.add_row(*cells, *([printable(", ".join(others))] if "also seen by" in columns else []))
    return shown


def _status(row: dict[str, Any]) -> str:
    reason = f" ({row['verdict'].replace('_', ' ')})" if row["verdict"] else ""
    return printable(f"{row['status'] or '-'}{reason}")


def _risk(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else "-"
