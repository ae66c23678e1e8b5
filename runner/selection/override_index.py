"""`OverrideIndex`: which overrides cover which rule, without a look at each of them."""

from __future__ import annotations

from collections.abc import Sequence

from runner.selection.criteria import RuleFacts
from runner.selection.override import RuleOverride


class OverrideIndex:
    """Overrides by a property that the rules which they cover must have, as far as one can be looked up."""

    def __init__(self, overrides: Sequence[RuleOverride]) -> None:
        self._overrides = overrides
        self._others: list[int] = []
        self._by: dict[str, dict[str, list[int]]] = {}
        for place, override in enumerate(overrides):
            criterion = override.selection.key_criterion()
            if criterion is None:
                self._others.append(place)
                continue
            by_value = self._by.setdefault(criterion.key, {})
            for value in criterion.choices or ():
                by_value.setdefault(value, []).append(place)

    def covering(self, facts: RuleFacts) -> list[RuleOverride]:
        """The overrides that cover a rule, in their order."""
        places = set(self._others)
        for key, by_value in self._by.items():
            for text in facts.folded(key):
                places.update(by_value.get(text, ()))
        ordered = (self._overrides[place] for place in sorted(places))
        return [override for override in ordered if override.selection.covers(facts)]


def winners(covering: Sequence[RuleOverride]) -> dict[str, RuleOverride]:
    """The override that counts for each key of a rule: the last of those that cover it."""
    return {name: override for override in covering for name in override.values}
