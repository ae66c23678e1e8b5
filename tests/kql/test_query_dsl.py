"""The Query DSL that is made of KQL: that of Kibana, by the types of the fields."""

from __future__ import annotations

from typing import Any

import pytest

from runner import kql
from runner.events.fields.schema import schema_from_mapping

MAPPING = {
    "properties": {
        "name": {"type": "keyword", "fields": {"text": {"type": "text"}}},
        "kind": {"type": "constant_keyword"},
        "line": {"type": "wildcard"},
        "note": {"type": "match_only_text"},
        "size": {"type": "long"},
        "up": {"type": "boolean"},
        "at": {"type": "date"},
        "part": {"type": "nested", "properties": {"name": {"type": "keyword"}}},
    }
}
SCHEMA = schema_from_mapping(MAPPING)


def either(*clauses: dict[str, Any]) -> dict[str, Any]:
    return {"bool": {"should": list(clauses), "minimum_should_match": 1}}


def nested(clause: dict[str, Any]) -> dict[str, Any]:
    return {"nested": {"path": "part", "query": clause, "score_mode": "none"}}


CASES: list[tuple[Any, ...]] = [
    ("name: x", either({"term": {"name": {"value": "x"}}}), either({"match": {"name": "x"}})),
    ('name: "x"', either({"term": {"name": {"value": "x"}}}), either({"match_phrase": {"name": "x"}})),
    ("kind: x", either({"term": {"kind": {"value": "x"}}}), either({"match": {"kind": "x"}})),
    (
        r"line: a?\*b*",
        either({"wildcard": {"line": {"value": r"a\?\*b*"}}}),
        either({"query_string": {"fields": ["line"], "query": r"a\?\*b*"}}),
    ),
    ("note: a b", either({"match": {"note": "a b"}}), either({"match": {"note": "a b"}})),
    ("note: a*", *[either({"query_string": {"fields": ["note"], "query": "a*"}})] * 2),
    ("up: true", either({"match": {"up": True}}), either({"match": {"up": True}})),
    (
        "at: 2026-01-01",
        either({"range": {"at": {"gte": "2026-01-01", "lte": "2026-01-01", "time_zone": "Zulu"}}}),
        either({"match": {"at": "2026-01-01"}}),
    ),
    ("at > 1772445600000", *[either({"range": {"at": {"gt": "1772445600000"}}})] * 2),
    ("size <= 5", *[either({"range": {"size": {"lte": "5"}}})] * 2),
    ("name: *", *[either({"exists": {"field": "name"}})] * 2),
    (
        "na*: x",
        either({"term": {"name": {"value": "x"}}}, {"match": {"name.text": "x"}}),
        either({"match": {"na*": "x"}}),
    ),
    ("part:{ name: x }", *[nested(either({"match": {"part.name": "x"}}))] * 2),
    ("part.*: x", either(nested({"term": {"part.name": {"value": "x"}}})), either({"match": {"part.*": "x"}})),
    ("not zz.*: *", *[{"bool": {"must_not": either({"exists": {"field": "zz.*"}})}}] * 2),
    (
        "size: (1 or 2) and up: false",
        *[
            {
                "bool": {
                    "filter": [
                        either(either({"match": {"size": "1"}}), either({"match": {"size": "2"}})),
                        either({"match": {"up": False}}),
                    ]
                }
            }
        ]
        * 2,
    ),
    ("some text", *[{"multi_match": {"type": "best_fields", "query": "some text", "lenient": True}}] * 2),
    ('"some text"', *[{"multi_match": {"type": "phrase", "query": "some text", "lenient": True}}] * 2),
    ("te*t: or", *[either({"match": {"te*t": "or"}})] * 2),
    (r"a\:b*", *[{"query_string": {"query": r"a\:b*"}}] * 2),
]


@pytest.mark.parametrize(("query", "typed", "untyped"), CASES, ids=[query for query, _, _ in CASES])
def test_clause(query: str, typed: dict[str, Any], untyped: dict[str, Any]) -> None:
    for schema, expected in ((SCHEMA, typed), (None, untyped)):
        assert kql.query_dsl(kql.parse(query), schema)["bool"]["filter"] == [expected]


@pytest.mark.parametrize("query", ["", "  ", "*:*"])
def test_everything_is_no_clause(query: str) -> None:
    assert kql.query_dsl(kql.parse(query), SCHEMA) == {"bool": {"must": [], "filter": [], "should": [], "must_not": []}}
