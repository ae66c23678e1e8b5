"""How the queries of rules are read, in each language that is read here."""

from __future__ import annotations

import pytest

from runner.analyst.rule_reading import rule_reading
from tests.alerts.cases import rule

SEQUENCE = """sequence by host.id with maxspan=1m
  [process where process.name : "nc*" and not user.id == "0"]
  [network where destination.port > 1024 or destination.ip == "203.0.113.77"]"""


def test_a_sequence_in_stages_and_conditions() -> None:
    reading = rule_reading(rule(query=SEQUENCE))
    assert reading is not None
    assert (reading.kind, reading.maxspan) == ("sequence", "1m")
    assert [stage.label for stage in reading.stages] == ["stage 1", "stage 2"]
    assert [one.role for one in reading.stages[1].conditions] == ["leaf", "or"]


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"type": "query", "language": "kuery", "query": 'process.name : "nc" and my.own : 7'}, 2),
        ({"type": "query", "language": "lucene", "query": "process.name:nc"}, 1),
        ({"query": "any where my.own.field == 7"}, 1),
    ],
)
def test_queries_of_single_events(fields: dict[str, str], texts: int) -> None:
    reading = rule_reading(rule(**fields))
    assert reading is not None
    assert len(reading.stages[0].conditions) == texts


@pytest.mark.parametrize(
    "fields",
    [
        {"query": "process where"},
        {"type": "query", "language": "kuery", "query": "process.name : ("},
        {"type": "esql", "language": "esql", "query": "from logs-* metadata _id, _index, _version | limit 1"},
    ],
)
def test_what_is_not_read_here(fields: dict[str, str]) -> None:
    assert rule_reading(rule(**fields)) is None
