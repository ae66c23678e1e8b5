"""Exceptions of rules: events that no stage sees, alerts that are dropped, and what never stops a rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner import eql
from runner.eql.excepting import excepting_text
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import Schema, schema_from_mapping, shipped_schema
from runner.exceptions import ExceptionItem, load_exceptions, resolve_items
from runner.search.compiled_rule import CompiledRule, compile_rule
from tests.search.lab import process, rule

FILES = Schema(shipped_schema().fields, lenient=True)


def items(folder: Path, *conditions: str, more: str = "") -> tuple[ExceptionItem, ...]:
    """Exceptions of which each has one line of `when`, or a `where`."""
    head = '[[exception]]\nname = "{}"\nreason = "r"\nexpires = "never"\nall_rules = true\n' + more
    texts = [head.format(number) + "\n" + condition for number, condition in enumerate(conditions)]
    (folder / "a.toml").write_text("\n".join(texts))
    loaded = load_exceptions([folder])
    assert not loaded.problems
    return loaded.items


def matches(
    compiled: CompiledRule, documents: Sequence[Mapping[str, Any]], schema: Schema = FILES
) -> list[tuple[int | None, ...]]:
    program = compiled.program(schema)
    matcher = eql.Matcher([eql.Ask(program.plan)])
    columns = Columns(matcher.fields())
    matcher.feed(EventBatch(columns, [columns.decoder.row(document) for document in documents], base=0))
    (found,) = matcher.found()
    assert found.error is None
    return [tuple(match.events) for match in found.matches]


def excepted(query: str, exceptions: tuple[ExceptionItem, ...]) -> CompiledRule:
    return replace(compile_rule(rule(query)), exceptions=exceptions)


PAIR = 'sequence by host.id with maxspan=1m [process where process.name == "a"] [process where process.name == "b"]'

RUNS = '[process where process.name != "b"] with runs=2 [process where process.name == "b"]'
ABSENT = '[process where process.name == "a"] ![process where process.name == "x"]'


@pytest.mark.parametrize(
    ("query", "names", "expected"),
    [
        ("process where true", "axb", [(0,), (2,)]),
        # Another event takes the place of the one that is left out.
        (PAIR, "aab", [(1, 2)]),
        (PAIR, "axb", [(0, 2)]),
        # `with runs` counts without it.
        (f'sequence by host.id {RUNS}', "axab", [(0, 2, 3)]),
        # A terminator that is left out ends nothing, an absence that is left out is one.
        (f'{PAIR} until [process where process.name == "x"]', "axb", [(0, 2)]),
        (f"sequence by host.id with maxspan=1m {ABSENT}", "ax", [(0, None)]),
    ],
)  # fmt: skip
def test_no_stage_sees_what_is_excepted(query: str, names: str, expected: list[Any], tmp_path: Path) -> None:
    exceptions = items(tmp_path, 'when = { "process.name" = "x" }', 'when = { "process.pid" = 7 }')
    documents = [process(second, name, **{"process.pid": 1}) for second, name in enumerate(names)]
    if query == PAIR and names == "aab":
        documents[0]["process.pid"] = 7
    assert matches(excepted(query, exceptions), documents) == expected


def test_a_condition_in_eql_is_two_valued_and_a_failing_script_is_no_hit(tmp_path: Path) -> None:
    exceptions = items(
        tmp_path,
        "where = 'number(process.args) > 5 and process.name == \"a\"'",
        "where = 'length(process.name) > 3'",
        'where = \'not ?absent.field : "x" and process.name == "c"\'',
    )
    documents = [
        process(0, "a", **{"process.args": "6"}),
        process(1, "a", **{"process.args": "six"}),
        process(2, "long name"),
        process(3, "b"),
        process(4, "c"),
    ]
    # Over files a field that nothing names is one without a value, so that `not` of it holds.
    assert matches(excepted("any where true", exceptions), documents) == [(1,), (3,)]
    mapped = schema_from_mapping(
        {
            "properties": {
                "@timestamp": {"type": "date"},
                "process": {"properties": {"name": {"type": "keyword"}, "args": {"type": "keyword"}}},
            }
        }
    )
    # In a mapping it is null, and so is `not` of it: no hit.
    assert matches(excepted("any where true", exceptions), documents, mapped) == [(1,), (3,), (4,)]


def test_what_cannot_be_judged_removes_nothing_and_is_said(tmp_path: Path) -> None:
    exceptions = items(tmp_path, 'when = { "process.pid" = "x" }', 'when = { "process.name" = "a" }')
    compiled = excepted("any where true", exceptions)
    assert matches(compiled, [process(0, "a"), process(1, "b")]) == [(1,)]
    program, problems = compiled.resolved(FILES)
    assert program is not None
    assert [(one.severity, one.line, one.message) for one in problems] == [
        (
            "warning",
            7,
            'exception `0` removes nothing: cannot read ["x"] as a value of field [process.pid] of type [long]',
        )
    ]


def test_an_exception_that_hits_everything_leaves_nothing(tmp_path: Path) -> None:
    exceptions = items(tmp_path, "where = 'true'")
    assert matches(excepted("any where true", exceptions), [process(0, "a")]) == []
    assert matches(excepted(PAIR, exceptions), [process(0, "a"), process(1, "b")]) == []


def test_alerts_are_dropped_whole(tmp_path: Path) -> None:
    exceptions = items(tmp_path, 'when = { "process.name" = "b" }', more='scope = "alert"')
    compiled = excepted(PAIR, exceptions)
    documents = [process(0, "a"), process(1, "b")]
    assert matches(compiled, documents) == [(0, 1)]
    hit = compiled.excepted_alert(documents, FILES, 0)
    assert hit is not None
    assert hit.name == "0"
    assert compiled.excepted_alert(documents[:1], FILES, 0) is None


def test_rules_with_the_same_exceptions_share_one_condition(tmp_path: Path) -> None:
    exceptions = items(tmp_path, 'when = { "process.name" = "b" }')
    one, other = excepted("any where true", exceptions), excepted(PAIR, exceptions)
    assert one.excepted(FILES).condition is other.excepted(replace(FILES, absent=frozenset({"x"}))).condition


def test_a_large_list_of_values_is_one_set(tmp_path: Path) -> None:
    (tmp_path / "hosts.txt").write_text("\n".join(f"host-{number}" for number in range(65_000)))
    (tmp_path / "nets.txt").write_text("\n".join(f"10.{n >> 8}.{n & 255}.0/25" for n in range(65_000)))
    exceptions = items(
        tmp_path, 'when = { "host.name" = { in = "hosts.txt" } }', 'when = { "source.ip" = { in_net = "nets.txt" } }'
    )
    documents: list[Mapping[str, Any]] = [
        {"host.name": "host-64999"},
        {"host.name": "host-65000"},
        {"source.ip": "10.7.9.127"},
        {"source.ip": ["192.0.2.1", "10.7.9.128"]},
    ]
    resolved = resolve_items(exceptions, FILES)
    assert [resolved.item_for(document) is not None for document in documents] == [True, False, True, False]
    assert resolved.query is not None
    hosts, nets = resolved.query["bool"]["should"]
    assert len(hosts["terms"]["host.name"]) == len(nets["terms"]["source.ip"]) == 65_000


def test_the_text_for_a_server_has_the_condition_in_every_term(tmp_path: Path) -> None:
    exceptions = items(tmp_path, "where = 'process.pid == 7 or ?un.mapped == 1'", "where = 'user.name : \"x*\"'")
    mapped = schema_from_mapping(
        {
            "properties": {
                "process": {"properties": {"pid": {"type": "long"}}},
                "user": {"properties": {"name": {"type": "keyword"}}},
            }
        }
    )
    resolved = resolve_items(exceptions, mapped)
    assert resolved.query is None
    text = excepting_text(eql.parse(f"{PAIR} until [any where false]"), resolved.wheres)
    unwanted = 'not (process.pid == 7 or user.name : "x*")'
    assert text.split("\n") == [
        "sequence by host.id with maxspan=1m",
        f'  [process where process.name == "a" and {unwanted}]',
        f'  [process where process.name == "b" and {unwanted}]',
        f"until [any where false and {unwanted}]",
    ]
    eql.parse(text)
