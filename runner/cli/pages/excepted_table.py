"""Events that exceptions left out: rows of a table, objects of a JSON list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from runner.alerts.event_fields import text_at
from runner.alerts.event_time import event_time_ns
from runner.cli.console import moment, printable, table
from runner.dates.dates import date_text
from runner.json_text import deep_stack
from runner.service.kept_events import EXCEPTION, event_of
from runner.store.excepted_store import KeptEvent
from runner.windows import iso


def excepted_table(events: Sequence[KeptEvent]) -> Table:
    """A table of excepted events, a line each."""
    shown = table(
        "event time (UTC)", "rule", "exception", "host", "user", "what", wrapped=("rule", "exception", "what")
    )
    for event in events:
        row = _summary(event)
        time = event_time_ns(event.document)
        with deep_stack():  # of an array of arrays in its place
            shown_time = moment(row["event_time"] if time is None else date_text(time))
        cells = (row[name] for name in ("rule", "exception_name", "host", "user", "what"))
        shown.add_row(shown_time, *(Text(printable(cell)) for cell in cells))
    return shown


def excepted_as_json(event: KeptEvent) -> dict[str, Any]:
    """The object that `--output json` prints, with the event's own fields."""
    return _summary(event) | {"event": event_of(event.document)}


def _summary(event: KeptEvent) -> dict[str, Any]:
    document = event.document
    reason = text_at(document, "kibana.alert.reason")
    return {
        "id": event.id,
        "event_time": document.get("kibana.alert.original_time"),
        "left_out": document.get("@timestamp"),
        "kept_until": iso(event.until),
        "rule_id": event.rule_id,
        "rule": text_at(document, "kibana.alert.rule.name"),
        "severity": text_at(document, "kibana.alert.severity"),
        "exception": text_at(document, f"{EXCEPTION}.id"),
        "exception_name": text_at(document, f"{EXCEPTION}.name"),
        "exception_reason": text_at(document, f"{EXCEPTION}.reason"),
        "scope": text_at(document, f"{EXCEPTION}.scope"),
        "host": text_at(document, "host.name") or text_at(document, "host.id"),
        "user": text_at(document, "user.name"),
        "what": reason.rpartition(" created ")[0] or reason,
        "alert_reason": reason,
    }
