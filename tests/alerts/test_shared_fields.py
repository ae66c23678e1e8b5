"""What the events of a sequence share: cases, and what holds for all documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.alerts.shared_fields import intersection
from tests.alerts.cases import read_spec

SPEC = read_spec("intersection.json")


@pytest.mark.parametrize("case", SPEC, ids=[case["name"] for case in SPEC])
def test_cases(case: dict[str, Any]) -> None:
    assert intersection(case["documents"]) == case["common"]


def test_true_is_not_one() -> None:
    assert intersection([{"a": True, "b": [True], "c": 1}, {"a": 1, "b": [1], "c": 1.0}]) == {"b": [], "c": 1}


LEAF = (
    st.booleans()
    | st.integers(0, 3)
    | st.sampled_from(["x", "y"])
    | st.lists(st.integers(0, 3) | st.just("x"), max_size=3)
)
DOCUMENT = st.recursive(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), LEAF, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c"]), LEAF | inner, max_size=3),
    max_leaves=6,
)


def as_sets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_sets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return {(isinstance(member, bool), member) for member in value}
    return isinstance(value, bool), value


def expanded(value: Any) -> Any:
    """All dotted keys as objects."""
    if not isinstance(value, dict):
        return value
    nested: dict[str, Any] = {}
    for key, inner in value.items():
        place = nested
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = expanded(inner)
    return nested


def dotted(document: dict[str, Any]) -> dict[str, Any]:
    """The document with all keys of the first two levels in dotted spelling."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict) and value:
            flat.update((f"{key}.{below}", inner) for below, inner in value.items())
        else:
            flat[key] = value
    return flat


@given(DOCUMENT, DOCUMENT)
def test_it_commutes_but_for_the_order_of_arrays(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert as_sets(intersection([one, other])) == as_sets(intersection([other, one]))


@given(DOCUMENT, DOCUMENT)
def test_the_common_part_has_itself_in_common(one: dict[str, Any], other: dict[str, Any]) -> None:
    common = intersection([one, other])
    assert intersection([common, common]) == common
    assert as_sets(intersection([common, one])) == as_sets(common)


@given(DOCUMENT, DOCUMENT)
def test_spelling_does_not_decide_what_is_common(one: dict[str, Any], other: dict[str, Any]) -> None:
    plain = intersection([one, other])
    assert expanded(intersection([dotted(one), other])) == plain
    assert expanded(intersection([dotted(one), dotted(other)])) == plain


@given(DOCUMENT, DOCUMENT, DOCUMENT)
def test_three_are_folded_from_the_left(one: dict[str, Any], other: dict[str, Any], third: dict[str, Any]) -> None:
    assert intersection([one, other, third]) == intersection([intersection([one, other]), third])
