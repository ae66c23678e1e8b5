"""`rule-runner alerts list --excepted`: the events that exceptions left out, as far as they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from runner.cli.console import out, print_json, print_table, say
from runner.cli.exit_codes import ExitCode
from runner.cli.pages.excepted_table import excepted_as_json, excepted_table
from runner.cli.wiring import opened_stores
from runner.clock import SystemClock
from runner.errors import SettingsError
from runner.settings.settings import Settings
from runner.store.alert_filter import AlertFilter
from runner.store.excepted_store import KeptEvent

_OFF = "excepted events are not kept: with RUNNER_KEEP_EXCEPTED=7d the next runs keep some of each exception for a week"


def list_excepted(settings: Settings, selected: AlertFilter, *, limit: int) -> ExitCode:
    """Print the newest excepted events that meet the filter."""
    if selected.statuses:
        raise SettingsError("--status with --excepted: events that an exception left out have no status")
    found = asyncio.run(_find(settings, replace(selected, limit=limit + 1)))
    has_more = len(found) > limit
    found = found[:limit]
    if settings.output == "json":
        print_json({"excepted": list(map(excepted_as_json, found)), "has_more": has_more})
    elif found:
        print_table(excepted_table(found))
        if has_more:
            say(f"only the newest {limit} are shown; --limit shows more")
    else:
        out().print("No excepted events.")
    if settings.keep_excepted is None:
        say(_OFF)
    return ExitCode.FINE


async def _find(settings: Settings, selected: AlertFilter) -> Sequence[KeptEvent]:
    async with opened_stores(settings) as stores:
        return await stores.alerts.excepted.find(selected, SystemClock().now())
