"""Which of the rules in use a command is for: those named by id, name or file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runner.errors import SettingsError
from runner.messages.suggestions import did_you_mean
from runner.rules.load import why_not
from runner.rules.rule import Rule
from runner.service.rules_in_use import ActiveRules


def chosen(active: ActiveRules, names: Sequence[str]) -> ActiveRules:
    """The rules in use that `names` name, in the order named, with their problems alone; all of them without names.

    A name is an id, the rule's name in any letter case, or the path of its file. Raises SettingsError for one that
    names no rule in use, with the reason or a near name.
    """
    if not names:
        return active
    found = {rule.rule_id: rule for name in names for rule in _named(active, name)}
    by_id = {compiled.rule.rule_id: compiled for compiled in active.compiled}
    if broken := [rule for rule_id, rule in found.items() if rule_id not in by_id]:
        shown = next((problem for problem in active.problems if problem.rule_id == broken[0].rule_id), None)
        reason = f": {shown}" if shown is not None else ", `rule-runner check` says why"
        raise SettingsError(f'the rule "{broken[0].name}" cannot be run{reason}')
    problems = tuple(problem for problem in active.problems if problem.rule_id in found)
    return replace(active, compiled=tuple(by_id[rule_id] for rule_id in found), problems=problems)


def _named(active: ActiveRules, name: str) -> list[Rule]:
    rules = active.loaded.rules
    place = Path(name).resolve()
    for found in (
        [rule for rule in rules if rule.rule_id == name],
        [rule for rule in rules if rule.name.casefold() == name.casefold()],
        [rule for rule in rules if rule.path.resolve().is_relative_to(place)],
    ):
        if found:
            enabled = [rule for rule in found if rule.enabled]
            if not enabled:
                raise SettingsError(f"--rule {name}: the rule is disabled ({_switched_off_by(active, found[0])})")
            return enabled
    others = [rule for rule in active.loaded.unsupported if name in (rule.rule_id, rule.name)]
    if others:
        raise SettingsError(f"--rule {name}: {why_not(others[0].type)}")
    if any(name in (rule.rule_id, rule.name) for rule in active.loaded.left_out):
        raise SettingsError(f"--rule {name}: --select (RUNNER_SELECT) leaves the rule out")
    if any(name in (rule.rule_id, rule.name) for rule in active.loaded.deprecated):
        raise SettingsError(f"--rule {name}: the rule is deprecated; --select id:ID runs it, or --rules with its file")
    if place.exists():
        raise SettingsError(f"--rule {name}: no rule in use is from there; name the file with --rules alone")
    near = did_you_mean(name, [text for rule in rules for text in (rule.rule_id, rule.name)])
    raise SettingsError(f"--rule {name}: no rule in use has this id, name or file{near}")


def _switched_off_by(active: ActiveRules, rule: Rule) -> str:
    changes = active.selected.changes_of(rule) if active.selected is not None else ()
    place = next((str(change.override) for change in changes if change.key == "enabled"), rule.path)
    return f"`enabled = false` in {place}"
