"""The proxy before the node: what it adds, what it breaks on demand, and that it changes nothing else."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    AuthenticationException,
    AuthorizationException,
    BadRequestError,
    ConnectionTimeout,
    Elasticsearch,
    NotFoundError,
)
from elasticsearch import ConnectionError as Unreachable

from tests.elasticsearch.events import EVENTS, make_stream
from tests.elasticsearch.node import Node
from tests.elasticsearch.proxy import Proxy

BOTH = 'sequence by host.id with maxspan=1m [process where process.name : "bash"] [process where process.name : "nc"]'


@pytest.fixture
def client(eql_proxy: Proxy) -> Iterator[Elasticsearch]:
    with Elasticsearch(eql_proxy.url, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(eql_proxy: Proxy) -> AsyncIterator[AsyncElasticsearch]:
    async with AsyncElasticsearch(eql_proxy.url, max_retries=0) as client:
        yield client


@pytest.fixture
def stream(elasticsearch_url: str, namespace: str) -> str:
    with Elasticsearch(elasticsearch_url) as client:
        return make_stream(client, namespace)


def ids(answer: Any) -> list[str]:
    return [event["_id"] for event in answer["hits"]["events"]]


# Passing through


def test_passes_through_what_is_not_eql(client: Elasticsearch, elasticsearch_url: str, stream: str) -> None:
    with Elasticsearch(elasticsearch_url) as direct:
        asked: dict[str, Any] = {
            "index": stream,
            "query": {"match_all": {}},
            "sort": ["@timestamp"],
            "filter_path": "hits",
        }
        assert client.search(**asked).body == direct.search(**asked).body
        assert client.info().body == direct.info().body

    assert client.indices.exists(index=stream)
    with pytest.raises(NotFoundError, match="index_not_found_exception"):
        client.search(index="no-such-index")


def test_passes_through_compressed_bodies(eql_proxy: Proxy, stream: str) -> None:
    with Elasticsearch(eql_proxy.url, http_compress=True) as client:
        assert client.count(index=stream)["count"] == len(EVENTS)


def test_records_requests(client: Elasticsearch, eql_proxy: Proxy, stream: str) -> None:
    client.bulk(index=stream, operations=[{"create": {"_id": "x"}}, EVENTS[0]], refresh=True)

    (recorded,) = eql_proxy.requests_on("_bulk")
    assert (recorded.method, recorded.path, recorded.query) == ("PUT", f"/{stream}/_bulk", {"refresh": "true"})
    assert recorded.lines == [{"create": {"_id": "x"}}, EVENTS[0]]


def test_node_that_has_gone_is_a_broken_connection(node: Node) -> None:
    with Proxy(node.url) as proxy, Elasticsearch(proxy.url, max_retries=0) as client:
        client.info()
        node.kill()
        with pytest.raises(Unreachable):
            client.info()
        node.start()
        assert client.info()["cluster_name"] == "runner-tests"


# The EQL API


def test_event_query(client: Elasticsearch, stream: str) -> None:
    answer = client.eql.search(index=stream, query='process where process.name : "curl"')

    assert list(answer.body) == ["is_partial", "is_running", "took", "timed_out", "hits"]
    assert (answer["is_partial"], answer["is_running"], answer["timed_out"]) == (False, False, False)
    assert answer["hits"]["total"] == {"value": 2, "relation": "eq"}
    first = answer["hits"]["events"][0]
    assert (first["_id"], first["_source"]) == ("e1", EVENTS[1])
    assert first["_index"].startswith(f".ds-{stream}-")


def test_sequence_query(client: Elasticsearch, stream: str) -> None:
    answer = client.eql.search(index=stream, query=BOTH)

    (sequence,) = answer["hits"]["sequences"]
    assert sequence["join_keys"] == ["h1"]
    assert [event["_id"] for event in sequence["events"]] == ["e0", "e3"]
    assert "events" not in answer["hits"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": 2}, ["e3", "e4"]),
        ({"size": 2, "result_position": "head"}, ["e0", "e1"]),
        ({"filter": {"range": {"@timestamp": {"gte": "2026-01-01T12:00:04Z"}}}}, ["e3", "e4"]),
        ({"filter": {"bool": {"must_not": {"term": {"host.id": "h1"}}}}}, ["e2", "e4"]),
        ({"size": 0}, []),
    ],
)
def test_options(client: Elasticsearch, stream: str, options: dict[str, Any], expected: list[str]) -> None:
    assert ids(client.eql.search(index=stream, query="process where true", **options)) == expected


def test_patterns_and_several_targets(client: Elasticsearch, namespace: str, stream: str) -> None:
    query = 'process where process.name : "nc"'

    assert ids(client.eql.search(index=f"logs-*-{namespace}", query=query)) == ["e3"]
    assert ids(client.eql.search(index=[stream, "no-such-index"], query=query)) == ["e3"]


def test_fields(client: Elasticsearch, stream: str) -> None:
    asked: list[Any] = ["host.id", {"field": "@timestamp", "format": "epoch_second"}]
    answer = client.eql.search(index=stream, query='process where process.name : "nc"', fields=asked)

    assert answer["hits"]["events"][0]["fields"] == {"host.id": ["h1"], "@timestamp": ["1767268804"]}


def test_runtime_field(client: Elasticsearch, stream: str) -> None:
    mappings = {"process.entity_id": {"type": "keyword"}, "data_stream.namespace": {"type": "keyword"}}
    query = "process where data_stream.namespace == null and process.pid == 4"

    assert ids(client.eql.search(index=stream, query=query, runtime_mappings=mappings)) == ["e3"]


@pytest.mark.parametrize("target", ["no-such-index", "no-such-index-*"])
def test_missing_index(client: Elasticsearch, stream: str, target: str) -> None:
    with pytest.raises(NotFoundError) as raised:
        client.eql.search(index=target, query="any where true")

    error = raised.value.body["error"]
    assert (error["type"], error["reason"]) == ("index_not_found_exception", f"no such index [{target}]")
    assert error["root_cause"][0]["type"] == "verification_exception"


@pytest.mark.parametrize(
    ("query", "kind", "reason"),
    [
        (
            "process where nosuch.field == 1",
            "verification_exception",
            "Found 1 problem\nline 1:15: Unknown column [nosuch.field]",
        ),
        ("process where", "parsing_exception", "line 1:14: "),
    ],
)
def test_wrong_queries(client: Elasticsearch, stream: str, query: str, kind: str, reason: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        client.eql.search(index=stream, query=query)

    error = raised.value.body["error"]
    assert error["type"] == kind
    assert error["reason"].startswith(reason)
    assert error["root_cause"] == [{"type": kind, "reason": error["reason"]}]


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ({}, "action_request_validation_exception", "1: query is null or empty;"),
        (
            {"query": "q", "size": -1, "fetch_size": 1},
            "action_request_validation_exception",
            "2: fetch size must be greater",
        ),
        (
            {"query": "q", "keep_alive": "1s"},
            "action_request_validation_exception",
            "[keep_alive] must be greater than 1 minute",
        ),
        ({"query": "q", "result_position": "x"}, "illegal_argument_exception", "received 'x'"),
        ({"query": "q", "case_sensitive": True}, "x_content_parse_exception", "unknown field [case_sensitive]"),
        ({"query": "q", "runtime_mappings": {"f": {}}}, "action_request_validation_exception", "runtime field [f]"),
    ],
)
def test_wrong_requests(client: Elasticsearch, stream: str, body: dict[str, Any], kind: str, reason: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        client.perform_request(
            "POST",
            f"/{stream}/_eql/search",
            body=body,
            headers={"content-type": "application/json", "accept": "application/json"},
        )

    assert raised.value.body["error"]["type"] == kind
    assert reason in raised.value.body["error"]["reason"]


# Asynchronous searches


def test_search_that_stays_running(client: Elasticsearch, eql_proxy: Proxy, stream: str) -> None:
    eql_proxy.keep_running(1)

    begun = client.eql.search(
        index=stream, query='process where process.name : "nc"', wait_for_completion_timeout="1s", keep_alive="1m"
    )
    assert (begun["is_running"], begun["is_partial"]) == (True, True)
    assert client.eql.get_status(id=begun["id"])["is_running"]
    assert client.eql.get(id=begun["id"])["is_running"]
    done = client.eql.get(id=begun["id"], wait_for_completion_timeout="10s")
    status = client.eql.get_status(id=begun["id"])

    assert (done["is_running"], done["is_partial"], ids(done)) == (False, False, ["e3"])
    assert (status["is_running"], status["completion_status"]) == (False, 200)
    assert eql_proxy.kept == (begun["id"],)
    assert client.eql.delete(id=begun["id"]).body == {"acknowledged": True}
    assert eql_proxy.kept == eql_proxy.cancelled == ()
    for gone in (client.eql.get, client.eql.get_status, client.eql.delete):
        with pytest.raises(NotFoundError, match="resource_not_found_exception"):
            gone(id=begun["id"])


def test_search_done_in_time_has_an_id_only_if_kept(client: Elasticsearch, stream: str) -> None:
    query = 'process where process.name : "nc"'

    assert "id" not in client.eql.search(index=stream, query=query, wait_for_completion_timeout="30s").body
    kept = client.eql.search(index=stream, query=query, wait_for_completion_timeout="30s", keep_on_completion=True)
    assert ids(client.eql.get(id=kept["id"])) == ids(kept) == ["e3"]


def test_failed_search_fails_when_it_is_fetched(client: Elasticsearch, eql_proxy: Proxy, stream: str) -> None:
    eql_proxy.keep_running(1)

    begun = client.eql.search(index=stream, query="process where no.field == 1", wait_for_completion_timeout="1s")
    client.eql.get(id=begun["id"])

    with pytest.raises(BadRequestError, match="verification_exception"):
        client.eql.get(id=begun["id"], wait_for_completion_timeout="10s")
    assert client.eql.get_status(id=begun["id"])["completion_status"] == 400


def test_deleted_while_it_runs(client: Elasticsearch, eql_proxy: Proxy, stream: str) -> None:
    gate = eql_proxy.hold(on="_eql/search")

    begun = client.eql.search(index=stream, query="any where true", wait_for_completion_timeout="0ms")
    gate.wait_reached()
    client.eql.delete(id=begun["id"])

    assert eql_proxy.cancelled == (begun["id"],)


async def test_held_search_goes_on(async_client: AsyncElasticsearch, eql_proxy: Proxy, stream: str) -> None:
    gate = eql_proxy.hold(on="_eql/search")

    search = asyncio.ensure_future(async_client.eql.search(index=stream, query='process where process.name : "nc"'))
    await asyncio.to_thread(gate.wait_reached)
    assert not search.done()
    gate.open()

    assert ids((await search).body) == ["e3"]


async def test_client_that_leaves_cancels(async_client: AsyncElasticsearch, eql_proxy: Proxy, stream: str) -> None:
    gate = eql_proxy.hold(on="_eql/search")

    search = asyncio.ensure_future(async_client.eql.search(index=stream, query="any where true"))
    await asyncio.to_thread(gate.wait_reached)
    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search
    await asyncio.to_thread(eql_proxy.wait_cancelled)

    assert eql_proxy.cancelled == ("",)


# Faults


def test_partial_results(client: Elasticsearch, eql_proxy: Proxy, stream: str) -> None:
    eql_proxy.partial_next(times=4)
    query = 'process where process.name : "nc"'

    with pytest.raises(ApiError, match="search_phase_execution_exception") as raised:
        client.eql.search(index=stream, query=query)
    allowed = client.eql.search(index=stream, query=query, allow_partial_search_results=True)
    without = client.eql.search(index=stream, query=BOTH, allow_partial_search_results=True)
    whole = client.eql.search(
        index=stream, query=BOTH, allow_partial_search_results=True, allow_partial_sequence_results=True
    )

    assert raised.value.status_code == 503
    assert (allowed["is_partial"], len(allowed["shard_failures"]), ids(allowed)) == (True, 1, ["e3"])
    assert (without["is_partial"], without["hits"]["sequences"]) == (True, [])
    assert (whole["is_partial"], len(whole["hits"]["sequences"])) == (True, 1)


def test_timed_out(client: Elasticsearch, eql_proxy: Proxy, stream: str) -> None:
    eql_proxy.partial_next(failures=0, timed_out=True, obey=False)

    answer = client.eql.search(index=stream, query="process where true")

    assert (answer["is_partial"], answer["timed_out"]) == (True, True)
    assert "shard_failures" not in answer.body


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthenticationException), (403, AuthorizationException), (429, ApiError), (500, ApiError), (503, ApiError)],
)
def test_refusals(client: Elasticsearch, eql_proxy: Proxy, stream: str, status: int, kind: type[ApiError]) -> None:
    eql_proxy.fail_next(status, on="_eql/search", headers={"Retry-After": "1"})

    assert client.count(index=stream)["count"] == len(EVENTS)
    with pytest.raises(kind) as raised:
        client.eql.search(index=stream, query="any where true")
    assert raised.value.status_code == status
    assert raised.value.meta.headers["Retry-After"] == "1"
    assert len(client.eql.search(index=stream, query="any where true", size=100)["hits"]["events"]) == len(EVENTS)


@pytest.mark.parametrize("after", [None, 10])
def test_cut_after_the_node_did_the_work(
    client: Elasticsearch, eql_proxy: Proxy, stream: str, after: int | None
) -> None:
    eql_proxy.cut_next(on="_bulk", after=after, reached_node=True)
    lines = [{"create": {"_id": "once"}}, EVENTS[0]]

    with pytest.raises(Unreachable):
        client.bulk(index=stream, operations=lines)
    again = client.bulk(index=stream, operations=lines)

    assert again["items"][0]["create"]["status"] == 409


def test_cut_before_the_node_heard(client: Elasticsearch, eql_proxy: Proxy, stream: str) -> None:
    eql_proxy.cut_next(on="_bulk")
    lines = [{"create": {"_id": "once"}}, EVENTS[0]]

    with pytest.raises(Unreachable):
        client.bulk(index=stream, operations=lines)

    assert client.bulk(index=stream, operations=lines)["items"][0]["create"]["status"] == 201


def test_slow_answers_run_into_the_clients_patience(client: Elasticsearch, eql_proxy: Proxy, stream: str) -> None:
    impatient = client.options(request_timeout=0.3)
    eql_proxy.slow_next(60, on="_search")
    with pytest.raises(ConnectionTimeout):
        impatient.search(index=stream)
    eql_proxy.delay(60, on="_count", times=1)
    with pytest.raises(ConnectionTimeout):
        impatient.count(index=stream)

    assert client.count(index=stream)["count"] == len(EVENTS)


def test_slow_body_arrives_whole(client: Elasticsearch, eql_proxy: Proxy, stream: str) -> None:
    eql_proxy.slow_next(0.01, on="_search")

    assert len(client.search(index=stream, size=100)["hits"]["hits"]) == len(EVENTS)


def test_answers_that_are_not_elasticsearch(client: Elasticsearch, eql_proxy: Proxy, stream: str) -> None:
    eql_proxy.answer_next(200, {"took": 1}, on="_search")

    assert client.search(index=stream).body == {"took": 1}


def test_cluster_without_eql(plain_proxy: Proxy, stream: str) -> None:
    with Elasticsearch(plain_proxy.url) as client:
        with pytest.raises(BadRequestError, match="no handler found for uri"):
            client.eql.search(index=stream, query="any where true")
        assert client.count(index=stream)["count"] == len(EVENTS)


def test_secured_node_sees_the_clients_own_rights(secured_url: str) -> None:
    with Elasticsearch(secured_url) as admin, Proxy(secured_url) as proxy:
        admin.index(index="logs-rights", id="1", document={"@timestamp": 1, "event": {"category": "a"}}, refresh=True)
        role = {"indices": [{"names": ["other-*"], "privileges": ["read", "view_index_metadata"]}]}
        key = admin.security.create_api_key(name="other", role_descriptors={"other": role})
        with Elasticsearch(proxy.url) as through:
            assert ids(through.eql.search(index="logs-rights", query="any where true")) == ["1"]
        bare = f"http://{proxy.url.rpartition('@')[2]}"
        # Unavailable indices are ignored by default, and those that one may not see are unavailable.
        with (
            Elasticsearch(bare, api_key=key["encoded"]) as stranger,
            pytest.raises(NotFoundError, match="Unknown index"),
        ):
            stranger.eql.search(index="logs-rights", query="any where true")


def test_serves_many_at_once(client: Elasticsearch, stream: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.count(index=stream)["count"], range(40)))

    assert answers == [len(EVENTS)] * 40


def test_leaves_nothing_running(elasticsearch_url: str) -> None:
    before = set(threading.enumerate())
    with Proxy(elasticsearch_url) as proxy:
        proxy.hold(on="_count")
        raw = json.dumps(proxy.requests)

    assert raw == "[]"
    assert set(threading.enumerate()) <= before
