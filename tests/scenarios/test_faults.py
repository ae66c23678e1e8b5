"""Faults of a real cluster, each brought about in the middle of the work of a whole runner.

Meanwhile the error says what is wrong, once a tick where nothing can be done at all, and readiness says the same. When
the fault is over, no alert is missing, none is there twice, and the ledger has no gap.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from tests.elasticsearch.node import Node
from tests.elasticsearch.proxy import EVERY, Proxy
from tests.scenarios.cluster_world import QUERIES, STEP, ClusterWorld, logged
from tests.scenarios.places import MAPPINGS

WRITES_BYTES = 2_000
"""What a node takes of writes at a time: enough for the state of a rule, too little for an alert."""


@pytest.fixture
async def world(
    tmp_path: Path, eql_proxy: Proxy, elasticsearch_url: str, namespace: str
) -> AsyncIterator[ClusterWorld]:
    """A runner that has found the first incident, through a proxy that answers EQL searches."""
    made = ClusterWorld(tmp_path, eql_proxy.url, node_url=elasticsearch_url, name=namespace)
    await begun(made)
    yield made
    await made.close()


@pytest.fixture
async def fetching(
    tmp_path: Path, plain_proxy: Proxy, elasticsearch_url: str, namespace: str
) -> AsyncIterator[ClusterWorld]:
    """The same in a cluster without EQL."""
    made = ClusterWorld(tmp_path, plain_proxy.url, node_url=elasticsearch_url, name=namespace)
    await begun(made)
    yield made
    await made.close()


async def begun(world: ClusterWorld) -> None:
    world.make_index()
    world.plant("first")
    runs, troubles = await world.tick()
    assert [run.status for run in runs] == ["succeeded"] * len(QUERIES)
    assert (troubles, world.not_ready()) == ([], "")


@contextmanager
def admin(world: ClusterWorld) -> Iterator[Elasticsearch]:
    with Elasticsearch(world.node_url) as client:
        yield client


async def failed_runs(world: ClusterWorld, *texts: str) -> None:
    """A tick in which every run fails by itself: each says why, and readiness does."""
    runs, troubles = await world.tick()
    assert troubles == []
    assert {run.rule_id for run in runs} == set(QUERIES)
    for run in runs:
        assert (run.status, run.complete) == ("failed", False), run
        for text in texts:
            assert text in run.messages[0]
            assert text in world.not_ready()


async def failed_tick(world: ClusterWorld, *texts: str) -> None:
    """A tick that comes to nothing: one line says why, whatever number of rules there is, and readiness does."""
    runs, troubles = await world.tick()
    assert (runs, len(troubles)) == ([], 1)
    for text in texts:
        assert text in troubles[0]
        assert text in world.not_ready()
    assert (await world.tick()) == ([], []), "the service does not wait before it tries again"


async def test_read_only_indices(world: ClusterWorld) -> None:
    for number, (part, block, text) in enumerate(
        [
            ("alerts", "write", "FORBIDDEN/8/index write"),
            # What a node sets by itself when its disk is fuller than the flood-stage watermark.
            ("alerts", "read_only_allow_delete", "disk usage exceeded flood-stage watermark"),
            ("state", "read_only_allow_delete", "disk usage exceeded flood-stage watermark"),
            ("runs", "write", "FORBIDDEN/8/index write"),
        ]
    ):
        world.later(f"blocked-{number}")
        failing = failed_runs if part == "alerts" else failed_tick
        with admin(world) as client:
            client.indices.put_settings(index=f"{world.name}-{part}*", settings={f"index.blocks.{block}": True})
            await failing(world, text, f"{world.name}-{part}")
            client.indices.put_settings(index=f"{world.name}-{part}*", settings={f"index.blocks.{block}": None})
        await world.recovered()


async def test_requests_that_fail_on_the_way(world: ClusterWorld, eql_proxy: Proxy) -> None:
    alerts, state = f"{world.name}-alerts/_bulk", f"{world.name}-state/_bulk"
    host = eql_proxy.url
    cases: list[tuple[Callable[[], None], Callable[..., Any], tuple[str, ...]]] = [
        (lambda: eql_proxy.cut_next(on=alerts, times=EVERY), failed_runs, (host, "can not be reached")),
        (lambda: eql_proxy.cut_next(on=alerts, times=EVERY, reached_node=True), failed_runs, ("can not be reached",)),
        (lambda: eql_proxy.cut_next(on=state, times=EVERY), failed_tick, (host, "can not be reached")),
        (lambda: eql_proxy.cut_next(on=state, times=EVERY, reached_node=True), failed_tick, ("can not be reached",)),
        (lambda: eql_proxy.cut_next(times=EVERY), failed_tick, (host, "can not be reached")),
        # The queue of searches cannot be filled for certain on a node of one's own; the queue of writes can, see below.
        (lambda: eql_proxy.fail_next(429, on="_eql/search", times=EVERY), failed_runs, ("rejected execution",)),
        (lambda: eql_proxy.fail_next(503, times=EVERY), failed_tick, ("state not recovered",)),
        (lambda: eql_proxy.partial_next(times=EVERY, obey=False), failed_runs, ("shard failed for the test",)),
    ]
    for number, (begin, failing, texts) in enumerate(cases):
        world.later(f"lost-{number}")
        begin()
        await failing(world, *texts)
        eql_proxy.clear()
        await world.recovered()


async def test_answers_that_come_too_late(world: ClusterWorld, eql_proxy: Proxy) -> None:
    await world.close()
    world.connect(eql_proxy.url, request_timeout=3.0)
    for number, (part, failing) in enumerate([("alerts", failed_runs), ("state", failed_tick)]):
        world.later(f"slow-{number}")
        eql_proxy.slow_next(60, on=f"{world.name}-{part}/_bulk", times=EVERY)
        await failing(world, "did not answer within 3 s", f"could not write to {world.name}-{part}")
        eql_proxy.clear()
        await world.recovered()


async def test_an_alias_without_its_index_and_without_a_write_index(world: ClusterWorld) -> None:
    index, alias = f"{world.name}-alerts-000001", f"{world.name}-alerts"
    with admin(world) as client:
        world.later("no-alias")
        client.indices.delete_alias(index=index, name=alias)
        await failed_runs(world, f"the index {index} is there, but without its alias `{alias}`")
        client.indices.put_alias(index=index, name=alias, is_write_index=False)
        await world.tick(STEP)
        assert "no write index is defined for alias" in world.not_ready()
        client.indices.put_alias(index=index, name=alias, is_write_index=True)
    await world.recovered()


async def test_a_shard_that_is_not_there(world: ClusterWorld) -> None:
    await without_a_shard(world)


async def test_a_shard_that_is_not_there_without_eql(fetching: ClusterWorld) -> None:
    await without_a_shard(fetching)


async def without_a_shard(world: ClusterWorld) -> None:
    bad = f"logs-{world.name}-bad"
    nowhere = {"index.routing.allocation.require._name": "nowhere"}
    with admin(world) as client:
        client.indices.create(index=bad, settings=nowhere, wait_for_active_shards="0")
        world.later("in-the-good-index")
        await failed_runs(world, "missing shards", bad)
        client.indices.put_settings(index=bad, settings=dict.fromkeys(nowhere))
        client.cluster.health(index=bad, wait_for_status="yellow")
    await world.recovered()


async def test_an_index_with_another_mapping(world: ClusterWorld) -> None:
    bad = f"logs-{world.name}-bad"
    with admin(world) as client:
        client.indices.create(
            index=bad, mappings={"properties": {"process": {"properties": {"name": {"type": "long"}}}}}
        )
        world.later("in-the-good-index")
        await failed_runs(world, "Cannot use field [process.name]", f"[long] in [{bad}]", ".toml:13:")
        client.indices.delete(index=bad)
    await world.recovered()


async def test_an_alert_that_its_index_refuses_stops_no_other(world: ClusterWorld) -> None:
    odd = f"logs-{world.name}-odd"
    with admin(world) as client:
        host = {"user": {"type": "keyword"}}
        client.indices.create(index=odd, mappings={**MAPPINGS, "properties": MAPPINGS["properties"] | host})
    world.later("before")
    world.plant("refused", index=odd, user="not-an-object")
    world.plant("after", before=timedelta(minutes=1))
    runs, troubles = await world.tick()
    assert troubles == []
    for run in runs:
        assert (run.status, run.complete, run.created) == ("warning", True, 2), run
        assert "object mapping for [user]" in run.messages[0]
    with admin(world) as client:  # somebody mends the documents, as an ingest pipeline would
        client.indices.delete(index=odd)
    world.planted -= {incident for incident in world.planted if incident[1][0].startswith("refused")}
    world.plant("refused", before=timedelta(minutes=2))
    await world.recovered()


async def test_a_node_that_is_killed_in_the_middle_of_a_run(tmp_path: Path, node: Node) -> None:
    with Proxy(node.url) as proxy:
        world = ClusterWorld(tmp_path, proxy.url, node_url=node.url, name="killed")
        await begun(world)
        for number, part in enumerate(["_eql/search", "killed-alerts/_bulk"]):
            world.later(f"victim-{number}")
            gate = proxy.hold(on=part)
            tick = asyncio.create_task(world.tick())
            await asyncio.to_thread(gate.wait_reached)
            await asyncio.to_thread(node.kill)
            gate.open()
            runs, troubles = await tick
            assert (runs, len(troubles)) == ([], 1)
            assert "bad gateway" in troubles[0] or "can not be reached" in troubles[0]
            assert "store: " in world.not_ready()
            await asyncio.to_thread(node.start)
            await world.recovered()
        await world.close()


@pytest.mark.slow
async def test_a_node_that_stands_still_and_a_full_queue(tmp_path: Path) -> None:
    """The queue for writes of the node holds so few bytes that it refuses an alert with 429, until it is restarted."""
    with Node() as node:
        world = ClusterWorld(tmp_path, node.url, node_url=node.url, name="queue", request_timeout=3.0)
        await begun(world)
        world.later("frozen")
        await asyncio.to_thread(node.freeze)
        await failed_tick(world, "did not answer within 3 s")
        node.thaw()
        await world.recovered()
        world.later("refused")
        node.kill()
        node.start(f"indexing_pressure.memory.limit={WRITES_BYTES}b")
        await failed_tick(world, "rejected execution of coordinating operation")
        node.kill()
        node.start()
        await world.recovered()
        await world.close()


async def test_an_api_key_that_ends_and_a_new_one(tmp_path: Path, secured_url: str) -> None:
    plain = f"http://{secured_url.rpartition('@')[2]}"
    world = ClusterWorld(tmp_path, plain, node_url=secured_url, name="keys")
    with Elasticsearch(secured_url) as client, logged() as lines:
        first, short, second = (client.security.create_api_key(name=name, **more) for name, more in _KEYS.items())
        await world.close()
        world.connect(plain, api_key=str(first["encoded"]))
        await begun(world)
        world.later("invalidated")
        client.security.invalidate_api_key(ids=[first["id"]])
        await failed_tick(world, "does not accept API key", first["id"])
        await world.close()
        world.connect(plain, api_key=str(short["encoded"]))
        await failed_tick(world, "does not accept API key", short["id"])
        await world.close()
        world.connect(plain, api_key=str(second["encoded"]))
        await world.recovered()
        assert world.not_ready() == ""
    await world.close()
    told = "\n".join([*lines, *world.troubles, *(text for run in world.runs for text in run.messages)])
    assert first["id"] in told
    for key in (first, short, second):
        for secret in (key["api_key"], key["encoded"], base64.b64encode(key["api_key"].encode()).decode()):
            assert str(secret) not in told


_KEYS: dict[str, dict[str, Any]] = {"first": {}, "short": {"expiration": "1ms"}, "second": {}}


async def test_an_older_copy_of_the_state_repeats_nothing(world: ClusterWorld) -> None:
    with admin(world) as client:
        client.indices.refresh(index=f"{world.name}-state")
        older = client.search(index=f"{world.name}-state", size=100)["hits"]["hits"]
        world.later("second")
        await world.recovered()
        before = await world.snapshot()
        for hit in older:
            client.index(index=f"{world.name}-state", id=hit["_id"], document=hit["_source"], refresh=True)
    await world.close()
    world.connect(world.url)
    await world.recovered()
    assert (await world.snapshot()).alerts == before.alerts


async def test_a_state_that_is_deleted_repeats_nothing_and_is_begun_anew(world: ClusterWorld) -> None:
    with admin(world) as client:
        client.indices.delete(index=f"{world.name}-state")
    world.later("second")
    await world.tick()
    await world.recovered()
    await world.close()
    world.connect(world.url)
    await world.recovered()


async def test_two_runners_at_once_write_every_alert_once(
    world: ClusterWorld, tmp_path: Path, eql_proxy: Proxy
) -> None:
    """Both believe that the rules are theirs: neither knows of leases."""
    other = ClusterWorld(tmp_path, eql_proxy.url, node_url=world.node_url, name=world.name)
    for number in range(4):
        world.clock.advance(STEP)
        for place in range(3):
            world.plant(f"both-{number}-{place}")
        other.clock.advance(world.clock.now() - other.clock.now())
        await asyncio.gather(world.tick(), other.tick())
    assert (world.troubles, other.troubles) == ([], [])
    both = [*world.runs, *other.runs]
    assert sum(run.created for run in both) == len(world.planted)
    assert {run.status for run in both} == {"succeeded"}
    await world.recovered()
    await other.close()
