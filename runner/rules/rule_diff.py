"""What differs between two sets of rules, such as two releases: new, gone, deprecated and changed rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

from runner.rules.load import LoadedRules
from runner.rules.rule import Rule, RuleFields

_METADATA = ("maturity", "updated_date", "min_stack_version")


@dataclass(frozen=True, slots=True)
class ChangedRule:
    """A rule of both sets that differs; `keys` as rule files spell them, each with both values."""

    before: Rule
    after: Rule
    keys: Mapping[str, tuple[Any, Any]]

    @property
    def is_of_metadata(self) -> bool:
        """Whether only the life of the file has changed."""
        return all(key.startswith("metadata.") for key in self.keys)

    def query_diff(self) -> list[str]:
        """The lines of a unified diff of the queries; none if they are equal."""
        old, new = (rule.query.strip().splitlines() for rule in (self.before, self.after))
        return list(unified_diff(old, new, str(self.before.path), str(self.after.path), lineterm=""))


@dataclass(frozen=True, slots=True)
class RuleSetDiff:
    """The differences, each kind by the rules' names."""

    new: tuple[Rule, ...] = ()
    gone: tuple[Rule, ...] = ()
    deprecated: tuple[Rule, ...] = ()
    """Those that were not before; those that are new and deprecated are left out."""
    back: tuple[Rule, ...] = ()
    """No longer deprecated."""
    changed: tuple[ChangedRule, ...] = ()
    unchanged: int = 0

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.deprecated or self.back or self.changed)


def compare_rules(old: LoadedRules, new: LoadedRules) -> RuleSetDiff:
    """What differs in the sound rules of two sets, by `rule_id`; files and their order do not matter."""
    before, after = ({rule.rule_id: rule for rule in reversed(loaded.known)} for loaded in (old, new))
    was, is_now = ({rule.rule_id for rule in loaded.deprecated} for loaded in (old, new))
    both = [(before[rule_id], rule) for rule_id, rule in after.items() if rule_id in before]
    differing = [ChangedRule(one, other, keys) for one, other in both if (keys := _differing(one, other))]
    turned = was ^ is_now
    changed = [one for one in differing if one.after.rule_id not in turned or not one.is_of_metadata]
    return RuleSetDiff(
        new=_by_name(rule for id_, rule in after.items() if id_ not in before and id_ not in is_now),
        gone=_by_name(rule for id_, rule in before.items() if id_ not in after),
        deprecated=_by_name(other for one, other in both if one.rule_id not in was and one.rule_id in is_now),
        back=_by_name(other for one, other in both if one.rule_id in was and one.rule_id not in is_now),
        changed=tuple(sorted(changed, key=lambda one: (one.after.name, one.after.rule_id))),
        unchanged=len(both) - len({one.after.rule_id for one in differing} | (turned & before.keys() & after.keys())),
    )


def _by_name(rules: Any) -> tuple[Rule, ...]:
    return tuple(sorted(rules, key=lambda rule: (rule.name, rule.rule_id)))


def _differing(before: Rule, after: Rule) -> dict[str, tuple[Any, Any]]:
    found = {}
    for name, field in RuleFields.model_fields.items():
        one, other = getattr(before, name), getattr(after, name)
        if isinstance(one, str) and isinstance(other, str):
            one, other = one.strip(), other.strip()
        if one != other:
            found[str(field.validation_alias or name)] = (one, other)
    for name in _METADATA:
        one, other = getattr(before.metadata, name), getattr(after.metadata, name)
        if one != other:
            found[f"metadata.{name}"] = (one, other)
    return found
