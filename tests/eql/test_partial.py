"""Partial evaluation: what some fields tell of a condition, against the condition itself."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import eql
from runner.eql.evaluate import meeting
from runner.eql.partial import bound, parts_within, reads_only, settled
from runner.eql.predicates import Mask, Predicate, fields_of, join_conjuncts, lookups_in
from runner.eql.signatures import FieldSignatures, Signatures, all_of
from runner.events.batch import Columns, EventBatch, Rows
from runner.events.decode import Canonical
from runner.events.schema import DataType, Field, Schema

NAMES = ("a", "b", "c")
FIELDS = {name: Field(name, DataType.KEYWORD) for name in NAMES}
SCHEMA = Schema({**FIELDS, "@timestamp": Field("@timestamp", DataType.DATE)})
VALUES = [None, "x", "y", ("x", "y")]
SOURCES = [{"a": a, "b": b, "c": c} for a in VALUES for b in VALUES for c in VALUES]


@st.composite
def conditions(draw: st.DrawFn, depth: int = 3) -> str:
    kind = draw(st.integers(0, 9 if depth else 4))
    if kind < 5:
        name, text = draw(st.sampled_from(NAMES)), draw(st.sampled_from(["x", "y", "z"]))
        other = draw(st.sampled_from([other for other in NAMES if other != name]))
        return draw(
            st.sampled_from(
                [f'{name} == "{text}"', f"{name} == null", f'{name} : ("{text}*", "q")', f'{name} != "{text}"']
                + [f'concat({name}, {other}) == "xy"'] * (kind == 4)
            )
        )
    left, right = draw(conditions(depth - 1)), draw(conditions(depth - 1))
    return f"not ({left})" if kind == 9 else f"({left} {draw(st.sampled_from(['and', 'or']))} {right})"


def predicates_of(condition: str) -> tuple[Predicate, ...]:
    (stage,) = eql.compile(f"any where {condition}", SCHEMA).plan.stages
    return join_conjuncts(stage.conjuncts, 0)


def events() -> EventBatch:
    columns = Columns(FIELDS.values())
    return EventBatch(columns, [columns.decoder.row(source) for source in SOURCES], base=0)


def holds(batch: EventBatch, predicate: Predicate, rows: Rows) -> Mask:
    return meeting(batch, predicate, rows, FieldSignatures([predicate], lambda name: False))


TELLING = st.sampled_from([chosen for size in range(4) for chosen in combinations(NAMES, size)])


@settings(max_examples=150, deadline=None)
@given(conditions(), TELLING)
def test_a_bound_holds_wherever_the_condition_does(condition: str, telling: tuple[str, ...]) -> None:
    batch = events()
    rows = batch.all_rows()
    for predicate in predicates_of(condition):
        truth = holds(batch, predicate, rows)
        for upper in (True, False):
            found = bound(predicate, telling, upper=upper)
            if isinstance(found, bool):
                limit = np.full(len(rows), found)
            else:
                assert set(fields_of(found)) <= set(telling)
                limit = holds(batch, found, rows)
            assert (limit >= truth).all() if upper else (limit <= truth).all()
        if reads_only(predicate, telling):
            assert bound(predicate, telling) is predicate


@settings(max_examples=150, deadline=None)
@given(conditions(), TELLING, st.integers(0, len(SOURCES) - 1))
def test_what_is_left_says_what_the_whole_says(condition: str, telling: tuple[str, ...], row: int) -> None:
    batch = events()
    rows = np.array([row])
    for predicate in predicates_of(condition):
        parts = list(parts_within(predicate, telling))
        left = settled(predicate, {id(part): bool(holds(batch, part, rows)[0]) for part in parts})
        truth = bool(holds(batch, predicate, rows)[0])
        if isinstance(left, bool):
            assert left is truth
        else:
            assert bool(holds(batch, left, rows)[0]) is truth
            assert predicate.scripted or not set(fields_of(left)) <= set(telling)


@settings(max_examples=150, deadline=None)
@given(st.lists(conditions(), min_size=1, max_size=5))
def test_signatures_tell_all_that_matters(given_conditions: list[str]) -> None:
    predicates = [part for condition in given_conditions for part in predicates_of(condition) if not part.scripted]
    batch = events()
    rows = batch.all_rows()
    places: dict[int, int] = {}
    bits = [0] * len(rows)
    for name in NAMES:
        asked = {id(one): one for part in predicates for one in lookups_in(part) if one.field == name}
        signatures = Signatures(list(asked.values()), untyped=False, first=len(places))
        places |= signatures.places
        numbers = [signatures.settled(value, -1) for value in batch.values(name, rows)]
        bits = [one | signatures.bits[number] for one, number in zip(bits, numbers, strict=True)]
    expected = np.ones(len(rows), dtype=np.bool_)
    for predicate in predicates:
        expected &= holds(batch, predicate, rows)
    test = all_of(predicates, places)
    assert [test(one) for one in bits] == expected.tolist()


def test_signatures_of_values_without_a_type() -> None:
    schema = Schema({"f": Field("f", DataType.NULL), "@timestamp": Field("@timestamp", DataType.DATE)})
    (stage,) = eql.compile("any where f == true", schema).plan.stages
    (lookup,) = lookups_in(join_conjuncts(stage.conjuncts, 0)[0])
    values: list[Canonical] = [1, 1.0, True, "1", (1, "true"), (True, "x"), "true", None, ()]
    signatures = Signatures([lookup], untyped=True)
    told = [signatures.bits[signatures.settled(value, -1)] for value in values]
    assert [bool(bits) for bits in told] == [lookup.test(value) for value in values]
    assert [signatures.bits[number] for number in signatures.of([True, 1])] == [1, 0]
