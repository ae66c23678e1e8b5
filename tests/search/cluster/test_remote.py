"""Events in a remote cluster: found with those of the cluster itself, and never silently left out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from elasticsearch import Elasticsearch

from runner.cluster.elasticsearch import Connection, Elastic, Retry, open_client
from runner.search.cluster.eql_api import EqlApiSearch
from runner.search.cluster.fetch_and_match import FetchSearch
from runner.windows import Window
from tests.elasticsearch.node import Node
from tests.elasticsearch.proxy import Proxy
from tests.search.lab import NOON, fill, found_ids, process, request, results, rule

PAIR = 'sequence by host.id [process where process.name == "a"] [process where process.name == "b"]'
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def far(node: Node) -> Iterator[Proxy]:
    """A proxy before a node that is its own remote cluster `far`, with a document in `local` and two in `events`."""
    fill(node.url, "local", [process(0, "a")])
    fill(node.url, "events", [process(1, "a"), process(2, "b")])
    with Elasticsearch(node.url) as client:
        (about,) = client.nodes.info(metric="transport")["nodes"].values()
    connect(node, about["transport"]["publish_address"])
    with Proxy(node.url) as proxy:
        yield proxy


def connect(node: Node, address: str, *, skip: bool = True) -> None:
    with Elasticsearch(node.url) as client:
        remote = {"seeds": [address], "skip_unavailable": skip}
        client.cluster.put_settings(persistent={"cluster.remote.far": remote})


@pytest.fixture
async def client(far: Proxy) -> AsyncIterator[Elastic]:
    client = open_client(Connection(hosts=(far.url,)), retry=Retry(first_wait=0.0, longest_wait=0.0))
    yield client
    await client.close()


async def test_remote_events_are_found_and_a_remote_cluster_that_is_away_is_an_error(
    node: Node, far: Proxy, client: Elastic
) -> None:
    both, remote = rule(PAIR, index=("local", "far:ev*")), rule("process where true", index=("far:*",))
    other = remote.model_copy(update={"rule_id": "other"})
    empty = Window(NOON - timedelta(days=2), NOON - timedelta(days=1))
    fetch, eql_api = FetchSearch(client), EqlApiSearch(client)
    for search in (fetch, eql_api):
        pair, every, none = await results(search, request(both), request(remote), request(other, window=empty))
        found = {one.request.rule.rule_id: one for one in (pair, every, none)}
        assert {one.error for one in found.values()} == {None}
        (match,) = found[both.rule_id].matches
        assert [(hit.index, hit.id) for hit in match.hits] == [("far:events", "0"), ("far:events", "1")]
        assert sorted(hit.index for one in found[remote.rule_id].matches for hit in one.hits) == [
            "far:events",
            "far:events",
            "far:local",
        ]
        assert found["other"].matches == ()

    # Away, and with `skip_unavailable` no search says so: the fields are known already, then they are asked for.
    connect(node, NOWHERE)
    for search in (fetch, FetchSearch(client), eql_api):
        (found_now,) = await results(search, request(both))
        assert found_now.error is not None, search
        assert "far" in found_now.error
        assert "did not answer" in found_now.error or "Unable to connect" in found_now.error
        assert found_now.retryable
        assert found_now.matches == ()
    (local,) = await results(fetch, request(rule("process where true", index=("local",))))
    assert found_ids(local) == [["0"]]

    # Without it, the search itself fails.
    connect(node, NOWHERE, skip=False)
    for search in (FetchSearch(client), eql_api):
        (refused,) = await results(search, request(both))
        assert refused.error is not None
        assert refused.retryable

    # A cluster that nobody knows.
    for search in (fetch, eql_api):
        (unknown,) = await results(search, request(rule(index=("berlin:logs-*",))))
        assert "berlin" in "".join((unknown.error or "", *unknown.warnings))


async def test_clusters_of_an_answer_that_did_not_answer_make_it_partial(far: Proxy, client: Elastic) -> None:
    details = {"(local)": {"status": "successful"}, "far": {"status": "skipped"}}
    clusters = {"total": 2, "successful": 1, "skipped": 1, "details": details}
    hits = {"total": {"value": 0, "relation": "eq"}, "events": []}
    whole = {"is_partial": False, "is_running": False, "timed_out": False, "took": 1, "hits": hits}
    far.answer_next(200, {**whole, "_clusters": clusters}, on="_eql/search")
    (found,) = await results(EqlApiSearch(client), request(rule(index=("local", "far:ev*"))))
    assert found.error is not None
    assert "no whole answer of the remote clusters far" in found.error
    far.answer_next(200, {"_shards": {"failed": 0}, "_clusters": clusters, "hits": {"hits": []}}, on="/_search")
    (found,) = await results(FetchSearch(client), request(rule(index=("local", "far:ev*"))))
    assert "no whole answer of the remote clusters far" in str(found.error)
