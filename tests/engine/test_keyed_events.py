"""Matches of single events with key fields: time, number and one key for each combination of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from runner.engine.matcher import Ask, Matcher, Scope
from runner.engine.plan import KeyField, with_keys
from runner.engine.sequence.open_matches import FoundRows
from runner.eql.program import parse_query, resolve_query
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import schema_from_mapping

MAPPING = {
    "properties": {
        "@timestamp": {"type": "date"},
        "ingested": {"type": "date"},
        "event": {"properties": {"category": {"type": "keyword"}}},
        "host": {"type": "keyword"},
        "ip": {"type": "ip"},
        "port": {"type": "long"},
        "flag": {"type": "boolean"},
        "seen": {"type": "date"},
    }
}


def keyed(events: Sequence[dict[str, Any]], *fields: str, optional: str = "", times: tuple[str, ...] = ()) -> list[Any]:
    """Second, number and key of what `any where true` finds."""
    schema = schema_from_mapping(MAPPING)
    names = [KeyField(schema.fields[name], name == optional) for name in (*fields, optional) if name]
    plan = with_keys(resolve_query(parse_query("any where true"), schema).plan, names)
    span = (0, 10**12) if times else None
    matcher = Matcher([Ask(plan, Scope(times=times, span=span))])
    columns = Columns((*matcher.fields(), schema.fields["ingested"]))
    given = [
        {"@timestamp": f"1970-01-01T00:00:{number:02}Z", "event": {"category": "c"}, **one}
        for number, one in enumerate(events)
    ]
    matcher.feed(EventBatch(columns, [columns.decoder.row(one) for one in given], base=0))
    (found,) = matcher.found()
    assert isinstance(found.matches, FoundRows)
    return [(one.time // 10**9, one.event, one.key) for one in found.matches.keyed()]


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("host", "A", "A"),
        ("ip", "2001:DB8:0::1", "2001:db8::1"),
        ("port", "22", 22),
        ("flag", "true", True),
        ("seen", "1970-01-01T00:00:01.5Z", 1500),
    ],
)
def test_values_are_those_of_an_aggregation(field: str, value: object, shown: object) -> None:
    assert keyed([{field: value}], field) == [(0, 0, (shown,))]


def test_lists_make_every_combination_once() -> None:
    found = keyed([{"host": ["a", "b", "a"], "port": [1, 2]}], "host", "port")
    assert sorted(key for _, _, key in found) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]


def test_events_without_a_key_have_no_row_unless_it_is_optional() -> None:
    events: list[dict[str, Any]] = [{"host": "a"}, {"port": 1}, {"host": "b", "port": 2}]
    assert keyed(events, "host", "port") == [(2, 2, ("b", 2))]
    assert keyed(events, "host", optional="port") == [(0, 0, ("a", None)), (2, 2, ("b", 2))]


def test_without_key_fields_every_event_has_the_empty_key() -> None:
    assert keyed([{}, {}]) == [(0, 0, ()), (1, 1, ())]


def test_the_time_is_the_one_that_selects_the_event() -> None:
    events: list[dict[str, Any]] = [{"host": "a", "ingested": "1970-01-01T00:01:30Z"}, {"host": "a"}]
    assert keyed(events, "host", times=("ingested", "@timestamp")) == [(1, 1, ("a",)), (90, 0, ("a",))]


def test_sequences_have_the_keys_of_their_query() -> None:
    schema = schema_from_mapping(MAPPING)
    plan = resolve_query(parse_query("sequence by host [any where true] [any where true]"), schema).plan
    with pytest.raises(ValueError, match="of kind sequence"):
        with_keys(plan, [KeyField(schema.fields["host"])])
