"""The report on rules: how many alerts, how many of them false, what makes the noise, what it costs, what to except."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.text import Text

from runner.analyst.rule_report import HEADINGS, RuleReport
from runner.cli.console import SEVERITY_STYLES, counted, is_narrow, out, print_table, printable, table
from runner.rules.model_errors import shortened
from runner.triage.noise import FEATURES
from runner.windows import from_nanoseconds, iso

_SHOWN_PROPOSALS: Final = 5
_LONGEST: Final = 48


def print_rule_report(report: RuleReport, *, most: int | None = None) -> None:
    """Print the report as a table, then the proposed exceptions; of the `most` noisiest rules alone if that is set."""
    rows = report.rows()
    noisy = [row for row in rows if row["alerts"]][:most]
    console = out()
    if not noisy:
        console.print("No alerts.")
    else:
        _print_table(noisy)
        if report.period is not None and most is None:
            start, end = (iso(from_nanoseconds(end))[:19].replace("T", " ") for end in report.period)
            console.print(f"Alerts of {start} to {end} UTC.", style="dim")
    idle = [row for row in rows if not row["alerts"]]
    if idle and most is None:
        took = sum((row["cost"] or {}).get("took_ms", 0) for row in idle)
        console.print(f"{counted(len(idle), 'other rule')} ran without an alert, {took:,} ms in all.")
    proposed = [row for row in noisy if row["exception"]]
    if proposed:
        console.print("\nProposed exceptions, to be looked at before they are used (docs/exceptions.md):", style="bold")
        for row in proposed[:_SHOWN_PROPOSALS]:
            hits, of = row["exception"]["hits"], row["exception"]["of"]
            console.print(Text(f"\n# would have kept {hits:,} of {of:,} alerts away"))
            console.print(Text(row["exception"]["toml"].rstrip()), soft_wrap=True)
        if len(proposed) > _SHOWN_PROPOSALS:
            console.print(f"\n--output json has {len(proposed) - _SHOWN_PROPOSALS:,} more.")


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    suppressed = ["suppressed"] if any(row["suppressed"] for row in rows) else []
    costs = ["ms a run"] if any(row["cost"] for row in rows) else []
    tops = FEATURES[:3] if is_narrow() else FEATURES
    columns = ["rule", "severity", "alerts", "a day", *suppressed, "false positives", *costs]
    page = table(*columns, *(f"top {HEADINGS[feature]}" for feature in tops), right=columns[2:])
    for row in rows:
        cells: list[Text | str] = [
            Text(printable(shortened(row["rule"] or row["rule_id"], 100))),
            Text(printable(row["severity"]), style=SEVERITY_STYLES.get(row["severity"], "")),
            f"{row['alerts']:,}",
            f"{row['a_day']:.1f}",
            *([f"{row['suppressed']:,}"] if suppressed else []),
            f"{row['false_positives']:,} ({row['false_positive_share']:.0%})",
            *([f"{row['cost']['ms_a_run']:,.0f}" if row["cost"] else "-"] if costs else []),
        ]
        page.add_row(*cells, *_tops(row, tops))
    print_table(page)


def _tops(row: Mapping[str, Any], features: Sequence[str]) -> Iterator[str]:
    """The first value of each feature with the count of its alerts."""
    for feature in features:
        first = next(iter(row["noise"][feature]), None)
        yield "-" if first is None else f"{printable(shortened(first['value'], _LONGEST))} ({first['alerts']:,})"
