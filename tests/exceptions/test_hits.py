"""Which documents an item hits: the same by the local engine, by each filter, and by Kibana's own clause on a node."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from elasticsearch import Elasticsearch

from runner import eql
from runner.cluster.elasticsearch import Connection, open_client
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import schema_from_mapping
from runner.exceptions import excepting, load_exceptions, resolve_items
from runner.exceptions.item import ExceptionItem
from runner.search.cluster.eql_api import EqlApiSearch
from runner.search.cluster.fetch_and_match import FetchSearch
from runner.search.cluster.stage_query import filters_for
from runner.search.compiled_rule import compile_rule
from runner.search.protocol import SearchRequest
from tests.elasticsearch.proxy import Proxy
from tests.exceptions.cases import CASES, DOCUMENTS, LISTS, MAPPING, Case, load_cases
from tests.exceptions.kibana_filter import kibana_clause
from tests.paths import SPECS
from tests.search.lab import WINDOW, fill, results, rule

SCHEMA = schema_from_mapping(MAPPING)
IDS = list(DOCUMENTS)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[ExceptionItem]:
    return load_cases(tmp_path_factory.mktemp("exceptions"))


def test_there_are_enough_cases() -> None:
    assert len(CASES) > 150


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_the_engine_leaves_out_what_an_item_hits(number: int, items: list[ExceptionItem]) -> None:
    case, resolved = CASES[number], resolve_items([items[number]], SCHEMA)
    assert [one.message for one in resolved.refused if case.hits is not None] == []
    assert bool(resolved.refused) == (case.hits is None)
    if case.hits is None:
        assert (resolved.condition, resolved.query) == (None, None)
        return
    plan = excepting(eql.compile("any where true", SCHEMA).plan, resolved.condition)
    assert left_by_engine(plan) == set(IDS) - case.hits
    assert {id_ for id_, document in DOCUMENTS.items() if resolved.item_for(document)} == case.hits


@pytest.mark.parametrize("form", ["plain lines", "dotted hits"])
def test_all_items_together_over_lines(form: str, items: list[ExceptionItem]) -> None:
    """Every document by itself: which items hit it, over lines in either form."""
    resolved = resolve_items(items, SCHEMA)
    for item, condition in zip(resolved.items, resolved.conditions, strict=True):
        case = CASES[int(item.id.rpartition("/")[2])]
        one = resolve_items([item], SCHEMA)
        assert condition == one.conditions[0]
        plan = excepting(eql.compile("any where true", SCHEMA).plan, one.condition)
        assert left_by_engine(plan, lines=form) == set(IDS) - (case.hits or frozenset()), case.name
    for id_, document in DOCUMENTS.items():
        expected = [item for item in resolved.items if id_ in (CASES[int(item.id.rpartition("/")[2])].hits or ())]
        assert list(resolved.items_for(document)) == expected


OWN = tomllib.loads((SPECS / "exceptions/own.toml").read_text())["case"]


def own_items(folder: Path) -> list[ExceptionItem]:
    """The cases of the runner's own form as items."""
    for name, values in LISTS.items():
        (folder / name).write_text("\n".join(values))
    blocks = re.split(r"^\[\[case\]\]$", (SPECS / "exceptions/own.toml").read_text(), flags=re.MULTILINE)[1:]
    head = '[[exception]]\nname = "{}"\nreason = "r"\nexpires = "never"\nall_rules = true\n'
    texts = [head.format(number) + re.sub("^hits = .*$", "", one, flags=re.M) for number, one in enumerate(blocks)]
    (folder / "own.toml").write_text("\n".join(texts))
    loaded = load_exceptions([folder / "own.toml"])
    assert not loaded.problems
    return list(loaded.items)


def test_the_own_form(tmp_path: Path) -> None:
    for case, item in zip(OWN, own_items(tmp_path), strict=True):
        resolved = resolve_items([item], SCHEMA)
        assert not resolved.refused, case
        assert {id_ for id_, document in DOCUMENTS.items() if resolved.item_for(document)} == set(case["hits"]), case


