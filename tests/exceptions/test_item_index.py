"""Which exceptions are for which rule: as one finds them by looking at each of them, in their order."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.exceptions.item import ExceptionItem
from runner.exceptions.item_index import ItemIndex
from runner.rules.rule import Rule
from tests.search.lab import rule

WORDS = st.lists(st.sampled_from("abcd"), max_size=2, unique=True).map(tuple)
LISTS = st.lists(st.tuples(st.sampled_from("lm"), st.sampled_from(["single", "agnostic"])), max_size=2).map(tuple)
ITEMS = st.lists(
    st.builds(ExceptionItem, st.uuids().map(str), st.just("n"), rules=WORDS, tags=WORDS, lists=LISTS,
              all_rules=st.integers(0, 9).map(lambda one: one == 0)),
    max_size=12,
)  # fmt: skip
RULES = st.builds(
    lambda rule_id, name, tags, lists: rule(
        rule_id=rule_id,
        name=name,
        tags=tags,
        exceptions_list=[{"list_id": list_id, "namespace_type": space} for list_id, space in lists],
    ),
    st.sampled_from("abx"), st.sampled_from("bcx"), WORDS, LISTS,
)  # fmt: skip


def is_for(item: ExceptionItem, of: Rule, lists: Sequence[tuple[str, str]]) -> bool:
    """The plain rule: id, name, a tag or a list fits, or it is for all."""
    referred = {*lists, *((one.list_id, one.namespace_type) for one in of.exceptions_list)}
    named = item.all_rules or of.rule_id in item.rules or of.name in item.rules
    return named or not set(item.tags).isdisjoint(of.tags) or not referred.isdisjoint(item.lists)


@settings(max_examples=50)
@given(ITEMS, RULES, LISTS)
def test_an_item_is_found_if_and_only_if_it_is_for_the_rule(
    items: list[ExceptionItem], of: Rule, lists: Sequence[tuple[str, str]]
) -> None:
    found = ItemIndex(items).for_rule(of, lists)
    assert found == tuple(item for item in items if is_for(item, of, lists))
