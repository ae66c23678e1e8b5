"""A store in Elasticsearch, and its client, which does not wait between attempts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import Elastic, open_client
from runner.cluster.transport import Retry
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.elasticsearch_store import ElasticsearchStores, elasticsearch_stores
from tests.elasticsearch.proxy import Proxy


@pytest.fixture
async def client(eql_proxy: Proxy) -> AsyncIterator[Elastic]:
    client = open_client(Connection(hosts=(eql_proxy.url,)), retry=Retry(first_wait=0.0, longest_wait=0.0))
    yield client
    await client.close()


@pytest.fixture
def store(client: Elastic, namespace: str) -> ElasticsearchStores:
    return store_in(client, namespace)


def names_in(namespace: str) -> StoreNames:
    return StoreNames(f"{namespace}-alerts", f"{namespace}-runs", f"{namespace}-state")


def store_in(client: Elastic, namespace: str) -> ElasticsearchStores:
    return elasticsearch_stores(client, names_in(namespace))
