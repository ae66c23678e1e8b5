"""Sequences drawn as timelines, answered by the engine; and by the plain evaluator, which must draw the same."""

from __future__ import annotations

import pytest

from runner import eql
from runner.events.fields.schema import schema_from_mapping
from tests.paths import SPECS
from tests.reference import answer_of
from tests.reference.engine import Options
from tests.reference.timelines import MAPPING, Timeline, drawn, read_timelines

CASES = read_timelines(SPECS / "engine" / "sequences.txt")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_sequences(case: Timeline) -> None:
    assert drawn(eql.search(case.query, case.hits, mapping=MAPPING, **case.options)) == case.answer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_plain_evaluator(case: Timeline) -> None:
    sources = [hit["_source"] for hit in case.hits]
    answer = answer_of(case.query, sources, schema_from_mapping(MAPPING), Options(**case.options))
    shown = []
    for keys, numbers in answer:
        events = " ".join("!" if number is None else case.hits[number]["_id"] for number in numbers)
        shown.append(f"{','.join('null' if key is None else key for key in keys)}: {events}" if keys else events)
    assert shown == case.answer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_result_position_changes_nothing_where_all_fits(case: Timeline) -> None:
    found = eql.search(case.query, case.hits, mapping=MAPPING, result_position="head", **case.options)
    assert drawn(found) == case.answer


def test_date_nanos_compare_maxspan_in_nanoseconds() -> None:
    events = [
        {"@timestamp": "2026-01-01T00:00:00.000000000Z", "event.category": "A"},
        {"@timestamp": "2026-01-01T00:00:01.000000001Z", "event.category": "B"},
    ]
    query = "sequence with maxspan=1s [A where true] [B where true]"
    properties = dict(MAPPING["properties"])
    assert len(eql.search(query, events, mapping={"properties": properties})["hits"]["sequences"]) == 1
    properties["@timestamp"] = {"type": "date_nanos"}
    assert eql.search(query, events, mapping={"properties": properties})["hits"]["sequences"] == []


@pytest.mark.parametrize(
    ("kind", "earlier", "later"),
    [
        ("date", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.500Z"),
        ("date", 999, "1970-01-01T00:00:01Z"),
        ("ip", "10.0.0.9", "10.0.0.10"),
        ("version", "1.9.0", "1.10.0"),
        ("long", 9, 10),
        ("double", 0.5, 1),
        ("keyword", "10", "9"),
        ("boolean", False, True),
    ],
)
def test_tiebreakers_order_by_their_type(kind: str, earlier: object, later: object) -> None:
    events = [
        {"@timestamp": 1, "event.category": "B", "tie": later},
        {"@timestamp": 1, "event.category": "A", "tie": earlier},
    ]
    mapping = {"properties": {**MAPPING["properties"], "tie": {"type": kind}}}
    query = "sequence [A where true] [B where true]"
    assert eql.search(query, events, mapping=mapping, tiebreaker_field="tie")["hits"]["total"]["value"] == 1
    found = eql.search("any where true", events, mapping=mapping, tiebreaker_field="tie")["hits"]["events"]
    assert [event["_source"]["tie"] for event in found] == [earlier, later]
