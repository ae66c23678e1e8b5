"""Kibana's filters of rules as conditions of the local engine: what each kind of query finds, and what is refused."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from runner import eql
from runner.engine.filter.value_tests import fields_of_condition, whole_test
from runner.events.columns.batch import Columns, EventBatch
from runner.events.columns.row_decoder import RowDecoder
from runner.events.fields.schema import DataType, Field, Schema, schema_from_mapping
from runner.search.cluster.request_body import filter_clause
from runner.search.filter_conditions import FilterRefusedError, filtered, filters_condition
from tests.cli.conftest import Command
from tests.cli.conftest import command as command  # the fixture
from tests.paths import SPECS

WORLD = tomllib.loads((SPECS / "kql/search.toml").read_text())
DOCUMENTS = {id_: json.loads(text) for id_, text in WORLD["documents"].items()}
SCHEMA = schema_from_mapping(json.loads(WORLD["mapping"]))
CASES: list[dict[str, Any]] = tomllib.loads((SPECS / "search/filters.toml").read_text())["case"]


def local_ids(query: Mapping[str, Any], schema: Schema, documents: Mapping[str, Any]) -> set[str]:
    """The documents that meet a filter."""
    condition = filters_condition([{"query": query}], schema)
    if isinstance(condition, bool):
        return set(documents) if condition else set()
    decoder, test = RowDecoder(fields_of_condition(condition)), whole_test(condition, 0)
    readers = {name: decoder.gatherer(name) for name in decoder.fields}
    rows = {id_: decoder.row(document) for id_, document in documents.items()}
    return {id_ for id_, row in rows.items() if test({name: read(row) for name, read in readers.items()})}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["query"])
def test_what_a_filter_finds(case: dict[str, Any]) -> None:
    query = json.loads(case["query"])
    if "error" in case:
        with pytest.raises(FilterRefusedError) as caught:
            filters_condition([{"match_all": {}}, {"query": query}], SCHEMA)
        assert (str(caught.value), caught.value.number) == (case["error"], 1)
        return
    expected = case["finds"] if "finds" in case else set(DOCUMENTS) - set(case["all_but"])
    assert local_ids(query, SCHEMA, DOCUMENTS) == set(expected)


@pytest.mark.slow
def test_a_node_finds_the_same(elasticsearch_url: str, namespace: str) -> None:
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(index=namespace, mappings=json.loads(WORLD["mapping"]))
        operations = [part for id_, one in DOCUMENTS.items() for part in ({"index": {"_id": id_}}, one)]
        assert not client.bulk(index=namespace, operations=operations, refresh=True)["errors"]
        for query in [json.loads(case["query"]) for case in CASES if "error" not in case]:
            answer = client.search(index=namespace, query=query, size=len(DOCUMENTS))
            assert {hit["_id"] for hit in answer["hits"]["hits"]} == local_ids(query, SCHEMA, DOCUMENTS), query


def test_filters_must_all_hold_but_negated_and_disabled_ones() -> None:
    def found(*entries: dict[str, Any]) -> object:
        return filters_condition(entries, Schema({}))

    yes: dict[str, Any] = {"query": {"match_all": {}}}
    no: dict[str, Any] = {"query": {"match_none": {}}}
    assert found() is True
    assert found(yes, no) is False
    assert found(yes, {**no, "meta": {"negate": True}}) is True
    assert found(yes, {**no, "meta": {"disabled": True}}) is True
    assert found({"match_none": {}, "$state": {"store": "appState"}}) is False


@pytest.mark.parametrize(("relation", "ids"), [("OR", {"n1", "p1"}), ("AND", set())])
def test_combined_filters(relation: str, ids: set[str]) -> None:
    parts = [{"query": {"term": {"name": "Curl"}}}, {"meta": {"negate": False}, "query": {"term": {"pid": 4}}}]
    entry = {"meta": {"type": "combined", "relation": relation, "params": parts}}
    assert local_ids(filter_clause(entry), SCHEMA, DOCUMENTS) == ids


def test_a_phrase_of_an_old_version_is_one() -> None:
    entry = {"query": {"match": {"message": {"query": "was run", "type": "phrase"}}}}
    assert filter_clause(entry) == {"match_phrase": {"message": {"query": "was run"}}}


EVENTS = [
    {"@timestamp": f"2026-03-01T10:00:0{number}Z", "n": number, "host": {"name": name}, "event": {"category": "file"}}
    for number, name in enumerate(["lab", "web", "lab", "db"])
]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("file where true", [(1,), (3,)]),
        ("sequence [file where true] [file where n == 2]", []),
        ("sequence with maxspan=9s [file where n == 1] ![file where n == 2] [file where n == 3]", [(1, 3)]),
        ("sequence [file where n == 1] [file where n == 3] until [file where n == 2]", [(1, 3)]),
    ],
)
def test_no_stage_sees_what_a_filter_leaves_out(query: str, numbers: list[tuple[int, ...]]) -> None:
    schema = schema_from_mapping({"properties": {"@timestamp": {"type": "date"}, "n": {"type": "long"}}})
    fields = {**schema.fields, **{name: Field(name, DataType.KEYWORD) for name in ("host.name", "event.category")}}
    schema = Schema(fields)
    unwanted = {
        "meta": {"negate": True},
        "query": {"wildcard": {"host.name": {"value": "LA?", "case_insensitive": True}}},
    }
    plan = filtered(eql.compile(query, schema).plan, filters_condition([unwanted], schema))
    matcher = eql.Matcher([eql.Ask(plan)])
    columns = Columns(matcher.fields())
    matcher.feed(EventBatch(columns, [columns.decoder.row(event) for event in EVENTS], base=0))
    (found,) = matcher.found()
    assert [tuple(n for n in match.events if n is not None) for match in found.matches] == numbers


RULE = """
[rule]
rule_id = "files"
name = "Files"
description = "d"
type = "eql"
language = "eql"
severity = "low"
risk_score = 1
query = "file where true"

[[rule.filters]]
[rule.filters.meta]
negate = true
[rule.filters.query.{}."host.name"]
value = "LA?"
case_insensitive = true
"""


def test_a_rule_with_a_filter_runs_over_files(command: Command) -> None:
    Path("rule.toml").write_text(RULE.format("wildcard"))
    Path("events.ndjson").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    answer = command(
        "once", "--events", "events.ndjson", "--rules", "rule.toml", "--now", "2026-03-01T10:01:00Z", "-o", "json"
    )
    assert answer.code == 0, answer.err
    assert [run["matches"] for run in answer.json["runs"]] == [2]


def test_a_rule_with_a_filter_that_is_not_known_has_the_place_in_its_file(command: Command) -> None:
    Path("rule.toml").write_text(RULE.format("wildcrad"))
    Path("events.ndjson").write_text(json.dumps(EVENTS[0]) + "\n")
    answer = command("once", "--events", "events.ndjson", "--rules", "rule.toml", "--now", "2026-03-01T10:01:00Z")
    assert answer.code != 0
    assert "`wildcrad` queries cannot be applied to files; did you mean `wildcard`?" in answer.err
    assert "rule.toml:12:" in answer.err
