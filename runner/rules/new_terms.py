"""The condition of a new-terms rule: whose values are new, and how far back they must not have been seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runner.rules.date_math import at_reference, is_relative, resolve
from runner.rules.model_errors import FieldFinding
from runner.rules.rule import Rule, RuleFields
from runner.windows import Window, nanoseconds

MOST_FIELDS = 3
_TOML, _FIELDS, _START = "new_terms", "new_terms_fields", "history_window_start"


@dataclass(frozen=True, slots=True)
class History:
    """The times by which one window of a rule decides what is new: a term is if its first event after `start` comes
    after `begin` and not after `end`. In nanoseconds since 1970."""

    start: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class NewTermsCondition:
    """The fields whose values, or combinations of values, are new, and the start of the history as date math."""

    fields: tuple[str, ...]
    history_start: str

    def history_at(self, rule: Rule, end: datetime) -> History:
        """The history of the window of a run whose `to` is at `end`. Raises ValueError if it has no length."""
        begin = end - max(rule.look_back, rule.every)
        start = resolve(self.history_start, end)
        if start >= begin:
            raise ValueError(f"the history would start at {start}, not before the window at {begin}")
        return History(nanoseconds(start), nanoseconds(begin), Window(begin, end).end_ns)

    def least_gap(self, rule: Rule) -> timedelta:
        """A time that is shorter than any history of the rule: half of the one at a fixed moment."""
        begin = at_reference(rule.to) - max(rule.look_back, rule.every)
        return max(begin - at_reference(self.history_start), timedelta(0)) / 2


def new_terms_of(rule: Rule) -> NewTermsCondition:
    """The condition of a rule of type new_terms, in either form. Raises ValueError for another rule."""
    if rule.new_terms is not None:
        starts = [entry.value for entry in rule.new_terms.history_window_start]
        return NewTermsCondition(rule.new_terms.value, starts[0])
    if not rule.new_terms_fields or rule.history_window_start is None:
        raise ValueError(f"rule {rule.rule_id} has no condition of type new_terms")
    return NewTermsCondition(rule.new_terms_fields, rule.history_window_start)


def new_terms_findings(rule: Mapping[str, Any]) -> Iterator[FieldFinding]:
    """What is wrong with the condition in a `[rule]` table: its fields, and a history that is not before the window."""
    if rule.get("type") != "new_terms":
        return
    table = rule.get(_TOML)
    if isinstance(table, dict):
        at: tuple[str | int, ...] = ("rule", _TOML, "value")
        yield from _fields(at, table.get("value"))
        if table.get("field", _FIELDS) != _FIELDS:
            message = f"`field` of [rule.new_terms] is `{table['field']}`, expected `{_FIELDS}`"
            yield FieldFinding(("rule", _TOML, "field"), message)
        starts = table.get(_START)
        if isinstance(starts, list):
            place = ("rule", _TOML, _START)
            if len(starts) != 1:
                yield FieldFinding(place, f"`{_START}` has {len(starts)} entries, expected one", at="key")
            elif isinstance(starts[0], dict):
                yield from _history((*place, 0, "value"), starts[0].get("value"), rule)
    elif table is None:
        yield from _fields(("rule", _FIELDS), rule.get(_FIELDS))
        yield from _history(("rule", _START), rule.get(_START), rule)


def _fields(at: tuple[str | int, ...], names: Any) -> Iterator[FieldFinding]:
    if not isinstance(names, list):
        return
    if not 1 <= len(names) <= MOST_FIELDS:
        yield FieldFinding(at, f"{len(names)} fields of new terms, expected 1 to {MOST_FIELDS}")
    for number, name in enumerate(names):
        if name in names[:number]:
            yield FieldFinding(at, f"the field `{name}` stands twice among those of new terms")
        elif isinstance(name, str) and not name.strip():
            yield FieldFinding(at, "a field of new terms has no name")


def _history(at: tuple[str | int, ...], start: Any, rule: Mapping[str, Any]) -> Iterator[FieldFinding]:
    if not isinstance(start, str):
        return
    begin = rule.get("from", RuleFields.model_fields["from_"].default)
    try:
        moment = at_reference(start)
    except ValueError as error:
        yield FieldFinding(at, str(error))
        return
    if not isinstance(begin, str) or is_relative(begin) != is_relative(start):
        return
    try:
        is_early = moment < at_reference(begin)
    except ValueError:
        return  # that of `from` is a finding of its own
    if not is_early:
        yield FieldFinding(at, f"the history starts at `{start}`, expected a time before `from` ({begin})")
