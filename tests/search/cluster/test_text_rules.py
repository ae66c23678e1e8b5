"""Rules in KQL and in Lucene's syntax in a cluster: they are asked as Kibana asks, beside rules in EQL."""

from __future__ import annotations

from typing import Any

import pytest

from runner.cluster.elasticsearch import Connection, open_client
from runner.search.cluster.cluster_search import ClusterSearch
from tests.elasticsearch.proxy import Proxy
from tests.search.lab import fill, found_ids, process, request, results, rule

EVENTS = [process(1, "nc"), process(2, "Ncat", **{"process.pid": 7}), process(3, "sh", **{"user.name": "eve"})]


def text_rule(query: str, language: str = "kuery", **fields: Any) -> Any:
    return rule(query, type="query", language=language, **fields)


@pytest.fixture(params=["eql_proxy", "plain_proxy"])
def proxy(request: pytest.FixtureRequest, namespace: str) -> Proxy:
    made: Proxy = request.getfixturevalue(request.param)
    fill(made.url, f"{namespace}-logs", EVENTS)
    return made


async def found(proxy: Proxy, *rules: Any) -> list[tuple[list[list[str]], str | None]]:
    client = open_client(Connection(hosts=(proxy.url,)))
    try:
        answered = await results(ClusterSearch(client), *map(request, rules))
    finally:
        await client.close()
    by_rule = {one.request.rule.rule_id: (found_ids(one), one.error) for one in answered}
    return [by_rule[one.rule_id] for one in rules]


async def test_each_rule_finds_its_own_events(proxy: Proxy, namespace: str) -> None:
    index = (f"{namespace}-logs",)
    rules = [
        text_rule("process.name: (nc or Ncat)", index=index),
        text_rule("not user.name: * and process.pid > 5", index=index),
        text_rule("process.name:/[nN]c.*/ AND NOT process.pid:7", "lucene", index=index),
        rule('process where process.name == "sh"', index=index),
    ]
    assert [ids for ids, _ in await found(proxy, *rules)] == [[["0"], ["1"]], [["1"]], [["0"]], [["2"]]]


async def test_the_query_is_the_one_that_kibana_sends(proxy: Proxy, namespace: str) -> None:
    asked = text_rule('process.name: "nc" and process.pid: 7', index=(f"{namespace}-logs",))
    await found(proxy, asked)
    page = next(sent.json for sent in proxy.requests_on("/_search", "POST") if sent.json.get("_source") is False)
    name = {"bool": {"should": [{"term": {"process.name": {"value": "nc"}}}], "minimum_should_match": 1}}
    pid = {"bool": {"should": [{"match": {"process.pid": "7"}}], "minimum_should_match": 1}}
    sent = page["query"]["bool"]["filter"][1]["bool"]["filter"][0]
    assert sent["bool"]["filter"] == [{"bool": {"filter": [name, pid]}}]


async def test_a_value_that_a_field_cannot_read_is_an_error_with_its_place(proxy: Proxy, namespace: str) -> None:
    index = (f"{namespace}-logs",)
    wrong, fine = text_rule("process.pid: seven", index=index), text_rule("process.pid: 7", index=index)
    (nothing, error), (ids, none) = await found(proxy, wrong, fine)
    assert (nothing, ids, none) == ([], [["1"]], None)
    assert error is not None
    assert 'cannot read ["seven"] as a value of field [process.pid] of type [long]' in error


async def test_a_field_that_no_index_has_finds_nothing(proxy: Proxy, namespace: str) -> None:
    index = (f"{namespace}-logs",)
    answers = await found(proxy, text_rule("no.field: x", index=index), text_rule("not no.field: x", index=index))
    assert answers == [([], None), ([["0"], ["1"], ["2"]], None)]
