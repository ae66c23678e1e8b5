"""What is doubtful in overrides, given all rules: they cover none, never win, or change nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from runner.errors import Problem
from runner.exceptions.item import FilePlace
from runner.messages.quantities import counted
from runner.rules.rule import Rule
from runner.selection.criteria import RuleCriterion, RuleFacts
from runner.selection.override import RuleOverride, changed_value
from runner.selection.override_file import StatedReplacement
from runner.selection.override_index import OverrideIndex, winners
from runner.selection.selected_rules import SelectedRules

_WRITTEN = {"from_": "from", "alert_suppression": "suppression"}


def check_overrides(selected: SelectedRules) -> list[Problem]:
    """A warning for each override, or key of one, that does nothing, and for each replacement that replaces none."""
    facts = [RuleFacts(rule) for rule in selected.written.known]
    overrides = selected.overrides.overrides
    won: dict[tuple[int, str], list[Rule]] = defaultdict(list)
    by: dict[tuple[int, str], RuleOverride] = {}
    covered: dict[int, list[Rule]] = defaultdict(list)
    index = OverrideIndex(overrides)
    for one in facts:
        covering = index.covering(one)
        counting = winners(covering)
        for name, override in counting.items():
            won[id(override), name].append(one.rule)
        for override in covering:
            covered[id(override)].append(one.rule)
            by.update({(id(override), name): counting[name] for name in override.values})
    problems: list[Problem] = []
    for override in overrides:
        if rules := covered[id(override)]:
            problems += _without_effect(override, rules, won, by)
        problems += _selecting_nothing(override, facts, is_empty=not rules)
    return problems + [problem for one in selected.overrides.replacements for problem in _replacing(one, selected)]


def _selecting_nothing(override: RuleOverride, facts: Sequence[RuleFacts], *, is_empty: bool) -> Iterator[Problem]:
    unknown = [
        (_place_of(override, criterion), message)
        for criterion in override.selection.criteria()
        for message in criterion.unknown(facts)
    ]
    for place, message in unknown:
        yield place.problem("warning", message, "override-selects-nothing")
    if is_empty and not unknown:
        message = f"covers no rule: none has all of `{override.selection}`"
        yield override.place.problem("warning", message, "override-selects-nothing")


def _place_of(override: RuleOverride, criterion: RuleCriterion) -> FilePlace:
    keys = {"rule": ("rules", "select"), "tag": ("tags", "select")}.get(criterion.key, ("select",))
    return next((override.key_places[key] for key in keys if key in override.key_places), override.place)


def _without_effect(
    override: RuleOverride,
    rules: Sequence[Rule],
    won: Mapping[tuple[int, str], Sequence[Rule]],
    by: Mapping[tuple[int, str], RuleOverride],
) -> Iterator[Problem]:
    for name, value in override.values.items():
        key, place = _WRITTEN.get(name, name), override.key_places.get(name, override.place)
        winning = won.get((id(override), name), ())
        all_rules = "its one rule" if len(rules) == 1 else f"all its {counted(len(rules), 'rule')}"
        if not winning:
            other = by[id(override), name]
            message = f"`{key}` never counts: {other}, which stands later, sets it for {all_rules}"
            yield place.problem("warning", message, "override-without-effect")
        elif all(getattr(rule, name) == changed_value(rule, name, value) for rule in winning):
            message = f"`{key}` changes nothing: {all_rules} have it so in their files"
            yield place.problem("warning", message, "override-without-effect")


def _replacing(stated: StatedReplacement, selected: SelectedRules) -> Iterator[Problem]:
    wanted = stated.replacement
    replaced = {
        rule.rule_id for rule, by in selected.written.replaced if by.resolve().is_relative_to(wanted.place.resolve())
    }
    if not replaced:
        message = f"replaces nothing: no rule in {wanted.place} has the id of another rule; is it among --rules?"
        yield stated.place.problem("warning", message, "replaces-nothing")
        return
    for rule_id in sorted(wanted.rules - replaced):
        message = f"replaces no rule `{rule_id}`: two files with this id are needed"
        yield stated.place.problem("warning", message, "replaces-nothing")
