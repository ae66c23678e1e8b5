"""The sieve finds the same events whatever it remembers, and remembers a bounded number of things."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from runner import eql
from runner.eql.evaluate import Evaluator
from runner.eql.guard import Guard
from runner.eql.predicates import join_conjuncts
from runner.eql.scope import Scope
from runner.eql.sieve import Sieve, Wanted
from runner.events.batch import Columns, EventBatch
from runner.events.schema import DataType, Field, Schema

FIELDS = {
    **{name: Field(name, DataType.KEYWORD) for name in ("event.category", "name", "user", "args", "host")},
    "count": Field("count", DataType.LONG),
    "@timestamp": Field("@timestamp", DataType.DATE),
}
SCHEMA = Schema(FIELDS)
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


def wanted() -> list[Wanted]:
    found = []
    for number, condition in enumerate(CONDITIONS):
        (stage,) = eql.compile(f"any where {condition}", SCHEMA).plan.stages
        scope = Scope(("logs-a",)) if number % 3 == 0 else Scope()
        found.append(Wanted(join_conjuncts(stage.conjuncts, 0), scope, frozenset(["user"])))
    return found


def found_by(sieve: Sieve, given: list[dict[str, Any]], size: int) -> dict[int, list[int]]:
    columns = Columns(FIELDS.values(), dictionary_limit=50)
    met: dict[int, list[int]] = {}
    for base in range(0, len(given), size):
        lines = [json.dumps(source).encode() for source in given[base : base + size]]
        batch = EventBatch.of_lines(columns, lines, base=base, broken=_unbroken)
        for number, rows in sieve.sift(batch):
            assert not isinstance(rows, ValueError)
            assert (rows[1:] > rows[:-1]).all()
            users = [given[base + row].get("_source", given[base + row])["user"] for row in rows.tolist()]
            assert list(batch.values("user", rows)) == users
            met.setdefault(number, []).extend((rows + base).tolist())
        columns.trim(len(batch))
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
        if (found := found_by(Sieve([one]), given, len(given)).get(0)) is not None
    }
    assert set(expected) == set(range(len(CONDITIONS))) - {5}
    assert found_by(Sieve(wanted(), most_kinds=kinds, most_values=values), given, 40) == expected


def test_fields_that_are_all_different_tell_no_kinds() -> None:
    predicates = [one.predicates for one in wanted()]
    columns = Columns(FIELDS.values())
    guard = Guard(predicates, Evaluator(), ["host"])
    rows = [
        columns.decoder.row({"name": ("sh", "ls", "top")[number % 3], "args": f"a{number}", "count": number})
        for number in range(2000)
    ]
    assert guard.look(EventBatch(columns, rows, base=0))
    assert guard.fields[0] == "host"
    assert "name" in guard.fields
    assert not {"args", "count"} & set(guard.fields)
    assert not guard.look(EventBatch(columns, rows, base=2000))
    many = [columns.decoder.row({"name": f"n{number}", "args": "-c"}) for number in range(2000)]
    guard.be_stricter()
    assert guard.look(EventBatch(columns, many, base=4000))
    assert "name" not in guard.fields
