"""Rules asked through the EQL search API: what is sent, and what becomes of every kind of answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.cluster.elasticsearch import Connection, Elastic, Retry, open_client
from runner.cluster.transport import ApiCall
from runner.rules.rule import Rule
from runner.search.cluster.eql_api import MOST_STARTS, EqlApiSearch, build_body, read_matches
from runner.search.protocol import SearchRequest, SearchResult
from runner.windows import Window, iso
from tests.compiled import compiled
from tests.elasticsearch.loop_time import skip
from tests.elasticsearch.proxy import EVERY, Proxy

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=9))
SEARCH = "_eql/search"


@pytest.fixture
async def client(eql_proxy: Proxy) -> AsyncIterator[Elastic]:
    client = open_client(Connection(hosts=(eql_proxy.url,)), retry=Retry(first_wait=0.0, longest_wait=0.0))
    yield client
    await client.close()


def rule(query: str = "process where true", **fields: Any) -> Rule:
    given = {"index": ("logs-*",), "rule_id": "r-1", "name": "Lab", "type": "eql", "language": "eql"}
    rest = {"description": "d", "severity": "low", "risk_score": 1, "query": query}
    return Rule.model_validate(given | rest | fields)


def request(of: Rule | None = None, *, size: int = 100) -> SearchRequest:
    return SearchRequest(compiled(of or rule()), WINDOW, size)


async def results(search: EqlApiSearch, *requests: SearchRequest) -> list[SearchResult]:
    return [result async for result in search.run(requests)]


async def result(search: EqlApiSearch, of: SearchRequest | None = None) -> SearchResult:
    (only,) = await results(search, of or request())
    return only


def event(number: int) -> dict[str, Any]:
    return {"_index": "logs-1", "_id": str(number), "_source": {"n": number}, "fields": {"n": [number]}}


def answer(events: Sequence[Mapping[str, Any]] = (), **more: Any) -> dict[str, Any]:
    hits = {"total": {"value": len(events), "relation": "eq"}, "events": list(events)}
    return {"is_partial": False, "is_running": False, "took": 1, "timed_out": False, "hits": hits} | more


def process_event(minute: int, name: str, **more: Any) -> dict[str, Any]:
    moment = START + timedelta(minutes=minute)
    return {
        "@timestamp": iso(moment),
        "event": {"category": "process"},
        "process": {"name": name},
        "host": {"id": "h"},
    } | more


async def fill(client: Elastic, index: str, documents: Sequence[Mapping[str, Any]]) -> None:
    properties = {
        "@timestamp": {"type": "date"},
        "event": {"properties": {"category": {"type": "keyword"}, "ingested": {"type": "date"}}},
        "process": {"properties": {"name": {"type": "keyword"}}},
        "host": {"properties": {"id": {"type": "keyword"}}},
    }
    await client.create_index(index, {"mappings": {"properties": properties}})
    for number, document in enumerate(documents):
        write = ApiCall("PUT", f"/{index}/_doc/{number}", "write an event", body=document)
        await client.transport.send(write)
    await client.refresh(index)


# What is sent


def test_the_request_names_only_the_fields_that_the_rule_has() -> None:
    assert build_body(request(), size=7) == {
        "query": "process where true",
        "size": 7,
        "result_position": "head",
        "filter": {
            "bool": {
                "filter": [
                    {
                        "range": {
                            "@timestamp": {
                                "gte": "2026-03-02T10:00:00.000Z",
                                "lte": "2026-03-02T10:09:00.000Z",
                                "format": "strict_date_optional_time",
                            }
                        }
                    },
                    {"bool": {"must": [], "filter": [], "should": [], "must_not": []}},
                ]
            }
        },
        "fields": [
            {"field": "*", "include_unmapped": True},
            {"field": "@timestamp", "format": "strict_date_optional_time"},
        ],
    }
    named = rule(timestamp_field="t", event_category_override="c", tiebreaker_field="event.sequence")
    body = build_body(request(named), size=7)
    assert (body["timestamp_field"], body["event_category_field"]) == ("t", "c")
    assert body["tiebreaker_field"] == "event.sequence"


def test_rule_filters_are_wanted_or_unwanted_as_they_say() -> None:
    wanted = {"meta": {"negate": False}, "query": {"term": {"a": 1}}}
    unwanted = {"meta": {"negate": True}, "exists": {"field": "b"}, "$state": {"store": "appState"}}
    off = {"meta": {"disabled": True}, "query": {"term": {"c": 1}}}
    body = build_body(request(rule(filters=(wanted, unwanted, off))), size=7)
    assert body["filter"]["bool"]["filter"][1] == {
        "bool": {"must": [], "filter": [{"term": {"a": 1}}], "should": [], "must_not": [{"exists": {"field": "b"}}]}
    }


async def test_the_search_is_asynchronous_and_refuses_partial_answers(eql_proxy: Proxy, client: Elastic) -> None:
    eql_proxy.answer_next(200, answer(), on=SEARCH)
    await result(EqlApiSearch(client), request(rule(index=("logs-a-*", "-logs-a-b"))))
    (sent,) = eql_proxy.requests
    assert sent.path == "/logs-a-*,-logs-a-b/_eql/search"
    assert sent.json["allow_partial_search_results"] is False
    assert sent.json["allow_partial_sequence_results"] is False
    assert sent.json["fetch_size"] == 1_000
    assert "runtime_mappings" not in sent.json
    assert sent.query["wait_for_completion_timeout"] == "5000ms"
    assert sent.query["allow_no_indices"] == sent.query["ignore_unavailable"] == "true"
    assert sent.headers["x-opaque-id"] == "rule-runner:r-1"


async def test_a_server_that_does_not_know_the_partial_flags_is_asked_without_them(
    eql_proxy: Proxy, client: Elastic
) -> None:
    flags = ("allow_partial_search_results", "allow_partial_sequence_results")
    for flag in flags:
        eql_proxy.fail_next(
            400, on=SEARCH, kind="x_content_parse_exception", reason=f"[1:9] [eql/search] unknown field [{flag}]"
        )
    eql_proxy.answer_next(200, answer([event(1)]), on=SEARCH, times=3)
    search = EqlApiSearch(client)
    assert len((await result(search)).matches) == 1
    assert len((await result(search)).matches) == 1
    sent = [[flag in one.json for flag in flags] for one in eql_proxy.requests]
    assert sent == [[True, True], [False, True], [False, False], [False, False]]
    search.forget()
    await result(search)
    assert all(flag in eql_proxy.requests[-1].json for flag in flags)


async def test_runtime_fields_are_fields_of_every_search(eql_proxy: Proxy, client: Elastic, namespace: str) -> None:
    index = f"{namespace}-logs"
    await fill(client, index, [process_event(1, "bash", lab={"zone": "a"}), process_event(2, "bash")])
    asked = rule('process where lab.zone == "a"', index=(index,))
    search = EqlApiSearch(client, runtime_mappings={"lab.zone": {"type": "keyword"}})
    assert [match.hits[0].id for match in (await result(search, request(asked))).matches] == ["0"]


# What comes back


async def test_events_come_earliest_first_from_within_the_window(
    eql_proxy: Proxy, client: Elastic, namespace: str
) -> None:
    index = f"{namespace}-logs"
    documents = [process_event(minute, "bash") for minute in (8, 3, 9, 0, 10, -1)] + [process_event(5, "vi")]
    await fill(client, index, documents)
    asked = rule('process where process.name == "bash"', index=(index,))
    found = await result(EqlApiSearch(client), request(asked))
    assert found.error is None
    assert [match.hits[0].id for match in found.matches] == ["3", "1", "0", "2"]
    assert found.exhausted
    assert found.matches[0].hits[0].index == index
    assert found.matches[0].hits[0].fields["@timestamp"] == ["2026-03-02T10:00:00.000Z"]


async def test_the_override_selects_by_ingest_time_and_falls_back(
    eql_proxy: Proxy, client: Elastic, namespace: str
) -> None:
    index = f"{namespace}-logs"
    late = {"category": "process", "ingested": iso(START + timedelta(minutes=1))}
    gone = {"category": "process", "ingested": iso(START + timedelta(hours=1))}
    documents = [
        process_event(-60, "bash", event=late),
        process_event(1, "bash", event=gone),
        process_event(2, "bash"),
    ]
    await fill(client, index, documents)
    with_fallback = rule(index=(index,), timestamp_override="event.ingested")
    without = rule(index=(index,), timestamp_override="event.ingested", timestamp_override_fallback_disabled=True)
    search = EqlApiSearch(client)
    ids = [
        [match.hits[0].id for match in (await result(search, request(asked))).matches]
        for asked in (with_fallback, without)
    ]
    assert ids == [["0", "2"], ["0"]]


async def test_a_sequence_is_one_match_with_its_keys(eql_proxy: Proxy, client: Elastic, namespace: str) -> None:
    index = f"{namespace}-logs"
    await fill(client, index, [process_event(1, "a"), process_event(2, "b")])
    asked = rule(
        'sequence by host.id [process where process.name == "a"] [process where process.name == "b"]', index=(index,)
    )
    (match,) = (await result(EqlApiSearch(client), request(asked))).matches
    assert match.is_sequence
    assert match.join_keys == ("h",)
    assert [hit.id for hit in match.hits] == ["0", "1"]


def test_a_missing_event_keeps_its_place() -> None:
    placeholder = {"_index": "", "_id": "", "_source": {}, "missing": True}
    found = read_matches({"hits": {"sequences": [{"events": [event(1), placeholder]}]}})
    assert found is not None
    assert [hit.missing for hit in found[0].hits] == [False, True]
    assert found[0].join_keys == ()


async def test_the_search_is_exhausted_when_fewer_come_than_were_asked_for(eql_proxy: Proxy, client: Elastic) -> None:
    search = EqlApiSearch(client)
    eql_proxy.answer_next(200, answer([event(number) for number in range(3)]), on=SEARCH, times=2)
    assert not (await result(search, request(size=3))).exhausted
    assert (await result(search, request(size=4))).exhausted
    assert [sent.json["size"] for sent in eql_proxy.requests] == [3, 4]


async def test_no_search_asks_for_more_than_the_server_allows(eql_proxy: Proxy, client: Elastic) -> None:
    eql_proxy.answer_next(200, answer([event(number) for number in range(10_000)]), on=SEARCH)
    found = await result(EqlApiSearch(client), request(size=25_000))
    assert eql_proxy.requests[0].json["size"] == 10_000
    assert not found.exhausted
    assert found.warnings == ("more than 10,000 matches in the window, the most that one EQL search returns",)


# What goes wrong


@pytest.mark.parametrize("index", ["missing", "missing-*"])
async def test_a_missing_index_is_a_warning(eql_proxy: Proxy, client: Elastic, namespace: str, index: str) -> None:
    found = await result(EqlApiSearch(client), request(rule(index=(f"{namespace}-{index}",))))
    assert found.error is None
    assert found.matches == ()
    assert found.warnings == (f"no index matches {namespace}-{index}: nothing was searched",)


async def test_a_missing_index_may_come_as_a_finding_of_the_query(eql_proxy: Proxy, client: Elastic) -> None:
    reason = "Found 1 problem\nline -1:-1: Unknown index [logs-*]"
    eql_proxy.fail_next(400, on=SEARCH, kind="verification_exception", reason=reason)
    found = await result(EqlApiSearch(client))
    assert (found.error, len(found.warnings)) == (None, 1)


async def test_an_unknown_field_names_rule_place_indices_and_near_name(eql_proxy: Proxy, client: Elastic) -> None:
    reason = (
        "Found 2 problems\nline 1:15: Unknown column [process.nmae], did you mean [process.name]?\n"
        "line 2:3: Unknown column [foo]"
    )
    eql_proxy.fail_next(400, on=SEARCH, kind="verification_exception", reason=reason)
    asked = rule(index=("logs-a", "logs-b"), path=Path("rules/lab.toml"), query_line=31, query_column=5)
    found = await result(EqlApiSearch(client), request(asked))
    assert found.error == (
        'rule "Lab" (r-1): rules/lab.toml:31:19: no index of logs-a, logs-b has the field `process.nmae`; '
        "did you mean `process.name`?; rules/lab.toml:32:3: no index of logs-a, logs-b has the field `foo`"
    )
    assert not found.retryable
    assert len(eql_proxy.requests) == 1


async def test_a_cluster_without_eql_says_so(plain_proxy: Proxy) -> None:
    client = open_client(Connection(hosts=(plain_proxy.url,)))
    try:
        found = await result(EqlApiSearch(client))
    finally:
        await client.close()
    assert found.error is not None
    assert "this cluster has no EQL" in found.error
    assert "--events" in found.error
    assert not found.retryable


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"is_partial": True, "shard_failures": [{"index": "logs-1", "reason": {"type": "x", "reason": "disk"}}]},
            "failed shards: 1, the first of logs-1: disk",
        ),
        ({"timed_out": True}, "the search timed out on the server"),
        ({"is_partial": True}, "the answer is partial"),
        ({"hits": {"total": {"value": 0}}}, "neither `hits.events` nor `hits.sequences`"),
    ],
)
async def test_a_partial_answer_is_a_failure(
    eql_proxy: Proxy, client: Elastic, body: dict[str, Any], expected: str
) -> None:
    eql_proxy.answer_next(200, answer([event(1)]) | body, on=SEARCH)
    found = await result(EqlApiSearch(client))
    assert found.error is not None
    assert expected in found.error
    assert found.matches == ()
    assert found.retryable


async def test_failed_shards_are_a_failure_after_the_retries(eql_proxy: Proxy, client: Elastic, namespace: str) -> None:
    await fill(client, f"{namespace}-logs", [process_event(1, "a")])
    eql_proxy.partial_next(times=EVERY)
    found = await result(EqlApiSearch(client), request(rule(index=(f"{namespace}-logs",))))
    assert found.error is not None
    assert "Partial shards failure" in found.error
    assert found.retryable
    assert len(eql_proxy.requests_on(SEARCH)) == 4


async def test_no_permission_is_the_error_of_that_rule(eql_proxy: Proxy, client: Elastic) -> None:
    eql_proxy.fail_next(403, on="secret-", kind="security_exception", reason="is unauthorized for user [x]")
    eql_proxy.answer_next(200, answer([event(1)]), on="logs-")
    found = await results(EqlApiSearch(client), request(rule(index=("secret-*",))), request())
    errors = {one.request.rule.index: one.error for one in found}
    assert errors[("logs-*",)] is None
    assert "may not search with EQL in secret-*" in (errors[("secret-*",)] or "")


# Searches that take their time


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_search_that_the_server_has_lost_is_begun_anew(
    eql_proxy: Proxy, client: Elastic, namespace: str, times: int
) -> None:
    await fill(client, f"{namespace}-logs", [process_event(1, "a")])
    eql_proxy.keep_running(1)
    eql_proxy.fail_next(404, on=SEARCH, method="GET", times=times, kind="resource_not_found_exception", reason="FmRx")
    found = await result(EqlApiSearch(client), request(rule(index=(f"{namespace}-logs",))))
    assert len(eql_proxy.requests_on(SEARCH, "POST")) == min(times + 1, MOST_STARTS)
    if times < MOST_STARTS:
        assert (found.error, len(found.matches)) == (None, 1)
    else:
        assert "FmRx" in str(found.error)
        assert found.retryable
    assert eql_proxy.kept == ()


async def test_a_connection_that_is_cut_while_polling_costs_a_poll(
    eql_proxy: Proxy, client: Elastic, namespace: str
) -> None:
    await fill(client, f"{namespace}-logs", [process_event(1, "a")])
    eql_proxy.keep_running(2)
    eql_proxy.cut_next(on=SEARCH, method="GET", times=2)
    found = await result(EqlApiSearch(client), request(rule(index=(f"{namespace}-logs",))))
    assert (found.error, len(found.matches)) == (None, 1)
    assert len(eql_proxy.requests_on(SEARCH, "POST")) == 1
    assert eql_proxy.kept == ()


async def test_a_full_queue_is_waited_for(eql_proxy: Proxy, client: Elastic, namespace: str) -> None:
    await fill(client, f"{namespace}-logs", [process_event(1, "a")])
    eql_proxy.fail_next(429, on=SEARCH, times=3)
    found = await result(EqlApiSearch(client), request(rule(index=(f"{namespace}-logs",))))
    assert (found.error, len(found.matches)) == (None, 1)


async def test_a_running_search_is_polled_and_then_forgotten(eql_proxy: Proxy, client: Elastic, namespace: str) -> None:
    await fill(client, f"{namespace}-logs", [process_event(1, "a")])
    eql_proxy.keep_running(3)
    found = await result(EqlApiSearch(client), request(rule(index=(f"{namespace}-logs",))))
    assert len(found.matches) == 1
    assert len(eql_proxy.requests_on(SEARCH, "GET")) == 4
    assert len(eql_proxy.requests_on(SEARCH, "DELETE")) == 1
    assert eql_proxy.kept == ()


async def test_a_search_over_its_time_is_stopped_on_the_server(
    eql_proxy: Proxy, client: Elastic, namespace: str
) -> None:
    await fill(client, f"{namespace}-logs", [process_event(1, "a")])
    gate = eql_proxy.hold(on=SEARCH, method="POST")
    search = EqlApiSearch(client, timeout=20, wait=0.05)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(result(search, request(rule(index=(f"{namespace}-logs",)))))
        await asyncio.to_thread(gate.wait_reached)
        skip(20)
    gate.open()
    found = running.result()
    assert found.error == 'rule "Lab" (r-1): the search took longer than 20 s and was stopped'
    assert found.retryable
    assert len(eql_proxy.cancelled) == 1
    assert eql_proxy.kept == ()


async def test_closing_the_results_stops_the_searches_that_run(
    eql_proxy: Proxy, client: Elastic, namespace: str
) -> None:
    index = f"{namespace}-logs"
    await fill(client, index, [process_event(1, "a")])
    eql_proxy.answer_next(200, answer(), on="quick")
    gate = eql_proxy.hold(on=index)
    search = EqlApiSearch(client, wait=0.05)
    running = search.run([request(rule(index=("quick",))), request(rule(index=(index,)))])
    first = await anext(running)
    assert first.request.rule.index == ("quick",)
    await asyncio.to_thread(gate.wait_reached)
    await running.aclose()
    gate.open()
    assert len(eql_proxy.cancelled) == 1
    assert eql_proxy.kept == ()


async def test_no_more_searches_run_at_a_time_than_allowed(plain_proxy: Proxy) -> None:
    plain_proxy.answer_next(200, answer(), on=SEARCH, times=EVERY)
    gate = plain_proxy.hold(on=SEARCH, times=EVERY)
    client = open_client(Connection(hosts=(plain_proxy.url,)))
    search = EqlApiSearch(client, concurrency=2)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(results(search, *(request() for _ in range(7))))
        await asyncio.to_thread(gate.wait_reached)
        for _ in range(10):  # Others had the time to arrive.
            await client.info()
        at_a_time = len(plain_proxy.requests_on(SEARCH))
        gate.open()
    await client.close()
    found = running.result()
    assert at_a_time == 2
    assert [one.error for one in found] == [None] * 7
    assert len(plain_proxy.requests_on(SEARCH)) == 7


async def test_a_cluster_that_is_away_is_asked_for_the_first_rules_only(eql_proxy: Proxy) -> None:
    client = open_client(Connection(hosts=(eql_proxy.url,)), retry=Retry(attempts=2, first_wait=0.0, longest_wait=0.0))
    eql_proxy.cut_next(times=EVERY)
    try:
        found = await results(EqlApiSearch(client, concurrency=1), *(request() for _ in range(50)))
    finally:
        await client.close()
    assert len(found) == 50
    assert all("can not be reached" in (one.error or "") for one in found)
    assert len(eql_proxy.requests) < 10


async def test_a_cut_connection_of_one_rule_leaves_the_others(eql_proxy: Proxy, client: Elastic) -> None:
    eql_proxy.cut_next(on="/cut/", times=EVERY)
    eql_proxy.answer_next(200, answer(), on="/logs-*/", times=EVERY)
    asked = [request(rule(index=("cut",))), *(request() for _ in range(5))]
    found = await results(EqlApiSearch(client, concurrency=1), *asked)
    assert [one.error is None for one in found] == [False, True, True, True, True, True]


async def test_preparing_asks_nothing(eql_proxy: Proxy, client: Elastic) -> None:
    search = EqlApiSearch(client)
    assert await search.prepare([compiled(rule("any where no.such.field == 1"))]) == ()
    await search.close()
    assert eql_proxy.requests == ()
