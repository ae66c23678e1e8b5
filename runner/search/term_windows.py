"""Windows of new-terms rules: by which history the first event of a term is judged, and what is said of a short one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from runner.json_text import write_json
from runner.messages.quantities import counted, in_whole_units
from runner.rules.new_terms import History, NewTermsCondition
from runner.rules.rule import Rule
from runner.search.protocol import Hit, Match
from runner.windows import Window, from_nanoseconds, iso

_MICRO = timedelta(microseconds=1)


class TermWindows:
    """The histories of the runs whose windows make up one window.

    A window of the usual length is that of its own run. A longer one, as of a catch-up, is judged as the runs would
    have done that ended at its end and every interval before that. The latest of the runs that saw an event decides:
    its history begins last.
    """

    def __init__(self, condition: NewTermsCondition, rule: Rule, window: Window) -> None:
        """Raises ValueError for a history that has no length."""
        self._condition, self._rule, self._window = condition, rule, window
        self._every = rule.every // _MICRO * 1_000
        self._last = condition.history_at(rule, window.end)
        self.most = max(0, -(-(self._last.begin - window.start_ns) // self._every))
        """How many runs there are before the last one."""
        self._first = self._run(self.most)
        self._known = {0: self._last, self.most: self._first}

    def _run(self, number: int) -> History:
        if number == 0:
            return self._last
        return self._condition.history_at(self._rule, self._window.end - number * self._rule.every)

    @property
    def span(self) -> tuple[int, int]:
        """From the earliest start of a history to the end of the window."""
        return min(self._first.start, self._window.start_ns), self._last.end

    @property
    def shown(self) -> tuple[int, int]:
        """The times of the events that the window has."""
        return self._window.start_ns, self._window.end_ns

    @property
    def reach(self) -> int:
        """The nanoseconds after the first event of a new term in which none can be new by itself, in any window: what
        was alerted of the term within them is its alert."""
        return min(self._last.begin - self._last.start, self._last.end - self._last.begin)

    def history_of(self, time: int) -> History | None:
        """The history by which an event of that time is judged; None if no run of the window would have seen it."""
        number = 0 if time > self._last.begin else (self._last.begin - time) // self._every + 1
        if number > self.most:
            return None
        history = self._known.get(number)
        if history is None:
            history = self._known[number] = self._run(number)
        return history if time > history.begin else None

    def is_new(self, time: int, before: int | None) -> bool:
        """Whether a term is new that was seen at a time, and before that last at `before`."""
        history = self.history_of(time)
        return history is not None and (before is None or before < history.start)


@dataclass(slots=True)
class KnownHistory:
    """How far back the events reach, and what follows from that for the terms of one window.

    Where they reach back by less than `learn`, or by less than half of the history if that is shorter, every term would
    be new: terms are learned there and not alerted.
    """

    windows: TermWindows
    oldest: int | None
    """The oldest time of an event, in nanoseconds since 1970; None if there is none."""
    learn: timedelta
    held: int = 0
    """How many new terms were not alerted."""
    short: int = 0
    """How many were alerted though the events do not reach back to the start of the history."""

    def is_known(self, time: int) -> bool:
        """Whether a term that is new at that time may be alerted; one that may not be is counted."""
        history = self.windows.history_of(time)
        if history is None or self.oldest is None or self.oldest <= history.start:
            return True
        least = min(self.learn // _MICRO * 1_000, (history.begin - history.start) // 2)
        if not self.learn or history.begin - self.oldest >= least:
            self.short += 1
            return True
        self.held += 1
        return False

    def warnings(self) -> tuple[str, ...]:
        """What is said of terms that were not alerted."""
        if not self.held:
            return ()
        terms = f"{counted(self.held, 'new term')} {'was' if self.held == 1 else 'were'}"
        return (
            f"{terms} learned and not alerted, since {self._reach()}: alerts begin when they reach back "
            "RUNNER_LEARN_TERMS, or half of the history if that is shorter",
        )

    def notes(self) -> tuple[str, ...]:
        """How far the events reach back, if that is not to the start of the history."""
        if not self.short or self.held:
            return ()
        return (f"{self._reach()}: what was seen before that alone counts as new",)

    def _reach(self) -> str:
        last = self.windows.history_of(self.windows.shown[1])
        assert last is not None and self.oldest is not None
        reach, history = (_length(last.begin - start) for start in (self.oldest, last.start))
        return f"the events reach back to {iso(from_nanoseconds(self.oldest))}, {reach} of the history of {history}"


def first_match(hits: Sequence[Hit], times: Sequence[int], values: tuple[Any, ...]) -> Match:
    """The match of a new term in the first of its events, given with their times, ascending; of several at the first
    time it is always the same one."""
    first = [hit for hit, time in zip(hits, times, strict=True) if time == times[0]]
    chosen = first[0] if len(first) == 1 else min(first, key=lambda hit: (hit.index, hit.id, write_json(hit.source)))
    others = tuple(hit for hit in hits if hit is not chosen)
    return Match((chosen,), False, values, others=others, alert_fields={"kibana.alert.new_terms": list(values)})


def _length(nanoseconds: int) -> str:
    """A length of time to the minute, or in milliseconds below one."""
    milliseconds = max(0, nanoseconds) // 1_000_000
    return in_whole_units(milliseconds // 60_000 * 60_000 or milliseconds) or "nothing"
