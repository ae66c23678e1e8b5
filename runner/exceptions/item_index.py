"""`ItemIndex`: which exceptions are for which rule, without a look at each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from runner.exceptions.item import ExceptionItem
from runner.exceptions.kibana_form import ListKey
from runner.rules.rule import Rule

_Places: TypeAlias = list[int]


class ItemIndex:
    """Exceptions by what they name: ids and names of rules, tags, and lists that rules refer to."""

    def __init__(self, items: Sequence[ExceptionItem]) -> None:
        self._items = items
        self._for_all: _Places = []
        self._by_rule: dict[str, _Places] = {}
        self._by_tag: dict[str, _Places] = {}
        self._by_list: dict[ListKey, _Places] = {}
        for place, item in enumerate(items):
            if item.all_rules:
                self._for_all.append(place)
            for rule in item.rules:
                self._by_rule.setdefault(rule, []).append(place)
            for tag in item.tags:
                self._by_tag.setdefault(tag, []).append(place)
            for key in item.lists:
                self._by_list.setdefault(key, []).append(place)

    def for_rule(self, rule: Rule, lists: Iterable[ListKey]) -> tuple[ExceptionItem, ...]:
        """The items that apply to a rule that refers to these lists beside its own, in their order."""
        found = set(self._for_all)
        for text in (rule.rule_id, rule.name):
            found.update(self._by_rule.get(text, ()))
        for tag in rule.tags:
            found.update(self._by_tag.get(tag, ()))
        for key in (*lists, *((one.list_id, one.namespace_type) for one in rule.exceptions_list)):
            found.update(self._by_list.get(key, ()))
        return tuple(self._items[place] for place in sorted(found))
