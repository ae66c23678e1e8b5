"""Where events beside an alert's own are looked up: in the files or the cluster that the settings or the state name."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from runner.alerts.event_fields import text_at, texts_at
from runner.cli.locations import has_cluster
from runner.errors import RunnerError
from runner.file_formats.inner_events import InnerEvents
from runner.search.lookup.event_lookup import EventLookup
from runner.search.lookup.file_lookup import FileLookup
from runner.settings.settings import Settings
from runner.store.protocol import StoredAlert, Stores
from runner.triage.lookups import Supplement, look_up
from runner.triage.triage import TriageView, triage

_PROCESSES = {"logs-endpoint.events.": "logs-endpoint.events.process-*"}
"""Indices of processes, by how the indices begin that need not have them."""


async def completed_view(
    settings: Settings, stores: Stores, head: StoredAlert, blocks: Sequence[StoredAlert], *, lookup: bool = True
) -> TriageView:
    """The view of an alert, with what is looked up beside it if that is wanted, and with commands that find its events.

    That nothing can be looked up is told in the view, and keeps nobody from seeing the alert.
    """
    paths = await event_paths(settings, stores, head.document)
    supplement = Supplement()
    if lookup:
        try:
            async with opened_lookup(settings, paths, head.document) as found:
                supplement = await look_up(head, blocks, found)
        except RunnerError as error:
            supplement = Supplement(notes=(f"nothing was looked up: {error}",))
    return triage(head, blocks, supplement, search_options=search_options(settings, paths, head.document))


async def event_paths(settings: Settings, stores: Stores, alert: Mapping[str, Any]) -> tuple[str, ...]:
    """The files and folders of the settings; if these name no events at all, those that the alert's rule was run over,
    by the state, as far as they are still there."""
    if settings.events or has_cluster(settings):
        return tuple(settings.events)
    rule_id, here = text_at(alert, "kibana.alert.rule.rule_id"), ("", settings.instance or socket.gethostname())
    found: dict[str, None] = {}
    for source in await stores.ledgers.sources():
        is_near = source.kind == "files" and source.place in here
        if is_near and rule_id in await stores.ledgers.ledger(source).read():
            found |= {name: None for name in source.names if Path(name).is_file() or Path(name).is_dir()}
    return tuple(found)


def search_options(settings: Settings, paths: Sequence[str], alert: Mapping[str, Any]) -> tuple[str, ...]:
    """The options by which `rule-runner search` finds the events of an alert again."""
    if paths:
        unwrap = (option for field in settings.unwrap for option in ("--unwrap", field))
        return (*(option for path in paths for option in ("--events", path)), *unwrap)
    return ("--index", ",".join(indices_of(alert))) if has_cluster(settings) else ()


def indices_of(alert: Mapping[str, Any]) -> Sequence[str]:
    """The index patterns of the alert's rule, with those of the processes that its events are of."""
    patterns = texts_at(alert, "kibana.alert.rule.indices") or texts_at(alert, "kibana.alert.rule.parameters.index")
    more = [index for start, index in _PROCESSES.items() if any(one.startswith(start) for one in patterns)]
    return tuple(dict.fromkeys((*patterns, *more))) or ("logs-*",)


@asynccontextmanager
async def opened_lookup(
    settings: Settings, paths: Sequence[str], alert: Mapping[str, Any]
) -> AsyncIterator[EventLookup | None]:
    """The look-up of events for an alert in these files, else in the cluster; None if there is neither."""
    if paths:
        yield FileLookup(paths, InnerEvents(settings.unwrap))
    elif has_cluster(settings):
        from runner.cli.cluster_wiring import opened_client
        from runner.search.lookup.cluster_lookup import ClusterLookup

        async with opened_client(settings) as client:
            yield ClusterLookup(client, indices_of(alert))
    else:
        yield None
