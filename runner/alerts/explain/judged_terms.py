"""`JudgedTerms`: which terms are new in one window of a rule of type new_terms, and since when the others are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runner.engine.sequence.open_matches import KeyedEvent
from runner.rules.new_terms import History

_SHOWN = 20
"""Most new terms that are shown, and as many of the others."""


@dataclass(frozen=True, slots=True)
class JudgedTerm:
    """One term of the window, its first event there and how many there are. Times in nanoseconds since 1970.

    `since` and `before` are its first and last event in the history; None for a new term. `ever` is its last event
    before the history, if there is one.
    """

    terms: tuple[Any, ...]
    event: int
    time: int
    events: int
    since: int | None
    before: int | None
    ever: int | None

    @property
    def is_new(self) -> bool:
        return self.since is None


@dataclass(frozen=True, slots=True)
class JudgedTerms:
    """The terms of one window. `oldest`: how far back the events of all kinds reach; None if there are none."""

    fields: tuple[str, ...]
    history: History
    oldest: int | None
    new: tuple[JudgedTerm, ...]
    known: tuple[JudgedTerm, ...]
    new_terms: int
    known_terms: int


def judge_terms(
    events: Iterable[KeyedEvent], fields: tuple[str, ...], history: History, oldest: int | None
) -> JudgedTerms:
    """The terms of the window by a history; `events` ascending in time, as `FoundRows` gives them."""
    first: dict[tuple[Any, ...], tuple[int, int]] = {}
    counts: dict[tuple[Any, ...], set[int]] = {}
    before: dict[tuple[Any, ...], tuple[int, int]] = {}
    ever: dict[tuple[Any, ...], int] = {}
    for event in events:
        if event.time < history.start:
            ever[event.key] = event.time
        elif event.time <= history.begin:
            before[event.key] = before.get(event.key, (event.time, 0))[0], event.time
        elif event.time <= history.end:
            first.setdefault(event.key, (event.time, event.event))
            counts.setdefault(event.key, set()).add(event.event)
    found = []
    for term, (time, number) in first.items():
        since, last = before.get(term, (None, None))
        found.append(JudgedTerm(term, number, time, len(counts[term]), since, last, ever.get(term)))
    new = [one for one in found if one.is_new]
    known = sorted((one for one in found if not one.is_new), key=lambda one: -(one.since or 0))
    return JudgedTerms(fields, history, oldest, tuple(new[:_SHOWN]), tuple(known[:_SHOWN]), len(new), len(known))
