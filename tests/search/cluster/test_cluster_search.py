"""The ways of searching: the same alerts from all of them, and the choice of the one that a cluster has."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from runner.alerts.identity import alert_ids
from runner.cluster.elasticsearch import Connection, Elastic, Retry, open_client
from runner.rules.load import load_rules
from runner.rules.rule import Rule
from runner.sample_data.generate import generate
from runner.search.cluster.cluster_search import ClusterSearch
from runner.search.compiled_rule import compile_rules
from runner.search.files.file_search import FileSearch
from runner.search.protocol import Search, SearchResult
from runner.windows import Window
from tests.compiled import compiled
from tests.elasticsearch.proxy import EVERY, Proxy
from tests.paths import ROOT, SPECS
from tests.search.lab import MAPPINGS, NOON, fill, found_ids, process, request, results, rule, save_hits, write

SPEC = tomllib.loads((SPECS / "search/ways.toml").read_text())
SEEDS = ROOT / "rules/linux"
QUICK = Retry(first_wait=0.0, longest_wait=0.0)


@pytest.fixture
async def with_eql(eql_proxy: Proxy) -> AsyncIterator[Elastic]:
    client = open_client(Connection(hosts=(eql_proxy.url,)), retry=QUICK)
    yield client
    await client.close()


@pytest.fixture
async def without_eql(plain_proxy: Proxy) -> AsyncIterator[Elastic]:
    client = open_client(Connection(hosts=(plain_proxy.url,)), retry=QUICK)
    yield client
    await client.close()


async def asked_of(search: Search, rules: list[Rule], window: Window) -> dict[str, SearchResult]:
    """The results by rule id."""
    await search.prepare([*map(compiled, rules)])
    found = await results(search, *(request(one, window=window) for one in rules))
    whole = {result.request.rule.rule_id: replace(result, matches=tuple(result.matches)) for result in found}
    await search.close()
    return whole


def alerts_of(found: Mapping[str, SearchResult]) -> dict[str, list[tuple[Any, tuple[str, ...]]]]:
    """Per rule the join keys and the ids of the alerts of each match, in the order of the matches."""
    ids = {}
    for rule_id, result in found.items():
        assert result.error is None, result.error
        own = result.request.rule
        ids[rule_id] = [(match.join_keys, alert_ids(match, own, "default")) for match in result.matches]
    return ids


async def in_every_way(
    rules: list[Rule], window: Window, path: Path, clients: tuple[Elastic, Elastic]
) -> list[dict[str, SearchResult]]:
    """The results of the EQL API, of fetch and match, and of files."""
    searches: list[Search] = [*map(ClusterSearch, clients), FileSearch([path])]
    found = [await asked_of(search, rules, window) for search in searches]
    assert [search.has_eql for search in searches if isinstance(search, ClusterSearch)] == [True, False]
    return found


async def test_rules_match_the_same_in_every_way(
    elasticsearch_url: str, namespace: str, tmp_path: Path, with_eql: Elastic, without_eql: Elastic
) -> None:
    index = f"{namespace}-lab"
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(index=index, mappings=MAPPINGS)
        events = [{"@timestamp": f"2026-03-02T12:00:{event['at']:02d}.000Z", **event} for event in SPEC["event"]]
        write(client, ((index, event["id"], event) for event in events))
    save_hits(elasticsearch_url, index, tmp_path / "lab.ndjson")
    rules = [rule(case["query"], index=(index,)) for case in SPEC["rule"]]
    clients = (with_eql, without_eql)
    found = await in_every_way(rules, Window(NOON, NOON + timedelta(minutes=1)), tmp_path / "lab.ndjson", clients)
    expected = {case["query"]: case["matches"] for case in SPEC["rule"]}
    for way in found:
        assert {query: found_ids(result) for query, result in way.items()} == expected
    alerts = list(map(alerts_of, found))
    assert alerts[0] == alerts[1] == alerts[2]


async def test_the_seed_rules_raise_the_same_alerts_in_every_way(
    elasticsearch_url: str, namespace: str, tmp_path: Path, with_eql: Elastic, without_eql: Elastic
) -> None:
    end = datetime(2026, 3, 2, 12, 8, tzinfo=UTC)
    sample = generate(events=1_500, attacks=8, seed=7, end=end)
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.put_index_template(
            name=f"template-{namespace}",
            index_patterns=[f"logs-*-{namespace}"],
            data_stream={},
            priority=500,
            template={"settings": {"number_of_replicas": 0, "number_of_shards": 2}, "mappings": MAPPINGS},
        )
        documents = (event.document for event in sample.events)
        write(
            client,
            (
                (f"logs-{one['data_stream']['dataset']}-{namespace}", f"{one['agent']['id']}-{one['event']['id']}", one)
                for one in documents
            ),
        )
    pattern = f"logs-endpoint.events.*-{namespace}"
    save_hits(elasticsearch_url, pattern, tmp_path / "sample.ndjson")
    rules = [one.model_copy(update={"index": (pattern,)}) for one in load_rules([SEEDS]).rules]
    window = Window(end - timedelta(minutes=9), end)
    found = await in_every_way(rules, window, tmp_path / "sample.ndjson", (with_eql, without_eql))
    alerts = list(map(alerts_of, found))
    assert alerts[0] == alerts[1] == alerts[2]
    events = {
        tuple(hit.source["event"]["id"] for hit in match.hits)
        for result in found[1].values()
        for match in result.matches
    }
    planted = {item.event_ids: item.gap for item in sample.truth if item.kind == "attack"}
    # Of two events of the same time, the one that comes first is that of the lower shard, whatever its stage.
    assert {ids for ids, gap in planted.items() if gap} <= events <= planted.keys()
    assert len(events) >= 7
    sources = [
        [[hit.source for match in way[one.rule_id].matches for hit in match.hits] for one in rules] for way in found
    ]
    assert sources[0] == sources[1] == sources[2]


# The choice


async def test_a_cluster_without_eql_is_asked_once(
    plain_proxy: Proxy, without_eql: Elastic, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    index = f"{namespace}-logs"
    fill(plain_proxy.url, index, [process(1, "bash"), process(2, "curl")])
    search = ClusterSearch(without_eql)
    asked = [rule(f'process where process.name == "{name}"', index=(index,)) for name in ("bash", "curl", "nc")]
    assert search.has_eql is None
    with caplog.at_level(logging.INFO, "runner.search.cluster"):
        for _ in range(2):
            found = await results(search, *map(request, asked))
            assert {one.request.rule.query: len(one.matches) for one in found} == {
                asked[0].query: 1,
                asked[1].query: 1,
                asked[2].query: 0,
            }
    assert search.has_eql is False
    assert 1 <= len(plain_proxy.requests_on("_eql/search")) <= 4
    assert [record.getMessage() for record in caplog.records] == [
        "the cluster has no EQL: candidates are fetched from it and matched here"
    ]
    await search.close()


async def test_a_cluster_with_eql_is_asked_through_it(
    eql_proxy: Proxy, with_eql: Elastic, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    index = f"{namespace}-logs"
    fill(eql_proxy.url, index, [process(1, "bash")])
    search = ClusterSearch(with_eql)
    with caplog.at_level(logging.INFO, "runner.search.cluster"):
        found = await results(search, *(request(rule(index=(index,))) for _ in range(3)))
    assert [len(one.matches) for one in found] == [1, 1, 1]
    assert search.has_eql is True
    assert [record.getMessage() for record in caplog.records] == [
        "the cluster has EQL: rules are asked through its EQL search API"
    ]


async def test_a_cluster_that_is_away_decides_nothing(plain_proxy: Proxy, without_eql: Elastic, namespace: str) -> None:
    index = f"{namespace}-logs"
    fill(plain_proxy.url, index, [process(1, "bash")])
    plain_proxy.cut_next(times=EVERY)
    search = ClusterSearch(without_eql)
    (found,) = await results(search, request(rule(index=(index,))))
    assert found.error is not None
    assert "can not be reached" in found.error
    assert search.has_eql is None
    plain_proxy.clear()
    (found,) = await results(search, request(rule(index=(index,))))
    assert (found.error, len(found.matches)) == (None, 1)
    known = search.has_eql
    assert known is not None
    assert not known


async def test_a_query_that_a_cluster_refuses_is_no_sign_that_it_has_no_eql(
    eql_proxy: Proxy, with_eql: Elastic, namespace: str
) -> None:
    index = f"{namespace}-logs"
    fill(eql_proxy.url, index, [process(1, "bash")])
    search = ClusterSearch(with_eql)
    broken = rule("process where process.nmae == 1", index=(index,))
    found = await results(search, request(broken), request(rule(index=(index,))))
    assert {one.error is None for one in found} == {True, False}
    assert search.has_eql is True


# Once more


async def test_a_cluster_that_was_upgraded_is_asked_through_its_eql_from_then_on(
    eql_proxy: Proxy, with_eql: Elastic, namespace: str
) -> None:
    index = f"{namespace}-logs"
    fill(eql_proxy.url, index, [process(1, "bash", **{"process.pid": 9})])
    none = {"error": f"no handler found for uri [/{index}/_eql/search] and method [POST]"}
    for look_again_after, searches in ((0.0, 1), (3_600.0, 0)):
        eql_proxy.clear()
        eql_proxy.answer_next(400, none, on="_eql/search")
        search = ClusterSearch(with_eql, concurrency=1, look_again_after=look_again_after)
        asked = [request(rule(f"process where process.pid != {n}", index=(index,))) for n in range(3)]
        for expected in (False, look_again_after == 0):
            found = await results(search, *asked)
            assert sorted(one.request.rule.query for one in found) == [one.rule.query for one in asked]
            assert {(one.error, len(one.matches)) for one in found} == {(None, 1)}
            assert search.has_eql is expected
        assert len(eql_proxy.requests_on("_eql/search")) == 1 + 3 * searches


async def test_a_cluster_that_was_away_is_asked_again_whether_it_has_eql(
    eql_proxy: Proxy, with_eql: Elastic, namespace: str
) -> None:
    index = f"{namespace}-logs"
    fill(eql_proxy.url, index, [process(1, "bash")])
    none = {"error": f"no handler found for uri [/{index}/_eql/search] and method [POST]"}
    eql_proxy.answer_next(400, none, on="_eql/search", times=2)
    search = ClusterSearch(with_eql)
    asked = request(rule(index=(index,)))
    (first,) = await results(search, asked)
    eql_proxy.cut_next(on="_pit", times=4)
    (away,) = await results(search, asked)
    (still_without,) = await results(search, asked)
    eql_proxy.cut_next(on="_pit", times=4)
    await results(search, asked)
    (upgraded,) = await results(search, asked)
    assert [one.error is None for one in (first, away, still_without, upgraded)] == [True, False, True, True]
    assert search.has_eql is True


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("security_exception", "action [indices:data/read/eql] is unauthorized for user [x]"),
        ("security_exception", "current license is non-compliant for [eql]"),
    ],
)
async def test_eql_that_is_refused_is_an_error_and_no_sign_that_there_is_none(
    eql_proxy: Proxy, with_eql: Elastic, namespace: str, kind: str, reason: str
) -> None:
    index = f"{namespace}-logs"
    fill(eql_proxy.url, index, [process(1, "bash")])
    eql_proxy.fail_next(403, on="_eql/search", kind=kind, reason=reason)
    search = ClusterSearch(with_eql)
    (found,) = await results(search, request(rule(index=(index,))))
    assert reason in str(found.error)
    assert search.has_eql is None
    assert not eql_proxy.requests_on("_field_caps")


async def test_a_query_that_does_not_parse_is_known_beforehand_and_nothing_else_is(with_eql: Elastic) -> None:
    good, unknown = rule("process where true"), rule('process where no.such.field == "a"')
    wrong = rule("process wher true", path=Path("rules/lab.toml"), query_line=7, query_column=11)
    rules, (problem,) = compile_rules([good, wrong, unknown])
    assert (problem.severity, problem.rule_id, problem.line) == ("error", wrong.rule_id, 7)
    assert "did you mean [where]?" in problem.text
    assert [one.rule for one in rules] == [good, unknown]
    assert await ClusterSearch(with_eql).prepare(rules) == ()
