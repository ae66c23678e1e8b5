"""The cluster that the settings name: how to reach it, and the store and the search in it.

A module of its own, imported where a cluster is set: the client takes longer to import than many a run on files takes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runner.cli.places import has_cluster
from runner.connection import Connection
from runner.elastic import Elastic, open_client
from runner.errors import SettingsError
from runner.search.cluster import ClusterSearch
from runner.settings import Settings
from runner.store.elasticsearch import ElasticsearchStore


def connection_of(settings: Settings) -> Connection:
    """How the settings say to reach the cluster."""

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
    )


@asynccontextmanager
async def opened_client(settings: Settings) -> AsyncIterator[Elastic]:
    """The client alone. Raises SettingsError if no cluster is set."""
    if not has_cluster(settings):
        raise SettingsError("no cluster is set: set ELASTICSEARCH_HOSTS (or ELASTICSEARCH_CLOUD_ID)")
    async with client_of(connection_of(settings)) as client:
        yield client


@asynccontextmanager
async def client_of(connection: Connection) -> AsyncIterator[Elastic]:
    """A client, closed at the end; it connects when it is first used."""
    client = open_client(connection)
    try:
        yield client
    finally:
        await client.close()


def elasticsearch_search(settings: Settings, client: Elastic) -> ClusterSearch:
    """The search in the cluster: through its EQL API, or by fetching candidates where it has none."""
    return ClusterSearch(client, concurrency=settings.concurrency, timeout=settings.search_timeout.total_seconds())


def elasticsearch_store(settings: Settings, client: Elastic) -> ElasticsearchStore:
    """The alerts and the state in the cluster."""
    return ElasticsearchStore(client, alias=settings.alerts_alias, state=settings.state_index, runs=settings.runs_index)
