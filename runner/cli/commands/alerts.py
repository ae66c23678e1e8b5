"""`rule-runner alerts`: list, show and export the stored alerts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from runner.analyst.alert_lookup import with_blocks
from runner.analyst.alert_summary import shown_alerts, summary
from runner.cli.console import counted, out, print_json, print_table, say
from runner.cli.exit_codes import ExitCode
from runner.cli.lookup_wiring import completed_view
from runner.cli.own_command import state_flag
from runner.cli.pages.alert_table import alert_table
from runner.cli.pages.triage_page import print_triage, triage_as_json
from runner.cli.wiring import opened_stores
from runner.errors import AccessError
from runner.json_text import deep_stack, write_json
from runner.messages.printable import escaped_json
from runner.settings.settings import Settings
from runner.store.protocol import AlertFilter, StoredAlert
from runner.triage.same_event import also_seen_by
from runner.triage.triage import TriageView


def list_alerts(settings: Settings, selected: AlertFilter, *, limit: int, building_blocks: bool) -> ExitCode:
    """Print the alerts of the newest events that meet the filter."""
    wanted = shown_alerts(replace(selected, limit=limit + 1, newest="event"), building_blocks)
    found = asyncio.run(_find(settings, wanted))
    has_more = len(found) > limit
    found = found[:limit]
    seen_by = also_seen_by(found)
    if settings.output == "json":
        print_json({"alerts": [summary(alert, seen_by) for alert in found], "has_more": has_more})
    elif found:
        print_table(alert_table(found, seen_by))
        if has_more:
            say(f"only the newest {limit} are shown; --limit shows more")
    else:
        out().print("No alerts.")
    return ExitCode.FINE


def show(settings: Settings, id_: str, *, lookup: bool = True) -> ExitCode:
    """Print one alert for triage, with what is looked up beside it unless that is not wanted."""
    with deep_stack():
        head, blocks, view = asyncio.run(_one(settings, id_, lookup=lookup))
    if settings.output == "json":
        documents = [block.document for block in blocks]
        print_json({"alert": head.document, "building_blocks": documents, "triage": triage_as_json(view)})
    else:
        print_triage(view, out(), state_flag(settings))
    return ExitCode.FINE


def export(settings: Settings, selected: AlertFilter, to: Path | None, *, building_blocks: bool) -> ExitCode:
    """Write the alerts that meet the filter as NDJSON."""
    selected = shown_alerts(selected, building_blocks)
    if to is None:
        count = asyncio.run(_export(settings, selected, sys.stdout.buffer))
    else:
        try:
            with to.open("wb") as file:
                count = asyncio.run(_export(settings, selected, file))
        except OSError as error:
            raise AccessError(f"{to}: cannot be written: {error.strerror or error}") from None
    say(counted(count, "document"))
    return ExitCode.FINE


async def _find(settings: Settings, selected: AlertFilter) -> list[StoredAlert]:
    async with opened_stores(settings) as stores:
        return [alert async for alert in stores.alerts.find(selected)]


async def _export(settings: Settings, selected: AlertFilter, file: BinaryIO) -> int:
    count = 0
    async with opened_stores(settings) as stores:
        async for alert in stores.alerts.find(selected):
            file.write(escaped_json(write_json(alert.document).decode()).encode() + b"\n")
            count += 1
    file.flush()
    return count


async def _one(settings: Settings, id_: str, *, lookup: bool) -> tuple[StoredAlert, Sequence[StoredAlert], TriageView]:
    """The alert with its building blocks, if it is a sequence, and its view; a building block is replaced by its
    sequence."""
    async with opened_stores(settings) as stores:
        found, blocks = await with_blocks(stores.alerts, id_)
        return found, blocks, await completed_view(settings, stores, found, blocks, lookup=lookup)
