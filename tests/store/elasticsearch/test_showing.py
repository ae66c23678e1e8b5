"""Alerts in each of the ways that they are shown, in a real Elasticsearch: ours, external, and Kibana's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, get_args

import orjson
import pytest

from runner.alerts.alert import Alert
from runner.alerts.ecs_alert import PREFIX
from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import Elastic, open_client
from runner.cluster.transport import Retry
from runner.errors import StoreError
from runner.settings.settings import alerts_name
from runner.setup.index_objects import AlertsAs, StoreNames
from runner.setup.mappings import REPLACEMENTS, alert_mappings
from runner.store.changes import AlertChange
from runner.store.elasticsearch.bulk import Action, write_bulk
from runner.store.elasticsearch.elasticsearch_store import ElasticsearchStores, elasticsearch_stores
from runner.store.protocol import AlertFilter
from tests.cluster.opened import login_of
from tests.elasticsearch.proxy import Proxy
from tests.store.elasticsearch.test_elasticsearch_store import NOW, alert, ask, find, ids_of, run

WAYS = get_args(AlertsAs)


@pytest.fixture
async def patient(elasticsearch_url: str) -> AsyncIterator[Elastic]:
    """One that waits between attempts: a new index can not be searched in its first moments."""
    client = open_client(Connection(hosts=(elasticsearch_url,)), retry=Retry(attempts=12, longest_wait=1.0))
    yield client
    await client.close()


def store_of(client: Elastic, namespace: str, way: AlertsAs) -> ElasticsearchStores:
    names = StoreNames(alerts_name(way, namespace), f"{namespace}-runs", f"{namespace}-state", way)
    return elasticsearch_stores(client, names)


async def make_security_alerts(url: str, namespace: str) -> None:
    """A template, an index and aliases in the shape in which Kibana makes them for a space."""
    name, index = f".alerts-security.alerts-{namespace}", f".internal.alerts-security.alerts-{namespace}"
    limits = {"total_fields": {"limit": 5_000}, "ignore_malformed": True}
    settings = {"index": {"hidden": True, "auto_expand_replicas": "0-1", "mapping": limits}}
    template = {"settings": settings, "mappings": alert_mappings(REPLACEMENTS)}
    body = {"index_patterns": [f"{index}-*"], "priority": 500, "template": template}
    await ask(url, "PUT", f"/_index_template/{name}-index-template", body)
    aliases = {
        name: {"is_write_index": True, "is_hidden": True},
        f".siem-signals-{namespace}": {"is_write_index": False, "is_hidden": True},
    }
    await ask(url, "PUT", f"/{index}-000001", {"aliases": aliases})


async def prepared(client: Elastic, url: str, namespace: str, *, way: AlertsAs) -> ElasticsearchStores:
    if way == "security":
        await make_security_alerts(url, namespace)
    store = store_of(client, namespace, way)
    await store.installation.install()
    return store


def group(key: str = "shell") -> list[Alert]:
    blocks = [
        alert(f"block-{n}", "building_block", more={"kibana.alert.group.id": key, "kibana.alert.group.index": n})
        for n in (0, 1)
    ]
    return [*blocks, alert(key, "shell", more={"kibana.alert.group.id": key})]


@pytest.mark.parametrize("way", WAYS)
async def test_alerts_are_created_once_and_found(
    client: Elastic, elasticsearch_url: str, namespace: str, way: AlertsAs
) -> None:
    store = await prepared(client, elasticsearch_url, namespace, way=way)
    alerts = [alert("a"), alert("b", minute=1, more={"kibana.alert.rule.rule_id": "r-2", "host": {"name": "db-01"}})]
    assert (await store.alerts.create([*alerts, *group()])).created == {"a", "b", "block-0", "block-1", "shell"}
    assert ids_of(await store.alerts.create([*alerts, *group(), alert("c")])) == (
        {"c"},
        {"a", "b", "block-0", "block-1", "shell"},
    )
    assert await store.alerts.existing_ids(["a", "c", "x"]) == {"a", "c"}
    assert await find(store) == ["b", "a", "c", "shell"]
    assert await find(store, AlertFilter(rule_id="r-2")) == ["b"]
    assert await find(store, AlertFilter(host="db-01")) == ["b"]
    assert await find(store, AlertFilter(since=NOW + timedelta(minutes=1))) == ["b"]
    assert len(await find(store, AlertFilter(building_blocks=True))) == 6
    assert [block.id for block in await store.alerts.group("shell")] == ["block-0", "block-1"]
    (found,) = await store.alerts.get("b")
    # Whatever the form in the index, this is the alert as it was handed over.
    assert found.document == alerts[1].document


@pytest.mark.parametrize("way", WAYS)
async def test_an_id_stays_unique_over_rollovers(
    client: Elastic, elasticsearch_url: str, namespace: str, way: AlertsAs
) -> None:
    store = await prepared(client, elasticsearch_url, namespace, way=way)
    name = alerts_name(way, namespace)
    await store.alerts.create([alert("a")])
    await ask(elasticsearch_url, "POST", f"/{name}/_rollover")
    assert ids_of(await store.alerts.create([alert("a"), alert("b")])) == ({"b"}, {"a"})
    await ask(elasticsearch_url, "POST", f"/{name}/_rollover")
    assert ids_of(await store.alerts.create([alert("a"), alert("b"), alert("c")])) == ({"c"}, {"a", "b"})
    assert sorted(await find(store)) == ["a", "b", "c"]
    indices = {found.id: found.index for key in "abc" for found in await store.alerts.get(key)}
    assert [index[-6:] for index in indices.values()] == ["000001", "000002", "000003"]


async def test_of_two_that_write_around_a_rollover_the_earlier_stays(
    client: Elastic, elasticsearch_url: str, namespace: str, eql_proxy: Proxy
) -> None:
    """A slow writer's alert arrives in the old index after another one has looked for it there."""
    store = await prepared(client, elasticsearch_url, namespace, way="own")
    name = alerts_name("own", namespace)
    await ask(elasticsearch_url, "POST", f"/{name}/_rollover")
    gate = eql_proxy.hold(on="_bulk")
    writing = asyncio.create_task(store.alerts.create([alert("a"), alert("b")]))
    await asyncio.to_thread(gate.wait_reached)
    await ask(elasticsearch_url, "PUT", f"/{name}-000001/_create/a?refresh=true", dict(alert("a").document))
    gate.open()
    assert ids_of(await writing) == ({"b"}, {"a"})
    assert await places(elasticsearch_url, name, "a") == [f"{name}-000001"]


