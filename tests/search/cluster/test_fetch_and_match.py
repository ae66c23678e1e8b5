"""Rules searched in a cluster without EQL: what is asked of it, what is found, and what becomes of faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from runner.cluster.elasticsearch import Connection, Elastic, Retry, open_client
from runner.search.cluster.fetch_and_match import MOST_STARTS, MOST_TOGETHER, FetchSearch
from runner.search.protocol import SearchRequest, SearchResult
from runner.windows import Window, iso
from tests.compiled import compiled
from tests.elasticsearch.faults import Recorded
from tests.elasticsearch.loop_time import skip
from tests.elasticsearch.proxy import EVERY, Proxy
from tests.search.lab import NOON, PROPERTIES, fill, found_ids, process, request, results, rule

PAIR = 'sequence by host.id [process where process.name == "a"] [process where process.name == "b"]'


@pytest.fixture
async def client(plain_proxy: Proxy) -> AsyncIterator[Elastic]:
    client = open_client(Connection(hosts=(plain_proxy.url,)), retry=Retry(first_wait=0.0, longest_wait=0.0))
    yield client
    await client.close()


@pytest.fixture
def index(namespace: str) -> str:
    return f"{namespace}-logs"


def searches(proxy: Proxy) -> list[Any]:
    """The bodies of the searches so far."""
    return [sent.json for sent in proxy.requests_on("/_search", "POST")]


def pages(proxy: Proxy) -> list[Any]:
    return [body for body in searches(proxy) if body.get("_source") is False]


def opened(proxy: Proxy) -> Sequence[Recorded]:
    return proxy.requests_on("/_pit", "POST")


def closed(proxy: Proxy) -> Sequence[Recorded]:
    return proxy.requests_on("/_pit", "DELETE")


async def result(search: FetchSearch, of: SearchRequest) -> SearchResult:
    (only,) = await results(search, of)
    return only


# What is asked


async def test_only_the_fields_that_are_read_travel_and_documents_of_matches_alone(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(n, "abc"[n % 3], **{"process.args": ["x"] * 50}) for n in range(9)])
    found = await result(FetchSearch(client), request(rule(PAIR, index=(index,))))
    assert found_ids(found) == [["0", "1"], ["3", "4"], ["6", "7"]]
    assert [match.join_keys for match in found.matches] == [("h",)] * 3
    assert found.matches[0].hits[0].source["process.args"] == ["x"] * 50
    assert found.matches[0].hits[0].fields["@timestamp"] == ["2026-03-02T12:00:00.000Z"]
    stages, page, documents = searches(plain_proxy)
    assert stages["size"] == 0
    assert page["_source"] is False
    names = [field if isinstance(field, str) else field["field"] for field in page["fields"]]
    assert names == ["@timestamp", "event.category", "host.id", "process.name"]
    ids = documents["query"]["bool"]["should"][0]["bool"]["filter"]
    assert ids == [{"term": {"_index": index}}, {"ids": {"values": ["0", "1", "3", "4", "6", "7"]}}]
    assert (len(opened(plain_proxy)), len(closed(plain_proxy))) == (1, 1)


async def test_a_sequence_of_which_a_stage_has_no_event_costs_no_page(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(n, "ab"[n % 2]) for n in range(40)])
    rare = rule(PAIR.replace('"b"', '"c"'), index=(index,))
    single = rule('process where process.name == "a"', index=(index,))
    sample = rule('sample by host.id [any where process.name == "a"] [any where process.name == "d"]', index=(index,))
    search = FetchSearch(client)
    (nothing,) = await results(search, request(rare))
    assert (nothing.error, nothing.matches, nothing.exhausted) == (None, (), True)
    assert not pages(plain_proxy)
    found = {
        one.request.rule.query: len(one.matches) for one in await results(search, *map(request, (rare, single, sample)))
    }
    assert found == {rare.query: 0, single.query: 20, sample.query: 0}
    assert '"c"' not in str(pages(plain_proxy)[0]["query"]).replace("'", '"')
    missing = await result(
        search,
        request(
            rule(
                'sequence by host.id with maxspan=1m [any where process.name == "a"] ![any where process.name == "c"]',
                index=(index,),
            )
        ),
    )
    assert len(missing.matches) == 20


async def test_an_answer_without_the_counts_of_the_stages_is_an_error(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(1, "a")])
    for body, text in (
        ({"_shards": {"failed": 0}}, "`aggregations`"),
        (b"<html>", "is not JSON"),
        ([], "expected `object`, got `array`"),
    ):
        plain_proxy.answer_next(200, body, on="/_search")
        assert text in str((await failing(FetchSearch(client), index)).error)


async def test_pages_follow_each_other_to_the_end(plain_proxy: Proxy, client: Elastic, index: str) -> None:
    fill(plain_proxy.url, index, [process(n, "ab"[n % 2]) for n in range(20)])
    found = await result(FetchSearch(client, page_size=3), request(rule(PAIR, index=(index,))))
    assert found_ids(found) == [[str(n), str(n + 1)] for n in range(0, 20, 2)]
    assert len(pages(plain_proxy)) == 7
    assert all("search_after" in body for body in pages(plain_proxy)[1:])


async def test_events_of_the_same_time_come_in_the_order_of_tiebreaker_and_index(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    sequences = [{"event.sequence": 2}, {}, {"event.sequence": 1}]
    fill(plain_proxy.url, index, [process(5, "a", **more) for more in sequences] + [process(1, "a")])
    search = FetchSearch(client, page_size=2)
    for tiebreaker, expected in ((None, "3012"), ("event.sequence", "3201")):
        asked = rule("process where true", index=(index,), tiebreaker_field=tiebreaker)
        assert "".join(hits[0] for hits in found_ids(await result(search, request(asked)))) == expected


async def test_rules_over_the_same_events_share_one_pass(plain_proxy: Proxy, client: Elastic, index: str) -> None:
    fill(plain_proxy.url, index, [process(n, f"p{n % 40}") for n in range(80)])
    rules = [rule(f'process where process.name == "p{n}"', index=(index,)) for n in range(MOST_TOGETHER + 10)]
    search = FetchSearch(client)
    await search.prepare([*map(compiled, rules)])
    found = {one.request.rule.rule_id: one for one in await results(search, *map(request, rules))}
    assert [found_ids(found[one.rule_id]) for one in rules[:40]] == [[[str(n)], [str(n + 40)]] for n in range(40)]
    assert all(found[one.rule_id].matches == () for one in rules[40:])
    assert len(opened(plain_proxy)) == len(closed(plain_proxy)) == 2
    assert len(plain_proxy.requests_on("_field_caps")) == 1
    await results(search, *map(request, rules))
    assert len(plain_proxy.requests_on("_field_caps")) == 1


async def test_rules_with_other_windows_or_filters_have_passes_of_their_own(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(n, "a", **{"process.pid": n}) for n in range(4)])
    only = {"meta": {"negate": False}, "query": {"term": {"process.pid": 1}}}
    unwanted = {"meta": {"negate": True}, "query": {"term": {"process.pid": 1}}}
    asked = [
        request(rule("process where true", index=(index,))),
        request(rule("any where true", index=(index,)), window=Window(NOON, NOON + timedelta(seconds=1))),
        request(rule("any where process.pid >= 0", index=(index,), filters=(only,))),
        request(rule("any where process.pid > -1", index=(index,), filters=(unwanted,))),
    ]
    found = {
        one.request.rule.query: "".join(ids[0] for ids in found_ids(one))
        for one in await results(FetchSearch(client), *asked)
    }
    assert list(map(found.get, (one.rule.query for one in asked))) == ["0123", "01", "1", "023"]
    assert len(opened(plain_proxy)) == 4


async def test_a_rule_that_matches_everything_stops_at_its_size(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(40 - n, "ab"[n % 2]) for n in range(40)])
    flood, pair = rule("process where true", index=(index,)), rule(PAIR, index=(index,))
    search = FetchSearch(client, page_size=4)
    alone = await result(search, request(flood, size=6))
    assert found_ids(alone) == [[str(n)] for n in range(39, 33, -1)]
    assert not alone.exhausted
    assert len(pages(plain_proxy)) == 2
    together = await results(search, request(flood, size=6), request(pair, size=100))
    found = {one.request.rule.query: one for one in together}
    assert found_ids(found[flood.query]) == found_ids(alone)
    assert len(found[pair.query].matches) == 19
    assert found[pair.query].exhausted
    last = pages(plain_proxy)[-1]["query"]["bool"]["filter"][1]
    assert "process.name" in str(last)  # What the flooding rule alone wants is not asked for any more.


async def test_a_search_stopped_at_its_size_says_that_there_is_more(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(n, "ab"[n % 2]) for n in range(10)])
    search = FetchSearch(client)
    sizes = {size: await result(search, request(rule(PAIR, index=(index,)), size=size)) for size in (3, 5, 6)}
    assert [(len(one.matches), one.exhausted) for one in sizes.values()] == [(3, False), (5, True), (5, True)]
    assert found_ids(sizes[3]) == [["0", "1"], ["2", "3"], ["4", "5"]]


async def test_the_override_selects_by_ingest_time_and_falls_back(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    late, gone = iso(NOON + timedelta(minutes=1)), iso(NOON + timedelta(hours=1))
    fill(
        plain_proxy.url,
        index,
        [process(-3600, "a", **{"event.ingested": late}), process(1, "a", **{"event.ingested": gone}), process(2, "a")],
    )
    asked = [
        rule("any where true", index=(index,), timestamp_override="event.ingested", **more)
        for more in ({}, {"timestamp_override_fallback_disabled": True})
    ]
    search = FetchSearch(client, page_size=1)
    assert [found_ids(await result(search, request(one))) for one in asked] == [[["0"], ["2"]], [["0"]]]


async def test_values_are_what_the_mapping_makes_of_them(plain_proxy: Proxy, client: Elastic, index: str) -> None:
    properties = {
        **PROPERTIES,
        "data_stream": {"properties": {"dataset": {"type": "keyword"}}},
        "short": {"type": "keyword", "ignore_above": 3, "null_value": "nil"},
        "text": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
        "also": {"type": "alias", "path": "short"},
        "count": {"type": "integer"},
        "precise": {"type": "date_nanos"},
    }
    document = process(
        1,
        "bash",
        short=["abc", "abcd", None],
        text="Some Text",
        count="7",
        precise="2026-03-02T12:00:00.123456789Z",
        data_stream={"dataset": "lab"},
    )
    fill(plain_proxy.url, index, [document], mappings={"properties": properties})
    conditions = {
        'short == "abc" and short == "nil" and not short == "abcd"': True,
        'also == "abc"': True,
        'text : "some*" and length(text) == 9 and text != null': True,
        "count == 7 and count + 1 == 8": True,
        'precise > "2026-03-02T12:00:00.123456788Z"': True,
        'precise > "2026-03-02T12:00:00.123456789Z"': False,
        'data_stream.dataset == "lab" and process.name : "BASH"': True,
        "?no.such == null": True,
    }
    asked = [request(rule(f"any where {condition}", index=(index,))) for condition in conditions]
    found = {one.request.rule.query: one for one in await results(FetchSearch(client), *asked)}
    assert {one.error for one in found.values()} == {None}
    assert {query.removeprefix("any where "): bool(one.matches) for query, one in found.items()} == conditions


async def test_runtime_fields_are_fields_of_every_search(plain_proxy: Proxy, client: Elastic, index: str) -> None:
    properties = {"properties": {**PROPERTIES, "lab": {"properties": {"zone": {"type": "text"}}}}}
    events = [process(1, "a", **{"lab.zone": "a", "lab.size": 7}), process(2, "a", **{"lab.zone": "b"})]
    fill(plain_proxy.url, index, events, mappings={**properties, "dynamic": False})
    mappings = {"lab.size": {"type": "long"}, "lab.zone": {"type": "keyword"}}
    search = FetchSearch(client, runtime_mappings=mappings)
    asked = [rule(f"any where {condition}", index=(index,)) for condition in ('lab.zone == "a"', "lab.size > 6")]
    assert [found_ids(await result(search, request(one))) for one in asked] == [[["0"]], [["0"]]]
    without = await result(FetchSearch(client), request(asked[1]))
    assert "has the field `lab.size`" in str(without.error)


async def test_a_regular_expression_that_ignores_case_is_not_asked_of_a_runtime_field(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    mappings = {"dynamic": False, "properties": PROPERTIES, "runtime": {"zone": {"type": "keyword"}}}
    fill(plain_proxy.url, index, [process(1, "a", zone="North"), process(2, "a", zone="south")], mappings=mappings)
    folding = rule('any where zone regex~ "n.*"', index=(index,))
    other = rule('any where process.name regex~ "A"', index=(index,))
    search = FetchSearch(client)
    for passes in (2, 1):
        plain_proxy.clear()
        found = {one.request.rule.query: one for one in await results(search, request(folding), request(other))}
        assert {one.error for one in found.values()} == {None}
        assert found_ids(found[folding.query]) == [["0"]]
        assert found_ids(found[other.query]) == [["0"], ["1"]]
        assert len(opened(plain_proxy)) == passes


# What cannot be asked


@pytest.mark.parametrize("name", ["missing", "missing-*"])
async def test_a_missing_index_is_a_warning(plain_proxy: Proxy, client: Elastic, namespace: str, name: str) -> None:
    found = await result(FetchSearch(client), request(rule(index=(f"{namespace}-{name}",))))
    assert (found.error, found.matches) == (None, ())
    assert found.warnings == (f"no index matches {namespace}-{name}: nothing was searched",)
    assert not opened(plain_proxy)


async def test_an_unknown_field_is_that_rules_error_and_names_a_near_one(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(1, "bash")])
    wrong = rule('process where process.nmae == "bash"', index=(index,))
    right = rule('process where process.name == "bash"', index=(index,))
    search = FetchSearch(client)
    found = {one.request.rule.query: one for one in await results(search, request(wrong), request(right))}
    assert found[wrong.query].error == (
        f'rule "Lab" ({wrong.rule_id}): query line 1, column 15: no index of {index} has the field `process.nmae`; '
        "did you mean `process.name`?"
    )
    assert not found[wrong.query].retryable
    assert found_ids(found[right.query]) == [["0"]]
    asked = len(plain_proxy.requests_on("_field_caps"))
    await results(search, request(wrong), request(right))
    assert len(plain_proxy.requests_on("_field_caps")) == asked


async def test_a_field_that_is_new_is_found_at_once(plain_proxy: Proxy, client: Elastic, index: str) -> None:
    fill(plain_proxy.url, index, [process(1, "bash")])
    search = FetchSearch(client)
    asked = request(rule("process where process.exit_code == 1", index=(index,)))
    await results(search, request(rule("process where true", index=(index,))))
    with Elasticsearch(plain_proxy.url) as direct:
        direct.index(index=index, document=process(2, "bash", **{"process.exit_code": 1}), id="new", refresh=True)
    assert found_ids(await result(search, asked)) == [["new"]]


async def test_a_query_that_does_not_fit_the_indices_is_refused(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(1, "bash", **{"process.pid": 1})])
    found = await result(FetchSearch(client), request(rule("process where process.pid : 1", index=(index,))))
    assert found.error is not None
    assert "query line 1" in found.error
    assert "consider using [==] instead" in found.error
    assert not found.retryable
    assert not opened(plain_proxy)


# What goes wrong on the way


async def failing(search: FetchSearch, index: str) -> SearchResult:
    found = await result(search, request(rule(PAIR, index=(index,))))
    assert found.error is not None
    assert found.matches == ()
    return found


def after_one_page(proxy: Proxy) -> None:
    """Let one search pass before what is planned next."""
    proxy.slow_next(0, on="/_search")


async def test_failed_shards_in_the_middle_of_the_pages_are_an_error(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(n, "ab"[n % 2]) for n in range(10)])
    search = FetchSearch(client, page_size=4)
    after_one_page(plain_proxy)
    failures = [{"shard": 0, "index": index, "reason": {"type": "x", "reason": "disk on fire"}}]
    shards = {"total": 2, "successful": 1, "failed": 1, "failures": failures}
    plain_proxy.answer_next(200, {"_shards": shards, "hits": {"hits": []}}, on="/_search")
    assert f"failed shards: 1, the first of {index}: disk on fire" in str((await failing(search, index)).error)
    after_one_page(plain_proxy)
    plain_proxy.answer_next(200, {"timed_out": True, "_shards": {"failed": 0}, "hits": {"hits": []}}, on="/_search")
    assert "timed out on the server" in str((await failing(search, index)).error)
    after_one_page(plain_proxy)
    plain_proxy.fail_next(503, on="/_search", times=4, kind="search_phase_execution_exception", reason="Partial shards")
    assert "Partial shards" in str((await failing(search, index)).error)
    assert len(opened(plain_proxy)) == len(closed(plain_proxy)) == 3
    assert len((await result(search, request(rule(PAIR, index=(index,))))).matches) == 5


async def test_a_cut_connection_in_the_middle_of_the_pages_is_an_error(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(n, "ab"[n % 2]) for n in range(10)])
    search = FetchSearch(client, page_size=4)
    after_one_page(plain_proxy)
    plain_proxy.cut_next(on="/_search", times=4, after=20)
    found = await failing(search, index)
    assert "can not be reached" in str(found.error)
    assert found.retryable
    assert len(closed(plain_proxy)) == 1
    after_one_page(plain_proxy)
    plain_proxy.cut_next(on="/_search", after=20)  # A cut that passes costs one more request.
    assert len((await result(search, request(rule(PAIR, index=(index,))))).matches) == 5


@pytest.mark.parametrize("after", [0, 1, 2, 3])
async def test_a_pass_whose_point_in_time_is_lost_is_begun_anew(
    plain_proxy: Proxy, client: Elastic, index: str, after: int
) -> None:
    fill(plain_proxy.url, index, [process(n, "ab"[n % 2]) for n in range(10)])
    for _ in range(after):  # The stages, two pages and the documents.
        after_one_page(plain_proxy)
    gate = plain_proxy.hold(on="/_search") if after == 0 else None
    if gate is not None:  # For real ...
        async with asyncio.TaskGroup() as group:
            running = group.create_task(result(FetchSearch(client, page_size=6), request(rule(PAIR, index=(index,)))))
            await asyncio.to_thread(gate.wait_reached)
            with Elasticsearch(plain_proxy.url) as direct:
                direct.close_point_in_time(id=searches(plain_proxy)[0]["pit"]["id"])
            gate.open()
        found = running.result()
    else:  # ... and later in the pass.
        gone = {"type": "search_context_missing_exception", "reason": "No search context found for id [7]"}
        plain_proxy.answer_next(404, {"error": {**gone, "root_cause": [gone]}, "status": 404}, on="/_search")
        found = await result(FetchSearch(client, page_size=6), request(rule(PAIR, index=(index,))))
    assert found.error is None
    assert found_ids(found) == [[str(n), str(n + 1)] for n in range(0, 10, 2)]
    assert len(opened(plain_proxy)) == 2
    assert len(closed(plain_proxy)) == (3 if after == 0 else 2)


async def test_a_point_in_time_that_is_lost_each_time_is_an_error(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(1, "a")])
    plain_proxy.fail_next(404, on="/_search", times=EVERY, kind="search_context_missing_exception", reason="No search")
    found = await failing(FetchSearch(client), index)
    assert "No search" in str(found.error)
    assert found.retryable
    assert len(opened(plain_proxy)) == len(closed(plain_proxy)) == MOST_STARTS


async def test_documents_deleted_meanwhile_are_still_there(plain_proxy: Proxy, client: Elastic, index: str) -> None:
    fill(plain_proxy.url, index, [process(1, "a"), process(2, "b")])
    gate = plain_proxy.hold(on="/_search")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(result(FetchSearch(client), request(rule(PAIR, index=(index,)))))
        await asyncio.to_thread(gate.wait_reached)
        with Elasticsearch(plain_proxy.url) as direct:
            direct.delete(index=index, id="0", refresh=True)
        gate.open()
    assert found_ids(running.result()) == [["0", "1"]]
    assert running.result().matches[0].hits[0].source["process.name"] == "a"


async def test_documents_that_do_not_come_leave_the_window_owed(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(1, "a"), process(2, "b")])
    after_one_page(plain_proxy)
    after_one_page(plain_proxy)
    plain_proxy.answer_next(200, {"_shards": {"failed": 0}, "hits": {"hits": []}}, on="/_search")
    found = await failing(FetchSearch(client), index)
    assert f"2 of the 2 documents of matches could not be read, the first is 0 of {index}" in str(found.error)
    assert found.retryable


async def test_a_pass_over_its_time_is_stopped(plain_proxy: Proxy, client: Elastic, index: str) -> None:
    fill(plain_proxy.url, index, [process(1, "a")])
    gate = plain_proxy.hold(on="/_search", times=EVERY)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(failing(FetchSearch(client, timeout=20), index))
        await asyncio.to_thread(gate.wait_reached)
        skip(20)
    gate.open()
    found = running.result()
    assert "the search took longer than 20 s and was stopped" in str(found.error)
    assert found.retryable
    assert len(closed(plain_proxy)) == 1


@pytest.mark.parametrize("on", ["/_search", "/_pit"])
async def test_closing_the_results_closes_the_points_in_time(
    plain_proxy: Proxy, client: Elastic, index: str, on: str
) -> None:
    fill(plain_proxy.url, index, [process(1, "a")])
    missing = rule(index=(f"{index}-missing",))
    gate = plain_proxy.hold(on=on)
    running = FetchSearch(client).run([request(missing), request(rule(PAIR, index=(index,)))])
    assert (await anext(running)).warnings
    await asyncio.to_thread(gate.wait_reached)
    async with asyncio.TaskGroup() as group:
        group.create_task(running.aclose())
        gate.open()
    assert len(opened(plain_proxy)) == len(closed(plain_proxy)) == 1


async def test_a_failing_rule_stops_no_other(plain_proxy: Proxy, client: Elastic, index: str) -> None:
    fill(plain_proxy.url, index, [process(n, f"p{n}") for n in range(6)])
    broken: dict[str, Any] = {"meta": {}, "query": {"no_such_query": {}}}
    rules = [rule(f'process where process.name == "p{n}"', index=(index,)) for n in range(6)]
    rules.append(rule("process where true", index=(index,), filters=(broken,)))
    plain_proxy.fail_next(400, on="/_search", kind="illegal_argument_exception", reason="too complex")
    found = {
        one.request.rule.rule_id: one for one in await results(FetchSearch(client, concurrency=1), *map(request, rules))
    }
    assert [found_ids(found[one.rule_id]) for one in rules[:6]] == [[[str(n)]] for n in range(6)]
    error = found[rules[6].rule_id].error
    assert error is not None
    assert "no_such_query" in error
    assert not found[rules[6].rule_id].retryable
    assert len(opened(plain_proxy)) == len(closed(plain_proxy))


async def test_a_rule_that_spoils_its_pass_is_asked_alone_from_then_on(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(n, f"p{n}") for n in range(4)])
    with Elasticsearch(plain_proxy.url) as direct:  # A pattern that this index takes for too long.
        direct.indices.put_settings(index=index, settings={"index.max_regex_length": 10})
    rules = [rule(f'process where process.name == "p{n}"', index=(index,)) for n in range(4)]
    spoiling = rule('process where process.name regex "abcdefghijkl.*"', index=(index,))
    search = FetchSearch(client)
    for passes in (7, 2):
        plain_proxy.clear()
        found = await results(search, *map(request, [*rules, spoiling]))
        errors = {one.request.rule.rule_id: one.error for one in found if one.error is not None}
        assert list(errors) == [spoiling.rule_id]
        assert "max_regex_length" in errors[spoiling.rule_id]
        assert sorted(ids for one in found for ids in found_ids(one)) == [[str(n)] for n in range(4)]
        assert len(opened(plain_proxy)) == passes


async def test_a_value_that_a_script_can_not_work_on_is_the_error_of_that_rule(
    plain_proxy: Proxy, client: Elastic, index: str
) -> None:
    fill(plain_proxy.url, index, [process(1, "bash", **{"process.pid": 0})])
    asked = [rule("any where 1 / process.pid == 1", index=(index,)), rule("any where process.pid == 0", index=(index,))]
    found = {one.request.rule.query: one for one in await results(FetchSearch(client), *map(request, asked))}
    assert found[asked[0].query].error is not None
    assert found_ids(found[asked[1].query]) == [["0"]]


async def test_a_cluster_that_is_away_is_asked_for_the_first_rules_only(plain_proxy: Proxy) -> None:
    client = open_client(
        Connection(hosts=(plain_proxy.url,)), retry=Retry(attempts=2, first_wait=0.0, longest_wait=0.0)
    )
    plain_proxy.cut_next(times=EVERY)
    try:
        asked = [request(rule(index=(f"logs-{n}",))) for n in range(50)]
        found = await results(FetchSearch(client, concurrency=1), *asked)
    finally:
        await client.close()
    assert len(found) == 50
    assert all("can not be reached" in (one.error or "") for one in found)
    assert len(plain_proxy.requests) < 10


async def test_no_permission_is_the_error_of_those_rules(plain_proxy: Proxy, client: Elastic, index: str) -> None:
    fill(plain_proxy.url, index, [process(1, "bash")])
    plain_proxy.fail_next(403, on="secret", kind="security_exception", reason="is unauthorized for user [x]")
    found = {
        one.request.rule.index: one
        for one in await results(FetchSearch(client), request(rule(index=("secret",))), request(rule(index=(index,))))
    }
    assert "may not read the fields of secret" in (found[("secret",)].error or "")
    assert found_ids(found[(index,)]) == [["0"]]


async def test_no_more_passes_run_at_a_time_than_allowed(plain_proxy: Proxy, client: Elastic, index: str) -> None:
    fill(plain_proxy.url, index, [process(1, "bash")])
    gate = plain_proxy.hold(on="/_pit", method="POST", times=EVERY)
    windows = [Window(NOON, NOON + timedelta(minutes=n)) for n in range(1, 7)]
    search = FetchSearch(client, concurrency=2)
    async with asyncio.TaskGroup() as group:
        asked = [request(rule(index=(index,)), window=window) for window in windows]
        running = group.create_task(results(search, *asked))
        await asyncio.to_thread(gate.wait_reached)
        for _ in range(10):  # Others had the time to arrive.
            await client.info()
        at_a_time = len(opened(plain_proxy))
        gate.open()
    assert at_a_time == 2
    assert [len(one.matches) for one in running.result()] == [1] * 6


async def test_preparing_asks_nothing(plain_proxy: Proxy, client: Elastic) -> None:
    search = FetchSearch(client)
    assert await search.prepare([compiled(rule("any where no.such.field == 1"))]) == ()
    await search.close()
    assert plain_proxy.requests == ()
