"""Conditions against their truth tables: from documents, from lines of JSON, and by the plain evaluator."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import Any

import pytest

from runner import eql
from runner.engine.matcher import Scope
from runner.eql.syntax.errors import DataError
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import Schema, schema_from_mapping, shipped_schema
from tests.paths import SPECS
from tests.reference import answer_of
from tests.reference.engine import Options

SPEC = tomllib.loads((SPECS / "engine" / "predicates.toml").read_text())
NOW = 1_790_000_000 * 10**9


@dataclass(frozen=True)
class Case:
    """One condition, and the ids of the events that meet it."""

    mapping: dict[str, Any]
    events: dict[str, dict[str, Any]]
    condition: str
    ids: list[str]

    def schema(self) -> Schema:
        return schema_from_mapping(self.mapping)


def build_mapping(fields: dict[str, Any]) -> dict[str, Any]:
    given = {name: {"type": written} if isinstance(written, str) else written for name, written in fields.items()}
    return {"properties": {"@timestamp": {"type": "date"}, **given}}


def read_cases() -> list[Case]:
    cases: list[Case] = []
    for group in SPEC["group"]:
        events = {name: json.loads(text) for name, text in group["events"].items()}
        mapping = build_mapping(group["fields"])
        cases.extend(Case(mapping, events, text, ids.split()) for text, ids in group["matches"].items())
    return cases


CASES = read_cases()
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.condition)


@every_case
def test_documents(case: Case) -> None:
    hits = [{"_index": "i", "_id": name, "_source": source} for name, source in case.events.items()]
    found = eql.search(f"any where {case.condition}", hits, mapping=case.mapping, size=100)["hits"]["events"]
    assert [hit["_id"] for hit in found] == case.ids


@every_case
def test_lines(case: Case) -> None:
    assert numbers_in_lines(f"any where {case.condition}", case.schema(), list(case.events.values())) == [
        list(case.events).index(name) for name in case.ids
    ]


@every_case
def test_plain_evaluator(case: Case) -> None:
    answer = answer_of(
        f"any where {case.condition}", list(case.events.values()), case.schema(), Options(size=100, now=NOW)
    )
    names = list(case.events)
    assert [names[number] for _, numbers in answer for number in numbers if number is not None] == case.ids


def numbers_in_lines(query: str, schema: Schema, sources: list[dict[str, Any]], *, batch: int = 2) -> list[int]:
    """The numbers of the events that match, read from lines of JSON, `batch` at a time."""
    matcher = eql.Matcher([eql.Ask(eql.compile(query, schema).plan, now_ns=NOW)])
    columns = Columns(matcher.fields())
    lines = [json.dumps(source).encode() for source in sources]
    for base in range(0, len(lines), batch):
        rows, positions, origins = columns.decoder.read_lines(lines[base : base + batch], unbroken)
        matcher.feed(EventBatch(columns, rows, base=base, origins=origins, positions=positions))
    (found,) = matcher.found()
    assert found.error is None
    return [number for match in found.matches for number in match.events if number is not None]


def unbroken(position: int, reason: str) -> None:
    raise AssertionError(f"line {position}: {reason}")


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ('string(v > "1.9.0") == "true"', [0]),
        ('string(v != "1.9.0") == "true"', [0]),
        ('string(a == "10.0.0.0/8") == "true"', [0]),
        ('string(a < "10.0.0.1") == "true"', [1]),
        ('string(d >= "2026-01-01") == "true"', [0]),
        ('string(s > "1767225600") == "true"', [1]),
        ('string(h > 100000) == "true"', []),
        ("h < 100000", [0]),
        ("h > -1e300", [0]),
        ("h == 1e300", []),
    ],
)
def test_values_inside_of_expressions_compare_by_what_they_mean(condition: str, numbers: list[int]) -> None:
    fields = {
        "v": "version",
        "a": "ip",
        "d": "date",
        "s": {"type": "date", "format": "epoch_second"},
        "h": "half_float",
    }
    sources: list[dict[str, Any]] = [
        {"v": "1.10.0", "a": "10.0.0.1", "d": "2026-03-01", "s": 1767225600, "h": 2},
        {"v": "1.9.0", "a": "::1", "d": "2025-03-01", "s": 1767225601},
        {},
    ]
    schema = schema_from_mapping(build_mapping(fields))
    assert numbers_in_lines(f"any where {condition}", schema, sources) == numbers


# Without a mapping.


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ('cloud.odd == "y"', [0, 2, 3]),
        ("cloud.odd == 1", [1, 3]),
        ("cloud.odd == 1.0", [1, 3]),
        ("cloud.odd > 0", [1, 3]),
        ('cloud.odd > "x"', [0, 2, 3]),
        ("cloud.odd == true", [4]),
        ('cloud.odd == "true"', [4]),
        ("cloud.odd", [4]),
        ("cloud.odd == null", [5, 6]),
        ('cloud.odd : "Y*"', [0, 2, 3]),
        ('cloud.odd : "1"', [1, 3]),
        ('cloud.odd in ("y", "z")', [0, 2, 3]),
        ("cloud.odd in (1, 2)", [1, 3]),
        ("cloud.odd != 1", [0, 2, 4, 5, 6]),
        ("length(cloud.odd) == 1", [0, 2, 3]),
        ("cloud.odd + 1 == 2", [1, 3]),
    ],
)
def test_a_field_that_only_rules_name(condition: str, numbers: list[int]) -> None:
    sources: list[dict[str, Any]] = [
        {"cloud": {"odd": "y"}},
        {"cloud": {"odd": 1}},
        {"cloud.odd": "y"},
        {"cloud": {"odd": ["y", 1]}},
        {"cloud": {"odd": True}},
        {"cloud": {"odd": {"object": 1}}},
        {},
    ]
    schema = Schema(shipped_schema().fields, lenient=True)
    assert numbers_in_lines(f"any where {condition}", schema, sources) == numbers


def test_a_name_below_a_field_leaves_the_field_alone() -> None:
    schema = Schema(shipped_schema().fields, lenient=True)
    sources: list[dict[str, Any]] = [
        {"process": {"name": "a"}},
        {"process.name": "a"},
        {"process": {"name": {"odd": "b"}}},
    ]
    query = 'any where process.name == "a" or process.name.odd == "b"'
    assert numbers_in_lines(query, schema, sources) == [0, 1, 2]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\tb", "a b", "é", "_source", "_source.x", "f0", "d0", "p.f0"])
def test_fields_of_any_name(name: str) -> None:
    schema = schema_from_mapping(build_mapping({name: "long"}))
    sources: list[dict[str, Any]] = [{name: 1}, {name: 2}, {"other": 1}, {"_source": {name: 1}}]
    if name.startswith("_source"):
        sources.pop()  # a line with such a field in it is no hit
    expected = [number for number in range(len(sources)) if number in (0, 3)]
    assert numbers_in_lines(f"any where `{name}` == 1", schema, sources) == expected


# Several questions at once.


def test_each_ask_has_its_own_now() -> None:
    schema = schema_from_mapping(build_mapping({"seen": "date"}))
    program = eql.compile('any where seen >= "now-1h"', schema)
    hour = 3600 * 10**9
    asks = [eql.Ask(program.plan, now_ns=NOW), eql.Ask(program.plan, now_ns=NOW + 2 * hour)]
    matcher = eql.Matcher(asks)
    columns = Columns(matcher.fields())
    rows = [columns.decoder.row({"seen": NOW // 10**6 + minutes * 60_000}) for minutes in (-90, -30, 30, 90)]
    matcher.feed(EventBatch(columns, rows, base=0))
    found = [[match.events[0] for match in answer.matches] for answer in matcher.found()]
    assert found == [[1, 2, 3], [3]]


def test_one_failing_script_spares_the_other_asks() -> None:
    schema = schema_from_mapping(build_mapping({"s": "keyword", "n": "long"}))
    queries = ["any where number(s) == 1", 'any where s == "x"', "any where n / n == 1", "any where s + 1 == 2 or true"]
    plans = [eql.compile(query, schema).plan for query in queries[:3]]
    matcher = eql.Matcher([eql.Ask(plan) for plan in plans])
    columns = Columns(matcher.fields())
    matcher.feed(EventBatch(columns, [columns.decoder.row({"s": "x", "n": 0})], base=0))
    errors = [answer.error for answer in matcher.found()]
    assert errors == ["Unable to convert [x] to number of base [10]", None, "/ by zero"]


def test_scopes_are_kept_apart() -> None:
    schema = schema_from_mapping(build_mapping({"ingested": "date"}))
    plan = eql.compile("any where true", schema).plan
    second = 10**9
    scopes = [
        Scope(indices=("logs-a*",)),
        Scope(indices=("*", "-logs-a*")),
        Scope(times=("@timestamp",), span=(2 * second, 3 * second)),
        Scope(times=("ingested", "@timestamp"), span=(9 * second, 9 * second)),
    ]
    matcher = eql.Matcher([eql.Ask(plan, scope) for scope in scopes])
    columns = Columns([*matcher.fields(), schema.fields["ingested"]])
    lines = [
        json.dumps({"_index": index, "_id": "x", "_source": source}).encode()
        for index, source in [
            ("logs-a1", {"@timestamp": "1970-01-01T00:00:02Z"}),
            ("logs-b1", {"@timestamp": "1970-01-01T00:00:03.001Z", "ingested": "1970-01-01T00:00:09Z"}),
            (".ds-logs-a2-2026.03.01-000001", {"@timestamp": "1970-01-01T00:00:09Z"}),
        ]
    ] + [b'{"@timestamp": "1970-01-01T00:00:03Z"}']
    rows, positions, origins = columns.decoder.read_lines(lines, unbroken)
    matcher.feed(EventBatch(columns, rows, base=0, origins=origins, positions=positions))
    found = [[match.events[0] for match in answer.matches] for answer in matcher.found()]
    assert found == [[0, 3, 2], [3, 1], [0, 3], [1, 2]]


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("number(s) == 1", "Unable to convert [x] to number of base [10]"),
        ("number(s, 8) > 1", "Unable to convert [x] to number of base [8]"),
        ("n / 0 == 1", "/ by zero"),
        ("n % n == 1", "/ by zero"),
        ("n * 9223372036854775807 > 1 or n - 9223372036854775807 - 2 < 0", "long overflow"),
        ('between(s, "x", "x", true) == "a"', "begin 1, end 0, length 1"),
    ],
)
def test_scripts_that_fail(condition: str, reason: str) -> None:
    mapping = build_mapping({"s": "keyword", "n": "long"})
    with pytest.raises(DataError, match="line 1:1: ") as raised:
        eql.search(f"any where {condition}", [{"s": "x", "n": 0}], mapping=mapping)
    assert reason in str(raised.value)
    assert raised.value.kind == "search_phase_execution_exception"