async def test_whoever_is_done_later_removes_the_newer_one(
    client: Elastic, elasticsearch_url: str, namespace: str, eql_proxy: Proxy
) -> None:
    """The other way round: the writer of the older index sees both, and its own is the one that stays."""
    store = await prepared(client, elasticsearch_url, namespace, way="own")
    name = alerts_name("own", namespace)
    await ask(elasticsearch_url, "PUT", f"/{name}-000002", {"aliases": {name: {"is_write_index": False}}})
    gate = eql_proxy.hold(on="_bulk")
    writing = asyncio.create_task(store.alerts.create([alert("a")]))
    await asyncio.to_thread(gate.wait_reached)
    await ask(elasticsearch_url, "PUT", f"/{name}-000002/_create/a?refresh=true", dict(alert("a").document))
    gate.open()
    assert ids_of(await writing) == ({"a"}, set())
    assert await places(elasticsearch_url, name, "a") == [f"{name}-000001"]


@pytest.mark.parametrize("way", ["own", "external"])
async def test_writers_that_race_over_rollovers_leave_each_alert_once(
    patient: Elastic, elasticsearch_url: str, namespace: str, way: AlertsAs
) -> None:
    client = patient
    await prepared(client, elasticsearch_url, namespace, way=way)
    name = alerts_name(way, namespace)
    alerts = [alert(f"{number:02}") for number in range(60)]

    async def write() -> None:
        store = store_of(client, namespace, way)
        for start in range(0, 60, 10):
            await store.alerts.create(alerts[start : start + 10])

    async def roll_over() -> None:
        for _ in range(4):
            await ask(elasticsearch_url, "POST", f"/{name}/_rollover")

    await asyncio.gather(write(), write(), roll_over(), write())
    store = store_of(client, namespace, way)
    assert sorted(await find(store)) == [item.id for item in alerts]


