"""`search`: the shape of the response, its order and limits, join keys as they are printed, errors."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from runner import eql
from runner.eql.syntax.errors import EqlError
from tests.paths import SPECS

SPEC = tomllib.loads((SPECS / "eql" / "search.toml").read_text())
MAPPING = SPEC["mapping"]


@pytest.mark.parametrize("case", SPEC["case"], ids=lambda case: case["title"])
def test_response(case: dict[str, Any]) -> None:
    events = [json.loads(text) for text in case["events"]]
    response = eql.search(case["query"], events, mapping=MAPPING)
    took = response.pop("took")
    assert isinstance(took, int) and took >= 0
    assert list(response) == ["is_partial", "is_running", "timed_out", "hits"]
    assert response == {
        "is_partial": False,
        "is_running": False,
        "timed_out": False,
        "hits": json.loads(case["hits"]),
    }
    json.dumps(response)


@pytest.mark.parametrize("answer", SPEC["order"]["answers"], ids=lambda answer: str(answer))
def test_order_and_limits(answer: dict[str, Any]) -> None:
    events = [json.loads(text) for text in SPEC["order"]["events"]]
    options = {name: value for name, value in answer.items() if name not in ("query", "pids")}
    found = eql.search(answer["query"], events, mapping=MAPPING, **options)["hits"]
    assert [hit["_source"]["pid"] for hit in found["events"]] == answer["pids"]
    assert found["total"] == {"value": len(answer["pids"]), "relation": "eq"}


@pytest.mark.parametrize("case", SPEC["keys"], ids=lambda case: f"{case['field']} {case['value']}")
def test_join_keys(case: dict[str, Any]) -> None:
    name, value = case["field"].removeprefix("?"), json.loads(case["value"])
    events = [{"@timestamp": f"2026-01-0{day}", name: value} for day in (1, 2)]
    for kind, expected in (("sequence", case["sequence"]), ("sample", case.get("sample", case["sequence"]))):
        query = f"{kind} by {case['field']} [any where true] [any where true]"
        found = eql.search(query, events, mapping=MAPPING)["hits"]["sequences"]
        keys = [sequence["join_keys"] for sequence in found]
        assert keys == [[None if key == "null" else key] for key in expected], kind
        assert [type(key[0]) for key in keys] == [type(None) if key == "null" else type(key) for key in expected]


@pytest.mark.parametrize("case", SPEC["error"], ids=lambda case: str(case.get("query", case.get("options"))))
def test_errors(case: dict[str, Any]) -> None:
    with pytest.raises(EqlError) as raised:
        eql.search(case.get("query", "any where true"), [], mapping=MAPPING, **case.get("options", {}))
    assert raised.value.kind == case["kind"]
    assert str(raised.value) == case.get("reason", str(raised.value))


def test_without_a_mapping_types_come_from_the_table_and_the_events() -> None:
    events: list[dict[str, Any]] = [
        {"@timestamp": "2026-01-01", "process": {"pid": "7"}, "mine": {"n": 1, "s": "x", "b": True, "f": 1.5}},
        {"@timestamp": "2026-01-02", "process.pid": 8, "mine.n": 2.5, "mine": {"s": ["y", "z"], "b": None}},
    ]
    for condition, count in {
        "process.pid == 7": 1,
        "process.pid > 7": 1,
        "mine.n >= 1 and mine.n < 3": 2,
        "mine.n + 0.5 == 3": 1,
        'mine.s : "Z"': 1,
        "mine.b": 1,
        "mine.f == 1.5": 1,
        "?mine.other == null": 2,
        '@timestamp > "2026-01-01T12:00:00Z"': 1,
    }.items():
        assert eql.search(f"any where {condition}", events)["hits"]["total"]["value"] == count, condition
    with pytest.raises(EqlError, match="Unknown column"):
        eql.search("any where mine.other == 1", events)


def test_mixed_values_without_a_mapping_are_a_keyword() -> None:
    events: list[dict[str, Any]] = [{"m": 1}, {"m": "x"}, {"m": True}, {"m": {"deeper": 1}}]
    assert eql.search('any where m == "1"', events)["hits"]["total"]["value"] == 1
    assert eql.search('any where m == "true"', events)["hits"]["total"]["value"] == 1
    assert eql.search("any where m.deeper == 1", events)["hits"]["total"]["value"] == 1


def test_a_union_of_indices() -> None:
    mapping = {
        "one": {"properties": {"@timestamp": {"type": "date"}, "a": {"type": "long"}}},
        "two": {"mappings": {"properties": {"@timestamp": {"type": "date"}, "b": {"type": "keyword"}}}},
    }
    hits = [
        {"_index": "one", "_id": "1", "_source": {"a": 1}},
        {"_index": "two", "_id": "2", "_source": {"b": "x"}},
    ]
    found = eql.search('any where a == 1 or b == "x"', hits, mapping=mapping)["hits"]["events"]
    assert [hit["_index"] for hit in found] == ["one", "two"]


def test_more_events_than_a_batch() -> None:
    events = [{"@timestamp": 1_700_000_000_000 + number, "pid": number % 3} for number in range(10_000)]
    found = eql.search("sequence [any where pid == 1] [any where pid == 0]", events, mapping=MAPPING, size=10_000)
    assert found["hits"]["total"]["value"] == 3333
    assert eql.search("any where pid == 2", events, mapping=MAPPING, size=9999)["hits"]["total"]["value"] == 3333


def test_events_may_be_an_iterator() -> None:
    found = eql.search("any where pid == 1", iter([{"pid": 1}, {"pid": 2}]), mapping=MAPPING)
    assert found["hits"]["total"]["value"] == 1


COPIES = {
    "properties": {
        "source": {"properties": {"ip": {"type": "ip", "copy_to": "related.ip"}}},
        "destination": {"properties": {"ip": {"type": "ip", "copy_to": "related.ip"}}},
        "user": {"properties": {"name": {"type": "keyword", "copy_to": "related.user"}}},
        "owner": {"type": "keyword", "copy_to": ["related.user", "all"]},
        "all": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
        "event": {"properties": {"category": {"type": "keyword", "copy_to": "all"}}},
        "related": {"properties": {"ip": {"type": "ip"}, "user": {"type": "keyword"}}},
        "@timestamp": {"type": "date"},
    }
}


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ('any where related.ip == "10.0.0.2"', "a b"),
        ('any where cidrMatch(related.ip, "10.0.0.0/24")', "a b c"),
        ('any where related.user == "root"', "a c"),
        ('any where related.user : "R*"', "a c"),
        ('any where all.raw == "root"', "c"),
        ('any where all.raw == "process"', "a b c d"),
        ("any where related.ip == null", "d"),
        ('sequence by related.ip [any where user.name == "root"] [any where source.ip != null]', "a,b"),
    ],
)
def test_the_target_of_several_copies_has_the_values_of_all(query: str, ids: str) -> None:
    def event(number: int, name: str, **fields: Any) -> dict[str, Any]:
        source = {"@timestamp": f"2026-03-02T10:00:0{number}Z", "event": {"category": "process"}, **fields}
        return {"_index": "x", "_id": name, "_source": source}

    events = [
        event(1, "a", **{"source.ip": "10.0.0.1", "destination": {"ip": "10.0.0.2"}, "user": {"name": "root"}}),
        event(2, "b", source={"ip": "10.0.0.2"}, owner="me"),
        event(3, "c", related={"ip": "10.0.0.9"}, owner=["root", "it"]),
        event(4, "d"),
    ]
    hits = eql.search(query, events, mapping=COPIES)["hits"]
    groups = [one["events"] for one in hits["sequences"]] if "sequences" in hits else [[one] for one in hits["events"]]
    assert " ".join(",".join(one["_id"] for one in group) for group in groups) == ids
