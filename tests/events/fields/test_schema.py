"""Schemas from mappings, field capabilities, the shipped table and the events themselves."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.events.fields.schema import (
    DataType,
    Field,
    Schema,
    schema_from_field_caps,
    schema_from_mapping,
    shipped_schema,
    with_inferred,
)
from runner.events.fields.values import canonical
from tests.paths import SHARED

TABLE = SHARED / "reference" / "field-types.csv"
MAPPING: dict[str, Any] = {
    "properties": {
        "@timestamp": {"type": "date"},
        "seen": {"type": "date_nanos", "format": "yyyy-MM-dd||epoch_millis"},
        "level": {"type": "constant_keyword", "value": "high"},
        "name": {
            "type": "text",
            "fields": {"keyword": {"type": "keyword", "ignore_above": 256}, "words": {"type": "match_only_text"}},
        },
        "title": {"type": "text"},
        "both": {"type": "text", "fields": {"a": {"type": "keyword"}, "b": {"type": "keyword"}}},
        "lower": {"type": "keyword", "normalizer": "lowercase", "null_value": "NONE"},
        "process": {
            "properties": {
                "pid": {"type": "unsigned_long"},
                "cost": {"type": "scaled_float", "scaling_factor": 100},
                "parent": {"dynamic": True, "properties": {"pid": {"type": "integer"}}},
                "raw": {"type": "object", "enabled": False, "properties": {"x": {"type": "keyword"}}},
            }
        },
        "host.name": {"type": "alias", "path": "name"},
        "lost": {"type": "alias", "path": "nowhere"},
        "labels": {"type": "flattened", "ignore_above": 10},
        "sections": {"type": "nested", "properties": {"size": {"type": "long"}}},
        "place": {"type": "geo_point"},
        "notes": {"type": "match_only_text"},
    },
    "runtime": {"day": {"type": "keyword"}, "computed": {"type": "long", "script": "emit(1)"}},
}


def found(schema: Schema, name: str) -> Field:
    field = schema.find(name)
    assert field is not None
    return field


def test_a_mapping_gives_the_type_of_every_field() -> None:
    schema = schema_from_mapping(MAPPING)
    types = {name: found(schema, name).type.value for name in schema.fields}
    assert types == {
        "@timestamp": "date",
        "seen": "date_nanos",
        "level": "constant_keyword",
        "name": "text",
        "name.keyword": "keyword",
        "name.words": "text",
        "title": "text",
        "both": "text",
        "both.a": "keyword",
        "both.b": "keyword",
        "lower": "keyword",
        "process": "object",
        "process.pid": "unsigned_long",
        "process.cost": "scaled_float",
        "process.parent": "object",
        "process.parent.pid": "integer",
        "process.raw": "object",
        "host.name": "text",
        "lost": "unsupported",
        "labels": "flattened",
        "sections": "nested",
        "sections.size": "long",
        "place": "unsupported",
        "notes": "text",
        "day": "keyword",
        "computed": "unsupported",
    }


def test_a_mapping_gives_what_else_is_known_of_a_field() -> None:
    schema = schema_from_mapping(MAPPING)
    assert found(schema, "name").exact == "name.keyword"
    assert found(schema, "name.keyword") == Field("name.keyword", DataType.KEYWORD, path="name", ignore_above=256)
    assert found(schema, "name.words").source_path == "name"
    assert (found(schema, "title").exact, found(schema, "both").exact) == (None, None)
    assert found(schema, "host.name") == Field("host.name", DataType.TEXT, path="name", exact="name.keyword")
    assert found(schema, "lost").original_type == "alias to unknown field nowhere"
    assert found(schema, "seen").formats == ("yyyy-MM-dd", "epoch_millis")
    assert found(schema, "@timestamp").formats == ()
    assert found(schema, "level").constant == "high"
    assert (found(schema, "lower").normalized, found(schema, "lower").null_value) == (True, "NONE")
    assert found(schema, "process.cost").scaling_factor == 100.0
    assert found(schema, "place").original_type == "geo_point"
    assert found(schema, "computed").original_type == "long runtime field with a script"


def test_the_target_of_a_copy_reads_what_is_copied() -> None:
    properties = {
        "user": {"properties": {"name": {"type": "keyword", "copy_to": ["who", "nowhere"]}}},
        "who": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
        "one": {"type": "keyword", "copy_to": "both"},
        "two": {"type": "keyword", "copy_to": "both"},
        "both": {"type": "keyword"},
    }
    schema = schema_from_mapping({"properties": properties})
    assert [found(schema, name).source_path for name in ("user.name", "who", "who.raw", "both")] == [
        "user.name", "user.name", "user.name", "both",
    ]  # fmt: skip
    assert found(schema, "both").copied == ("one", "two")
    assert schema.find("nowhere") is None


def test_the_keys_of_a_flattened_field_are_flattened() -> None:
    schema = schema_from_mapping(MAPPING)
    key = found(schema, "labels.team.name")
    assert (key.type, key.source_path) == (DataType.FLATTENED, "labels.team.name")
    assert schema.find("process.pid.x") is None
    assert schema.find("title.keyword") is None


@pytest.mark.parametrize(
    "wrapped",
    [
        {"mappings": MAPPING},
        {"my-index": {"mappings": MAPPING}},
        {"my-index": MAPPING},
        {"one": {"mappings": MAPPING}, "other": {"mappings": MAPPING}, "empty": {"mappings": {}}},
    ],
)
def test_a_mapping_may_come_wrapped(wrapped: dict[str, Any]) -> None:
    assert schema_from_mapping(wrapped) == schema_from_mapping(MAPPING)


def test_an_index_may_be_called_properties() -> None:
    assert list(schema_from_mapping({"properties": {"properties": {"type": "keyword"}}}).fields) == ["properties"]


def test_several_indices_unite_their_fields() -> None:
    def index(**types: Any) -> dict[str, Any]:
        kinds = {name: kind if isinstance(kind, dict) else {"type": kind} for name, kind in types.items()}
        return {"mappings": {"properties": kinds}}

    schema = schema_from_mapping(
        {
            "a": index(only_a="long", word="keyword", mixed="keyword", day={"type": "date", "format": "yyyy"}),
            "b": index(only_b="ip", word="wildcard", mixed="long", day={"type": "date"}),
            "c": index(mixed="long", fixed={"type": "constant_keyword", "value": "x"}),
            "d": index(fixed={"type": "constant_keyword", "value": "y"}),
        }
    )
    assert (found(schema, "only_a").type, found(schema, "only_b").type) == (DataType.LONG, DataType.IP)
    assert found(schema, "word") == Field("word", DataType.KEYWORD)
    assert found(schema, "fixed") == Field("fixed", DataType.KEYWORD)
    assert found(schema, "day").formats == ("yyyy", "strict_date_optional_time", "epoch_millis")
    mixed = found(schema, "mixed")
    assert mixed.type is DataType.UNSUPPORTED
    assert mixed.ambiguous
    assert mixed.original_type == "mapped as [2] incompatible types: [keyword] in [a], [long] in [b, c]"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ([], "a mapping must be a JSON object, found list"),
        ({"took": 3}, "expected [properties] or [mappings], found [took]"),
        ({"index": {"settings": {}}}, "expected [properties] or [mappings], found [index]"),
        ({"properties": {"a": "keyword"}}, "field [a] must be an object, found [keyword]"),
        ({"properties": {"a": {"properties": []}}}, None),
        ({"properties": {"a": {"properties": ["x"]}}}, "[properties] of [a] must be an object"),
    ],
)
def test_what_is_no_mapping_is_refused(mapping: Any, message: str | None) -> None:
    if message is None:
        assert found(schema_from_mapping(mapping), "a").type is DataType.OBJECT
        return
    with pytest.raises(ValueError) as caught:
        schema_from_mapping(mapping)
    assert message in str(caught.value)


def test_field_capabilities_give_a_schema() -> None:
    def field(*types: str, **about: Any) -> dict[str, Any]:
        return {kind: {"type": kind, "metadata_field": False} | about for kind in types}

    schema = schema_from_field_caps(
        {
            "indices": ["a", "b"],
            "fields": {
                "_id": field("_id", metadata_field=True),
                "name": field("text", "unmapped"),
                "name.keyword": field("keyword"),
                "name.words": field("text"),
                "process": field("object"),
                "process.pid": field("long"),
                "sections": field("nested"),
                "place": field("geo_point"),
                "mixed": {"long": {"indices": ["a"]}, "keyword": {"indices": ["b"]}},
                "gone": field("unmapped"),
            },
        }
    )
    assert sorted(schema.fields) == sorted(
        ["name", "name.keyword", "name.words", "process", "process.pid", "sections", "place", "mixed"]
    )
    assert found(schema, "name") == Field("name", DataType.TEXT, exact="name.keyword")
    assert found(schema, "name.keyword") == Field("name.keyword", DataType.KEYWORD, path="name")
    assert found(schema, "process.pid") == Field("process.pid", DataType.LONG)
    assert found(schema, "place").original_type == "geo_point"
    assert found(schema, "mixed").original_type == "mapped as [2] incompatible types: [keyword] in [b], [long] in [a]"
    with pytest.raises(ValueError, match="not an answer of _field_caps"):
        schema_from_field_caps({"error": "x"})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("@timestamp", "date"),
        ("process.name", "keyword"),
        ("process.name.text", "text"),
        ("process.command_line", "wildcard"),
        ("process.pid", "long"),
        ("source.ip", "ip"),
        ("process.pe.imports", "flattened"),
        ("process.pe.imports.kernel32.dll", "flattened"),
        ("file.elf.sections", "nested"),
        ("client.geo.location", "unsupported"),
        ("data_stream.dataset", "constant_keyword"),
    ],
)
def test_the_shipped_table_knows_a_field(name: str, kind: str) -> None:
    assert found(shipped_schema(), name).type.value == kind


def test_the_shipped_table_tells_multi_fields_from_objects() -> None:
    schema = shipped_schema()
    assert found(schema, "process.name.text").source_path == "process.name"
    assert found(schema, "file.elf.sections.name").source_path == "file.elf.sections.name"
    assert found(schema, "message").exact is None
    assert found(schema, "client.geo.location").original_type == "geo_point"
    assert schema.find("process") is None
    assert schema.find("process.nmae") is None


def test_the_shipped_table_has_objects_of_unknown_keys() -> None:
    schema = shipped_schema()
    assert found(schema, "o365.audit.Parameters.Whatever").type is DataType.KEYWORD
    assert found(schema, "o365.audit.ModifiedProperties.Any.NewValue").type is DataType.KEYWORD
    assert found(schema, "kubernetes.audit.annotations.x/y").type is DataType.TEXT
    assert found(schema, "okta.debug_context.debug_data.dt_hash").type is DataType.KEYWORD
    assert schema.find("o365.audit.Parameters") is None
    assert "o365.audit.Parameters.Whatever" in schema.fields
    with pytest.raises(KeyError):
        schema.fields["o365.audit.Paramters.Whatever"]


@pytest.mark.skipif(not TABLE.exists(), reason="the table of field types is not beside the project")
def test_the_shipped_table_is_the_whole_table() -> None:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = {row["field"]: row["type"] for row in csv.DictReader(file)}
    schema = shipped_schema()
    written = {"match_only_text": "text", "geo_point": "unsupported"}
    assert set(rows) <= set(schema.fields)
    assert {name: found(schema, name).type.value for name in rows} == {
        name: written.get(kind, kind) for name, kind in rows.items()
    }


def test_fields_that_only_the_events_have_are_typed_by_their_values() -> None:
    schema = with_inferred(
        Schema({"known": Field("known", DataType.LONG), "flat": Field("flat", DataType.FLATTENED)}, lenient=True),
        [
            {"@timestamp": "2020-01-01", "known": "7", "a": {"b": 1, "c": True}, "a.d": [1, [2.5]], "e": None, "f": []},
            {
                "a": {"b": 2, "c": "x"},
                "g": [{"h": "1"}, {"h": 2}],
                "big": 2**63,
                "huge": 2**64,
                "flat": {"x": {"y": 1}},
            },
        ],
    )
    types = {name: found(schema, name).type.value for name in schema.fields}
    assert types == {
        "known": "long",
        "flat": "flattened",
        "@timestamp": "date",
        "a.b": "long",
        "a.c": "keyword",
        "a.d": "double",
        "g.h": "keyword",
        "big": "unsigned_long",
        "huge": "double",
    }
    assert schema.lenient


def test_a_date_is_only_what_is_called_one() -> None:
    event = {"when": "2020-01-01", "then": "2020-01-01"}
    schema = with_inferred(Schema(), [event], dates=("when",))
    assert (found(schema, "when").type, found(schema, "then").type) == (DataType.DATE, DataType.KEYWORD)


def test_events_may_be_nested_deeper_than_the_stack() -> None:
    event: dict[str, Any] = {"x": 1}
    for _ in range(3000):
        event = {"x": event}
    assert [len(name.split(".")) for name in with_inferred(Schema(), [event]).fields] == [3001]


SCALARS = (
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@given(st.lists(SCALARS, min_size=1))
def test_an_inferred_type_reads_every_value_it_came_from(values: list[Any]) -> None:
    field = found(with_inferred(Schema(), [{"field": value} for value in values]), "field")
    for value in values:
        assert canonical(value, field)[1]
