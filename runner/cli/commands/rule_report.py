"""`rule-runner rules report`: what each rule's alerts were worth, what makes the noise, and what it costs."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from runner.cli.console import print_json
from runner.cli.exit_codes import ExitCode
from runner.cli.pages.rule_report import RuleReport, csv_text, print_rule_report, report_on
from runner.cli.wiring import opened_stores
from runner.errors import SettingsError
from runner.rules.date_math import resolve
from runner.settings.settings import Settings
from runner.store.protocol import AlertFilter, Ledgers, Stores
from runner.triage.noise import NoiseReport
from runner.windows import nanoseconds

_LENGTH = re.compile(r"\d+[smhdwMy]")


def report(settings: Settings, *, since: str | None, rule: str | None, as_csv: bool) -> ExitCode:
    """Print the report on the alerts that were detected since then, all of them without."""
    now = datetime.now(UTC)
    start = _moment(since, now)
    made = asyncio.run(_report(settings, start, rule, now))
    if as_csv:
        sys.stdout.write(csv_text(made))
    elif settings.output == "json":
        print_json(made.as_json())
    else:
        print_rule_report(made)
    return ExitCode.FINE


async def _report(settings: Settings, since: datetime | None, rule: str | None, now: datetime) -> RuleReport:
    async with opened_stores(settings) as stores:
        noise = await read_noise(stores, AlertFilter(since=since, rule=rule, building_blocks=True))
        costs = await stores.ledgers.costs(since)
        names = await _names(stores.ledgers)
    if rule is not None:
        wanted = {*noise.rules, rule, *(id_ for id_, name in names.items() if name.casefold() == rule.casefold())}
        costs = {id_: cost for id_, cost in costs.items() if id_ in wanted}
    period = noise.period(None if since is None else nanoseconds(since), nanoseconds(now))
    return report_on(noise, period, costs, names)


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


def _moment(text: str | None, now: datetime) -> datetime | None:
    """The time of an ISO or date math text, or that long ago for a length such as 7d. Raises SettingsError."""
    if text is None:
        return None
    try:
        return resolve(f"now-{text}" if _LENGTH.fullmatch(text) else text, now)
    except ValueError as error:
        raise SettingsError(f"--since {text}: {error}") from None