@pytest.mark.parametrize("way", WAYS)
async def test_alerts_are_changed_where_they_are(
    client: Elastic, elasticsearch_url: str, namespace: str, way: AlertsAs
) -> None:
    """Also those in an index from before a rollover, by the field's name of the form that they are in."""
    store = await prepared(client, elasticsearch_url, namespace, way=way)
    await store.alerts.create([alert("a"), *group()])
    await ask(elasticsearch_url, "POST", f"/{alerts_name(way, namespace)}/_rollover")
    await store.alerts.create([alert("b")])
    before = {found.id: found.document async for found in store.alerts.find(AlertFilter(building_blocks=True))}
    closed = {"kibana.alert.workflow_status": "closed"}
    changes = [AlertChange("a", closed), AlertChange("shell", closed, with_blocks=True)]
    assert (await store.alerts.update(changes)).changed == {"a", "shell"}
    after = {found.id: found.document async for found in store.alerts.find(AlertFilter(building_blocks=True))}
    assert after == {id_: {**document, **({} if id_ == "b" else closed)} for id_, document in before.items()}
    name = f"{PREFIX if way == 'external' else 'kibana'}.alert.workflow_status"
    body = {"query": {"term": {name: "closed"}}}
    answer = await ask(elasticsearch_url, "POST", f"/{alerts_name(way, namespace)}/_search", body)
    assert sorted(hit["_id"] for hit in answer["hits"]["hits"]) == ["a", "block-0", "block-1", "shell"]


async def places(url: str, name: str, id_: str) -> list[str]:
    """The indices that have a document of that id."""
    body = {"query": {"ids": {"values": [id_]}}}
    answer = await ask(url, "POST", f"/{name}/_search", body)
    return [hit["_index"] for hit in answer["hits"]["hits"]]


# External alerts


async def test_external_alerts_are_in_a_data_stream_that_security_looks_in(
    client: Elastic, elasticsearch_url: str, namespace: str
) -> None:
    store = await prepared(client, elasticsearch_url, namespace, way="external")
    name = f"logs-rule_runner.alerts-{namespace}"
    await store.alerts.create(
        [alert("a", more={"kibana.alert.severity": "high", "kibana.alert.rule.name": "Lab"}), *group()]
    )
    body = {"query": {"term": {"event.kind": "alert"}}, "sort": ["_doc"]}
    answer = await ask(elasticsearch_url, "POST", "/logs-*/_search", body)
    ours = [hit for hit in answer["hits"]["hits"] if name in hit["_index"]]
    assert sorted(hit["_id"] for hit in ours) == ["a", "shell"]
    for query in (
        {"term": {"event.module": "rule_runner"}},
        {"term": {"rule.name": "Lab"}},
        {"term": {"event.severity": 73}},
        {"term": {"data_stream.namespace": namespace}},
        {"term": {"rule_runner.alert.severity": "high"}},
    ):
        found = await ask(elasticsearch_url, "POST", f"/{name}/_search", {"query": query})
        assert "a" in [hit["_id"] for hit in found["hits"]["hits"]], query
    caps = await ask(elasticsearch_url, "GET", f"/{name}/_field_caps?fields=kibana.*,signal.*")
    assert caps["fields"] == {}


async def test_the_data_stream_says_how_it_is_kept_and_keeps_its_source(
    client: Elastic, elasticsearch_url: str, namespace: str
) -> None:
    await prepared(client, elasticsearch_url, namespace, way="external")
    name = f"logs-rule_runner.alerts-{namespace}"
    answer = await ask(elasticsearch_url, "GET", f"/_index_template/{name}")
    template = answer["index_templates"][0]["index_template"]
    assert template["data_stream"]["hidden"] is False
    index = template["template"]["settings"]["index"]
    assert index["mode"] == "standard"
    assert "lifecycle" in index or template["template"]["lifecycle"]["enabled"] is True


async def test_an_alias_in_the_place_of_the_data_stream_is_named(
    client: Elastic, elasticsearch_url: str, namespace: str
) -> None:
    name = f"logs-rule_runner.alerts-{namespace}"
    await ask(elasticsearch_url, "PUT", f"/{namespace}-other", {"aliases": {name: {}}})
    with pytest.raises(StoreError, match=f"`{name}` is an existing alias, expected a data stream"):
        await store_of(client, namespace, "external").installation.install()


# Kibana's own alerts


