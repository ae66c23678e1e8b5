"""A node that stands still, or is restarted, in the middle of a search: the answer is whole afterwards, or an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from runner.cluster.elasticsearch import Connection, Elastic, Retry, open_client
from runner.search.cluster.eql_api import EqlApiSearch
from runner.search.cluster.fetch_and_match import FetchSearch
from runner.search.protocol import Search, SearchResult
from tests.elasticsearch.node import Node
from tests.elasticsearch.proxy import Proxy
from tests.search.lab import fill, found_ids, process, request, results, rule

PAIR = 'sequence by host.id [process where process.name == "a"] [process where process.name == "b"]'
EXPECTED = [[str(n), str(n + 1)] for n in range(0, 10, 2)]
ASKED = request(rule(PAIR, index=("events",)))


@pytest.fixture
def proxy(node: Node) -> Iterator[Proxy]:
    fill(node.url, "events", [process(n, "ab"[n % 2]) for n in range(10)])
    with Proxy(node.url) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Elastic]:
    """A client that gives up on one request after a second, and asks often enough to outlast a restart."""
    connection = Connection(hosts=(proxy.url,), request_timeout=1.0)
    client = open_client(connection, retry=Retry(attempts=60, first_wait=0.1, longest_wait=0.5))
    yield client
    await client.close()


async def searched(search: Search) -> SearchResult:
    (only,) = await results(search, ASKED)
    return only


async def test_a_node_that_is_restarted_between_two_pages_costs_the_pass_not_the_window(
    node: Node, proxy: Proxy, client: Elastic
) -> None:
    proxy.slow_next(0, on="/_search")  # The first search passes: how many candidates each stage has.
    proxy.slow_next(0, on="/_search")  # The first page, too.
    gate = proxy.hold(on="/_field_caps")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(searched(FetchSearch(client, page_size=4)))
        await asyncio.to_thread(gate.wait_reached)
        second = proxy.hold(on="/_pit", method="POST")
        gate.open()
        await asyncio.to_thread(second.wait_reached)
        third = proxy.hold(on="/_search")
        second.open()
        await asyncio.to_thread(third.wait_reached)  # The point in time is open now.
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)
        third.open()
    found = running.result()
    assert (found.error, found_ids(found)) == (None, EXPECTED)
    assert len(proxy.requests_on("/_pit", "POST")) >= 2


async def test_a_node_that_stands_still_for_a_while_delays_the_answer(
    node: Node, proxy: Proxy, client: Elastic
) -> None:
    for search in (FetchSearch(client, page_size=4), EqlApiSearch(client)):
        proxy.clear()
        node.freeze()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(searched(search))
            gate = proxy.hold(on="", times=1)
            await asyncio.to_thread(gate.wait_reached)
            gate.open()
            node.thaw()
        found = running.result()
        assert (found.error, found_ids(found)) == (None, EXPECTED), search


async def test_a_node_that_stands_still_for_too_long_leaves_the_window_owed(
    node: Node, proxy: Proxy, client: Elastic
) -> None:
    searches: list[tuple[Search, Search]] = [
        (FetchSearch(client, page_size=4, timeout=0.5), FetchSearch(client, page_size=4)),
        (EqlApiSearch(client, timeout=0.5, wait=0.2), EqlApiSearch(client)),
    ]
    for impatient, patient in searches:
        node.freeze()
        stuck = await searched(impatient)
        node.thaw()
        assert stuck.error is not None, impatient
        assert stuck.retryable
        assert stuck.matches == ()
        found = await searched(patient)
        assert (found.error, found_ids(found)) == (None, EXPECTED), patient


async def test_full_queues_and_cut_connections_of_a_pass_are_waited_out(proxy: Proxy, client: Elastic) -> None:
    for on in ("/_field_caps", "/_pit", "/_search"):
        proxy.fail_next(429, on=on, times=2)
        proxy.cut_next(on=on, times=2)
        proxy.fail_next(503, on=on)
    found = await searched(FetchSearch(client, page_size=4))
    assert (found.error, found_ids(found)) == (None, EXPECTED)
