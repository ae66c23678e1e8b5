"""What exceptions would have removed: a row per exception, then the alerts and matches one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from runner.alerts.event_fields import text_at
from runner.analyst.alert_summary import summary
from runner.cli.console import counted, out, print_json, print_table, printable, table, window_text
from runner.cli.pages.alert_table import alert_table
from runner.exceptions.conditions import resolve_items
from runner.exceptions.item import ExceptionItem
from runner.service.exception_preview import ChangedMatch, PreviewedRule
from runner.store.protocol import StoredAlert
from runner.triage.excepted_alert import alert_schema
from runner.windows import Window, iso

_SHOWN = 20


@dataclass(slots=True)
class PreviewReport:
    """What was looked at, and what exceptions would have removed of it."""

    items: Sequence[ExceptionItem]
    rules: dict[str, int]
    """For how many rules each is, by its id."""
    alerts: Sequence[tuple[StoredAlert, ExceptionItem]] = ()
    searched: Sequence[PreviewedRule] | None = None
    """None: no events were searched."""
    window: Window | None = None
    source: str = ""
    removed: list[ChangedMatch] = field(default_factory=list)

    def problems(self) -> list[str]:
        """What makes the answer less than the whole, each text once."""
        refused = [one.problem().text for one in resolve_items(self.items, alert_schema()).refused]
        texts = (f'rule "{one.rule.name}": {text}' for one in self.searched or () for text in one.problems)
        return list(dict.fromkeys((*refused, *texts)))

    def by_item(self, item: ExceptionItem) -> tuple[int, int, int]:
        """Stored alerts, matches and events that an exception would have removed."""
        alerts = sum(one is item for _, one in self.alerts)
        matches = sum(match.item is item for one in self.searched or () for match in one.removed)
        events = sum((one.events or {}).get(item.id, 0) for one in self.searched or ())
        return alerts, matches, events


def print_preview(report: PreviewReport, output: str) -> None:
    """Print the report as a table or as JSON."""
    if output == "json":
        print_json(_as_json(report))
        return
    console = out()
    if not report.items:
        console.print("No exceptions.")
        return
    if report.searched is not None and report.window is not None:
        console.print(f"Searched {printable(report.source)}, {window_text(report.window)} UTC", soft_wrap=True)
    shown = table(
        "exception",
        "rules",
        "stored alerts",
        "matches",
        "events",
        right=("rules", "stored alerts", "matches", "events"),
        wrapped=("exception",),
    )
    for item in report.items:
        alerts, matches, events = report.by_item(item)
        found = (str(alerts), *((f"{matches:,}", f"{events:,}") if report.searched is not None else ("-", "-")))
        shown.add_row(Text(printable(item.name)), str(report.rules.get(item.id, 0)), *found)
    print_table(shown)
    _print_alerts(report)
    _print_matches(report)


def _print_alerts(report: PreviewReport) -> None:
    console = out()
    if not report.alerts:
        console.print("No stored alert would have been removed.")
        return
    console.print(f"\n{counted(len(report.alerts), 'stored alert')} would not have been made (they stay as they are):")
    print_table(alert_table([alert for alert, _ in report.alerts[:_SHOWN]]))
    if len(report.alerts) > _SHOWN:
        console.print(f"... and {len(report.alerts) - _SHOWN:,} more")


def _print_matches(report: PreviewReport) -> None:
    if report.searched is None:
        return
    console = out()
    removed = [match for one in report.searched for match in one.removed]
    made = [match for one in report.searched for match in one.made]
    before = sum(one.before for one in report.searched)
    matches = "1 match" if before == 1 else f"{before:,} matches"
    console.print(f"{len(removed):,} of {matches} would be removed." if before else "No matches.")
    for title, found in (("removed", removed), ("MADE by the exceptions", made)):
        if not found:
            continue
        shown = table(f"{title}: rule", "event time (UTC)", "host", "by", wrapped=(f"{title}: rule", "by"))
        for match in found[:_SHOWN]:
            source = next((hit.source for hit in match.match.hits if not hit.missing), {})
            by = match.item.name if match.item is not None else "what it leaves out"
            cells = (match.rule.name, text_at(source, "@timestamp"), text_at(source, "host.name"), by)
            shown.add_row(*(Text(printable(cell)) for cell in cells))
        print_table(shown)
        if len(found) > _SHOWN:
            console.print(f"... and {len(found) - _SHOWN:,} more")
    if made:
        text = (
            "An event that is left out counts as absent, or another takes its place: check these, or use scope alert."
        )
        console.print(text, soft_wrap=True, style="yellow")


def _as_json(report: PreviewReport) -> dict[str, Any]:
    window = report.window
    found: dict[str, Any] = {"exceptions": [_item_json(report, item) for item in report.items]}
    found["alerts"] = [summary(alert) | {"exception": item.id} for alert, item in report.alerts]
    if report.searched is not None and window is not None:
        found |= {
            "searched": report.source,
            "window": {"from": iso(window.start), "to": iso(window.end)},
            "matches": sum(one.before for one in report.searched),
            "removed": [_match_json(match) for one in report.searched for match in one.removed],
            "made": [_match_json(match) for one in report.searched for match in one.made],
        }
    return found | {"problems": report.problems()}


def _item_json(report: PreviewReport, item: ExceptionItem) -> dict[str, Any]:
    alerts, matches, events = report.by_item(item)
    counts = {"rules": report.rules.get(item.id, 0), "alerts": alerts}
    if report.searched is not None:
        counts |= {"matches": matches, "events": events}
    return {"exception": item.id, "name": item.name, **counts}


def _match_json(match: ChangedMatch) -> Mapping[str, Any]:
    source = next((hit.source for hit in match.match.hits if not hit.missing), {})
    return {
        "alert_id": match.alert_id,
        "rule_id": match.rule.rule_id,
        "rule": match.rule.name,
        "time": text_at(source, "@timestamp"),
        "host": text_at(source, "host.name"),
        "exception": None if match.item is None else match.item.id,
    }
