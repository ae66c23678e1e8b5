"""Random queries over random documents: the engine and a real Elasticsearch find the same, or both refuse."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch

from runner import kql, lucene
from runner.events.fields.schema import Schema, schema_from_mapping
from runner.messages.query_errors import QueryError
from tests.kql.worlds import MAPPING, documents, kql_query, lucene_query

pytestmark = pytest.mark.slow

COUNT = 400
SCHEMA = schema_from_mapping(MAPPING)
EVENTS: list[dict[str, Any]] = [
    {"_index": "events", "_id": f"d{number}", "_source": source} for number, source in enumerate(documents(5, COUNT))
]


class Index:
    """The documents in an index of a node."""

    def __init__(self, client: Elasticsearch, name: str) -> None:
        self._client, self._name = client, name
        client.indices.create(index=name, mappings=MAPPING, settings={"number_of_shards": 1})
        operations = [part for one in EVENTS for part in ({"index": {"_id": one["_id"]}}, one["_source"])]
        answer = client.bulk(index=name, operations=operations, refresh=True)
        assert not answer["errors"], answer

    def ids(self, query: Mapping[str, Any]) -> frozenset[str] | str:
        """The ids of the documents that a query finds, or why it fails."""
        try:
            answer = self._client.search(index=self._name, query=query, size=COUNT, source=False)
        except BadRequestError as error:
            return str(error)
        return frozenset(hit["_id"] for hit in answer["hits"]["hits"])


@pytest.fixture(scope="module")
def index(elasticsearch_url: str) -> Iterator[Index]:
    name = f"kql-{random.randrange(16**8):08x}"
    with Elasticsearch(elasticsearch_url) as client:
        try:
            yield Index(client, name)
        finally:
            client.indices.delete(index=name, ignore_unavailable=True)


def local_ids(query: str, language: str) -> frozenset[str] | str:
    try:
        answer = kql.search(query, EVENTS, mapping=MAPPING, language=language, size=COUNT)
    except QueryError as error:
        return str(error)
    return frozenset(hit["_id"] for hit in answer["hits"]["hits"])


def check(query: str, dsl: Mapping[str, Any], index: Index, language: str) -> int:
    """Compare both; returns 1 if the query can be searched and some documents are found, but not all."""
    expected, found = index.ids(dsl), local_ids(query, language)
    if isinstance(expected, str):
        assert isinstance(found, str), (query, dsl, expected, found)
        return 0
    if isinstance(found, str):
        # A server passes over a condition if another one, of a field that nothing maps, decides the whole.
        assert re.search(r"(?i) (and|or) ", query), (query, dsl, expected, found)
        return 0
    assert found == expected, (query, dsl, sorted(found - expected), sorted(expected - found))
    return 0 < len(found) < COUNT


@pytest.mark.parametrize("seed", range(4))
def test_kql(seed: int, index: Index) -> None:
    rng = random.Random(seed)
    queries = [kql_query(rng) for _ in range(500)]
    telling = sum(check(query, typed_dsl(query, SCHEMA), index, "kuery") for query in queries)
    assert telling > 150


def typed_dsl(query: str, schema: Schema) -> dict[str, Any]:
    return kql.query_dsl(kql.parse(query), schema)


@pytest.mark.parametrize("seed", range(4))
def test_lucene(seed: int, index: Index) -> None:
    rng = random.Random(seed)
    queries = [lucene_query(rng) for _ in range(500)]
    telling = sum(check(query, lucene.query_dsl(lucene.parse(query)), index, "lucene") for query in queries)
    assert telling > 150