async def test_without_kibanas_alias_nothing_is_made(
    client: Elastic, elasticsearch_url: str, namespace: str, eql_proxy: Proxy
) -> None:
    store = store_of(client, namespace, "security")
    assert await store.alerts.existing_ids(["a"]) == frozenset()
    assert await find(store) == []
    for attempt in (store.installation.install(), store.alerts.create([alert("a")])):
        with pytest.raises(
            StoreError, match=rf"no alias `\.alerts-security\.alerts-{namespace}`.* space `{namespace}`"
        ):
            await attempt
    answer = await ask(elasticsearch_url, "GET", f"/_resolve/index/*{namespace}*?expand_wildcards=all")
    assert (answer["indices"], answer["aliases"], answer["data_streams"]) == ([], [], [])
    assert {sent.method for sent in eql_proxy.requests} <= {"GET", "HEAD", "POST"}
    assert not eql_proxy.requests_on("_bulk")


async def test_beside_kibanas_index_only_runs_and_state_are_ours(
    client: Elastic, elasticsearch_url: str, namespace: str
) -> None:
    store = await prepared(client, elasticsearch_url, namespace, way="security")
    await store.alerts.create([alert("a")])
    await store.ledger.record(run(), "f")
    answer = await ask(elasticsearch_url, "GET", f"/_resolve/index/*{namespace}*?expand_wildcards=all")
    assert sorted(found["name"] for found in answer["indices"]) == [
        f".internal.alerts-security.alerts-{namespace}-000001",
        f"{namespace}-runs-000001",
        f"{namespace}-state",
    ]
    templates = await ask(elasticsearch_url, "GET", f"/_index_template/*{namespace}*")
    kibanas = f".alerts-security.alerts-{namespace}-index-template"
    ours = [f"{namespace}-runs", f"{namespace}-state"]
    assert sorted(item["name"] for item in templates["index_templates"]) == [kibanas, *ours]


async def test_kibanas_alias_that_goes_away_is_not_made_by_a_write(
    client: Elastic, elasticsearch_url: str, namespace: str
) -> None:
    store = await prepared(client, elasticsearch_url, namespace, way="security")
    await store.alerts.create([alert("a")])
    await ask(elasticsearch_url, "DELETE", f"/.internal.alerts-security.alerts-{namespace}-000001")
    with pytest.raises(StoreError, match="it is Kibana's to make"):
        await store.alerts.create([alert("b")])
    answer = await ask(elasticsearch_url, "GET", f"/_resolve/index/*alerts-{namespace}*?expand_wildcards=all")
    assert (answer["indices"], answer["aliases"]) == ([], [])


async def test_where_kibana_keeps_a_data_stream_that_is_written_to(
    client: Elastic, elasticsearch_url: str, namespace: str, eql_proxy: Proxy
) -> None:
    """As in serverless projects."""
    name = f".alerts-security.alerts-{namespace}"
    template = {"settings": {"index": {"mapping": {"total_fields": {"limit": 5_000}}}}}
    body = {
        "index_patterns": [name],
        "data_stream": {"hidden": True},
        "priority": 500,
        "template": template | {"mappings": alert_mappings(REPLACEMENTS)},
    }
    await ask(elasticsearch_url, "PUT", f"/_index_template/{name}", body)
    await ask(elasticsearch_url, "PUT", f"/_data_stream/{name}")
    store = store_of(client, namespace, "security")
    assert ids_of(await store.alerts.create([alert("a")])) == ({"a"}, set())
    await ask(elasticsearch_url, "POST", f"/{name}/_rollover")
    assert ids_of(await store.alerts.create([alert("a"), alert("b")])) == ({"b"}, {"a"})
    assert all(b'"require_data_stream":true' in sent.body for sent in eql_proxy.requests_on(f"{name}/_bulk"))


