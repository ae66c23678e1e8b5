"""`rule-runner status`: where every rule stands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rich.text import Text

from runner.cli.console import STATUS_STYLES, is_narrow, moment, out, print_json, print_table, table
from runner.cli.exits import ExitCode
from runner.cli.places import has_cluster, require_rule_paths
from runner.cli.wiring import opened_store
from runner.clock import SystemClock
from runner.report import RuleRun
from runner.rules.load import load_rules
from runner.rules.rule import Rule
from runner.schedule import Schedule, owed
from runner.settings import Settings
from runner.store.store import RuleState
from runner.windows import Window, iso


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one rule stands: its last run, how far it was searched, and what is still owed."""

    rule: Rule
    last: RuleRun | None
    searched_to: datetime | None
    next_due: datetime
    owed: tuple[Window, ...]

    def lag(self, now: datetime) -> timedelta | None:
        """How far the newest searched time is behind now."""
        return now - self.searched_to if self.searched_to is not None else None

    def as_json(self, now: datetime) -> dict[str, Any]:
        lag = self.lag(now)
        return {
            "rule_id": self.rule.rule_id,
            "name": self.rule.name,
            "enabled": self.rule.enabled,
            "last_run": self.last.as_json() | {"started": iso(self.last.started)} if self.last is not None else None,
            "searched_to": iso(self.searched_to) if self.searched_to is not None else None,
            "lag_s": round(lag.total_seconds(), 3) if lag is not None else None,
            "next_due": iso(self.next_due),
            "owed": [{"from": iso(window.start), "to": iso(window.end)} for window in self.owed],
        }


def status(settings: Settings) -> ExitCode:
    """Print where every rule stands."""
    require_rule_paths(settings)
    now = SystemClock().now()
    standings = asyncio.run(_standings(settings, now))
    if settings.output == "json":
        print_json({"rules": [standing.as_json(now) for standing in standings]})
    else:
        _print(standings, now)
    return ExitCode.FINE


async def _standings(settings: Settings, now: datetime) -> list[Standing]:
    async with opened_store(settings) as store:
        states = await store.read()
    schedule = Schedule(together=bool(settings.events) or not has_cluster(settings), horizon=settings.catch_up)
    return [_standing(rule, states, schedule, now=now) for rule in load_rules(settings.rules).rules]


def _standing(rule: Rule, states: Mapping[str, RuleState], schedule: Schedule, *, now: datetime) -> Standing:
    state = states.get(rule.rule_id)
    searched = [span for span in state.searched if span.start < span.end] if state is not None else []
    last = state.last if state is not None else None
    spans = owed(state, last.window.end, horizon=schedule.horizon) if last is not None else ()
    return Standing(rule, last, searched[-1].end if searched else None, schedule.next_start(rule, now), spans)


def _print(standings: Sequence[Standing], now: datetime) -> None:
    wide = not is_narrow()
    columns = ["rule", "last run (UTC)", "outcome", "lag", "owed", "created"]
    columns += ["known", "over cap", "searched to (UTC)", "next due (UTC)"] if wide else []
    shown = table(*columns, right=("lag", "owed", "created", "known", "over cap"))
    for standing in standings:
        cells = _cells(standing, now)
        shown.add_row(*cells[: len(columns)])
    console = out()
    if not standings:
        console.print("No rules.")
        return
    print_table(shown)
    for standing in standings:
        if standing.last is not None and standing.last.messages:
            text = f"{standing.rule.name}: {'; '.join(standing.last.messages)}"
            console.print(Text(text, style=STATUS_STYLES[standing.last.status]), soft_wrap=True)


def _cells(standing: Standing, now: datetime) -> list[Text | str]:
    """The row of a rule, the most telling cells first."""
    last, lag = standing.last, standing.lag(now)
    name = Text(standing.rule.name + ("" if standing.rule.enabled else " (disabled)"))
    next_due = moment(standing.next_due) if standing.rule.enabled else "-"
    if last is None:
        return [name, "never", "-", "-", "-", "-", "-", "-", "-", next_due]
    gap = sum((window.length for window in standing.owed), timedelta(0))
    return [
        name,
        moment(last.started),
        Text(last.status, style=STATUS_STYLES[last.status]),
        _length(lag) if lag is not None else "-",
        _length(gap) if gap else "none",
        *map(str, (last.created, last.duplicates, last.capped)),
        moment(standing.searched_to),
        next_due,
    ]


def _length(length: timedelta) -> str:
    seconds = int(length.total_seconds())
    if seconds < 0:
        return "0s"
    if seconds < 120:
        return f"{seconds}s"
    return (
        f"{seconds // 60}m"
        if seconds < 7200
        else f"{seconds / 3600:.1f}h"
        if seconds < 172_800
        else f"{seconds // 86_400}d"
    )
