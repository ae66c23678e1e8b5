"""`RuleOverride`: what is changed for which rules; and `RuleChange`, what that has come to for one rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from runner.exceptions.item import FilePlace
from runner.messages.quantities import in_whole_units
from runner.rules.date_math import REFERENCE, at_reference
from runner.rules.rule import Rule
from runner.selection.expression import RuleSelection


@dataclass(frozen=True, slots=True)
class RuleOverride:
    """One `[[override]]`: rules, and the values that they have instead of those in their files.

    `values` has the attributes of `Rule` as keys; `from_` may be a look-back; `note` and `setup` are put before those
    of the rule.
    """

    selection: RuleSelection
    values: Mapping[str, Any]
    place: FilePlace
    reason: str = ""
    key_places: Mapping[str, FilePlace] = field(default_factory=dict, repr=False)
    """Of the keys of `values`, and of those that select rules."""

    def __str__(self) -> str:
        return f"{self.place.file}:{self.place.line}"


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One key of one rule, in the words of a rule file, with its value in the rule's file and another one in use."""

    key: str
    before: Any
    after: Any
    override: RuleOverride


def changed_value(rule: Rule, name: str, value: Any) -> Any:
    """What a value of an override comes to for a rule."""
    if name in ("note", "setup"):
        own = getattr(rule, name)
        return f"{value.rstrip()}\n\n{own}" if own else value
    if name == "from_" and isinstance(value, timedelta):
        behind = REFERENCE - at_reference(rule.to)
        return f"now-{_in_one_unit(value + behind)}"
    return value


def _in_one_unit(length: timedelta) -> str:
    text = in_whole_units(length // timedelta(milliseconds=1))
    return text if " " not in text and not text.endswith("ms") else f"{int(length.total_seconds())}s"
