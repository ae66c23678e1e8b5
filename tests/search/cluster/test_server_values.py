"""The filter of a rule against the values that a server gives of its documents: it is never narrower than the engine.

Two indices whose mappings differ, and all that changes a value between the document and the query: normalisers, runtime
fields, constants, multi-fields, arrays of objects, nested ones, fields that one index has not.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from runner import eql
from runner.cluster.elasticsearch import Connection, open_client
from runner.eql.syntax.errors import EqlError
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import DataType
from runner.search.cluster.field_caps import FieldCaps, FieldCapsCache
from runner.search.cluster.pages import read_page
from runner.search.cluster.stage_query import filters_for
from runner.windows import nanoseconds
from tests.search.cluster.test_stage_query import (
    ADDRESSES,
    DATES,
    OPERATORS,
    TEXTS,
    common_leaves,
    quoted,
    several,
)
from tests.search.lab import NOON

NOW = nanoseconds(NOON)
BOTH: Mapping[str, Any] = {
    "@timestamp": {"type": "date"},
    "run": {"type": "keyword"},
    "folded": {"type": "keyword", "normalizer": "lowercase"},
    "short": {"type": "keyword", "ignore_above": 2},
    "t": {"type": "text", "fields": {"raw": {"type": "keyword", "normalizer": "lowercase"}}},
    "m": {"type": "match_only_text", "fields": {"keyword": {"type": "keyword", "ignore_above": 3}}},
    "o": {"properties": {"a": {"type": "keyword"}, "b": {"type": "long"}}},
    "deep": {"type": "nested", "properties": {"a": {"type": "keyword"}}},
    "raw": {"type": "long"},
}
ONE = {**BOTH, "c": {"type": "constant_keyword", "value": "one"}, "k": {"type": "keyword"}, "w": {"type": "wildcard"}}
ONE |= {"n": {"type": "long"}, "x": {"type": "double"}, "d": {"type": "date"}, "ip": {"type": "ip"}}
ONE |= {"only": {"type": "keyword"}, "format": {"type": "date", "format": "epoch_second||yyyy/MM/dd"}}
OTHER = {
    **BOTH,
    "c": {"type": "constant_keyword", "value": "other"},
    "k": {"type": "wildcard"},
    "w": {"type": "keyword"},
}
OTHER |= {"n": {"type": "integer"}, "x": {"type": "float"}, "d": {"type": "date_nanos"}, "ip": {"type": "ip"}}
RUNTIME = {"rk": {"type": "keyword"}, "rn": {"type": "long"}, "rd": {"type": "date"}, "rb": {"type": "boolean"}}
EXTRA = {"raw": {"type": "keyword"}, "ri": {"type": "ip"}}
"""Runtime fields of every search; the first one shadows a field of the indices."""

STRING_FIELDS = ("folded", "short", "t", "m", "o.a", "?deep.a", "c", "k", "w", "only", "?absent", "rk", "raw")
NUMBER_FIELDS = ("o.b", "n", "x", "rn")
DATE_FIELDS = ("d", "rd", "format")


def leaves() -> st.SearchStrategy[str]:
    dates = st.sampled_from(DATE_FIELDS)
    return st.one_of(
        common_leaves(STRING_FIELDS, NUMBER_FIELDS, (*DATE_FIELDS, "rb", "ri"), more_texts=("one", "ONE")),
        st.builds("{} {} {}".format, dates, st.sampled_from(OPERATORS), st.sampled_from(DATES[:3]).map(quoted)),
        st.builds("cidrMatch({}, {})".format, st.sampled_from(("ri", "ip")), st.just('"10.0.0.0/30", "::/64"')),
        st.sampled_from(("rb", "not rb", "rb == false")),
    )


CONDITIONS = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds("not ({})".format, inner),
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
    ),
    max_leaves=4,
)
VALUES = several(st.sampled_from((*TEXTS, "One", "one")))
WHOLE = several(st.integers(-2, 130))
OBJECTS = st.lists(st.fixed_dictionaries({}, optional={"a": VALUES, "b": WHOLE}), max_size=2)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("folded", "short", "t", "m", "k", "w", "only", "rk"), VALUES),
        **dict.fromkeys(("n", "x", "rn", "raw"), WHOLE),
        "o": OBJECTS,
        "deep": OBJECTS,
        "d": several(st.sampled_from([date for date in DATES if date > "1970"])),
        "rd": st.sampled_from(DATES[:3]),
        "rb": st.booleans(),
        "ri": st.sampled_from(ADDRESSES),
        "ip": st.sampled_from(ADDRESSES),
    },
)


@pytest.fixture
def indices(elasticsearch_url: str, namespace: str) -> tuple[str, str]:
    names = f"{namespace}-one", f"{namespace}-other"
    with Elasticsearch(elasticsearch_url) as client:
        for name, properties in zip(names, (ONE, OTHER), strict=True):
            client.indices.create(index=name, mappings={"dynamic": False, "properties": properties, "runtime": RUNTIME})
    return names


def types_of(url: str, pattern: str) -> FieldCaps:
    async def read() -> FieldCaps:
        client = open_client(Connection(hosts=(url,)))
        try:
            return await FieldCapsCache(client, runtime_mappings=EXTRA).types((pattern,), all_fields=True)
        finally:
            await client.close()

    return asyncio.run(read())


def test_what_the_engine_matches_of_the_servers_values_the_filter_returns(
    elasticsearch_url: str, namespace: str, indices: tuple[str, str]
) -> None:
    pattern = f"{namespace}-*"
    asked = refused = 0
    with Elasticsearch(elasticsearch_url) as client:
        # Constants are known with the first document.
        for name in indices:
            client.index(index=name, document={"run": "none", "c": name.rpartition("-")[2]}, refresh=True)
        types = types_of(elasticsearch_url, pattern)

        @settings(
            max_examples=15, deadline=None, phases=(Phase.reuse, Phase.generate)
        )  # a smaller example takes minutes
        @given(
            st.lists(st.tuples(st.sampled_from(indices), DOCUMENTS), min_size=4, max_size=12),
            st.lists(CONDITIONS, min_size=30, max_size=40),
        )
        def filter_returns_them(documents: list[tuple[str, dict[str, Any]]], conditions: list[str]) -> None:
            nonlocal asked, refused
            asked += 1
            run = str(asked)
            write(client, documents, run=run)
            programs: dict[str, eql.Program] = {}
            for condition in conditions:
                try:
                    programs[condition] = eql.compile(f"any where {condition}", types.schema)
                except EqlError:
                    refused += 1  # types that do not fit
            filters = {
                condition: filters_for(
                    program.plan, now_ns=NOW, unsearchable=types.unsearchable, fold_regexps=False
                ).whole
                for condition, program in programs.items()
            }
            returned = search_all(client, pattern, [found.query for found in filters.values()], run=run)
            taken = matched_by_engine(client, pattern, programs.values(), run=run)
            for (condition, found), ids, matched in zip(filters.items(), returned, taken, strict=True):
                if matched is None or (is_folded(condition) and re.search("not|!=", condition)):
                    continue
                assert matched <= ids, f"{condition}: {json.dumps(found.query)} misses {sorted(matched - ids)}"
                assert not found.exact or is_folded(condition) or matched == ids, condition

        filter_returns_them()
    assert asked >= 12
    assert refused < asked * 20  # most conditions are searched


def is_folded(condition: str) -> bool:
    """Whether the condition is about a field with a normaliser. No field capability tells of it: the server's query, in
    which the constants are normalised, decides, and what it leaves out is not fetched."""
    return re.search(r"(?<![\w.])(folded|t)(?![\w.])", condition) is not None


def write(client: Elasticsearch, documents: Sequence[tuple[str, Mapping[str, Any]]], *, run: str) -> None:
    lines: list[Mapping[str, Any]] = []
    for number, (index, document) in enumerate(documents):
        lines += [{"create": {"_index": index, "_id": f"{run}-{number}"}}, {**document, "run": run}]
    client.bulk(operations=lines, refresh=True)


def search_all(client: Elasticsearch, pattern: str, queries: Sequence[Any], *, run: str) -> list[set[str]]:
    """The ids that each query returns of the documents of one run."""
    lines: list[Mapping[str, Any]] = []
    for query in queries:
        whole = {"bool": {"filter": [{"term": {"run": run}}, query]}}
        lines += [dict[str, Any](), {"size": 100, "_source": False, "query": whole, "runtime_mappings": EXTRA}]
    found = []
    for answer, query in zip(client.msearch(index=pattern, searches=lines)["responses"], queries, strict=True):
        assert "error" not in answer, f"{json.dumps(query)}: {answer['error']}"
        assert answer["_shards"]["failed"] == 0, f"{json.dumps(query)}: {answer['_shards']}"
        found.append({hit["_id"] for hit in answer["hits"]["hits"]})
    return found


def matched_by_engine(
    client: Elasticsearch, pattern: str, programs: Iterable[eql.Program], *, run: str
) -> list[set[str] | None]:
    """Per program the ids that the engine matches of all documents of the run, as a page shows them; None where it
    fails on a value."""
    matcher = eql.Matcher([eql.Ask(program.plan, now_ns=NOW) for program in programs])
    columns = Columns(matcher.fields())
    fields = {field.name: columns.fields[field.name] for field in matcher.fields()}
    body: dict[str, Any] = {
        "size": 100,
        "_source": False,
        "query": {"term": {"run": run}},
        "runtime_mappings": EXTRA,
        "fields": [
            {"field": name, "format": "strict_date_optional_time_nanos"}
            if field.type in (DataType.DATE, DataType.DATE_NANOS)
            else name
            for name, field in fields.items()
        ],
    }
    answer = client.search(index=pattern, sort=["_doc"], **body)
    page = read_page(json.dumps(answer.body).encode(), fields)
    broken: list[str] = []
    matcher.feed(EventBatch.of_lines(columns, page.lines, base=0, broken=lambda place, reason: broken.append(reason)))
    assert not broken
    return [
        None
        if found.error is not None
        else {page.ids[number] for match in found.matches for number in match.events if number is not None}
        for found in matcher.found()
    ]
