"""`RuleSelection`: which rules are meant, by what they are; and the expressions that it is written in.

os:linux severity:high,critical -tactic:Discovery +id:48b3d2e3-f4e8-41e6-95e6-9b2091228db3
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.messages.suggestions import did_you_mean
from runner.rules.model_errors import shortened
from runner.selection.criteria import ALIASES, CHOICES, KEYS, RuleCriterion, RuleFacts


class SelectionError(ValueError):
    """An expression cannot be read; `offset` is the place in its text, from 0."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class RuleSelection:
    """The rules that have all of `needed`; then, in the order written, more (+) or fewer (-).

    Without `needed` all rules are meant but the deprecated; these only where a criterion names them.
    """

    needed: tuple[RuleCriterion, ...] = ()
    steps: tuple[tuple[bool, RuleCriterion], ...] = ()
    """Whether the criterion adds rules or takes them away."""

    def __str__(self) -> str:
        steps = (f"{'+' if adds else '-'}{criterion}" for adds, criterion in self.steps)
        return " ".join((*map(str, self.needed), *steps))

    def __bool__(self) -> bool:
        return bool(self.needed or self.steps)

    def selects(self, facts: RuleFacts) -> bool:
        """Whether a rule is meant, as far as a deprecated one is named."""
        return self._decide(facts, names_all=not facts.is_deprecated)

    def covers(self, facts: RuleFacts) -> bool:
        """Whether a rule is meant, be it deprecated or not."""
        return self._decide(facts, names_all=True)

    def criteria(self) -> tuple[RuleCriterion, ...]:
        return (*self.needed, *(criterion for _, criterion in self.steps))

    def key_criterion(self) -> RuleCriterion | None:
        """The criterion by which the rules that are meant can be looked up: that of them which few rules meet; None if
        there is none, or if rules are added."""
        if any(adds for adds, _ in self.steps):
            return None
        exact = [criterion for criterion in self.needed if criterion.choices is not None]
        return min(exact, key=lambda criterion: KEYS.index(criterion.key), default=None)

    def _decide(self, facts: RuleFacts, *, names_all: bool) -> bool:
        chosen = names_all or any(criterion.names_deprecated() for criterion in self.needed)
        chosen = chosen and all(criterion.holds(facts) for criterion in self.needed)
        for adds, criterion in self.steps:
            if chosen is not adds and criterion.holds(facts):
                chosen = adds and (names_all or criterion.names_deprecated())
        return chosen


NOTHING = RuleSelection()
"""All rules but the deprecated."""


def read_selection(text: str) -> RuleSelection:
    """The selection that an expression means. Raises SelectionError.

    >>> selection = read_selection('os:linux severity:high,critical -tactic:"Initial Access"')
    >>> str(selection)
    'os:linux severity:high,critical -tactic:"Initial Access"'
    """
    needed: list[RuleCriterion] = []
    steps: list[tuple[bool, RuleCriterion]] = []
    for sign, criterion in _terms(text):
        if sign:
            steps.append((sign == "+", criterion))
        else:
            needed.append(criterion)
    return RuleSelection(tuple(needed), tuple(steps))


def joined(selections: Sequence[RuleSelection]) -> RuleSelection:
    """The selections as if they were written in one expression."""
    needed = tuple(criterion for one in selections for criterion in one.needed)
    return RuleSelection(needed, tuple(step for one in selections for step in one.steps))


def criterion_of(key: str, values: Sequence[str], offset: int = 0) -> RuleCriterion:
    """The criterion of a key as it is written. Raises SelectionError for an unknown key or value."""
    name = ALIASES.get(key, key)
    if name not in KEYS:
        known = (*KEYS, *ALIASES)
        near = did_you_mean(key, known) or f", expected one of {', '.join(KEYS)}"
        raise SelectionError(f"rules are not selected by `{shortened(key)}`{near}", offset)
    for value in values:
        if not value.strip():
            raise SelectionError(f"`{key}` has an empty value", offset)
        choices = CHOICES.get(name, ())
        if choices and value.casefold() not in choices:
            listed = ", ".join(choices)
            near = did_you_mean(value, choices)
            raise SelectionError(f"`{key}` is `{shortened(value)}`, expected one of {listed}{near}", offset)
    return RuleCriterion(name, tuple(values), offset)


_TERM = re.compile(r"(?P<sign>[+-]?)(?P<key>[A-Za-z][\w-]*):(?=\S)")
_VALUE = re.compile(r"\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<plain>[^\s,\"']+)")
_REST = re.compile(r"[ \t]+(?P<word>[^\s\"',:+-][^\s\"',:]*:?)(?=[\s,]|$)")
"""A word without a key of its own: shells take quotes away, and `tag:"OS: Linux"` comes as `tag:OS: Linux`."""

_KEYS_ALONE = frozenset(f"{key}:" for key in (*KEYS, *ALIASES))


def _terms(text: str) -> Iterator[tuple[str, RuleCriterion]]:
    place = _space(text, 0)
    while place < len(text):
        found = _TERM.match(text, place)
        if found is None:
            raise SelectionError(_no_term(text, place), place)
        values, end = _values(text, found.end(), found["key"])
        yield found["sign"], criterion_of(found["key"], values, place + len(found["sign"]))
        if end < len(text) and not text[end].isspace():
            raise SelectionError(f"found `{shortened(text[end:], 20)}` behind a value, expected a space", end)
        place = _space(text, end)


def _space(text: str, place: int) -> int:
    return next((i for i in range(place, len(text)) if not text[i].isspace()), len(text))


def _no_term(text: str, place: int) -> str:
    word = re.split(r"\s", text[place:], maxsplit=1)[0]
    example = 'expected KEY:VALUE, such as os:linux or tag:"OS: Linux"'
    if word.rstrip(":").lstrip("+-") in (*KEYS, *ALIASES) and word.endswith(":"):
        return f"`{shortened(word)}` has no value, {example}"
    return f"found `{shortened(word)}`, {example}"


def _values(text: str, place: int, key: str) -> tuple[list[str], int]:
    """The values that begin at a place, and where they end."""
    values: list[str] = []
    while True:
        found = _VALUE.match(text, place)
        if found is None:
            rest = shortened(text[place:], 20)
            has_no_end = text[place : place + 1] in ("'", '"')
            why = f"the quote has no end: `{rest}`" if has_no_end else f"a value of `{key}` is missing"
            raise SelectionError(why, place)
        value, place = found["double"] or found["single"] or found["plain"] or "", found.end()
        while found["plain"] and (more := _REST.match(text, place)) and more["word"] not in _KEYS_ALONE:
            value, place = f"{value} {more['word']}", more.end()
        values.append(value)
        if text[place : place + 1] != ",":
            return values, place
        place += 1
