"""`rule-runner rules report`: what each rule's alerts were worth, what makes the noise, and what it costs."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from runner.analyst.rule_report import RuleReport, read_report, report_csv
from runner.cli.console import print_json
from runner.cli.exit_codes import ExitCode
from runner.cli.pages.rule_report import print_rule_report
from runner.cli.wiring import opened_stores
from runner.errors import SettingsError
from runner.settings.moments import read_moment
from runner.settings.settings import Settings


def report(settings: Settings, *, since: str | None, rule: str | None, as_csv: bool) -> ExitCode:
    """Print the report on the alerts that were detected since then, all of them without."""
    now = datetime.now(UTC)
    start = _moment(since, now)
    made = asyncio.run(_report(settings, start, rule, now))
    if as_csv:
        sys.stdout.write(report_csv(made))
    elif settings.output == "json":
        print_json(made.as_json())
    else:
        print_rule_report(made)
    return ExitCode.FINE


async def _report(settings: Settings, since: datetime | None, rule: str | None, now: datetime) -> RuleReport:
    async with opened_stores(settings) as stores:
        return await read_report(stores, since, rule, now)


def _moment(text: str | None, now: datetime) -> datetime | None:
    """The time that the text names; None for None. Raises SettingsError."""
    if text is None:
        return None
    try:
        return read_moment(text, now)
    except ValueError as error:
        raise SettingsError(f"--since: {error}") from None
