"""`Conjuncts`: predicates that are worked out once, and answer as new ones do."""

from __future__ import annotations

import pytest

from runner.eql.predicates import Conjuncts, join_conjuncts
from runner.eql.program import compile_query
from runner.events.schema import Schema, shipped_schema

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
