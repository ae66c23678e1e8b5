"""A filter finds the same events whatever it remembers, and remembers a bounded number of things."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from runner import eql
from runner.engine.filter.predicates import join_conjuncts
from runner.engine.filter.stage_filter import StageFilter, StageFilterPool, StageSearch
from runner.engine.scope import Scope
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import DataType, Field, Schema

FIELDS = {
    **{name: Field(name, DataType.KEYWORD) for name in ("event.category", "name", "user", "args", "host")},
    "count": Field("count", DataType.LONG),
    "@timestamp": Field("@timestamp", DataType.DATE),
}
SCHEMA = Schema(FIELDS)
MOMENT = 1_700_000_000_000
CONDITIONS = [
    'name == "sh" and args : "*-c*"',
    'name in ("sh", "bash") and not (user == "root" and args : "*-x*")',
    '(name == "sh" and count > 2) or (name == "ls" and args : ("-l", "-a"))',
    'user != "root" and args : "*tmp*" and count >= 1',
    "length(args) > 4 and count == 3",
    'name == "none such" and args == "x"',
    'args == null or user : "r*"',
    "true",
]


def sources(rng: Random, count: int, names: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        args = [rng.choice(("-c", "-x", "-l", "/tmp/a", f"v{number}")) for _ in range(rng.randint(0, 3))]
        source: dict[str, Any] = {
            "name": rng.choice(("sh", "bash", "ls", *(f"n{rng.randrange(names)}" for _ in range(4)))),
            "user": rng.choice(("root", "ann", None)),
            "args": args,
            "count": rng.randint(0, 4),
        }
        if rng.random() < 0.1:
            source = {"_index": rng.choice(("logs-a", "logs-b")), "_source": source}
        yield source


def wanted() -> list[StageSearch]:
    found = []
    for number, condition in enumerate(CONDITIONS):
        (stage,) = eql.compile(f"any where {condition}", SCHEMA).plan.stages
        scope = Scope(("logs-a",)) if number % 3 == 0 else Scope()
        found.append(StageSearch(join_conjuncts(stage.conjuncts, 0), scope, frozenset(["user"])))
    return found


def found_by(stage_filter: StageFilter, given: list[dict[str, Any]], size: int) -> dict[int, list[int]]:
    columns = Columns(FIELDS.values())
    met: dict[int, list[int]] = {}
    for base in range(0, len(given), size):
        lines = [json.dumps(source).encode() for source in given[base : base + size]]
        batch = EventBatch.of_lines(columns, lines, base=base, broken=_unbroken)
        for number, rows in stage_filter.filter(batch):
            assert not isinstance(rows, ValueError)
            assert (rows[1:] > rows[:-1]).all()
            users = [given[base + row].get("_source", given[base + row])["user"] for row in rows.tolist()]
            assert list(batch.values("user", rows)) == users
            met.setdefault(number, []).extend((rows + base).tolist())
    return met


def _unbroken(position: int, reason: str) -> None:
    raise AssertionError(f"line {position}: {reason}")


@pytest.mark.parametrize("names", [3, 10_000])
@pytest.mark.parametrize(("kinds", "values"), [(1, 1), (20, 10), (10**6, 10**6)])
def test_forgetting_changes_no_answer(names: int, kinds: int, values: int) -> None:
    given = list(sources(Random(names), 700, names))
    expected = {
        number: found
        for number, one in enumerate(wanted())
        if (found := found_by(StageFilter([one]), given, len(given)).get(0)) is not None
    }
    assert set(expected) == set(range(len(CONDITIONS))) - {5}
    assert found_by(StageFilter(wanted(), most_groups=kinds, most_values=values), given, 40) == expected
    assert found_by(StageFilter(wanted(), most_bitmaps=kinds // 2), given, 40) == expected


def test_group_fields_are_a_fixed_list_as_far_as_the_rules_read_them() -> None:
    fields = {name: Field(name, DataType.KEYWORD) for name in ("process.name", "event.action", "host.os.type", "user")}
    schema = Schema({**fields, "@timestamp": FIELDS["@timestamp"]})

    def chosen(*conditions: str) -> list[str]:
        wanted = [
            StageSearch(join_conjuncts(eql.compile(f"any where {one}", schema).plan.stages[0].conjuncts, 0), Scope())
            for one in conditions
        ]
        return list(StageFilter(wanted).prepare(Columns(schema.fields.values())).groups.fields)

    assert chosen('user == "a"') == ["user"]
    assert chosen('user : "a*" and host.os.type == "linux"') == ["host.os.type"]
    assert chosen('user == "a" and host.os.type == "linux"') == ["host.os.type", "user"]
    every = 'process.name == "sh" and event.action == "exec" and host.os.type == "linux" and user == "a"'
    assert chosen(every) == ["process.name", "event.action"]
    assert chosen(*[every] * 5) == ["process.name", "event.action", "host.os.type"]


def test_a_group_field_with_too_many_values_is_dropped() -> None:
    given = [{"name": f"n{number}", "user": "ann", "args": "-c", "count": 1} for number in range(400)]
    stage_filter, columns = StageFilter(wanted(), most_field_values=20), Columns(FIELDS.values())
    assert "name" in stage_filter.prepare(columns).groups.fields
    for base in range(0, len(given), 40):
        lines = [json.dumps(source).encode() for source in given[base : base + 40]]
        dict(stage_filter.filter(EventBatch.of_lines(columns, lines, base=base, broken=_unbroken)))
    groups = columns.scan().groups
    assert groups is not None
    assert groups.fields
    assert "name" not in groups.fields


def test_a_filter_that_serves_again_finds_what_a_new_one_finds() -> None:
    filters, asked = StageFilterPool(), wanted()
    columns = Columns(FIELDS.values())
    served = set()
    for turn in range(6):
        given = [
            {**source.get("_source", source), "@timestamp": MOMENT + number}
            for number, source in enumerate(sources(Random(turn), 200, 5))
        ]
        span = ((MOMENT + 20 * turn) * 1_000_000, (MOMENT + 150 + 5 * turn) * 1_000_000)
        timed = [replace(one, scope=replace(one.scope, times=("@timestamp",), span=span)) for one in asked]
        stage_filter = filters.take(timed)
        served.add(id(stage_filter))
        found = {}
        lines = [json.dumps(source).encode() for source in given]
        for kept, of in ((stage_filter, columns), (StageFilter(timed), Columns(FIELDS.values()))):
            batch = EventBatch.of_lines(of, lines, base=0, broken=_unbroken)
            found[id(kept)] = {
                number: list(rows) for number, rows in kept.filter(batch) if not isinstance(rows, ValueError)
            }
        first, second = found.values()
        assert first == second
        assert len(first) > 3
        assert stage_filter.columns is columns
        assert all(20 * turn <= row <= 150 + 5 * turn for rows in first.values() for row in rows)
        filters.give_back(stage_filter)
    assert len(served) == 1


def test_a_filter_serves_only_the_same_stages_and_one_pass_at_a_time() -> None:
    filters, asked = StageFilterPool(), wanted()
    stage_filter = filters.take(asked)
    assert filters.take(asked) is not stage_filter
    filters.give_back(stage_filter)
    assert filters.take(asked[1:]) is not stage_filter
    assert filters.take([replace(one, scope=Scope(("logs-b",))) for one in asked]) is not stage_filter
    assert filters.take([replace(one, carried=frozenset(["name"])) for one in asked]) is not stage_filter
    assert filters.take(wanted()) is not stage_filter
    assert filters.take(asked) is stage_filter


def test_few_filters_are_kept_and_none_that_remembers_much() -> None:
    filters, asked = StageFilterPool(), [wanted() for _ in range(6)]
    taken = [filters.take(one) for one in asked]
    for stage_filter in taken:
        filters.give_back(stage_filter)
    assert [filters.take(one) is stage_filter for one, stage_filter in zip(asked, taken, strict=True)] == [
        False
    ] * 2 + [True] * 4
    stage_filter = taken[-1]
    columns = Columns(FIELDS.values())
    lines = [
        json.dumps({"name": f"n{number}", "args": f"-c {number}", "user": "root"}).encode() for number in range(60_000)
    ]
    batch = EventBatch.of_lines(columns, lines, base=0, broken=_unbroken)
    assert dict(stage_filter.filter(batch))
    assert stage_filter.remembered() > 100_000
    filters.give_back(stage_filter)
    assert filters.take(asked[-1]) is not stage_filter
