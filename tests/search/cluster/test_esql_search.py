"""Rules asked through the ES|QL API: what is sent, and what becomes of every kind of answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runner.cluster.elasticsearch import Connection, Elastic, Retry, open_client
from runner.rules.rule import Rule
from runner.search.cluster.esql import EsqlSearch
from runner.search.protocol import SearchRequest, SearchResult
from runner.windows import Window
from tests.compiled import compiled
from tests.elasticsearch.proxy import EVERY, Proxy

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=9))
API = "_query/async"


@pytest.fixture
async def client(plain_proxy: Proxy) -> AsyncIterator[Elastic]:
    client = open_client(Connection(hosts=(plain_proxy.url,)), retry=Retry(first_wait=0.0, longest_wait=0.0))
    yield client
    await client.close()


def rule(query: str = "from logs-* | stats c = count(*) by host.id", **fields: Any) -> Rule:
    given = {"rule_id": "r-1", "name": "Lab", "type": "esql", "language": "esql", "query": query}
    return Rule.model_validate(given | {"description": "d", "severity": "low", "risk_score": 1} | fields)


def answer(rows: Sequence[Sequence[Any]] = (), names: Sequence[str] = ("host.id", "c"), **more: Any) -> dict[str, Any]:
    columns = [{"name": name, "type": "date" if name.endswith("time") else "keyword"} for name in names]
    return {"is_running": False, "is_partial": False, "columns": columns, "values": [*map(list, rows)]} | more


async def result(search: EsqlSearch, of: Rule | None = None, *, size: int = 101) -> SearchResult:
    (only,) = [one async for one in search.run([SearchRequest(compiled(of or rule()), WINDOW, size)])]
    return only


async def test_the_request_has_window_and_limit_and_refuses_partial_answers(
    plain_proxy: Proxy, client: Elastic
) -> None:
    plain_proxy.answer_next(200, answer([["web-01", 3]]), on=API)
    query = "from logs-* | where @timestamp > NOW() | stats c = count(*) by host.id"
    found = await result(EsqlSearch(client), rule(query, to="now-1m", timestamp_override="event.ingested"))
    (sent,) = plain_proxy.requests_on(API)
    assert (sent.query["allow_partial_results"], sent.query["drop_null_columns"]) == ("false", "true")
    assert sent.json["query"] == query.replace("NOW()", '"2026-03-02T10:10:00.000Z"::datetime') + "\n| LIMIT 10000"
    within, fallback = sent.json["filter"]["bool"]["filter"][0]["bool"]["should"]
    assert within["range"]["event.ingested"]["gte"] == "2026-03-02T10:00:00.000Z"
    assert fallback["bool"]["filter"][0]["range"]["@timestamp"]["lte"] == "2026-03-02T10:09:00.000Z"
    (match,) = found.matches
    assert match.row is not None
    assert (match.hits[0].source, match.row.key, found.exhausted) == (
        {"host.id": "web-01", "c": 3},
        {"host.id": "web-01"},
        True,
    )


async def test_servers_without_the_flag_are_asked_without_it(plain_proxy: Proxy, client: Elastic) -> None:
    reason = "request [/_query/async] contains unrecognized parameter: [allow_partial_results]"
    plain_proxy.fail_next(400, on=API, kind="illegal_argument_exception", reason=reason)
    plain_proxy.answer_next(200, answer(), on=API, times=2)
    search = EsqlSearch(client)
    assert [(await result(search)).error, (await result(search)).error] == [None, None]
    assert ["allow_partial_results" in one.query for one in plain_proxy.requests_on(API)] == [True, False, False]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"is_partial": True}, "the answer is partial"),
        ({"_clusters": {"skipped": 1, "details": {"berlin": {"status": "skipped"}}}}, "remote clusters berlin"),
    ],
)
async def test_a_partial_answer_leaves_the_window_owed(
    plain_proxy: Proxy, client: Elastic, more: dict[str, Any], said: str
) -> None:
    plain_proxy.answer_next(200, answer([["web-01", 3]], **more), on=API)
    found = await result(EsqlSearch(client))
    assert (found.matches, said in str(found.error), found.retryable) == ((), True, True)


async def test_a_running_query_is_polled_and_deleted(plain_proxy: Proxy, client: Elastic) -> None:
    plain_proxy.answer_next(200, answer(id="q 1", is_running=True), on=API, method="POST")
    plain_proxy.answer_next(200, answer(id="q 1", is_running=True), on=API, method="GET")
    plain_proxy.answer_next(200, answer([["web-01", 3]], id="q 1"), on=API, method="GET")
    plain_proxy.answer_next(200, {"acknowledged": True}, on=API, method="DELETE")
    assert len((await result(EsqlSearch(client))).matches) == 1
    assert [one.method for one in plain_proxy.requests_on(API)] == ["POST", "GET", "GET", "DELETE"]


async def test_a_query_that_takes_too_long_is_stopped_and_owed(plain_proxy: Proxy, client: Elastic) -> None:
    plain_proxy.answer_next(200, answer(id="q1", is_running=True), on=API, method="POST")
    plain_proxy.answer_next(200, {"acknowledged": True}, on=API, method="DELETE")
    found = await result(EsqlSearch(client, timeout=0.0))
    assert "took longer than 0 s and was stopped" in str(found.error)
    assert [one.method for one in plain_proxy.requests_on(API)] == ["POST", "DELETE"]


async def test_a_stop_deletes_the_query(plain_proxy: Proxy, client: Elastic) -> None:
    plain_proxy.answer_next(200, answer(id="q1", is_running=True), on=API, method="POST")
    gate = plain_proxy.hold(on=API, method="GET")
    plain_proxy.answer_next(200, {"acknowledged": True}, on=API, method="DELETE")
    task = asyncio.create_task(result(EsqlSearch(client)))
    await asyncio.to_thread(gate.wait_reached)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open()
    assert [one.method for one in plain_proxy.requests_on(API, "DELETE")] == ["DELETE"]


async def test_a_query_that_the_server_forgets_is_begun_anew(plain_proxy: Proxy, client: Elastic) -> None:
    plain_proxy.answer_next(200, answer(id="q1", is_running=True), on=API, method="POST")
    plain_proxy.fail_next(404, on=API, method="GET", kind="resource_not_found_exception", reason="q1")
    plain_proxy.answer_next(200, {"acknowledged": True}, on=API, method="DELETE", times=EVERY)
    plain_proxy.answer_next(200, answer([["web-01", 3]]), on=API, method="POST")
    assert len((await result(EsqlSearch(client))).matches) == 1


async def test_a_cluster_without_esql_says_so(plain_proxy: Proxy, client: Elastic) -> None:
    reason = "no handler found for uri [/_query/async] and method [POST]"
    plain_proxy.answer_next(400, {"error": reason}, on=API)
    found = await result(EsqlSearch(client))
    assert ("this cluster has no ES|QL" in str(found.error), found.retryable) == (True, False)


@pytest.mark.parametrize(
    ("rows", "keys"),
    [
        ([["a", 1], ["b", 1]], [{"host.id": "a"}, {"host.id": "b"}]),
        ([["a", 1], ["a", 2]], [{"host.id": "a", "c": 1}, {"host.id": "a", "c": 2}]),
        ([[None, 1]], [{"host.id": None}]),
        ([[["b", "a"], 1]], [{"host.id": ["a", "b"]}]),
    ],
)
async def test_what_a_row_is_known_by(
    plain_proxy: Proxy, client: Elastic, rows: list[list[Any]], keys: list[dict[str, Any]]
) -> None:
    plain_proxy.answer_next(200, answer(rows), on=API)
    of = rule("from logs-* | stats c = count(*) by host.id, user.name | keep host.id, c")
    found = await result(EsqlSearch(client), of)
    assert [dict(match.row.key) for match in found.matches if match.row] == keys


async def test_more_rows_than_can_be_returned_are_told(plain_proxy: Proxy, client: Elastic) -> None:
    plain_proxy.answer_next(200, answer([[str(number), 1] for number in range(10_000)]), on=API)
    found = await result(EsqlSearch(client))
    assert (found.exhausted, "10,000 rows, the most that ES|QL returns" in found.warnings[0]) == (True, True)


async def test_more_documents_than_one_answer_has_are_read_without_those_that_came(
    plain_proxy: Proxy, client: Elastic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.search.cluster.esql.esql_search.LARGEST_SIZE", 3)
    names = ("_id", "_index")
    for part in ("abc", "cde", "ef"):
        plain_proxy.answer_next(200, answer([[one, "logs-1"] for one in part], names), on=API)
    hits = [{"_index": "logs-1", "_id": one, "_source": {"n": one}} for one in "abcdef"]
    plain_proxy.answer_next(200, {"hits": {"hits": hits}}, on="logs-*/_search")
    query = "from logs-* metadata _id, _index, _version | where @timestamp > NOW() - 5m | keep _id, _index"
    found = await result(EsqlSearch(client), rule(query), size=10_000)
    assert ({match.hits[0].id for match in found.matches}, found.exhausted) == (set("abcdef"), True)
    left_out = [one.json["filter"]["bool"]["filter"][1:] for one in plain_proxy.requests_on(API)]
    ids = [[one["bool"]["must_not"][0]["bool"]["filter"][1]["ids"]["values"] for one in each] for each in left_out]
    assert ids == [[], [["a", "b"]], [["a", "b", "c", "d"]]]
