"""`Conjuncts`: predicates that are worked out once, and answer as new ones do."""

from __future__ import annotations

import pytest

from runner.engine.filter.predicates import Conjuncts, join_conjuncts
from runner.eql.program import compile_query
from runner.events.fields.schema import Schema, shipped_schema

SCHEMA = Schema(shipped_schema().fields, lenient=True)


@pytest.mark.parametrize(
    ("query", "is_kept"),
    [
        ('process where process.name : ("nc*", "sh") and process.args_count > 3', True),
        ('process where process.name == "nowhere"', False),  # might be date math, as far as that is looked at
        ('any where @timestamp > "now-5m"', False),
    ],
)
def test_predicates_are_kept_unless_they_read_the_clock(query: str, is_kept: bool) -> None:
    (stage,) = compile_query(query, SCHEMA).plan.stages
    kept = Conjuncts()
    first, again = kept.of(stage.conjuncts, 1), kept.of(stage.conjuncts, 2)
    assert (first is again) == is_kept
    expected = [part.identity for part in join_conjuncts(stage.conjuncts, 2)]
    assert [part.identity for part in again] == expected


def test_stages_are_told_apart() -> None:
    kept = Conjuncts()
    names = set()
    for number in range(50):
        (stage,) = compile_query(f"process where process.pid == {number}", SCHEMA).plan.stages
        names.add(kept.of(stage.conjuncts, 0)[-1].identity)
    assert len(names) == 50


@pytest.mark.parametrize(
    "query",
    [
        'process where process.name : ("nc*", "sh") and not (process.args_count > 3 or process.parent.name == null)',
        'process where concat(process.name, user.name) == "ab"',
        """sequence by host.id with maxspan=1m [process where process.pid == 1] by user.id [file where true] by ?no.such
        until [any where @timestamp > "now-5m"] by user.name""",
        'any where stringContains(user.name, "x") and (not ?no.such : "y" or no.such.either == 3)',
    ],
)
def test_the_fields_are_those_of_the_plan(query: str) -> None:
    plan = compile_query(query, SCHEMA, tiebreaker_field="event.sequence").plan
    kept = Conjuncts()
    assert kept.fields(plan) == plan.fields()
    for now_ns in (1, 2):
        for stage in plan.all_stages():
            kept.of(stage.conjuncts, now_ns)
        assert kept.fields(plan) == plan.fields()


def test_equal_conditions_of_several_stages_are_one_predicate() -> None:
    kept = Conjuncts()
    queries = ['any where process.name : "a*" and user.id == "1"', 'any where user.name == "x" and process.name : "a*"']
    stages = [compile_query(query, SCHEMA).plan.stages[0] for query in queries]
    first, second = ({part.identity: part for part in kept.of(stage.conjuncts, 0)} for stage in stages)
    (shared,) = first.keys() & second.keys()
    assert first[shared] is second[shared]


def test_what_reads_the_clock_is_not_shared_between_moments() -> None:
    kept = Conjuncts()
    (stage,) = compile_query('any where @timestamp > "now-5m" and user.id == "1"', SCHEMA).plan.stages
    first, second = ({part.identity: part for part in kept.of(stage.conjuncts, now_ns)} for now_ns in (1, 2))
    (shared,) = first.keys() & second.keys()
    assert first[shared] is second[shared]


def test_a_field_that_is_taken_for_different_things_has_different_predicates() -> None:
    """The category field is a keyword; any other field without a mapping keeps the types of its values."""
    kept = Conjuncts()
    plans = [
        compile_query("x where true", SCHEMA, event_category_field="my.kind").plan,
        compile_query('any where my.kind == "x"', SCHEMA).plan,
    ]
    first, second = (kept.of(plan.stages[0].conjuncts, 0)[0] for plan in plans)
    assert first.identity != second.identity
    assert [kept.fields(plan) == plan.fields() for plan in plans] == [True, True]
