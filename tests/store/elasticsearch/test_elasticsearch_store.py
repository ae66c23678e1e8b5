"""Alerts, ledger and run log in a real Elasticsearch, with a proxy before it that breaks things."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import aiohttp
import orjson
import pytest

from runner.alerts.alert import Alert
from runner.cluster.elasticsearch import Connection, Elastic, Retry, open_client
from runner.errors import AccessError, StoreError, UnreachableError
from runner.rule_run import RuleRun
from runner.setup.index_objects import StoreNames, setup_objects
from runner.store.elasticsearch.elasticsearch_store import ElasticsearchStores
from runner.store.protocol import AlertFilter, Mark, WriteResult
from runner.windows import Window, iso
from tests.cluster.opened import login_of
from tests.elasticsearch.node import Node
from tests.elasticsearch.proxy import EVERY, Proxy
from tests.store.conftest import store_in

NOW = datetime(2026, 3, 2, 10, 5, 1, 204_567, tzinfo=UTC)


def alert(
    key: str,
    kind: Literal["event", "shell", "building_block"] = "event",
    *,
    minute: int = 0,
    more: Mapping[str, Any] | None = None,
) -> Alert:
    document = {
        "@timestamp": iso(NOW + timedelta(minutes=minute)),
        "event.kind": "signal",
        "kibana.alert.uuid": key,
        "kibana.alert.rule.rule_id": "r-1",
        "kibana.alert.rule.execution.uuid": "e-1",
        "kibana.alert.rule.parameters": {"query": "process where true", "threat": [{"framework": "x"}]},
        "host": {"name": "web-01", "id": "h1"},
    }
    return Alert(key, "r-1", kind, document | dict(more or {}))


def run(minute: int = 0, **more: Any) -> RuleRun:
    window = Window(NOW + timedelta(minutes=minute), NOW + timedelta(minutes=minute + 5))
    ours = RuleRun("r-1", "Lab", f"e-{minute}", "succeeded", window, NOW + timedelta(minutes=minute), created=2)
    return replace(ours, **more)


def ids_of(result: WriteResult) -> tuple[set[str], set[str]]:
    return set(result.created), set(result.duplicates)


async def find(store: ElasticsearchStores, wanted: AlertFilter | None = None) -> list[str]:
    return [found.id async for found in store.alerts.find(wanted or AlertFilter())]


async def ask(url: str, method: str, path: str, body: Any = None) -> Any:
    async with aiohttp.ClientSession() as session, session.request(method, url + path, json=body) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()


# Setting up


async def test_installing_twice_changes_nothing(store: ElasticsearchStores, eql_proxy: Proxy, namespace: str) -> None:
    first = await store.installation.install()
    eql_proxy.clear()
    second = await store.installation.install()
    assert f"alias {namespace}-alerts" in first.created
    assert f"index {namespace}-state" in first.created
    assert (second.created, second.updated) == ((), ())
    assert f"index template {namespace}-alerts" in second.unchanged
    # Without lifecycle management, setting up is the moment to see whether an alias is due for a new index.
    changes = [sent for sent in eql_proxy.requests if sent.method not in ("GET", "HEAD")]
    assert all(sent.path.endswith("/_rollover") for sent in changes)


async def test_two_may_install_at_a_time(client: Elastic, namespace: str) -> None:
    stores = [store_in(client, namespace) for _ in range(4)]
    await asyncio.gather(*(store.installation.install() for store in stores))
    result = await stores[0].alerts.create([alert("a")])
    assert result.created == {"a"}


async def test_the_indices_have_the_explicit_mapping(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await store.installation.install()
    answer = await ask(elasticsearch_url, "GET", f"/{namespace}-alerts")
    (index,) = answer.values()
    mappings, settings = index["mappings"], index["settings"]["index"]
    assert mappings["dynamic"] == "false"
    assert settings["mapping"]["ignore_malformed"] == "true"
    fields = mappings["properties"]
    assert fields["process"]["properties"]["name"]["type"] == "keyword"
    assert fields["process"]["properties"]["name"]["fields"]["text"]["type"] in ("match_only_text", "text")
    assert fields["source"]["properties"]["ip"]["type"] == "ip"
    kibana = fields["kibana"]["properties"]["alert"]["properties"]
    assert kibana["uuid"]["type"] == "keyword"
    assert kibana["depth"]["type"] == "long"
    assert kibana["group"]["properties"]["index"]["type"] == "integer"
    assert kibana["original_event"]["properties"]["created"]["type"] == "date"


async def test_a_strange_event_does_not_grow_the_mapping(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await store.installation.install()
    before = await ask(elasticsearch_url, "GET", f"/{namespace}-alerts/_mapping")
    strange: dict[str, Any] = {f"made_up_{number}": {"deep": {"er": number}} for number in range(3_000)}
    result = await store.alerts.create([alert("a", more=strange | {"source": {"port": "not a number"}})])
    assert result.created == {"a"}
    assert await ask(elasticsearch_url, "GET", f"/{namespace}-alerts/_mapping") == before


async def test_what_is_missing_is_installed_by_the_first_write(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    assert await store.alerts.existing_ids(["a"]) == frozenset()
    assert await store.ledger.read() == {}
    assert await find(store) == []
    await store.ledger.record(run(), "f")
    assert (await store.alerts.create([alert("a")])).created == {"a"}
    answer = await ask(elasticsearch_url, "GET", f"/_alias/{namespace}-*")
    assert sorted(answer) == [f"{namespace}-alerts-000001", f"{namespace}-runs-000001"]


async def test_an_index_in_the_place_of_the_alias_is_named(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await ask(elasticsearch_url, "PUT", f"/{namespace}-alerts")
    with pytest.raises(StoreError, match=f"`{namespace}-alerts` is an index, expected an alias"):
        await store.alerts.create([alert("a")])


async def test_a_template_of_somebody_else_is_left_alone(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    body = {"index_patterns": [f"{namespace}-other-*"]}
    await ask(elasticsearch_url, "PUT", f"/_index_template/{namespace}-alerts", body)
    with pytest.raises(StoreError, match=f"index template {namespace}-alerts is there already and not one of"):
        await store.installation.install()


async def test_an_older_version_is_brought_up_to_date(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await store.installation.install()
    path = f"/_component_template/{namespace}-runs-mappings"
    body = {"template": {}, "_meta": {"managed_by": "rule-runner", "version": 0}}
    await ask(elasticsearch_url, "PUT", path, body)
    report = await store.installation.install()
    assert report.created == ()
    assert report.updated == (f"component template {namespace}-runs-mappings",)
    stored = (await ask(elasticsearch_url, "GET", path))["component_templates"][0]["component_template"]
    assert "runner" in stored["template"]["mappings"]["properties"]


def test_the_objects_can_be_shown_without_a_cluster(client: Elastic) -> None:
    objects = setup_objects(StoreNames(), events=("logs-endpoint.events.*",))
    assert sorted(objects) == [
        *("component_templates", "data_streams", "index_templates", "indices", "lifecycle_policies", "roles"),
    ]
    assert set(objects["indices"]) == {"rule-runner-alerts-000001", "rule-runner-runs-000001", "rule-runner-state"}
    reader = objects["roles"]["rule-runner-alerts-read-events"]
    assert reader["indices"] == [{"names": ["logs-endpoint.events.*"], "privileges": ["read", "view_index_metadata"]}]
    writer = objects["roles"]["rule-runner-alerts-write"]["indices"][0]
    assert "manage" not in writer["privileges"]


async def test_a_cluster_without_security_gets_no_roles(store: ElasticsearchStores) -> None:
    report = await store.installation.install_roles()
    assert report.created == ()
    assert report.warnings == ("this cluster has no security: no roles were created",)


# Alerts


async def test_an_alert_is_created_once(store: ElasticsearchStores) -> None:
    first = await store.alerts.create([alert("a"), alert("b")])
    second = await store.alerts.create([alert("b", more={"changed": True}), alert("c")])
    assert ids_of(first) == ({"a", "b"}, set())
    assert first.rejected is None
    assert ids_of(second) == ({"c"}, {"b"})
    (found,) = await store.alerts.get("b")
    assert "changed" not in found.document
    assert await store.alerts.existing_ids(["a", "b", "c", "d"]) == {"a", "b", "c"}


async def test_many_at_a_time_create_each_alert_once(client: Elastic, namespace: str) -> None:
    await store_in(client, namespace).installation.install()
    alerts = [alert(f"{number:04}") for number in range(1_200)]
    results = await asyncio.gather(*(store_in(client, namespace).alerts.create(alerts) for _ in range(3)))
    assert sum(len(result.created) for result in results) == 1_200
    assert all(len(result.created) + len(result.duplicates) == 1_200 for result in results)
    assert len(await find(store_in(client, namespace))) == 1_200


async def test_an_id_stays_unique_over_a_rollover(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await store.alerts.create([alert("a")])
    await ask(elasticsearch_url, "POST", f"/{namespace}-alerts/_rollover")
    result = await store.alerts.create([alert("a"), alert("b")])
    assert ids_of(result) == ({"b"}, {"a"})
    assert [found.index for found in await store.alerts.get("b")] == [f"{namespace}-alerts-000002"]
    assert sorted(await find(store)) == ["a", "b"]


async def test_a_rejected_alert_does_not_stop_the_others(store: ElasticsearchStores) -> None:
    broken = alert("broken", more={"kibana.alert.depth": {"not": "a number"}})
    unwritable = alert("unwritable", more={"value": {1, 2}})
    result = await store.alerts.create([alert("a"), broken, unwritable, alert("b")])
    assert result.created == {"a", "b"}
    assert result.rejected is not None
    assert set(result.rejected) == {"broken", "unwritable"}
    assert "kibana.alert.depth" in result.rejected["broken"]
    assert "not JSON" in result.rejected["unwritable"]


async def test_building_blocks_are_there_before_their_shell(store: ElasticsearchStores, eql_proxy: Proxy) -> None:
    blocks = [
        alert(f"block-{n}", "building_block", more={"kibana.alert.group.id": "shell", "kibana.alert.group.index": n})
        for n in (1, 0)
    ]
    shell = alert("shell", "shell", more={"kibana.alert.group.id": "shell"})
    await store.installation.install()
    eql_proxy.fail_next(403, on="_bulk", kind="cluster_block_exception", reason="index read-only")
    with pytest.raises(StoreError, match="index read-only"):
        await store.alerts.create([*blocks, shell])
    assert await store.alerts.existing_ids(["shell"]) == frozenset()
    assert (await store.alerts.create([*blocks, shell])).created == {"block-0", "block-1", "shell"}
    assert [block.id for block in await store.alerts.group("shell")] == ["block-0", "block-1"]
    assert await find(store) == ["shell"]
    assert len(await find(store, AlertFilter(building_blocks=True))) == 3


async def test_alerts_that_are_put_off_are_sent_again(store: ElasticsearchStores, eql_proxy: Proxy) -> None:
    await store.installation.install()
    error = {"type": "es_rejected_execution_exception", "reason": "queue is full"}
    item = {"create": {"_id": "a", "status": 429, "error": error}}
    eql_proxy.answer_next(200, {"errors": True, "items": [item]}, on="_bulk", times=2)
    assert (await store.alerts.create([alert("a")])).created == {"a"}
    assert len(eql_proxy.requests_on("_bulk")) == 3


async def test_alerts_that_are_put_off_for_ever_are_an_error(store: ElasticsearchStores, eql_proxy: Proxy) -> None:
    await store.installation.install()
    eql_proxy.fail_next(429, on="_bulk", times=EVERY, reason="queue is full")
    with pytest.raises(StoreError, match="queue is full"):
        await store.alerts.create([alert("a")])
    assert len(eql_proxy.requests_on("_bulk")) == 4


async def test_a_read_only_index_is_an_error_and_loses_nothing(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await store.installation.install()
    path = f"/{namespace}-alerts-000001/_settings"
    await ask(elasticsearch_url, "PUT", path, {"index.blocks.write": True})
    with pytest.raises(StoreError, match=r"1 of 1 alerts could not be written to .*blocked"):
        await store.alerts.create([alert("a")])
    await ask(elasticsearch_url, "PUT", path, {"index.blocks.write": False})
    assert (await store.alerts.create([alert("a")])).created == {"a"}


async def test_alerts_whose_answer_was_lost_count_as_created(store: ElasticsearchStores, eql_proxy: Proxy) -> None:
    await store.installation.install()
    await store.alerts.create([alert("old")])
    eql_proxy.cut_next(on="_bulk", reached_node=True)
    result = await store.alerts.create([alert("a"), alert("b"), alert("old")])
    assert ids_of(result) == ({"a", "b"}, {"old"})
    assert sorted(await find(store)) == ["a", "b", "old"]


async def test_a_request_that_is_too_large_is_sent_in_parts(store: ElasticsearchStores, eql_proxy: Proxy) -> None:
    await store.installation.install()
    eql_proxy.fail_next(413, on="_bulk", times=2)
    result = await store.alerts.create([alert(str(number)) for number in range(8)])
    assert len(result.created) == 8
    sizes = [len(sent.lines) // 2 for sent in eql_proxy.requests_on("_bulk")]
    assert sizes == [8, 4, 2, 2, 4]


async def test_requests_are_bounded_by_bytes_and_by_count(store: ElasticsearchStores, eql_proxy: Proxy) -> None:
    await store.installation.install()
    large = [alert(f"large-{number}", more={"blob": "x" * 400_000}) for number in range(4)]
    assert len((await store.alerts.create(large)).created) == 4
    assert [len(sent.lines) // 2 for sent in eql_proxy.requests_on("_bulk")] == [2, 2]
    eql_proxy.clear()
    await store.alerts.create([alert(f"small-{number}") for number in range(1_100)])
    assert [len(sent.lines) // 2 for sent in eql_proxy.requests_on("_bulk")] == [500, 500, 100]


async def test_an_alias_that_was_taken_away_comes_back(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await store.alerts.create([alert("a")])
    await ask(elasticsearch_url, "DELETE", f"/{namespace}-alerts-000001")
    assert (await store.alerts.create([alert("b")])).created == {"b"}


async def test_no_permission_to_write_is_an_access_error(store: ElasticsearchStores, eql_proxy: Proxy) -> None:
    await store.installation.install()
    eql_proxy.fail_next(403, on="_bulk", kind="security_exception", reason="is unauthorized")
    with pytest.raises(AccessError, match="may not write to"):
        await store.alerts.create([alert("a")])


async def test_a_cluster_that_is_away_is_unreachable(store: ElasticsearchStores, eql_proxy: Proxy) -> None:
    await store.installation.install()
    eql_proxy.cut_next(on="_bulk", times=EVERY)
    with pytest.raises(UnreachableError):
        await store.alerts.create([alert("a")])


async def test_alerts_are_found_newest_first_and_by_their_fields(store: ElasticsearchStores) -> None:
    elsewhere = {"name": "db-01", "id": "h2"}
    await store.alerts.create(
        [alert(str(minute), minute=minute) for minute in range(4)] + [alert("x", more={"host": elsewhere})]
    )
    other_rule = replace(alert("y", minute=9), rule_id="r-2")
    await store.alerts.create(
        [replace(other_rule, document={**other_rule.document, "kibana.alert.rule.rule_id": "r-2"})]
    )
    assert await find(store) == ["y", "3", "2", "1", "0", "x"]
    assert await find(store, AlertFilter(limit=2)) == ["y", "3"]
    assert await find(store, AlertFilter(host="db-01")) == ["x"]
    assert await find(store, AlertFilter(host="h2")) == ["x"]
    assert await find(store, AlertFilter(rule_id="r-2")) == ["y"]
    since, until = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    assert await find(store, AlertFilter(since=since, until=until)) == ["2", "1"]


async def test_many_alerts_are_found_page_by_page(store: ElasticsearchStores) -> None:
    ids = [f"{number:04}" for number in range(1_001)]
    await store.alerts.create([alert(key) for key in ids])
    assert await find(store) == ids
    assert await find(store, AlertFilter(limit=700)) == ids[:700]


async def test_an_alert_is_found_by_the_beginning_of_its_id(store: ElasticsearchStores) -> None:
    await store.alerts.create([alert("abc1"), alert("abc2"), alert("abd"), alert("ab")])
    assert [found.id for found in await store.alerts.get("abc")] == ["abc1", "abc2"]
    assert [found.id for found in await store.alerts.get("ab")] == ["ab"]
    assert await store.alerts.get("zz") == []


async def test_a_search_in_part_only_is_an_error(store: ElasticsearchStores, eql_proxy: Proxy) -> None:
    await store.alerts.create([alert("a")])
    part = {"timed_out": True, "_shards": {"failed": 0}, "hits": {"hits": []}}
    eql_proxy.answer_next(200, part, on="_search")
    with pytest.raises(StoreError, match="in part only"):
        await store.alerts.existing_ids(["a"])


# Ledger and run log


async def test_complete_windows_are_searched_and_the_last_run_is_kept(client: Elastic, namespace: str) -> None:
    store = store_in(client, namespace)
    await store.ledger.record(run(0), "f1")
    await store.ledger.record(run(5), "f1")
    await store.ledger.record(run(20, complete=False, status="failed", messages=("no",)), "f2")
    for reader in (store, store_in(client, namespace)):
        state = (await reader.ledger.read())["r-1"]
        assert state.searched == (Window(NOW, NOW + timedelta(minutes=10)),)
        assert state.last == run(20, complete=False, status="failed", messages=("no",))
        assert state.fingerprint == "f2"


async def test_an_earlier_run_does_not_become_the_last(store: ElasticsearchStores) -> None:
    await store.ledger.record(run(20), "new")
    await store.ledger.record(run(0), "old")
    state = (await store.ledger.read())["r-1"]
    assert state.last == run(20)
    assert state.fingerprint == "new"
    assert len(state.searched) == 2


async def test_two_that_record_at_a_time_lose_nothing(client: Elastic, namespace: str) -> None:
    stores = [store_in(client, namespace) for _ in range(4)]
    await stores[0].installation.install()
    for store in stores:
        await store.ledger.read()

    async def record(number: int) -> None:
        for step in range(5):
            await stores[number].ledger.record(run((number * 5 + step) * 5), "f")

    await asyncio.gather(*(record(number) for number in range(4)))
    state = (await store_in(client, namespace).ledger.read())["r-1"]
    assert state.searched == (Window(NOW, NOW + timedelta(minutes=100)),)
    assert state.last == run(95)


async def test_a_ledger_that_was_deleted_is_written_anew_with_what_was_known(
    client: Elastic, elasticsearch_url: str, namespace: str
) -> None:
    store = store_in(client, namespace)
    await store.ledger.record(run(0), "f")
    await ask(elasticsearch_url, "DELETE", f"/{namespace}-state")
    await store.ledger.record(run(5), "f")
    await ask(elasticsearch_url, "DELETE", f"/{namespace}-state")
    await store.ledger.add_marks([Mark("r-1", "pause", NOW)])
    state = (await store_in(client, namespace).ledger.read())["r-1"]
    assert (state.searched, state.paused) == ((Window(NOW, NOW + timedelta(minutes=10)),), NOW)


async def test_many_rules_are_read_page_by_page(store: ElasticsearchStores, client: Elastic, namespace: str) -> None:
    await store.ledger.record(run(), "f")
    document = await client.read_document(f"{namespace}-state", "r-1")
    assert document is not None
    ids = [f"rule-{number:04}" for number in range(1_003)]
    lines = [
        orjson.dumps(line)
        for key in ids
        for line in ({"index": {"_id": key}}, document["_source"] | {"rule": {"id": key}})
    ]
    await client.bulk(lines, index=f"{namespace}-state")
    assert sorted(await store.ledger.read()) == ["r-1", *ids]


async def test_a_run_is_one_document_in_the_names_of_ecs(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str, eql_proxy: Proxy
) -> None:
    await store.installation.install()
    eql_proxy.cut_next(on="_bulk", reached_node=True)
    failed = run(status="failed", messages=("no index", "no luck"), took_ms=1_500, complete=False)
    await store.ledger.record(failed, "f")
    await ask(elasticsearch_url, "POST", f"/{namespace}-runs/_refresh")
    answer = await ask(elasticsearch_url, "POST", f"/{namespace}-runs/_search", {"query": {"term": {"rule.id": "r-1"}}})
    (hit,) = answer["hits"]["hits"]
    document = hit["_source"]
    assert document["event"]["outcome"] == "failure"
    assert document["event"]["duration"] == 1_500_000_000
    assert document["event"]["end"] == "2026-03-02T10:05:02.704Z"
    assert document["rule"] == {"id": "r-1", "name": "Lab"}
    assert document["message"] == "no index; no luck"
    assert document["runner"]["window"] == {"from": "2026-03-02T10:05:01.204Z", "to": "2026-03-02T10:10:01.204Z"}


async def test_one_request_records_a_run(store: ElasticsearchStores, eql_proxy: Proxy) -> None:
    await store.installation.install()
    await store.ledger.record(run(0), "f")
    eql_proxy.clear()
    await store.ledger.record(run(5), "f")
    assert [sent.path.rpartition("/")[2] for sent in eql_proxy.requests] == ["_bulk"]


async def test_a_ledger_that_can_not_be_written_is_an_error(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await store.installation.install()
    await ask(elasticsearch_url, "PUT", f"/{namespace}-state/_settings", {"index.blocks.write": True})
    with pytest.raises(StoreError, match=f"{namespace}-state can not be written"):
        await store.ledger.record(run(), "f")


async def test_a_foreign_document_in_the_ledger_is_named(
    store: ElasticsearchStores, elasticsearch_url: str, namespace: str
) -> None:
    await store.installation.install()
    await ask(elasticsearch_url, "PUT", f"/{namespace}-state/_doc/foreign?refresh=true", {"rule": {"id": "x"}})
    with pytest.raises(StoreError, match=f"{namespace}-state/foreign is not a state of a rule"):
        await store.ledger.read()


async def test_the_smallest_roles_suffice(secured_url: str) -> None:
    admin = open_client(login_of(secured_url))
    store = store_in(admin, "roles")
    try:
        report = await store.installation.install_roles(events=("logs-*",))
        assert len(report.created) == 3
        assert len((await store.installation.install_roles(events=("logs-*",))).unchanged) == 3
        for user in ("setup", "write"):
            body = {"password": "long-enough-1", "roles": [f"roles-alerts-{user}"]}
            await ask(secured_url, "PUT", f"/_security/user/{user}", body)
    finally:
        await admin.close()
    plain = secured_url.rpartition("@")[2]
    connections = {
        user: Connection(hosts=(f"http://{plain}",), username=user, password="long-enough-1")
        for user in ("setup", "write")
    }
    clients = {user: open_client(connection) for user, connection in connections.items()}
    try:
        with pytest.raises(AccessError, match='user "write" may not'):
            await store_in(clients["write"], "roles").alerts.create([alert("a")])
        await store_in(clients["setup"], "roles").installation.install()
        writer = store_in(clients["write"], "roles")
        assert (await writer.alerts.create([alert("a")])).created == {"a"}
        assert await writer.alerts.existing_ids(["a"]) == {"a"}
        await writer.ledger.record(run(), "f")
        assert list(await writer.ledger.read()) == ["r-1"]
        assert await find(writer) == ["a"]
    finally:
        for client in clients.values():
            await client.close()


async def test_a_node_that_dies_and_comes_back_loses_nothing(node: Node) -> None:
    client = open_client(Connection(hosts=(node.url,)), retry=Retry(attempts=3, first_wait=0.0, longest_wait=0.0))
    patient = open_client(Connection(hosts=(node.url,)), retry=Retry(attempts=12, longest_wait=2.0))
    try:
        store = store_in(client, "dies")
        await store.alerts.create([alert("a")])
        await store.ledger.record(run(0), "f")
        await asyncio.to_thread(node.kill)
        with pytest.raises(UnreachableError):
            await store.alerts.create([alert("a"), alert("b")])
        with pytest.raises(UnreachableError):
            await store.ledger.record(run(5), "f")
        await asyncio.to_thread(node.start)
        after = store_in(patient, "dies")
        assert ids_of(await after.alerts.create([alert("a"), alert("b")])) == ({"b"}, {"a"})
        await after.ledger.record(run(5), "f")
        assert (await after.ledger.read())["r-1"].searched == (Window(NOW, NOW + timedelta(minutes=10)),)
        assert sorted(await find(after)) == ["a", "b"]
    finally:
        await client.close()
        await patient.close()
