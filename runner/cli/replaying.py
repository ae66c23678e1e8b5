"""`rule-runner replay`: the live code path over a past span, window by window."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rich.text import Text

from runner.cli.console import counted, may_color, moment, out, print_json, print_table, progress_bar, say, table, warn
from runner.cli.exits import ExitCode
from runner.cli.places import require_rule_paths
from runner.cli.running import show_problems
from runner.cli.signals import on_signals
from runner.cli.wiring import Opened, opened
from runner.clock import SystemClock
from runner.errors import SettingsError
from runner.events.read import ReadReport
from runner.replay import hour_of, replay, replay_requests
from runner.report import RuleRun
from runner.rules.rule import Rule
from runner.service import load_active
from runner.settings import Settings
from runner.telemetry import configure_logging
from runner.windows import Window, from_nanoseconds, iso


@dataclass(slots=True)
class _Tally:
    """What the windows of one rule came to."""

    windows: int = 0
    created: int = 0
    duplicates: int = 0
    capped: int = 0
    failed: int = 0
    per_hour: Counter[datetime] = field(default_factory=Counter)
    """New alerts by the full hour in which the window that found them ends."""
    messages: dict[str, None] = field(default_factory=dict)

    def add(self, run: RuleRun) -> None:
        self.windows += 1
        self.created += run.created
        self.duplicates += run.duplicates
        self.capped += run.capped
        self.failed += run.status == "failed"
        if run.created:
            self.per_hour[hour_of(run.window.end)] += run.created
        self.messages.update(dict.fromkeys(run.messages))


def replay_span(settings: Settings, start: datetime | None, end: datetime | None, *, dry_run: bool) -> ExitCode:
    """Search every window of a past span; without `start` and `end` all of the time that the files cover."""
    configure_logging(settings, stream=sys.stderr, color=may_color())
    require_rule_paths(settings)
    return asyncio.run(_replay(settings, start, end, dry_run=dry_run))


async def _replay(settings: Settings, start: datetime | None, end: datetime | None, *, dry_run: bool) -> ExitCode:
    stopping = asyncio.Event()
    on_signals(stopping.set)
    total: list[int] = []
    tallies: dict[str, _Tally] = {}
    with progress_bar("replaying", lambda: total[0]) as advance:
        async with opened(settings, dry_run=dry_run, progress=advance) as tools:
            if tools.files is not None:
                total.append(tools.files.bytes_to_read())
            active = await load_active(settings.rules, tools.search)
            span = await _span(tools, start, end)
            schedule = replace(tools.schedule, reaches=active.reaches)
            requests = replay_requests(schedule, active.rules, span)
            execution = tools.execution(SystemClock())
            execution = replace(execution, context=replace(execution.context, manual=True))
            async with aclosing(replay(execution, requests)) as runs:
                async for run in runs:
                    tallies.setdefault(run.rule_id, _Tally()).add(run)
                    if stopping.is_set():
                        say("stopped by a signal; run it again to go on: what was found is not found twice", "yellow")
                        break
            report = tools.files.report if tools.files is not None else ReadReport()
    show_problems(active)
    for text in report.warnings():
        warn(text)
    _print(settings, active.rules, tallies, span=span, dry_run=dry_run)
    broken = any(problem.severity == "error" for problem in active.problems)
    return ExitCode.RULE_FAILED if broken or any(tally.failed for tally in tallies.values()) else ExitCode.FINE


async def _span(tools: Opened, start: datetime | None, end: datetime | None) -> Window:
    if start is None or end is None:
        if tools.files is None:
            raise SettingsError("replay of a cluster needs --from and --to")
        newest = await tools.files.newest()
        oldest = tools.files.report.oldest_ns
        if newest is None or oldest is None:
            raise SettingsError("no event with a readable @timestamp was found in the events: name --from and --to")
        start, end = start or from_nanoseconds(oldest), end or newest
    if start >= end:
        raise SettingsError(f"--from {iso(start)} is not before --to {iso(end)}: nothing lies between them")
    return Window(start, end)


def _print(
    settings: Settings, rules: Sequence[Rule], tallies: dict[str, _Tally], *, span: Window, dry_run: bool
) -> None:
    created = sum(tally.created for tally in tallies.values())
    if settings.output == "json":
        shown = [_as_json(rule, tallies[rule.rule_id]) for rule in rules if rule.rule_id in tallies]
        window = {"from": iso(span.start), "to": iso(span.end)}
        print_json({"window": window, "dry_run": dry_run, "rules": shown, "created": created})
        return
    console = out()
    console.print(f"Replayed {moment(span.start)} to {moment(span.end)} UTC")
    columns = ("rule", "windows", "alerts", "known", "over cap", "failed", "most in an hour", "hour (UTC)")
    page = table(*columns, right=columns[1:7])
    for rule in sorted(rules, key=lambda rule: -tallies.get(rule.rule_id, _Tally()).created):
        tally = tallies.get(rule.rule_id, _Tally())
        hour, most = max(tally.per_hour.items(), key=lambda item: item[1], default=(None, 0))
        counts = (tally.windows, tally.created, tally.duplicates, tally.capped, tally.failed, most)
        page.add_row(rule.name, *map(str, counts), moment(hour))
    print_table(page)
    for rule in rules:
        for text in tallies.get(rule.rule_id, _Tally()).messages:
            console.print(Text(f"{rule.name}: {text}", style="yellow"), soft_wrap=True)
    wrote = "would have been made" if dry_run else "made"
    console.print(f"{counted(created, 'alert')} {wrote}.")


def _as_json(rule: Rule, tally: _Tally) -> dict[str, Any]:
    return {
        "rule_id": rule.rule_id,
        "name": rule.name,
        "windows": tally.windows,
        "created": tally.created,
        "duplicates": tally.duplicates,
        "capped": tally.capped,
        "failed": tally.failed,
        "per_hour": {iso(hour): count for hour, count in sorted(tally.per_hour.items())},
        "messages": list(tally.messages),
    }
