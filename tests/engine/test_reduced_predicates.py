"""Partial evaluation: what some known conditions leave of a predicate, against the predicate itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import eql
from runner.engine.filter.predicates import Predicate, fields_of, interned, join_conjuncts, lookups_in, reduced, shape
from runner.engine.filter.scripts import meeting
from runner.engine.filter.truth_table import TruthTable
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import DataType, Field, Schema

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
                + [f'concat({name}, {other}) == "xy"', f"length({name}) == 1"] * (kind == 4)
            )
        )
    left, right = draw(conditions(depth - 1)), draw(conditions(depth - 1))
    return f"not ({left})" if kind == 9 else f"({left} {draw(st.sampled_from(['and', 'or']))} {right})"


def predicates_of(condition: str) -> tuple[Predicate, ...]:
    (stage,) = eql.compile(f"any where {condition}", SCHEMA).plan.stages
    return interned([join_conjuncts(stage.conjuncts, 0)])[0]


@settings(max_examples=150, deadline=None)
@given(conditions(), st.sets(st.sampled_from(NAMES)), st.integers(0, len(SOURCES) - 1))
def test_what_is_left_holds_where_the_whole_does(condition: str, names: set[str], row: int) -> None:
    columns = Columns(FIELDS.values())
    batch, rows = EventBatch(columns, [columns.decoder.row(SOURCES[row])], base=0), np.array([0])
    for predicate in predicates_of(condition):
        table = TruthTable([predicate])
        known = table.safe(names)
        bits = sum(
            1 << one.index
            for one in {one.index: one for one in lookups_in(predicate)}.values()
            if known >> one.index & 1 and table.holding(one, batch.values(one.field, rows))[0]
        )
        whole = bool(meeting(batch, predicate, rows, table)[0])
        left = reduced(predicate, known, bits)
        if isinstance(left, bool):
            assert left is whole
            continue
        assert left.scripted or not set(fields_of(left)) & names
        assert predicate.scripted or set(fields_of(predicate)) - names
        assert bool(meeting(batch, left, rows, table)[0]) is whole
        assert shape(reduced(left, known, bits)) == shape(left)  # type: ignore[arg-type]


def test_equal_conditions_are_one_object_and_the_numbers_of_a_field_follow_each_other() -> None:
    stages = [predicates_of(one) for one in ('a == "x" and b == "y"', 'b == "y" and c == "z"', 'b : "z*" or c == "z"')]
    again = interned(stages)
    found = {one.index: one for stage in again for part in stage for one in lookups_in(part)}
    assert [found[number].field for number in range(len(found))] == ["a", "b", "b", "c"]
    assert next(part for part in again[0] if part.cost == 2 and "b" in fields_of(part)) in again[1]