def test_the_own_form_on_a_node(elasticsearch_url: str, namespace: str, tmp_path: Path) -> None:
    index = f"{namespace}-own"
    fill(elasticsearch_url, index, DOCUMENTS.values(), mappings=MAPPING)
    with Elasticsearch(elasticsearch_url) as client:
        for case, item in zip(OWN, own_items(tmp_path), strict=True):
            plan = excepting(eql.compile("any where true", SCHEMA).plan, resolve_items([item], SCHEMA).condition)
            asked = filters_for(plan, now_ns=0).whole
            assert asked.exact
            query = resolve_items([item], SCHEMA).query
            for wanted in ({"bool": {"filter": [query]}}, {"bool": {"must_not": [asked.query]}}):
                found = client.search(index=index, query=wanted, size=1_000, source=False)
                assert {IDS[int(hit["_id"])] for hit in found["hits"]["hits"]} == set(case["hits"]), case


def left_by_engine(plan: Any, lines: str = "") -> set[str]:
    matcher = eql.Matcher([eql.Ask(plan)])
    columns = Columns(matcher.fields())
    if lines:
        given = [orjson.dumps(_formed(document, lines)) for document in DOCUMENTS.values()]
        batch = EventBatch.of_lines(columns, given, base=0, broken=lambda place, reason: pytest.fail(reason))
    else:
        batch = EventBatch(columns, [columns.decoder.row(document) for document in DOCUMENTS.values()], base=0)
    matcher.feed(batch)
    (found,) = matcher.found()
    assert found.error is None
    return {IDS[number] for match in found.matches for number in match.events if number is not None}


def _formed(document: Mapping[str, Any], form: str) -> Mapping[str, Any]:
    if form == "plain lines":
        return document
    dotted: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict) and name in ("o", "host"):
            dotted |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            dotted[name] = value
    return {"_index": "i", "_id": "1", "_source": dotted}


async def test_every_way_to_a_cluster_hits_the_same(
    eql_proxy: Proxy, namespace: str, items: list[ExceptionItem], tmp_path: Path
) -> None:
    """Kibana's clause is the truth of the file; ours, the EQL API with it, and fetch and match give the same."""
    index = f"{namespace}-events"
    timed = [{**document, "@timestamp": "2026-03-02T12:00:00Z"} for document in DOCUMENTS.values()]
    fill(eql_proxy.url, index, timed, mappings=MAPPING)
    with Elasticsearch(eql_proxy.url) as client:
        for case, item in zip(CASES, items, strict=True):
            check_filters(client, index, case, item)
    elastic = open_client(Connection(hosts=(eql_proxy.url,)))
    cases = [(case.name, case.hits, item) for case, item in zip(CASES, items, strict=True)]
    cases += [(str(case), frozenset(case["hits"]), item) for case, item in zip(OWN, own_items(tmp_path), strict=True)]
    try:
        requests = [
            SearchRequest(
                replace(compile_rule(rule(index=(index,), rule_id=str(number))), exceptions=(item,)), WINDOW, 1_000
            )
            for number, (_, _, item) in enumerate(cases)
        ]
        for search in (FetchSearch(elastic), EqlApiSearch(elastic)):
            for result in await results(search, *requests):
                name, hits, item = cases[int(result.request.rule.rule_id)]
                assert result.error is None, f"{name}: {result.error}"
                found = {IDS[int(hit.id)] for match in result.matches for hit in match.hits}
                assert found == set(IDS) - (hits or frozenset()), name
                assert [(one.item, one.events) for one in result.excepted] == ([(item, len(hits))] if hits else [])
                assert any("removes nothing" in text for text in result.warnings) == (hits is None), name
    finally:
        await elastic.close()


def check_filters(client: Elasticsearch, index: str, case: Case, item: ExceptionItem) -> None:
    kibana = kibana_clause(case.item, LISTS)
    if case.hits is None:
        lines: list[Mapping[str, Any]] = [{"index": index}, {"query": kibana}]
        assert "error" in client.msearch(searches=lines)["responses"][0], case.name
        return
    for query in (kibana, resolve_items([item], SCHEMA).query):
        found = client.search(index=index, query={"bool": {"filter": [query]}}, size=1_000, source=False)
        assert {IDS[int(hit["_id"])] for hit in found["hits"]["hits"]} == case.hits, f"{case.name}: {query}"
