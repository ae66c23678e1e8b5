"""`rule-runner alerts ack|close|reopen|assign|tag`: what an analyst decides about alerts, by id or by filter."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import typer

from runner.cli.commands.alerts import only
from runner.cli.console import counted, out, print_json, print_table, say, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.pages.alert_table import alert_table, summary
from runner.cli.wiring import opened_stores
from runner.errors import SettingsError
from runner.messages.suggestions import did_you_mean
from runner.settings.settings import Settings
from runner.store.changes import UpdateResult
from runner.store.protocol import AlertFilter, AlertStore, StoredAlert
from runner.store.verdicts import (
    REASONS,
    Author,
    Decision,
    WorkflowStatus,
    assign_decision,
    decide,
    status_decision,
    tag_decision,
)

_SHOWN = 50
"""Alerts of a dry run that a table shows."""


_KEPT: Final = frozenset({
    "@timestamp", "host", "host.id", "host.name", "kibana", "kibana.alert.original_time", "kibana.alert.reason",
    "kibana.alert.risk_score", "kibana.alert.rule.name", "kibana.alert.rule.rule_id", "kibana.alert.severity", "user",
    "user.name",
})  # fmt: skip
_KEPT_BELOW: Final = ("kibana.alert.group.", "kibana.alert.suppression.", "kibana.alert.workflow_")


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
    kibanas = None if reason is None else REASONS.get(reason.strip().lower().replace("_", "-"))
    if reason is not None and kibanas is None:
        near = did_you_mean(reason, REASONS)
        raise SettingsError(f"--reason {reason}: expected {', '.join(REASONS)}{near}")
    decision = status_decision(status, author(settings), reason=kibanas, note=note)
    done = {"open": "opened again", "acknowledged": "acknowledged", "closed": "closed"}[status]
    return asyncio.run(_change(settings, chosen, decision, done))


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


def author(settings: Settings) -> Author:
    """Who decides: RUNNER_ANALYST, else the login name of the process; and the machine's time."""
    name = settings.analyst
    if name is None:
        try:
            name = getpass.getuser()
        except (OSError, KeyError):  # a container's user has no name
            name = "unknown"
    return Author(name, datetime.now(UTC))


async def _change(settings: Settings, chosen: Chosen, decision: Decision, done: str) -> ExitCode:
    by_filter = not chosen.ids
    if by_filter and chosen.wanted == AlertFilter():
        raise SettingsError("name alerts by id, or by filters such as --rule, --host or --status")
    if not by_filter and chosen.wanted != AlertFilter():
        raise SettingsError("ids and filters do not go together: name alerts by one of them")
    async with opened_stores(settings, writable=not chosen.dry_run) as stores:
        alerts = await (_found(stores.alerts, chosen) if by_filter else _named(stores.alerts, chosen.ids))
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


async def _found(store: AlertStore, chosen: Chosen) -> list[StoredAlert]:
    """The alerts that meet the filter; the building blocks of sequences go with these anyway."""
    wanted = replace(chosen.wanted, of_building_block_rules=chosen.building_blocks)
    return [_light(alert) async for alert in store.find(wanted)]


def _light(alert: StoredAlert) -> StoredAlert:
    """The alert with what a verdict and a line of a table need of its document, since a filter may find very many."""
    kept = {name: value for name, value in alert.document.items() if name in _KEPT or name.startswith(_KEPT_BELOW)}
    return replace(alert, document=kept)


async def _named(store: AlertStore, ids: Sequence[str]) -> list[StoredAlert]:
    """The alerts with these ids; the event of a sequence stands for the sequence."""
    found: dict[str, StoredAlert] = {}
    for id_ in ids:
        alert = await only(store, id_)
        found[alert.id] = alert
    return list(found.values())


def _show_chosen(settings: Settings, alerts: Sequence[StoredAlert], done: str) -> None:
    if settings.output == "json":
        print_json({"dry_run": True, "count": len(alerts), "alerts": [summary(alert) for alert in alerts]})
        return
    if alerts:
        print_table(alert_table(alerts[:_SHOWN]))
    more = f" (the first {_SHOWN} are shown)" if len(alerts) > _SHOWN else ""
    out().print(f"{counted(len(alerts), 'alert')} would be {done}{more}.", soft_wrap=True)


def _report(settings: Settings, result: UpdateResult, done: str) -> ExitCode:
    problems: dict[str, Any] = {
        **result.rejected,
        **dict.fromkeys(result.conflicts, "others kept changing it"),
        **dict.fromkeys(result.missing, "it was removed meanwhile"),
    }
    if settings.output == "json":
        changed, unchanged = sorted(result.changed), sorted(result.unchanged)
        print_json({"dry_run": False, "changed": changed, "unchanged": unchanged, "failed": problems})
    else:
        same = f", {len(result.unchanged):,} were so already" if result.unchanged else ""
        out().print(f"{counted(len(result.changed), 'alert')} {done}{same}.", soft_wrap=True, markup=False)
    for id_, reason in sorted(problems.items()):
        warn(f"alert {id_} was not changed: {reason}")
    return ExitCode.FINDINGS if problems else ExitCode.FINE
