"""Where events beside an alert's own are looked up: in the files or the cluster that the settings name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from runner.alerts.event_fields import texts_at
from runner.cli.locations import has_cluster
from runner.file_formats.inner_events import InnerEvents
from runner.search.lookup.event_lookup import EventLookup
from runner.search.lookup.file_lookup import FileLookup
from runner.settings.settings import Settings

_PROCESSES = {"logs-endpoint.events.": "logs-endpoint.events.process-*"}
"""Indices of processes, by how the indices begin that need not have them."""


def search_options(settings: Settings, alert: Mapping[str, Any]) -> tuple[str, ...]:
    """The options by which `rule-runner search` finds the events of an alert again."""
    if settings.events:
        return tuple(option for path in settings.events for option in ("--events", path))
    return ("--index", ",".join(indices_of(alert))) if has_cluster(settings) else ()


def indices_of(alert: Mapping[str, Any]) -> Sequence[str]:
    """The index patterns of the alert's rule, with those of the processes that its events are of."""
    patterns = texts_at(alert, "kibana.alert.rule.indices") or texts_at(alert, "kibana.alert.rule.parameters.index")
    more = [index for start, index in _PROCESSES.items() if any(one.startswith(start) for one in patterns)]
    return tuple(dict.fromkeys((*patterns, *more))) or ("logs-*",)


@asynccontextmanager
async def opened_lookup(settings: Settings, alert: Mapping[str, Any]) -> AsyncIterator[EventLookup | None]:
    """The look-up of events for an alert; None if the settings name no events."""
    if settings.events:
        yield FileLookup(settings.events, InnerEvents(settings.unwrap))
    elif has_cluster(settings):
        from runner.cli.cluster_wiring import opened_client
        from runner.search.lookup.cluster_lookup import ClusterLookup

        async with opened_client(settings) as client:
            yield ClusterLookup(client, indices_of(alert))
    else:
        yield None
