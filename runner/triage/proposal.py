"""A proposed exception for a rule: the values that its noisy alerts share, in the form of docs/exceptions.md."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from runner.alerts.event_fields import texts_at
from runner.exceptions.write import NewException
from runner.triage.verdict import REASON

_WHAT: Final = (
    "process.parent.executable", "process.parent.name", "process.executable", "process.name", "file.path",
    "registry.path", "dns.question.name", "destination.ip", "process.args",
)  # fmt: skip
"""What an event is about, the most telling first."""
_WHO: Final = ("user.name", "host.name")
PROPOSED: Final = (*_WHAT, *_WHO)
"""The fields that a proposal may name."""
_NAMED_BY: Final = {"process.parent.name": "process.parent.executable", "process.name": "process.executable"}
"""Fields that say nothing more beside another."""

_SHARED, _COVERED = 0.8, 0.6
"""The part of the alerts left that must share a value, and the part of all noisy ones that must be left with it."""
_LEAST, _LEAST_JUDGED = 5, 3
"""Noisy alerts without which nothing is proposed: any, and those that were judged to be noise."""
_NOISE: Final = frozenset({"false_positive", "benign_positive"})
_LITERAL: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|((?:[^\s"():<>={},\[\]\\]|\\.)+)')
"""A text between quotes, or a bare word, as KQL has them."""
_LONGEST = 200
"""Characters of a value that a proposal may have: what is longer hardly comes again."""


@dataclass(frozen=True, slots=True)
class NotedEvent:
    """What a proposal looks at of one event of an alert."""

    reason: str
    values: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ProposedException:
    """An exception that would have kept `hits` of `of` looked-at alerts from being made, none a true positive."""

    when: Mapping[str, str]
    hits: int
    of: int

    def text(self, rule_id: str, rule: str, until: date) -> str:
        """The exception as TOML."""
        what = next(iter(self.when.values()))
        reason = f"Proposed: {self.hits} of {self.of} alerts share this. Say why it is harmless before you use it"
        name = f"{rule[:100]}: {what[:100]} ({rule_id[:8]})"
        when = {field: [value] for field, value in self.when.items()}
        return NewException(name, reason, when, rules=(rule_id,), expires=until).text()


def noted(document: Mapping[str, Any]) -> NotedEvent:
    """The part of an event alert, or of the alert of one event of a sequence, that proposals are made of."""
    values = {name: found for name in PROPOSED if (found := texts_at(document, name))}
    return NotedEvent(", ".join(texts_at(document, REASON)), values)


def propose(events: Sequence[NotedEvent], query: str) -> ProposedException | None:
    """The exception that the noisy alerts of a rule with this query suggest; None if they share too little.

    Noisy are those closed as false positives or benign, if there are a few, else all but true positives. What the query
    itself names is passed over: that would switch the rule off. A user or a host is named alone only if the rule has
    fired for others, too.
    """
    judged = [event for event in events if event.reason in _NOISE]
    noisy = judged if len(judged) >= _LEAST_JUDGED else [event for event in events if event.reason != "true_positive"]
    if len(noisy) < (_LEAST_JUDGED if noisy is judged else _LEAST):
        return None
    when = _shared(noisy, events, _literals(query))
    if not when or any(_hits(when, event) for event in events if event.reason == "true_positive"):
        return None
    return ProposedException(when, sum(_hits(when, event) for event in events), len(events))


def _shared(
    noisy: Sequence[NotedEvent], events: Sequence[NotedEvent], literals: Sequence[re.Pattern[str]]
) -> dict[str, str]:
    """The values that most of the noisy alerts share, each among those that share the ones before."""
    when: dict[str, str] = {}
    left = noisy
    for name in PROPOSED:
        if _NAMED_BY.get(name) in when or (name in _WHO and not when and _is_only_one(name, events)):
            continue
        counts = Counter(value for event in left for value in _usable(event, name, literals))
        value, count = max(counts.items(), key=lambda item: (item[1], len(item[0]), item[0]), default=("", 0))
        if count >= _SHARED * len(left) and count >= _COVERED * len(noisy):
            when[name] = value
            left = [event for event in left if value in event.values.get(name, ())]
    return when


def _usable(event: NotedEvent, name: str, literals: Sequence[re.Pattern[str]]) -> Iterable[str]:
    """The values of a field that a proposal may have: of arguments not the program's own name, nor plain switches."""
    values = event.values.get(name, ())
    if name == "process.args":
        values = tuple(value for value in values[1:] if len(value) > 3)
    for value in dict.fromkeys(values):
        spellings = (value, re.split(r"[/\\]", value)[-1])
        is_named = any(literal.fullmatch(spelling) for literal in literals for spelling in spellings)
        if value and len(value) <= _LONGEST and not is_named and "\ufffd" not in value and _is_storable(value):
            yield value


def _is_storable(value: str) -> bool:
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in value)


def _literals(query: str) -> list[re.Pattern[str]]:
    """The texts that a query compares with, as patterns; those that fit everything are left out."""
    found = []
    for text in dict.fromkeys(quoted or bare for quoted, bare in _LITERAL.findall(query)):
        plain = re.sub(r"\\(.)", r"\1", text)
        if plain.strip("*?"):
            pattern = re.escape(plain).replace(r"\*", ".*").replace(r"\?", ".")
            found.append(re.compile(pattern, re.IGNORECASE | re.DOTALL))
    return found


def _is_only_one(name: str, events: Sequence[NotedEvent]) -> bool:
    return len({value for event in events for value in event.values.get(name, ())}) < 2


def _hits(when: Mapping[str, str], event: NotedEvent) -> bool:
    return all(value in event.values.get(name, ()) for name, value in when.items())
