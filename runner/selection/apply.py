"""Overrides applied to rules: for each rule and key the last override that covers the rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.errors import Problem
from runner.messages.quantities import counted
from runner.rules.model_errors import FieldFinding, shortened
from runner.rules.rule import Rule
from runner.rules.rule_checks import check_changed
from runner.selection.criteria import RuleFacts
from runner.selection.override import RuleChange, RuleOverride, changed_value
from runner.selection.override_index import OverrideIndex, winners


@dataclass(frozen=True, slots=True)
class OverriddenRule:
    """A rule as its file has it and as it is used, with what was changed."""

    written: Rule
    rule: Rule
    changes: tuple[RuleChange, ...] = ()
    is_named: bool = False
    """An override that names the rule or deprecated rules switches it on: it is used although it is deprecated."""


@dataclass(slots=True)
class Refusals:
    """What overrides would make of rules that a rule file may not have, by override, key and message."""

    found: dict[tuple[int, str, str], list[Rule]] = field(default_factory=dict)
    overrides: dict[int, RuleOverride] = field(default_factory=dict)
    severities: dict[tuple[int, str, str], Any] = field(default_factory=dict)

    def add(self, override: RuleOverride, name: str, finding: FieldFinding, rule: Rule) -> None:
        key = (id(override), name, finding.message)
        self.overrides[id(override)] = override
        self.severities[key] = finding.severity
        self.found.setdefault(key, []).append(rule)

    def problems(self) -> list[Problem]:
        """One problem for all rules of which the same is wrong."""
        problems = []
        for key, rules in self.found.items():
            override, severity = self.overrides[key[0]], self.severities[key]
            place = override.key_places.get(key[1], override.place)
            first = f"rule `{shortened(rules[0].name)}`"
            more = f" and {counted(len(rules) - 1, 'other rule')}" if len(rules) > 1 else ""
            fate = ", which keeps its own" if severity == "error" and not more else ""
            fate = ", which keep their own" if severity == "error" and more else fate
            problems.append(place.problem(severity, f"{first}{more}{fate}: {key[2]}", "override-refused"))
        return problems


def apply_overrides(
    rules: Iterable[Rule],
    overrides: Sequence[RuleOverride],
    previous: Mapping[str, OverriddenRule],
    refusals: Refusals,
) -> dict[str, OverriddenRule]:
    """The rules as they are used, by rule id; one that comes out as in `previous` is that very object."""
    found: dict[str, OverriddenRule] = {}
    index = OverrideIndex(overrides)
    for rule in rules:
        now = _overridden(rule, index, refusals)
        before = previous.get(rule.rule_id)
        if before is not None and before.written is rule and before.rule == now.rule:
            now = OverriddenRule(rule, before.rule, now.changes, now.is_named)
        found[rule.rule_id] = now
    return found


def _overridden(rule: Rule, overrides: OverrideIndex, refusals: Refusals) -> OverriddenRule:
    facts = RuleFacts(rule)
    won = winners(overrides.covering(facts))
    if not won:
        return OverriddenRule(rule, rule)
    values = {name: changed_value(rule, name, override.values[name]) for name, override in won.items()}
    for finding in check_changed(rule, values):
        name = {"from": "from_"}.get(str(finding.path[-1]), str(finding.path[-1]))
        name = name if name in values else next(one for one in ("from_", "interval", *values) if one in values)
        refusals.add(won[name], name, finding, rule)
        if finding.severity == "error":
            del values[name]
    changes = tuple(
        RuleChange("from" if name == "from_" else name, getattr(rule, name), value, won[name])
        for name, value in values.items()
        if value != getattr(rule, name)
    )
    switch = won.get("enabled")
    is_named = switch is not None and switch.values["enabled"] and switch.selection.selects(facts)
    return OverriddenRule(rule, rule.model_copy(update=values), changes, bool(is_named))
