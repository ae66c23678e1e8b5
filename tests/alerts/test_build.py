"""Alert documents, field by field against the spec files, and each rule of building on its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from runner.alerts.alert import AlertGroup
from runner.alerts.build import AlertContext
from runner.alerts.event_fields import FieldTypes
from runner.alerts.identity import alert_ids, rule_uuid
from runner.events.fields.schema import DataType, Field, Schema
from runner.rules.rule import Rule
from runner.search.protocol import Hit, Match
from tests.alerts.cases import (
    CONTEXT,
    build_alerts,
    event,
    hit,
    indexed,
    read_spec,
    rule,
    sequence,
    spec_context,
    spec_match,
)


def built(match: Match, by: Rule | None = None, context: AlertContext = CONTEXT) -> AlertGroup:
    group = build_alerts(match, by or rule(), context)
    assert group is not None
    return group


def document(source: dict[str, Any], by: Rule | None = None, context: AlertContext = CONTEXT) -> dict[str, Any]:
    return dict(built(event(source), by, context).head.document)


@pytest.mark.parametrize("name", ["event.json", "sequence.json"])
def test_documents_are_those_of_the_spec(name: str) -> None:
    spec = read_spec(name)
    group = built(spec_match(spec), Rule.model_validate(spec["rule"]), spec_context(spec))
    made = [
        {"kind": alert.kind, "_id": alert.id, "_source": orjson.loads(orjson.dumps(alert.document))}
        for alert in group.alerts
    ]
    assert len(made) == len(spec["alerts"])
    for alert, expected in zip(made, spec["alerts"], strict=True):
        assert {key: alert[key] for key in ("kind", "_id")} == {key: expected[key] for key in ("kind", "_id")}
        assert alert["_source"] == expected["_source"]


def test_ids_alone_are_those_of_the_built_alerts() -> None:
    for match in (sequence(indexed(1), indexed(2)), event({"a": 1})):
        assert alert_ids(match, rule(), "lab") == tuple(
            alert.id for alert in built(match, context=replace(CONTEXT, space="lab")).alerts
        )


def test_the_source_is_left_alone() -> None:
    source = {"event": {"kind": "event"}, "kibana": {"x": 1}, "a": {"b": []}}
    before = orjson.dumps(source)
    built(Match((hit(source, fields={"a.c": ["d"]}),), is_sequence=False))
    assert orjson.dumps(source) == before


@pytest.mark.parametrize(
    ("source", "fields", "expected"),
    [
        ({"a": {"b": 1}}, {"a.b": [2], "a.c": [3]}, {"a": {"b": 1, "c": 3}}),
        ({"a.b": 1}, {"a.b": [2], "a.c": [3, 4]}, {"a.b": 1, "a": {"c": [3, 4]}}),
        ({"a": "x"}, {"a.text": ["x"]}, {"a": "x"}),
        ({"a": [{"b": 1}]}, {"a.b": [1]}, {"a": [{"b": 1}]}),
        ({"a": 1}, {"b": ["x"], "b.text": ["x"]}, {"a": 1, "b": "x"}),
        ({"a": 1}, {"b": [], "c": [{"d": 1}], "_ignored": ["e"], "f..g": [1], "signal.rule.id": ["h"]}, {"a": 1}),
    ],
)
def test_fields_that_the_source_lacks_are_merged(source: dict[str, Any], fields: dict[str, Any], expected: Any) -> None:
    made = built(Match((hit(source, fields=fields),), is_sequence=False)).head.document
    assert {key: value for key, value in made.items() if not key.startswith(("kibana.", "event.", "@"))} == expected


def test_what_clashes_with_the_known_types_is_left_out() -> None:
    names = {
        "n": DataType.LONG,
        "f": DataType.FLOAT,
        "ip": DataType.IP,
        "d": DataType.DATE,
        "b": DataType.BOOLEAN,
        "o.k": DataType.KEYWORD,
        "k": DataType.KEYWORD,
        "nested": DataType.NESTED,
    }
    types = FieldTypes.of(Schema({name: Field(name, type_) for name, type_ in names.items()}))
    source = {
        "n": ["12", "x", 3],
        "f": "1.5e3",
        "ip": ["10.0.0.1", "10.0.0.0.1"],
        "d": "yesterday",
        "b": "true",
        "o": "flat",
        "k": {"below": 1},
        "k.below": 2,
        "nested": [1, {"x": 1}],
        "unknown": {"k": {"x": [None, 1]}},
        "empty": [],
        "e": {"x": {}},
    }
    made = document(source, context=replace(CONTEXT, types=types))
    assert {key: made[key] for key in made if not key.startswith(("kibana.", "event.", "@"))} == {
        "n": ["12", 3],
        "f": "1.5e3",
        "ip": ["10.0.0.1"],
        "b": "true",
        "nested": [{"x": 1}],
        "unknown": {"k": {"x": [None, 1]}},
    }


def test_the_kind_of_the_event_gives_way_in_every_spelling() -> None:
    for source in ({"event.kind": "event"}, {"event": {"kind": "event"}}):
        made = document(source)
        assert made["event.kind"] == "signal"
        assert made["kibana.alert.original_event.kind"] == "event"
        assert "event" not in made


def test_numbers_and_texts_that_no_writer_takes_are_made_writable() -> None:
    made = document({"big": 10**30, "text": "a\ud800b"})
    assert orjson.loads(orjson.dumps(made))["big"] == "1" + "0" * 30
    assert made["text"] == "a\ufffdb"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({}, "event created medium alert Lab rule."),
        (
            {"event": {"category": ["file", "process"]}, "file.name": "x"},
            "file, process event with file x, created medium alert Lab rule.",
        ),
        (
            {"source": {"ip": "10.0.0.1", "port": 5}, "user.name": "-"},
            "event with source 10.0.0.1:5, created medium alert Lab rule.",
        ),
        (
            {"destination.ip": ["10.0.0.1", "10.0.0.2"], "user": {"name": "root"}, "host": {"name": "h"}},
            "event with destination 10.0.0.1, 10.0.0.2 by root on h created medium alert Lab rule.",
        ),
    ],
)
def test_reason(source: dict[str, Any], expected: str) -> None:
    assert document(source)["kibana.alert.reason"] == expected


def test_overrides_of_a_single_event() -> None:
    by = rule(
        severity_mapping=[
            {"field": "event.severity", "operator": "equals", "value": "73", "severity": "high"},
            {"field": "event.severity", "operator": "equals", "value": "21", "severity": "critical"},
            {"field": "event.kind", "operator": "equals", "value": "alert", "severity": "low"},
        ],
        risk_score_mapping=[{"field": "event.risk_score", "operator": "equals", "value": ""}],
        rule_name_override="message",
    )
    source = {"event": {"severity": 73, "kind": "alert", "risk_score": ["12.5", 90, 900, "x"]}, "message": "Something"}
    made = document(source, by)
    assert [made[f"kibana.alert.{name}"] for name in ("severity", "risk_score", "rule.name")] == [
        "high",
        90,
        "Something",
    ]
    assert [made[f"kibana.alert.rule.{name}"] for name in ("severity", "risk_score")] == ["medium", 47]
    assert made["kibana.alert.reason"] == "event created high alert Something."
    made = document({"message": ["a", "b"], "event.risk_score": 101}, by)
    assert [made[f"kibana.alert.{name}"] for name in ("severity", "risk_score", "rule.name")] == [
        "medium",
        47,
        "Lab rule",
    ]
    shell = built(sequence(indexed(1, source), indexed(2, source)), by).head.document
    assert [shell[f"kibana.alert.{name}"] for name in ("severity", "risk_score", "rule.name")] == [
        "medium",
        47,
        "Lab rule",
    ]


def test_an_alert_on_an_alert_names_its_ancestors() -> None:
    first = built(sequence(indexed(1), indexed(2))).head
    parent = Hit(".internal.alerts-security.alerts-default-000001", first.id, first.document)
    by = rule(rule_id="another")
    made = built(Match((parent,), is_sequence=False), by).head.document
    assert made["kibana.alert.depth"] == 3
    assert made["kibana.alert.ancestors"] == [
        *first.document["kibana.alert.ancestors"],
        {
            "id": first.id,
            "type": "signal",
            "index": parent.index,
            "depth": 2,
            "rule": rule_uuid(rule().rule_id, "default"),
        },
    ]
    assert "kibana.alert.group.id" not in made


def test_an_alert_of_the_same_rule_is_no_event_for_it() -> None:
    first = built(event({"a": 1})).head
    parent = Hit(".internal.alerts-security.alerts-default-000001", first.id, first.document)
    assert build_alerts(Match((parent,), is_sequence=False), rule(), CONTEXT) is None
    assert build_alerts(sequence(indexed(1), parent), rule(), CONTEXT) is None
    child = built(Match((parent,), is_sequence=False), rule(rule_id="another")).head
    grandparent = Hit("x", child.id, child.document)
    assert build_alerts(Match((grandparent,), is_sequence=False), rule(), CONTEXT) is None


def test_placeholders_of_missing_events_make_no_block() -> None:
    match = sequence(indexed(1), Hit("", "", {}, missing=True), indexed(2))
    assert [alert.kind for alert in built(match).alerts] == ["building_block", "building_block", "shell"]
    with pytest.raises(ValueError, match="0 events"):
        build_alerts(sequence(Hit("", "", {}, missing=True)), rule(), CONTEXT)


def test_a_sequence_of_one_event_keeps_all_of_it() -> None:
    source = {"process": {"args": [{"odd": 1}]}, "a.b": 1}
    block, shell = built(sequence(indexed(1, source))).alerts
    assert shell.document["process"] == source["process"]
    assert shell.document["a.b"] == 1
    assert "kibana.alert.group.index" not in shell.document
    assert "kibana.alert.building_block_type" not in shell.document
    assert block.document["kibana.alert.building_block_type"] == "default"


def test_what_is_set_in_the_rule_is_in_the_document_and_nothing_else() -> None:
    plain = document({})
    assert not [key for key, value in plain.items() if value is None]
    assert "kibana.alert.rule.timeline_id" not in plain
    assert "kibana.alert.url" not in plain
    assert "kibana.alert.rule.created_at" not in plain
    by = rule(
        building_block_type="default",
        timeline_id="t1",
        timeline_title="T",
        namespace="n",
        meta={"from": "1m", "x": {"y": 1}},
        timestamp_override="event.ingested",
        timestamp_override_fallback_disabled=True,
        note="# Guide",
        setup="Install.",
        alert_suppression={"group_by": ["host.id"], "duration": {"value": 5, "unit": "m"}},
        investigation_fields={"field_names": ["host.id"]},
        timestamp_field="event.created",
        tiebreaker_field="event.sequence",
        metadata={"creation_date": "2023/07/04", "updated_date": "2024/01/02"},
    )
    made = document({}, by)
    assert made["kibana.alert.building_block_type"] == "default"
    assert made["kibana.alert.rule.meta.x.y"] == 1
    assert made["kibana.alert.rule.created_at"] == "2023-07-04T00:00:00.000Z"
    assert made["kibana.alert.rule.updated_at"] == "2024-01-02T00:00:00.000Z"
    assert made["kibana.alert.rule.note"] == "# Guide"
    parameters = made["kibana.alert.rule.parameters"]
    assert parameters["setup"] == "Install."
    assert parameters["alert_suppression"] == {
        "group_by": ["host.id"],
        "duration": {"value": 5, "unit": "m"},
        "missing_fields_strategy": "suppress",
    }
    assert parameters["timestamp_override_fallback_disabled"] is True
    assert not {"name", "tags", "interval", "enabled", "actions", "path"} & parameters.keys()


def test_original_time_is_the_events_own() -> None:
    by_field = {"@timestamp": ["2026-03-02T10:00:00.000Z"]}
    hits = (hit({"@timestamp": 1_772_445_600_000}, fields=by_field),)
    assert (
        built(Match(hits, is_sequence=False)).head.document["kibana.alert.original_time"] == "2026-03-02T10:00:00.000Z"
    )
    assert "kibana.alert.original_time" not in document({"event": {"created": "2026-03-02T10:00:00Z"}})
    by = rule(timestamp_field="event.created")
    assert (
        document({"event": {"created": "2026-03-02T10:00:00Z"}}, by)["kibana.alert.original_time"]
        == "2026-03-02T10:00:00Z"
    )


def test_the_original_time_of_a_shell_is_that_of_its_earliest_event() -> None:
    times = ["2026-03-02T10:00:01.000Z", None, "2026-03-02T10:00:00.5+00:00", "soon"]
    hits = [indexed(number, {"x": 1} if time is None else {"@timestamp": time}) for number, time in enumerate(times)]
    assert built(sequence(*hits)).head.document["kibana.alert.original_time"] == times[2]


def test_a_manual_run_says_when_it_would_have_run() -> None:
    intended = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
    made = document({}, context=replace(CONTEXT, manual=True, intended=intended))
    assert made["kibana.alert.intended_timestamp"] == "2026-03-01T08:00:00.000Z"
    assert made["kibana.alert.rule.execution.type"] == "manual"
    assert made["@timestamp"] == "2026-03-02T10:05:01.204Z"


def test_the_link_leads_to_the_space() -> None:
    made = document({}, context=replace(CONTEXT, space="blue", kibana_url="https://k/base/"))
    assert made["kibana.alert.url"] == (
        f"https://k/base/s/blue/app/security/alerts/redirect/{made['kibana.alert.uuid']}"
        "?index=.alerts-security.alerts-blue&timestamp=2026-03-02T10:05:01.204Z"
    )
    assert made["kibana.space_ids"] == ["blue"]
