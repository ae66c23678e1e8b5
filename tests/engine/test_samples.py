"""Samples drawn like sequences, answered by the engine and by the plain evaluator."""

from __future__ import annotations

import pytest

from runner import eql
from runner.events.fields.schema import schema_from_mapping
from tests.paths import SPECS
from tests.reference import answer_of
from tests.reference.engine import Options
from tests.reference.timelines import MAPPING, Timeline, drawn, read_timelines

CASES = read_timelines(SPECS / "engine" / "samples.txt")


@pytest.mark.parametrize("position", ["head", "tail"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_samples(case: Timeline, position: str) -> None:
    found = eql.search(case.query, case.hits, mapping=MAPPING, result_position=position, **case.options)
    assert drawn(found) == case.answer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_plain_evaluator(case: Timeline) -> None:
    sources = [hit["_source"] for hit in case.hits]
    answer = answer_of(case.query, sources, schema_from_mapping(MAPPING), Options(**case.options))
    shown = [
        f"{','.join('null' if key is None else key for key in keys)}: "
        + " ".join(case.hits[number]["_id"] for number in numbers if number is not None)
        for keys, numbers in answer
    ]
    assert shown == case.answer


@pytest.mark.parametrize(
    ("kind", "values", "ascending"),
    [
        ("ip", ["10.0.0.10", "10.0.0.9", "::1"], ["::1", "10.0.0.9", "10.0.0.10"]),
        ("version", ["1.10.0", "1.9.0"], ["1.9.0", "1.10.0"]),
        ("long", [10, 9, -1], [-1, 9, 10]),
        ("double", [1, 0.5], [0.5, 1.0]),
        ("boolean", [True, False], [False, True]),
        ("keyword", ["b", "B", "a", ""], ["", "B", "a", "b"]),
        ("date", ["1970-01-01T00:00:01Z", 5], [5, 1000]),
        ("date_nanos", ["1970-01-01T00:00:01.000000001Z", 5], [5, 1000]),
    ],
)
def test_keys_order_and_print_by_their_type(kind: str, values: list[object], ascending: list[object]) -> None:
    events = [{"event.category": category, "k": value} for value in values for category in "AB"]
    mapping = {"properties": {**MAPPING["properties"], "k": {"type": kind}}}
    found = eql.search("sample by k [A where true] [B where true]", events, mapping=mapping)
    assert [sequence["join_keys"] for sequence in found["hits"]["sequences"]] == [[value] for value in ascending]


def test_an_unknown_timestamp_field_is_no_error() -> None:
    found = eql.search("sample by u [any where true] [any where true]", [{"u": "x"}], timestamp_field="nowhere")
    assert found["hits"] == {"total": {"value": 0, "relation": "eq"}, "sequences": []}
