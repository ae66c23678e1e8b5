"""`rule-runner notify`: test messages, what targets are owed, and targets that are gone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.text import Text

from runner.cli.console import counted, err, may_color, moment, out, print_json, print_table, say, table
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import stores_in_cluster
from runner.cli.notifying import Told, masked, outbox_of, read_told
from runner.cli.wiring import opened_stores
from runner.clock import SystemClock
from runner.errors import SettingsError
from runner.messages.printable import printable
from runner.messages.suggestions import did_you_mean
from runner.notify.owed_item import health_item
from runner.notify.secret_text import shown_address
from runner.notify.sinks.delivery import Delivery
from runner.notify.sinks.sink_for import sink_for
from runner.notify.target import NotificationTarget
from runner.rules.discovery import NOTIFICATIONS
from runner.settings.settings import Settings
from runner.store.outbox import Backlog, OutboxMessage, TargetRecord, message_id
from runner.telemetry.logs import configure_logging
from runner.windows import iso


def test(settings: Settings, names: Sequence[str]) -> ExitCode:
    """Send a test message to the targets of these names, to all of them without."""
    told = read_told(settings)
    configure_logging(settings, stream=sys.stderr, color=may_color(), secrets=told.secrets)
    targets = _chosen(told, names)
    outcomes = asyncio.run(_send_all(targets))
    clean = masked(settings, told)
    rows = [(target, outcome.ok, clean(outcome.reason)) for target, outcome in zip(targets, outcomes, strict=True)]
    if settings.output == "json":
        print_json([{"target": target.name, "sent": ok, "error": reason or None} for target, ok, reason in rows])
    else:
        for target, ok, reason in rows:
            text = (
                f"{target.name} ({target.type}, {shown_address(target.url)}): {'sent' if ok else f'failed: {reason}'}"
            )
            out().print(Text(printable(text), style="green" if ok else "bold red"), soft_wrap=True)
    return ExitCode.FINE if all(ok for _, ok, _ in rows) else ExitCode.UNREACHABLE


def _chosen(told: Told, names: Sequence[str]) -> list[NotificationTarget]:
    targets = {target.name: target for target in told.targets if not target.is_stream}
    if not targets:
        where = (
            f"{told.path} has none" if told.path is not None else f"there is no {NOTIFICATIONS} beside state and rules"
        )
        raise SettingsError(
            f"no notification targets: {where}; name a file with --notifications (docs/notifications.md)"
        )
    for name in names:
        if name not in targets:
            raise SettingsError(f"no target `{printable(name)}` in {told.path}{did_you_mean(name, targets)}")
    return [targets[name] for name in names] if names else list(targets.values())


async def _send_all(targets: Sequence[NotificationTarget]) -> list[Delivery]:
    return list(await asyncio.gather(*map(_send_one, targets)))


async def _send_one(target: NotificationTarget) -> Delivery:
    now = SystemClock().now()
    text = f"This is a test of target {target.name}, sent by `rule-runner notify test`."
    item = health_item("test", now, title="test message", text=text)
    sink = sink_for(target)
    try:
        return await sink.send(OutboxMessage(message_id(target.name, (item,)), "health", (item,), now), {}, now)
    finally:
        await sink.close()


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """Where one target stands, as the outbox has it."""

    name: str
    record: TargetRecord | None
    """None for one that was never used."""
    backlog: Backlog = field(default_factory=Backlog)
    is_configured: bool = True

    def as_json(self) -> dict[str, Any]:
        record = self.record or TargetRecord(SystemClock().now())
        return {
            "target": self.name,
            "configured": self.is_configured,
            "pending": self.backlog.items,
            "oldest_pending": _iso(self.backlog.oldest),
            "messages": record.messages,
            "alerts": record.alerts,
            "failed_tries": record.failed_tries,
            "failing": record.failures > 0,
            "given_up": record.given_up,
            "next_try": _iso(record.not_before),
            "last_success": _iso(record.last_success),
            "last_failure": _iso(record.last_failure),
            "last_error": record.last_error or None,
        }


def status(settings: Settings) -> ExitCode:
    """Print where each target stands."""
    told = read_told(settings)
    found = asyncio.run(read_targets(settings, told))
    if settings.output == "json":
        print_json([one.as_json() for one in found])
        return ExitCode.FINE
    if not found:
        say("no notification targets, and nothing was ever sent (docs/notifications.md)")
        return ExitCode.FINE
    columns = ("target", "sent", "alerts", "owed", "oldest (UTC)", "given up", "last sent (UTC)", "next try (UTC)", "")
    shown = table(*columns, right=("sent", "alerts", "owed", "given up"), wrapped=("",))
    for one in found:
        record = one.record
        if record is None:
            shown.add_row(one.name, *["0", "0", "0", "-", "0", "-", "-"], Text("not used yet"))
            continue
        counts = (f"{record.messages:,}", f"{record.alerts:,}", f"{one.backlog.items:,}")
        times = (moment(record.last_success), moment(record.not_before) if record.failures else "-")
        given_up = Text(f"{record.given_up:,}", style="bold red" if record.given_up else "")
        shown.add_row(one.name, *counts, moment(one.backlog.oldest), given_up, *times, _remark(one))
    print_table(shown)
    return ExitCode.FINE


def _remark(one: TargetStatus) -> Text:
    record = one.record
    if record is not None and record.failures:
        return Text(record.last_error, style="bold red")
    if not one.is_configured:
        return Text("no longer configured; `rule-runner notify forget` drops it", style="yellow")
    return Text(f"last error: {record.last_error}" if record is not None and record.last_error else "")


def forget(settings: Settings, name: str, *, yes: bool) -> ExitCode:
    """Drop what a target is owed; without `yes` only say what that is."""
    return asyncio.run(_forget(settings, name, yes=yes))


async def _forget(settings: Settings, name: str, *, yes: bool) -> ExitCode:
    async with opened_stores(settings, writable=yes) as stores:
        outbox = outbox_of(stores.alerts)
        records: Mapping[str, TargetRecord] = {} if outbox is None else await outbox.targets()
        if outbox is None or name not in records:
            raise SettingsError(f"nothing is stored of a target `{printable(name)}`{did_you_mean(name, records)}")
        owed = (await outbox.backlog(name)).items
        if not yes:
            say(f"target {printable(name)} is owed {counted(owed, 'alert')}; --yes drops them", "yellow")
            return ExitCode.FINE
        await outbox.forget(name)
    say(f"target {printable(name)} is forgotten, with {counted(owed, 'alert')} that it was owed")
    return ExitCode.FINE


async def read_targets(settings: Settings, told: Told | None = None) -> list[TargetStatus]:
    """Where the targets stand, those that are configured first; the configured ones alone where nothing is stored."""
    wanted = [target.name for target in told.targets] if told is not None else []
    if not stores_in_cluster(settings) and not settings.state.exists():
        return [TargetStatus(name, None) for name in wanted]
    async with opened_stores(settings) as stores:
        outbox = outbox_of(stores.alerts)
        records = {} if outbox is None else await outbox.targets()
        found = []
        for name in dict.fromkeys((*wanted, *records)):
            record = records.get(name)
            backlog = await outbox.backlog(name) if outbox is not None and record is not None else Backlog()
            found.append(TargetStatus(name, record, backlog, told is None or name in wanted))
        return found


def say_owed(found: Sequence[TargetStatus]) -> None:
    """Print, on stderr, which targets fail, and what was given up."""
    for one in found:
        record = one.record
        if record is None or not (record.given_up or (record.failures and one.backlog.items)):
            continue
        owed = f"{counted(one.backlog.items, 'alert')} not sent yet" if one.backlog.items else ""
        given_up = f"{counted(record.given_up, 'alert')} given up" if record.given_up else ""
        error = f": {record.last_error}" if record.failures else ""
        text = (
            f"target {one.name}: {' and '.join(filter(None, (owed, given_up)))}{error}; see `rule-runner notify status`"
        )
        err().print(Text(printable(text), style="yellow"), soft_wrap=True)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else iso(at)
