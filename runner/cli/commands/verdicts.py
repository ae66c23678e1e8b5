"""`rule-runner alerts ack|close|reopen|assign|tag`: what an analyst decides about alerts, by id or by filter."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import typer

from runner.analyst.alert_summary import summary
from runner.analyst.decisions import DONE, author, found_alerts, named_alerts, problems_of, reason_named
from runner.cli.console import counted, out, print_json, print_table, say, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.pages.alert_table import alert_table
from runner.cli.wiring import opened_stores
from runner.errors import SettingsError
from runner.settings.settings import Settings
from runner.store.changes import UpdateResult
from runner.store.protocol import AlertFilter, StoredAlert
from runner.store.verdicts import Decision, WorkflowStatus, assign_decision, decide, status_decision, tag_decision

_SHOWN = 50
"""Alerts of a dry run that a table shows."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The alerts that a command is for."""

    ids: tuple[str, ...]
    """Ids or their beginnings; without one those that meet the filter."""
    wanted: AlertFilter
    building_blocks: bool = False
    dry_run: bool = False
    confirm: int | None = None
    """How many the filter has to find."""
    is_asked: bool = True
    """Whether a person at a terminal is asked."""


def set_status(
    settings: Settings, chosen: Chosen, status: WorkflowStatus, *, reason: str | None = None, note: str | None = None
) -> ExitCode:
    """Set the status of alerts, signed by the analyst of the settings."""
    try:
        kibanas = None if reason is None else reason_named(reason)
    except SettingsError as error:
        raise SettingsError(f"--reason {error}") from None
    decision = status_decision(status, author(settings), reason=kibanas, note=note)
    return asyncio.run(_change(settings, chosen, decision, DONE[status]))


def assign(settings: Settings, chosen: Chosen, names: Sequence[str]) -> ExitCode:
    """Give alerts to these people."""
    shown = ", ".join(filter(None, names)) or "no one"
    return asyncio.run(_change(settings, chosen, assign_decision(names), f"assigned to {shown}"))


def tag(settings: Settings, chosen: Chosen, added: Sequence[str], removed: Sequence[str]) -> ExitCode:
    """Add tags and take others away."""
    if not any((*added, *removed)):
        raise SettingsError("no tag is named: --add TAG adds one, --remove TAG takes one away")
    if both := sorted({*added} & {*removed}):
        raise SettingsError(f"{both[0]!r} stands with --add and with --remove")
    return asyncio.run(_change(settings, chosen, tag_decision(list(filter(None, added)), removed), "tagged anew"))


async def _change(settings: Settings, chosen: Chosen, decision: Decision, done: str) -> ExitCode:
    by_filter = not chosen.ids
    if by_filter and chosen.wanted == AlertFilter():
        raise SettingsError("name alerts by id, or by filters such as --rule, --host or --status")
    if not by_filter and chosen.wanted != AlertFilter():
        raise SettingsError("ids and filters do not go together: name alerts by one of them")
    wanted = replace(chosen.wanted, of_building_block_rules=chosen.building_blocks)
    async with opened_stores(settings, writable=not chosen.dry_run) as stores:
        alerts = await (found_alerts(stores.alerts, wanted) if by_filter else named_alerts(stores.alerts, chosen.ids))
        if chosen.confirm is not None and chosen.confirm != len(alerts):
            raise SettingsError(f"--confirm {chosen.confirm}: {counted(len(alerts), 'alert')} found, nothing changed")
        if chosen.dry_run:
            _show_chosen(settings, alerts, done)
            return ExitCode.FINE
        if by_filter and chosen.is_asked and chosen.confirm is None and alerts and sys.stdin.isatty():
            question = f"{counted(len(alerts), 'alert')} to be {done}. Go on?"
            if not await asyncio.to_thread(typer.confirm, question, err=True):
                say("nothing was changed")
                return ExitCode.FINE
        result = await decide(stores.alerts, alerts, decision)
    return _report(settings, result, done)


def _show_chosen(settings: Settings, alerts: Sequence[StoredAlert], done: str) -> None:
    if settings.output == "json":
        print_json({"dry_run": True, "count": len(alerts), "alerts": [summary(alert) for alert in alerts]})
        return
    if alerts:
        print_table(alert_table(alerts[:_SHOWN]))
    more = f" (the first {_SHOWN} are shown)" if len(alerts) > _SHOWN else ""
    out().print(f"{counted(len(alerts), 'alert')} would be {done}{more}.", soft_wrap=True)


def _report(settings: Settings, result: UpdateResult, done: str) -> ExitCode:
    problems = problems_of(result)
    if settings.output == "json":
        changed, unchanged = sorted(result.changed), sorted(result.unchanged)
        print_json({"dry_run": False, "changed": changed, "unchanged": unchanged, "failed": problems})
    else:
        same = f", {len(result.unchanged):,} were so already" if result.unchanged else ""
        out().print(f"{counted(len(result.changed), 'alert')} {done}{same}.", soft_wrap=True, markup=False)
    for id_, reason in sorted(problems.items()):
        warn(f"alert {id_} was not changed: {reason}")
    return ExitCode.FINDINGS if problems else ExitCode.FINE
