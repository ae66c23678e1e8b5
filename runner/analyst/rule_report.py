"""The report on rules: how many alerts, how many of them false, what makes the noise, what it costs, what to except."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from runner.analyst.csv_text import csv_text
from runner.rule_run import RunCost
from runner.store.protocol import AlertFilter, Ledgers, Stores
from runner.triage.noise import FEATURES, NoiseReport, RuleNoise, days_of
from runner.windows import from_nanoseconds, iso, nanoseconds

_TOP: Final = 5
"""Values of a feature in JSON."""
_EXCEPTION_FOR: Final = timedelta(days=90)
"""How long a proposed exception applies."""
HEADINGS: Final = dict(zip(FEATURES, ("host", "user", "parent", "process", "argument"), strict=True))
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
    noise: NoiseReport,
    period: tuple[int, int] | None,
    costs: Mapping[str, RunCost],
    names: Mapping[str, str],
    *,
    now: datetime,
) -> RuleReport:
    """The report, with proposed exceptions that apply from today on."""
    return RuleReport(noise, period, costs, names, (now + _EXCEPTION_FOR).date())


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


async def read_report(stores: Stores, since: datetime | None, rule: str | None, now: datetime) -> RuleReport:
    """The report on the alerts that were detected since then, all of them without; of one rule if it is named."""
    noise = await read_noise(stores, AlertFilter(since=since, rule=rule, building_blocks=True))
    costs = await stores.ledgers.costs(since)
    names = await _names(stores.ledgers)
    if rule is not None:
        wanted = {*noise.rules, rule, *(id_ for id_, name in names.items() if name.casefold() == rule.casefold())}
        costs = {id_: cost for id_, cost in costs.items() if id_ in wanted}
    period = noise.period(None if since is None else nanoseconds(since), nanoseconds(now))
    return report_on(noise, period, costs, names, now=now)


async def read_noise(stores: Stores, wanted: AlertFilter) -> NoiseReport:
    """What the alerts that meet the filter have in common, by rule."""
    noise = NoiseReport()
    async for alert in stores.alerts.find(wanted):
        noise.add(alert.document)
    return noise


async def _names(ledgers: Ledgers) -> Mapping[str, str]:
    """The names of the rules that ever ran, by id."""
    states = [await ledgers.ledger(source).read() for source in await ledgers.sources()]
    return {rule_id: state.last.name for known in states for rule_id, state in known.items() if state.last is not None}


def report_csv(report: RuleReport) -> str:
    """The report as CSV, a row for each rule; of what makes the noise the first value."""
    return csv_text(map(_flat, report.rows()))


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    noise, cost, exception = row["noise"], row["cost"] or {}, row["exception"] or {}
    flat = {name: value for name, value in row.items() if name not in ("noise", "cost", "exception")}
    for feature in FEATURES:
        first = noise[feature][0] if noise[feature] else {"value": "", "alerts": ""}
        name = f"top_{HEADINGS[feature]}"
        flat |= {name: first["value"], f"{name}_alerts": first["alerts"]}
    flat |= {name: cost.get(name, "") for name in ("runs", "failed", "matches", "took_ms", "ms_a_run")}
    return flat | {f"exception_{name}": exception.get(name, "") for name in ("hits", "of", "toml")}
