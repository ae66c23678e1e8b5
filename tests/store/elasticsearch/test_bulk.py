"""What becomes of single alerts, and of requests, that a real Elasticsearch does not take."""

from __future__ import annotations

from typing import Any

import pytest

from runner.cluster.elasticsearch import Elastic
from runner.errors import ClusterError, StoreError
from runner.store.elasticsearch.elasticsearch_store import ElasticsearchStores
from tests.elasticsearch.proxy import EVERY, Proxy
from tests.store.elasticsearch.test_elasticsearch_store import alert, ask, find


async def test_a_disk_that_is_full_is_named_and_loses_nothing(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str, eql_proxy: Proxy
) -> None:
    await store.installation.install()
    path = f"/{namespace}-alerts-000001/_settings"
    await ask(elasticsearch_url, "PUT", path, {"index.blocks.read_only_allow_delete": True})
    with pytest.raises(StoreError, match=r"flood-stage.*HTTP 429.*a disk of the cluster is full"):
        await store.alerts.create([alert("a")])
    assert len(eql_proxy.requests_on("_bulk")) == 4
    await ask(elasticsearch_url, "PUT", path, {"index.blocks.read_only_allow_delete": None})
    assert (await store.alerts.create([alert("a")])).created == {"a"}


async def test_a_closed_index_is_no_fault_of_the_alert(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await store.alerts.create([alert("old")])
    await ask(elasticsearch_url, "POST", f"/{namespace}-alerts-000001/_close")
    with pytest.raises(StoreError, match=f"an index behind {namespace}-alerts is closed; open it"):
        await store.alerts.create([alert("a")])
    await ask(elasticsearch_url, "POST", f"/{namespace}-alerts-000001/_open?wait_for_active_shards=1")
    assert (await store.alerts.create([alert("a"), alert("old")])).created == {"a"}


async def test_an_index_that_is_closed_to_writing_alone_is_no_fault_of_the_alert(
    store: ElasticsearchStores, eql_proxy: Proxy
) -> None:
    await store.installation.install()
    error = {"type": "index_closed_exception", "reason": "closed"}
    eql_proxy.answer_next(
        200, {"errors": True, "items": [{"create": {"_id": "a", "status": 400, "error": error}}]}, on="_bulk"
    )
    with pytest.raises(StoreError, match=r"1 of 1 alerts could not be written .* open the index, or roll"):
        await store.alerts.create([alert("a")])


async def test_an_alias_that_lost_its_write_index_is_no_fault_of_the_alert(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await store.alerts.create([alert("old")])
    body: dict[str, Any] = {"aliases": {f"{namespace}-alerts": {}}}
    await ask(elasticsearch_url, "PUT", f"/{namespace}-other", body)
    first = {"index": f"{namespace}-alerts-000001", "alias": f"{namespace}-alerts", "is_write_index": False}
    await ask(elasticsearch_url, "POST", "/_aliases", {"actions": [{"add": first}]})
    with pytest.raises(StoreError, match=r"no write index is defined .*set `is_write_index` on one of the indices"):
        await store.alerts.create([alert("a")])


async def test_a_field_that_conflicts_with_the_mapping_is_the_fault_of_its_alert_alone(
    store: ElasticsearchStores,
) -> None:
    conflicting = alert("conflicting", more={"host": "a text where an object is mapped"})
    result = await store.alerts.create([alert("a"), conflicting, alert("b")])
    assert result.created == {"a", "b"}
    assert result.rejected is not None
    assert "host" in result.rejected["conflicting"]


async def test_an_alert_that_no_request_can_hold_is_reported_and_the_others_are_written(
    store: ElasticsearchStores, eql_proxy: Proxy
) -> None:
    await store.installation.install()
    large = alert("large", more={"blob": "x" * 1_100_000})
    eql_proxy.fail_next(413, on="_bulk")
    result = await store.alerts.create([large, alert("a")])
    assert result.created == {"a"}
    assert result.rejected is not None
    assert "bytes are more than the cluster takes in one request (http.max_content_length)" in result.rejected["large"]
    assert await find(store) == ["a"]


async def test_what_the_cluster_asks_for_is_handed_on(client: Elastic, eql_proxy: Proxy) -> None:
    eql_proxy.fail_next(429, on="_bulk", times=EVERY, headers={"Retry-After": "7"})
    with pytest.raises(ClusterError) as raised:
        await client.bulk([b'{"create":{}}', b"{}"], index="any")
    assert raised.value.retry_after == 7.0
