"""The pages of rules, of what they cover of MITRE ATT&CK, and of the health of the runner."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from runner.analyst.alert_summary import summary
from runner.analyst.coverage import CoveredTactic, coverage_of, navigator_layer
from runner.analyst.ledger_status import StatusReading, read_status
from runner.analyst.rule_reading import rule_reading
from runner.analyst.rule_report import read_report
from runner.analyst.rule_standing import RuleStanding, change_text, standings_in
from runner.json_text import write_json
from runner.messages.printable import escaped_json
from runner.rule_run import RunCost
from runner.schedule.rule_status import Gap, RuleStatus
from runner.store.alert_filter import AlertFilter
from runner.store.overview import OverviewRequest, ValueCount
from runner.store.source import EventSource
from runner.web.charts import calendar
from runner.web.parts import PARTS, page
from runner.windows import Window

_MOST_RULES: Final = 5_000
_DAYS: Final = 14
_HOUR: Final = timedelta(hours=1)
_MOST_GAPS: Final = 500
_MOST_NOISE: Final = 5_000
"""Alerts of a rule up to which its report is made."""


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule in the table: what the files say of it, the ledgers, its alerts and its runs."""

    rule_id: str
    name: str
    severity: str
    state: str
    why: str
    status: RuleStatus | None
    source: EventSource
    alerts: int
    cost: RunCost | None
    lag: timedelta | None


async def status_reading(request: web.Request, *, with_gaps: bool) -> StatusReading:
    """The status of all rules; their files are only read again if they have changed."""
    parts = request.app[PARTS]
    found = await read_status(parts.places, parts.stores, parts.now(), with_gaps=with_gaps, before=parts.selected)
    parts.selected = found.selected
    return found


async def rules_page(request: web.Request) -> web.Response:
    """All rules with their state."""
    parts = request.app[PARTS]
    found = await status_reading(request, with_gaps=False)
    alerts = await alerts_by_rule(request)
    costs = await parts.stores.ledgers.costs(None)
    rows = _rows(found, alerts, costs, parts.now())
    wanted = request.query.get("state", "")
    counts = Counter(row.state for row in rows)
    text = request.query.get("text", "").strip().casefold()
    shown = [row for row in rows if wanted in ("", row.state) and text in f"{row.name}\n{row.rule_id}".casefold()]
    problems = [*found.selected.loaded.problems, *found.exceptions.problems]
    return page(
        request,
        "rules.html",
        rows=shown,
        total=len(rows),
        counts=counts,
        wanted=wanted,
        text=request.query.get("text", "").strip(),
        several=len(found.ledgers) > 1,
        problems=problems[:50],
        summary=found.selected.summary(),
    )


async def rule_page(request: web.Request) -> web.Response:
    """One rule as it is used: state, runs, alerts, noise, query, exceptions."""
    parts = request.app[PARTS]
    rule_id = request.match_info["id"]
    found = await status_reading(request, with_gaps=True)
    standing = next((one for one in standings_in(found.selected) if one.rule.rule_id == rule_id), None)
    statuses = [(ledger.source, one) for ledger in found.ledgers for one in ledger.standings if one.rule_id == rule_id]
    overview = await parts.stores.alerts.overview(OverviewRequest(AlertFilter(rule_id=rule_id), size=20))
    if standing is None and not statuses and not overview.total:
        raise web.HTTPNotFound(text=f"no rule has the id {rule_id}")
    report = None
    if overview.total <= _MOST_NOISE:
        report = await read_report(parts.stores, None, rule_id, parts.now())
    rows = [row for row in report.rows() if row["rule_id"] == rule_id] if report is not None else []
    name = standing.rule.name if standing is not None else statuses[0][1].name if statuses else rule_id
    items = found.exceptions.all_for_rule(standing.rule) if standing is not None else ()
    return page(
        request,
        "rule.html",
        rule_id=rule_id,
        name=name,
        standing=standing,
        changes=[(change_text(one), str(one.override)) for one in standing.changes] if standing is not None else [],
        statuses=[(source, one, one.lag(parts.now())) for source, one in statuses],
        gaps=[gap for ledger in found.ledgers for gap in ledger.gaps if gap.rule_id == rule_id][:_MOST_GAPS],
        noise=rows[0] if rows else None,
        overview=overview,
        newest=[summary(alert) for alert in overview.alerts],
        exceptions=items,
        reading=await asyncio.to_thread(rule_reading, standing.rule) if standing is not None else None,
        address="/alerts?" + urlencode({"rule": rule_id}),
    )


async def coverage_page(request: web.Request) -> web.Response:
    """The matrix of MITRE ATT&CK with the counts of rules and alerts."""
    tactics, rules = await _coverage(request)
    covered = {technique.id for tactic in tactics for technique in tactic.techniques.values()}
    return page(
        request,
        "coverage.html",
        tactics=tactics,
        rules=rules,
        techniques=len(covered),
        most=max((one.run for tactic in tactics for one in tactic.techniques.values()), default=1),
    )


