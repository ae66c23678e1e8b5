"""The cluster that the settings name: how to reach it, and the store and the search in it.

Imported only where a cluster is set: importing the client takes longer than many a run on files.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from runner.cli.locations import has_cluster
from runner.clock import Clock
from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import Elastic, open_client
from runner.cluster.kibana import Kibana
from runner.cluster.kibana_lists import KibanaLists
from runner.cluster.kibana_saved_queries import KibanaSavedQueries
from runner.cluster.proxies import environment_proxies
from runner.cluster.transport import Retry
from runner.engine.exclusions import KEPT_EVENTS
from runner.errors import SettingsError
from runner.rule_run import RuleRun
from runner.search.cluster.cluster_search import ClusterSearch
from runner.settings.settings import Settings
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.alerts import ElasticsearchAlerts
from runner.store.elasticsearch.announced import AnnouncedAlerts
from runner.store.elasticsearch.elasticsearch_store import (
    ElasticsearchLedgers,
    ElasticsearchStores,
    elasticsearch_stores,
)
from runner.store.leases import SharedLeases
from runner.store.outbox import ItemOf
from runner.store.protocol import Mark, RuleState, Stores
from runner.store.source import UNNAMED, EventSource
from runner.store.sqlite.sqlite_store import SqliteStore


def connection_of(settings: Settings) -> Connection:
    """The connection that the settings name."""

    def secret(name: str) -> str:
        value = getattr(settings, f"elasticsearch_{name}")
        return value.get_secret_value() if value is not None else ""

    return Connection(
        hosts=settings.elasticsearch_hosts,
        cloud_id=settings.elasticsearch_cloud_id or "",
        api_key=secret("api_key"),
        username=settings.elasticsearch_username or "",
        password=secret("password"),
        bearer_token=secret("bearer_token"),
        ca_certs=settings.elasticsearch_ca_certs,
        fingerprint=settings.elasticsearch_fingerprint or "",
        client_cert=settings.elasticsearch_client_cert,
        client_key=settings.elasticsearch_client_key,
        verify_certs=settings.elasticsearch_verify_certs,
        request_timeout=settings.elasticsearch_request_timeout.total_seconds(),
        compress=settings.elasticsearch_compress,
        proxy=secret("proxy"),
        environment_proxies=environment_proxies(os.environ),
    )


def kibana_connection(settings: Settings, address: str) -> Connection:
    """How to reach Kibana at that address: as whom Elasticsearch is reached, and trusting the same CA."""
    return dataclasses.replace(
        connection_of(settings),
        hosts=(address,),
        cloud_id="",
        ca_certs=settings.kibana_ca_certs or settings.elasticsearch_ca_certs,
        fingerprint="",  # Kibana's certificate is another one.
    )


def kibana_lists(settings: Settings) -> KibanaLists:
    """The exception lists of the space in Kibana. Raises SettingsError without an address."""
    if settings.kibana_api is None:
        raise SettingsError("RUNNER_KIBANA_EXCEPTIONS needs Kibana's address: set KIBANA_HOST (or KIBANA_URL)")
    connection = kibana_connection(settings, settings.kibana_api)
    return KibanaLists(Kibana(connection, space=settings.space, retry=Retry(attempts=2)))


def kibana_queries(settings: Settings) -> KibanaSavedQueries:
    """The saved queries of the space in Kibana, whose address is set."""
    connection = kibana_connection(settings, settings.kibana_api or "")
    return KibanaSavedQueries(Kibana(connection, space=settings.space, retry=Retry(attempts=2)))


@asynccontextmanager
async def opened_client(settings: Settings) -> AsyncIterator[Elastic]:
    """A client, closed at the end; it connects when it is first used. Raises SettingsError if no cluster is set."""
    if not has_cluster(settings):
        raise SettingsError("no cluster is set: set ELASTICSEARCH_HOSTS (or ELASTICSEARCH_CLOUD_ID)")
    client = open_client(connection_of(settings))
    try:
        yield client
    finally:
        await client.close()


def elasticsearch_search(settings: Settings, client: Elastic) -> ClusterSearch:
    """The search in the cluster: through its EQL API, or by fetching candidates where it has none."""
    return ClusterSearch(
        client,
        concurrency=settings.concurrency,
        timeout=settings.search_timeout.total_seconds(),
        runtime_mappings=read_runtime_fields(settings.runtime_fields),
        shown_excepted=0 if settings.keep_excepted is None else KEPT_EVENTS,
        learn_terms=settings.learn_terms,
    )


def read_runtime_fields(path: Path | None) -> Mapping[str, Any]:
    """The runtime fields of a file, as `runtime_mappings` of a search takes them. Raises SettingsError."""
    if path is None:
        return {}
    try:
        given = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"runtime fields {path}: {error}") from None
    if not isinstance(given, dict) or not given:
        raise SettingsError(f'runtime fields {path}: expected a JSON object such as {{"zone": {{"type": "keyword"}}}}')
    for name, field in given.items():
        if not isinstance(field, dict) or not isinstance(field.get("type"), str):
            raise SettingsError(f"runtime fields {path}: the field `{name}` has no `type`")
    return given


def store_names(settings: Settings) -> StoreNames:
    """What the settings call the aliases and the index of the stores."""
    return StoreNames(settings.alerts_alias, settings.runs_index, settings.state_index, settings.alerts_as)


def stores_in(client: Elastic, settings: Settings, source: EventSource = UNNAMED) -> ElasticsearchStores:
    """The alerts and the state in the cluster, with the ledger of that source; without one, of its own events."""
    return elasticsearch_stores(client, store_names(settings), source)


class ClusterLedger:
    """The ledger and the run log of a cluster's events that stand elsewhere than in this cluster.

    Its name is the cluster's id beside its addresses. So the cluster is asked before the ledger is first used; raises
    what that raises. Implements `Ledger` and `RunLog`.
    """

    def __init__(self, store: SqliteStore, client: Elastic, hosts: tuple[str, ...]) -> None:
        self._store = store
        self._client = client
        self._hosts = hosts
        self._found: SqliteStore | None = None

    async def read(self) -> Mapping[str, RuleState]:
        return await (await self._ledger()).read()

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        await (await self._ledger()).record(run, fingerprint)

    async def add_marks(self, marks: Sequence[Mark]) -> None:
        await (await self._ledger()).add_marks(marks)

    async def unfinished(self, rule_ids: Collection[str], since: datetime) -> Sequence[RuleRun]:
        return await (await self._ledger()).unfinished(rule_ids, since)

    async def _ledger(self) -> SqliteStore:
        if self._found is None:
            uuid = (await self._client.info()).uuid
            names = (*self._hosts, *([uuid] if uuid not in ("", "_na_") else []))
            self._found = self._store.ledger(EventSource("cluster", names))
        return self._found


def elasticsearch_leases(settings: Settings, stores: Stores, clock: Clock) -> SharedLeases:
    """The leases that runners with the same state index share the rules by."""
    assert isinstance(stores, ElasticsearchStores)
    return SharedLeases(stores.board, _owner(settings), duration=settings.lease, elapsed=clock.elapsed)


def target_leases(settings: Settings, stores: Stores, clock: Clock, duration: timedelta) -> SharedLeases:
    """The leases by which one of the runners with the same state index sends to a target."""
    assert isinstance(stores, ElasticsearchStores) and isinstance(stores.ledgers, ElasticsearchLedgers)
    board = stores.ledgers.board(EventSource("cluster", ("notification targets",)))
    return SharedLeases(board, _owner(settings), duration=duration, elapsed=clock.elapsed)


def _owner(settings: Settings) -> str:
    # The name alone may be that of another runner, as in containers that are copies of each other.
    return f"{settings.instance or socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


def announced(stores: Stores, targets: Callable[[], Mapping[str, ItemOf]]) -> Stores:
    """The stores, whose alerts are owed to targets before they are created."""
    alerts = stores.alerts
    assert isinstance(alerts, ElasticsearchAlerts)
    return replace(stores, alerts=AnnouncedAlerts(alerts, alerts.outbox, targets))
