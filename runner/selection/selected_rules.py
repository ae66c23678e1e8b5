"""`SelectedRules`: the rules of the files, as overrides change them and as far as they are selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.errors import Problem
from runner.messages.quantities import counted
from runner.rules.load import EventPlace, LoadedRules, at_place, is_supported, reload
from runner.rules.rule import Rule
from runner.selection.apply import OverriddenRule, Refusals, apply_overrides
from runner.selection.criteria import RuleFacts
from runner.selection.expression import NOTHING, RuleSelection
from runner.selection.load import OverrideFiles, load_overrides
from runner.selection.override import RuleChange

SELECT = Path("--select")
"""What problems of the selection name as their file."""


@dataclass(frozen=True, slots=True)
class SelectedRules:
    """The rules as they are used, and how they came to be so."""

    loaded: LoadedRules = field(default_factory=LoadedRules)
    """With overrides and selection applied."""
    written: LoadedRules = field(default_factory=LoadedRules)
    """As the files have them."""
    overrides: OverrideFiles = field(default_factory=OverrideFiles)
    overridden: Mapping[str, OverriddenRule] = field(default_factory=dict)
    """Every sound rule, by its id."""
    selection: RuleSelection = NOTHING

    def changes_of(self, rule: Rule) -> tuple[RuleChange, ...]:
        """What overrides have changed in a rule in use."""
        found = self.overridden.get(rule.rule_id)
        return found.changes if found is not None and rule.path == found.written.path else ()

    def summary(self) -> str:
        """What overrides and selection have come to, for one line of a log; empty if there are none."""
        parts = []
        changed = [one for one in self.overridden.values() if one.changes]
        if self.overrides.overrides:
            off = sum(one.written.enabled and not one.rule.enabled for one in changed)
            files = ", ".join(str(file.path) for file in self.overrides.files if file.overrides)
            parts.append(
                f"{counted(len(self.overrides.overrides), 'override')} of {files} change"
                f"{'s' * (len(self.overrides.overrides) == 1)} {counted(len(changed), 'rule')}, {off:,} switched off"
            )
        if self.loaded.replaced:
            parts.append(f"{counted(len(self.loaded.replaced), 'rule')} replaced by others with their ids")
        if self.selection:
            parts.append(f"{counted(len(self.loaded.left_out), 'rule')} left out by `{self.selection}`")
        return "; ".join(parts)


def select_rules(
    rules: Sequence[Path],
    overrides: Sequence[Path] = (),
    selection: RuleSelection = NOTHING,
    previous: SelectedRules | None = None,
    place: EventPlace | None = None,
) -> SelectedRules:
    """The rules of some paths as they are now, to search events at a place; `previous` itself if nothing has changed.

    Without named `overrides` those beside the rules are used. A broken file of overrides changes no rule, or, with
    `previous`, goes on with what it had.
    """
    before = previous or SelectedRules()
    changing = load_overrides(overrides, rules, before.overrides)
    written = reload(at_place(before.written, place), rules, [one.replacement for one in changing.replacements])
    is_same = changing is before.overrides and written == before.written and selection == before.selection
    if previous is not None and is_same:
        return previous
    refusals = Refusals()
    overridden = apply_overrides(_one_of_each(written), changing.overrides, before.overridden, refusals)
    loaded = _arranged(written, overridden, selection)
    problems = (*changing.problems, *refusals.problems(), *loaded.problems, *_doubts(selection, written, loaded))
    return SelectedRules(replace(loaded, problems=problems), written, changing, overridden, selection)


def _one_of_each(written: LoadedRules) -> list[Rule]:
    """The sound rules, of those with one id the one that is not deprecated, or the first."""
    found: dict[str, Rule] = {}
    for rule in written.known:
        found.setdefault(rule.rule_id, rule)
    return list(found.values())


def _arranged(written: LoadedRules, overridden: Mapping[str, OverriddenRule], selection: RuleSelection) -> LoadedRules:
    """The rules in use, those left out, and the deprecated ones that nothing names."""
    used: list[Rule] = []
    left_out: list[Rule] = []
    for rule in (*written.rules, *written.unsupported):
        one = overridden[rule.rule_id].rule
        (used if selection.covers(RuleFacts(one)) else left_out).append(one)
    deprecated: list[Rule] = []
    for rule in written.deprecated:
        found = overridden[rule.rule_id]
        facts = RuleFacts(found.rule)
        is_wanted = selection.selects(facts) or (found.is_named and selection.covers(facts))
        if found.written is rule and is_wanted:
            used.append(found.rule)
        else:  # of an id that is taken, or named by nothing
            deprecated.append(rule)
    return replace(
        written,
        rules=tuple(rule for rule in used if is_supported(rule, written.place)),
        unsupported=tuple(rule for rule in used if not is_supported(rule, written.place)),
        deprecated=tuple(deprecated),
        left_out=tuple(left_out),
    )


def _doubts(selection: RuleSelection, written: LoadedRules, loaded: LoadedRules) -> list[Problem]:
    """What is doubtful in the selection: values that no rule has, and that it leaves nothing."""
    if not selection or not written.known:
        return []
    facts = [RuleFacts(rule) for rule in written.known]
    messages = [message for criterion in selection.criteria() for message in criterion.unknown(facts)]
    problems = [Problem(SELECT, 0, 0, "warning", message, code="selects-nothing") for message in messages]
    if not loaded.rules and not loaded.unsupported:
        said = f"`{selection}` selects none of {counted(len(written.known), 'rule')}: nothing is searched"
        problems.append(Problem(SELECT, 0, 0, "error", said, code="selects-nothing"))
    return problems
