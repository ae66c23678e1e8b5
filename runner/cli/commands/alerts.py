"""`rule-runner alerts`: list, show and export the stored alerts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from runner.cli.console import counted, out, print_json, print_table, say
from runner.cli.exit_codes import ExitCode
from runner.cli.lookup_wiring import completed_view
from runner.cli.pages.alert_table import SHORT_ID, alert_table, summary
from runner.cli.pages.triage_page import print_triage, triage_as_json
from runner.cli.wiring import opened_stores
from runner.errors import AccessError, RunnerError
from runner.json_text import deep_stack, write_json
from runner.messages.printable import escaped_json
from runner.rules.model_errors import shortened
from runner.settings.settings import Settings
from runner.store.protocol import AlertFilter, AlertStore, StoredAlert
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.triage.same_event import also_seen_by
from runner.triage.triage import TriageView


def list_alerts(settings: Settings, selected: AlertFilter, *, limit: int, building_blocks: bool) -> ExitCode:
    """Print the alerts of the newest events that meet the filter."""
    wanted = _with_blocks(replace(selected, limit=limit + 1, newest="event"), building_blocks)
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


def _with_blocks(selected: AlertFilter, wanted: bool) -> AlertFilter:
    """The filter with what is only there to be built on, or without."""
    return replace(selected, building_blocks=wanted, of_building_block_rules=wanted)


def show(settings: Settings, id_: str, *, lookup: bool = True) -> ExitCode:
    """Print one alert for triage, with what is looked up beside it unless that is not wanted."""
    with deep_stack():
        head, blocks, view = asyncio.run(_one(settings, id_, lookup=lookup))
    if settings.output == "json":
        documents = [block.document for block in blocks]
        print_json({"alert": head.document, "building_blocks": documents, "triage": triage_as_json(view)})
    else:
        print_triage(view, out())
    return ExitCode.FINE


def export(settings: Settings, selected: AlertFilter, to: Path | None, *, building_blocks: bool) -> ExitCode:
    """Write the alerts that meet the filter as NDJSON."""
    selected = _with_blocks(selected, building_blocks)
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
        found = await only(stores.alerts, id_)
        group = found.document.get("kibana.alert.group.id")
        blocks = () if group is None else await stores.alerts.group(str(group))
        return found, blocks, await completed_view(settings, stores, found, blocks, lookup=lookup)


async def only(alerts: AlertStore, id_: str) -> StoredAlert:
    """The one alert whose id begins like this, or of whose sequence that is an event. Raises RunnerError."""
    found = await _only(alerts, id_)
    group = found.document.get("kibana.alert.group.id")
    if group is not None and found.document.get("kibana.alert.group.index") is not None:
        shells = await alerts.get(str(group))
        return shells[0] if shells else found
    return found


async def _only(alerts: AlertStore, id_: str) -> StoredAlert:
    if not id_:
        raise RunnerError("an empty id names no alert; `rule-runner alerts list` shows what there is")
    found = await alerts.get(id_)
    if not found:
        if isinstance(alerts, SqliteStore) and await alerts.pruned_ids([id_]):
            raise RunnerError(
                f"the alert {id_} is older than alerts are kept (RUNNER_KEEP_ALERTS): its id alone is left"
            )
        named = shortened(id_)
        raise RunnerError(
            f"no alert has an id that begins with {named!r}; `rule-runner alerts list` shows what there is"
        )
    if len(found) > 1:
        shown = ", ".join(alert.id[: max(SHORT_ID, len(id_) + 4)] for alert in found[:5])
        raise RunnerError(f"{id_!r} is the beginning of {len(found)} ids ({shown}, ...): give more of it")
    return found[0]