async def navigator_file(request: web.Request) -> web.Response:
    """The matrix as a layer for ATT&CK Navigator."""
    tactics, _ = await _coverage(request)
    text = escaped_json(write_json(navigator_layer(tactics, "rule-runner"), indented=True).decode())
    headers = {"Content-Disposition": 'attachment; filename="rule-runner-layer.json"'}
    return web.Response(text=text, content_type="application/json", headers=headers)


async def _coverage(request: web.Request) -> tuple[list[CoveredTactic], int]:
    parts = request.app[PARTS]
    selected = await asyncio.to_thread(parts.places.rules.read, parts.selected)
    parts.selected = selected
    standings = [one for one in standings_in(selected) if one.state != "replaced"]
    alerts = {one.value: one.alerts for one in await alerts_by_rule(request)}
    return coverage_of(((one.rule, one.is_run) for one in standings), alerts), len(standings)


async def health_page(request: web.Request) -> web.Response:
    """What was searched and what was not: gaps, sources, late events, and the health of the service."""
    parts = request.app[PARTS]
    found = await status_reading(request, with_gaps=True)
    now = parts.now()
    strips = [
        (
            ledger.source,
            _strip([one for one in ledger.standings if one.presence == "enabled"], now),
            ledger.standings,
        )
        for ledger in found.ledgers
    ]
    gaps = sorted(
        (gap for ledger in found.ledgers for gap in ledger.gaps), key=lambda gap: gap.span.start, reverse=True
    )
    late = [(one, span) for ledger in found.ledgers for one in ledger.standings for span in one.late]
    return page(
        request,
        "health.html",
        strips=strips,
        gaps=gaps[:_MOST_GAPS],
        gap_count=len(gaps),
        owed=_length(gaps, given_up=False),
        given_up=_length(gaps, given_up=True),
        late=late[:_MOST_GAPS],
        others=found.others,
        health=parts.readiness() if parts.readiness is not None else None,
        cleaned=parts.cleaned,
        problems=[*found.selected.loaded.problems, *found.exceptions.problems][:50],
    )


def _length(gaps: Iterable[Gap], *, given_up: bool) -> timedelta:
    return sum((gap.span.length for gap in gaps if (gap.kind == "given up") == given_up), timedelta(0))


def _strip(standings: Sequence[RuleStatus], now: datetime) -> Any:
    """The calendar of the last days: per hour how many rules have not searched all of it."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=back) for back in range(_DAYS)]
    hours: Counter[datetime] = Counter()
    for one in standings:
        lacking = {hour for span in (*one.owed, *one.given_up) for hour in _hours(span, since=days[-1])}
        hours.update(lacking)
    return calendar(hours, days=days, most=len(standings))


def _hours(span: Window, *, since: datetime) -> Iterable[datetime]:
    start = max(span.start, since)
    hour = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while hour < span.end:
        yield hour
        hour += _HOUR


async def alerts_by_rule(request: web.Request) -> tuple[ValueCount, ...]:
    """How many alerts there are of each rule."""
    alerts = request.app[PARTS].stores.alerts
    return (await alerts.overview(OverviewRequest(AlertFilter(), 0, 0, _MOST_RULES))).counts["rule"]


def _rows(
    found: StatusReading, alerts: Sequence[ValueCount], costs: Mapping[str, RunCost], now: datetime
) -> list[RuleRow]:
    counts = {one.value: one.alerts for one in alerts}
    standings: dict[str, RuleStanding] = {one.rule.rule_id: one for one in standings_in(found.selected)}
    rows: list[RuleRow] = []
    for ledger in found.ledgers:
        for status in ledger.standings:
            standing = standings.get(status.rule_id)
            rows.append(
                RuleRow(
                    status.rule_id,
                    status.name,
                    standing.rule.severity if standing is not None else "",
                    standing.state if standing is not None else status.presence,
                    standing.reasons() if standing is not None else "not in the rule files",
                    status,
                    ledger.source,
                    counts.get(status.rule_id, 0),
                    costs.get(status.rule_id),
                    status.lag(now),
                )
            )
    known = {row.rule_id for row in rows}
    source = found.ledgers[0].source
    for rule_id, one in standings.items():
        if rule_id not in known:
            rule = one.rule
            rows.append(
                RuleRow(
                    rule_id, rule.name, rule.severity, one.state, one.reasons(), None, source, counts.get(rule_id, 0),
                    costs.get(rule_id), None,
                )
            )  # fmt: skip
    return sorted(rows, key=_order)


def _order(row: RuleRow) -> tuple[bool, bool, int, str]:
    """Failed rules first, then those that owe time, then those with the most alerts."""
    last = row.status.last if row.status is not None else None
    failed = last is not None and last.status == "failed"
    return not failed, row.status is None or not row.status.owed, -row.alerts, row.name