async def test_the_alert_can_be_closed_as_the_alerts_page_does_it(
    client: Elastic, elasticsearch_url: str, namespace: str
) -> None:
    """Its table filters by these fields, and a change of the status is an update of the document."""
    store = await prepared(client, elasticsearch_url, namespace, way="security")
    more: dict[str, Any] = {
        "kibana.space_ids": [namespace],
        "kibana.alert.rule.consumer": "siem",
        "kibana.alert.rule.rule_type_id": "siem.eqlRule",
        "kibana.alert.workflow_status": "open",
        "kibana.alert.status": "active",
    }
    await store.alerts.create([alert("a", more=more), *group()])
    filters = [{"term": {name: value if isinstance(value, str) else value[0]}} for name, value in more.items()]
    query = {"bool": {"filter": filters, "must_not": {"exists": {"field": "kibana.alert.building_block_type"}}}}
    path = f"/.alerts-security.alerts-{namespace}"
    answer = await ask(elasticsearch_url, "POST", f"{path}/_search", {"query": query})
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == ["a"]
    index = answer["hits"]["hits"][0]["_index"]
    change = {"doc": {"kibana.alert.workflow_status": "closed"}}
    await ask(elasticsearch_url, "POST", f"/{index}/_update/a?refresh=true", change)
    assert ids_of(await store.alerts.create([alert("a", more=more)])) == (set(), {"a"})
    (found,) = await store.alerts.get("a")
    assert found.document["kibana.alert.workflow_status"] == "closed"


# Rights


@pytest.mark.parametrize("way", ["external", "security"])
async def test_the_smallest_roles_suffice_for_alerts_of_elastic_s(secured_url: str, way: AlertsAs) -> None:
    namespace = f"rights{way}"
    admin = open_client(login_of(secured_url))
    password = "long-enough-1"
    try:
        if way == "security":
            await make_security_alerts(secured_url, namespace)
        roles = (await store_of(admin, namespace, way).installation.install_roles()).created
        names = {name.rpartition("-")[2]: name.removeprefix("role ") for name in roles}
        for user in ("setup", "write"):
            body = {"password": password, "roles": [names[user]]}
            await ask(secured_url, "PUT", f"/_security/user/{way}-{user}", body)
    finally:
        await admin.close()
    plain = f"http://{secured_url.rpartition('@')[2]}"
    clients = {
        user: open_client(Connection(hosts=(plain,), username=f"{way}-{user}", password=password))
        for user in ("setup", "write")
    }
    try:
        await store_of(clients["setup"], namespace, way).installation.install()
        writer = store_of(clients["write"], namespace, way)
        assert ids_of(await writer.alerts.create([alert("a"), *group()])) == (
            {"a", "shell", "block-0", "block-1"},
            set(),
        )
        await ask(secured_url, "POST", f"/{alerts_name(way, namespace)}/_rollover")
        assert ids_of(await writer.alerts.create([alert("a"), alert("b")])) == ({"b"}, {"a"})
        assert sorted(await find(writer)) == ["a", "b", "shell"]
        await writer.ledger.record(run(), "f")
        closed = {"kibana.alert.workflow_status": "closed"}
        changes = [AlertChange("a", closed), AlertChange("shell", closed, with_blocks=True)]
        assert (await writer.alerts.update(changes)).changed == {"a", "shell"}
        # It may take away a second copy, as after a rollover.
        (found,) = await writer.alerts.get("b")
        outcomes = await write_bulk(
            clients["write"],
            [Action(orjson.dumps({"delete": {"_index": found.index, "_id": "b"}}), None)],
            index=alerts_name(way, namespace),
        )
        assert [outcome.stored for outcome in outcomes] == [True]
    finally:
        for client in clients.values():
            await client.close()


async def test_a_second_copy_that_can_not_be_removed_is_said(
    client: Elastic, elasticsearch_url: str, namespace: str, eql_proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    store = await prepared(client, elasticsearch_url, namespace, way="own")
    name = alerts_name("own", namespace)
    await ask(elasticsearch_url, "POST", f"/{name}/_rollover")
    writes, removal = eql_proxy.hold(on="_bulk"), eql_proxy.hold(on="_bulk")
    writing = asyncio.create_task(store.alerts.create([alert("a")]))
    await asyncio.to_thread(writes.wait_reached)
    await ask(elasticsearch_url, "PUT", f"/{name}-000001/_create/a?refresh=true", dict(alert("a").document))
    writes.open()
    await asyncio.to_thread(removal.wait_reached)
    await ask(elasticsearch_url, "PUT", f"/{name}-000002/_settings", {"index.blocks.write": True})
    removal.open()
    assert ids_of(await writing) == (set(), {"a"})
    assert f"1 alert is stored twice, around a rollover of {name}: index [{name}-000002] blocked" in caplog.text
