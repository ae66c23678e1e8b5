"""Events looked up in a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from runner.cluster.elasticsearch import Connection, Elastic, open_client
from runner.search.lookup.cluster_lookup import ClusterLookup
from runner.triage.ancestors import looked_up_ancestors
from runner.triage.process_chain import process_chains
from tests.elasticsearch.proxy import Proxy
from tests.search.lab import fill, process


@pytest.fixture
async def client(plain_proxy: Proxy, namespace: str) -> AsyncIterator[Elastic]:
    started = {"event.type": ["start"], "host.id": "h"}
    fill(
        plain_proxy.url,
        f"{namespace}-logs",
        [
            process(1, "sshd", **started, **{"process.pid": 10, "process.parent.pid": 1}),
            process(2, "bash", **started, **{"process.pid": 20, "process.parent.pid": 10}),
        ],
    )
    opened = open_client(Connection(hosts=(plain_proxy.url,)))
    yield opened
    await opened.close()


async def test_the_newest_events_come_first(client: Elastic, namespace: str) -> None:
    lookup = ClusterLookup(client, [f"{namespace}-logs"])
    found = await lookup.newest("process.pid : (10 or 20)", size=5, seconds=60)
    assert [document["process.name"] for document in found.documents] == ["bash", "sshd"]
    assert found.incomplete == ""
    assert (await lookup.newest("no.field : 1", size=5, seconds=60)).documents == ()


async def test_ancestors_are_found_by_pid(client: Elastic, namespace: str) -> None:
    own = [process(9, "nc", **{"process.pid": 30, "process.parent.pid": 20})]
    found = await looked_up_ancestors(own, ClusterLookup(client, [f"{namespace}-logs"]), seconds=60)
    (chain,) = process_chains(own, found.documents)
    assert [step.name for step in chain] == ["", "sshd", "bash", "nc"]


async def test_why_nothing_was_found_is_told(client: Elastic, namespace: str, plain_proxy: Proxy) -> None:
    lookup = ClusterLookup(client, [f"{namespace}-logs"])
    plain_proxy.fail_next(400, on="/_search")
    assert "refused by the test" in (await lookup.newest("process.pid : 10", size=5, seconds=60)).incomplete
    gate = plain_proxy.hold(on="/_search")
    found = await lookup.newest("process.pid : 10", size=5, seconds=0.2)
    gate.open()
    assert (found.documents, found.incomplete) == ((), "the time for it was over")
    assert "expected" in (await lookup.newest("process.pid : (", size=5, seconds=60)).incomplete
