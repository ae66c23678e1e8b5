"""Expressions that select rules: which rules each means, and what is said of those that cannot be read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.selection import RuleFacts, RuleSelection, SelectionError, criterion_of, joined, read_selection
from tests.paths import SPECS
from tests.search.lab import rule

_FILE = tomllib.loads((SPECS / "selection/expressions.toml").read_text())
RULES = [rule(**{**fields, "path": Path(fields["path"])}) for fields in _FILE["rules"]]
CASES = _FILE["case"]


def selected(selection: RuleSelection) -> list[str]:
    return [one.rule_id for one in RULES if selection.selects(RuleFacts(one))]


@pytest.mark.parametrize("case", [case for case in CASES if "ids" in case], ids=lambda case: case["select"] or "none")
def test_selects(case: Mapping[str, Any]) -> None:
    selection = read_selection(case["select"])
    assert selected(selection) == case["ids"]
    assert read_selection(str(selection)) == selection


@pytest.mark.parametrize("case", [case for case in CASES if "error" in case], ids=lambda case: case["select"])
def test_errors(case: Mapping[str, Any]) -> None:
    with pytest.raises(SelectionError) as raised:
        read_selection(case["select"])
    assert f"{raised.value.offset}: {raised.value}".startswith(case["error"])


TERMS = st.tuples(
    st.sampled_from(["", "+", "-"]),
    st.sampled_from(["id", "name", "tag", "os", "tactic", "data_source", "path"]),
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters='"'), min_size=1).filter(str.strip), min_size=1),
)


@given(st.lists(TERMS))
def test_a_selection_is_read_as_it_is_written(terms: list[tuple[str, str, list[str]]]) -> None:
    made = [(sign, criterion_of(key, values)) for sign, key, values in terms]
    needed = tuple(criterion for sign, criterion in made if not sign)
    selection = RuleSelection(needed, tuple((sign == "+", criterion) for sign, criterion in made if sign))
    assert read_selection(str(selection)) == selection


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_place_in_it(text: str) -> None:
    try:
        read_selection(text)
    except SelectionError as error:
        assert 0 <= error.offset <= len(text)


PARTS = st.lists(
    st.sampled_from(["os:linux", "severity:low", "-tactic:Discovery", "+id:web-2", "+maturity:deprecated"])
)


@given(PARTS, PARTS)
def test_several_expressions_are_one(first: list[str], second: list[str]) -> None:
    parts = [read_selection(" ".join(part)) for part in (first, second)]
    assert joined(parts) == read_selection(" ".join((*first, *second)))
