"""The report on rules: how many alerts, how many of them false, what makes the noise, what it costs, what to except."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from rich.text import Text

from runner.cli.console import SEVERITY_STYLES, counted, is_narrow, out, print_table, printable, table
from runner.rule_run import RunCost
from runner.rules.model_errors import shortened
from runner.triage.noise import FEATURES, NoiseReport, RuleNoise, days_of
from runner.windows import from_nanoseconds, iso

_TOP: Final = 5
"""Values of a feature in JSON."""
_EXCEPTION_FOR: Final = timedelta(days=90)
"""How long a proposed exception applies."""
_SHOWN_PROPOSALS, _LONGEST = 5, 48
_FORMULA: Final = ("=", "+", "-", "@")
"""Beginnings of cells that spreadsheets compute: values of events must not get to."""
_HEADINGS: Final = dict(zip(FEATURES, ("host", "user", "parent", "process", "argument"), strict=True))
_REASONS: Final = {
    "false_positives": "false_positive",
    "true_positives": "true_positive",
    "benign": "benign_positive",
    "duplicates": "duplicate",
}


@dataclass(frozen=True, slots=True)
class RuleReport:
    """What is reported: the noise of all rules over a period, and what their runs took by rule id."""

    noise: NoiseReport
    period: tuple[int, int] | None
    """Nanoseconds since 1970."""
    costs: Mapping[str, RunCost]
    names: Mapping[str, str]
    """Names of rules that have no alert."""
    until: date
    """The last day of proposed exceptions."""

    def rows(self) -> list[dict[str, Any]]:
        """A row for each rule with alerts, the noisiest first, then for each that only ran."""
        noisy = self.noise.noisiest
        others = sorted(self.costs.keys() - {rule.rule_id for rule in noisy})
        idle = [RuleNoise(rule_id, self.names.get(rule_id, "")) for rule_id in others]
        return [self._row(rule) for rule in (*noisy, *idle)]

    def as_json(self) -> dict[str, Any]:
        """The object that `--output json` prints."""
        rows = self.rows()
        period = None
        if self.period is not None:
            start, end = map(from_nanoseconds, self.period)
            period = {"from": iso(start), "to": iso(end), "days": round(days_of(self.period), 3)}
        return {"period": period, "alerts": sum(row["alerts"] for row in rows), "rules": rows}

    def _row(self, rule: RuleNoise) -> dict[str, Any]:
        cost, proposal = self.costs.get(rule.rule_id), rule.proposal()
        return {
            "rule_id": rule.rule_id,
            "rule": rule.name,
            "severity": rule.severity,
            "alerts": rule.alerts,
            "a_day": round(rule.alerts / days_of(self.period), 3),
            "suppressed": rule.suppressed,
            **{status: rule.statuses[status] for status in ("open", "acknowledged", "closed")},
            **{name: rule.reasons[reason] for name, reason in _REASONS.items()},
            "false_positive_share": round(rule.false_positive_share, 4),
            "noise": {
                feature: [{"value": top.value, "alerts": top.alerts} for top in rule.top(feature, _TOP)]
                for feature in FEATURES
            },
            "cost": cost_json(cost),
            "exception": None
            if proposal is None
            else {
                "when": dict(proposal.when),
                "hits": proposal.hits,
                "of": proposal.of,
                "toml": proposal.text(rule.rule_id, rule.name, self.until),
            },
        }


def report_on(
    noise: NoiseReport, period: tuple[int, int] | None, costs: Mapping[str, RunCost], names: Mapping[str, str]
) -> RuleReport:
    """The report, with proposed exceptions that apply from today on."""
    return RuleReport(noise, period, costs, names, (datetime.now(UTC) + _EXCEPTION_FOR).date())


def cost_json(cost: RunCost | None) -> dict[str, Any] | None:
    """What runs took, as JSON; None if no run is known."""
    if cost is None or not cost.runs:
        return None
    return {
        "runs": cost.runs,
        "failed": cost.failed,
        "matches": cost.matches,
        "took_ms": cost.took_ms,
        "ms_a_run": round(cost.took_ms / cost.runs, 1),
    }


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


def csv_text(report: RuleReport) -> str:
    """The report as CSV, a row for each rule; of what makes the noise the first value."""
    file = io.StringIO()
    writer: Any = None
    for row in map(_flat, report.rows()):
        writer = writer or csv.DictWriter(file, list(row))
        if not file.tell():
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return file.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    noise, cost, exception = row["noise"], row["cost"] or {}, row["exception"] or {}
    flat = {name: value for name, value in row.items() if name not in ("noise", "cost", "exception")}
    for feature in FEATURES:
        first = noise[feature][0] if noise[feature] else {"value": "", "alerts": ""}
        name = f"top_{_HEADINGS[feature]}"
        flat |= {name: first["value"], f"{name}_alerts": first["alerts"]}
    flat |= {name: cost.get(name, "") for name in ("runs", "failed", "matches", "took_ms", "ms_a_run")}
    return flat | {f"exception_{name}": exception.get(name, "") for name in ("hits", "of", "toml")}


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value, but="\n")
    return f"'{text}" if text.startswith(_FORMULA) else text


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    suppressed = ["suppressed"] if any(row["suppressed"] for row in rows) else []
    costs = ["ms a run"] if any(row["cost"] for row in rows) else []
    tops = FEATURES[:3] if is_narrow() else FEATURES
    columns = ["rule", "severity", "alerts", "a day", *suppressed, "false positives", *costs]
    page = table(*columns, *(f"top {_HEADINGS[feature]}" for feature in tops), right=columns[2:])
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
