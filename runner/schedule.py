"""Which windows are due: a pure function of the rules, the ledger and the time.

The service's tick only asks; what is due follows from what was searched to the end, so a late, doubled or lost tick can
neither lose a span nor have one searched twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from runner.rules.rule import Rule
from runner.search.edges import margin, widened
from runner.search.search import Reach
from runner.store.store import RuleState
from runner.windows import Window, subtract

CATCH_UP_CHUNK = timedelta(hours=1)
"""How much of a backlog one window covers at most, beyond the overlap."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class DueWindow:
    """One rule that is to be asked about one window: its own current one (`live`) or a part of its backlog (`owed`)."""

    rule: Rule
    window: Window
    kind: Literal["live", "owed"]


def spread(rule_id: str, interval: timedelta) -> timedelta:
    """How long after each whole interval the rule starts: stable, derived from the id, evenly spread over rules.

    >>> spread("48b3d2e3-f4e8-41e6-95e6-9b2091228db3", timedelta(minutes=5)) < timedelta(minutes=5)
    True
    """
    number = int.from_bytes(hashlib.sha256(rule_id.encode()).digest()[:8], "big")
    return timedelta(milliseconds=number % max(1, interval // _MILLISECOND))


@dataclass(frozen=True, slots=True)
class Schedule:
    """When rules start. `together`: all rules of one interval at the same time, since one pass over files serves them
    all; else spread over the interval, so that a thousand searches do not reach a cluster in the same second."""

    together: bool = False
    horizon: timedelta = timedelta(days=7)
    """Backlog older than this is given up."""
    reaches: Mapping[str, Reach] = field(default_factory=dict)
    """How far the matches of a rule reach, by rule id; one that is not here reaches nowhere beyond its events."""

    def reach(self, rule: Rule) -> Reach:
        return self.reaches.get(rule.rule_id, Reach())

    def window(self, rule: Rule, at: datetime) -> Window:
        """The rule's window of a run at that time, wide enough that its edge cuts no match."""
        return widened(rule.window_at(at), rule, self.reach(rule))

    def live(self, rule: Rule, now: datetime) -> Window:
        """The window of the rule's newest start time."""
        return self.window(rule, self.last_start(rule, now))

    def last_start(self, rule: Rule, now: datetime) -> datetime:
        """The rule's newest start time that is not after `now`: whole intervals since 1970, plus the rule's spread."""
        interval = rule.every
        offset = timedelta(0) if self.together else spread(rule.rule_id, interval)
        return now - (now - _EPOCH - offset) % interval

    def next_start(self, rule: Rule, now: datetime) -> datetime:
        """The rule's first start time after `now`."""
        return self.last_start(rule, now) + rule.every


def due_live(
    schedule: Schedule,
    rules: Iterable[Rule],
    states: Mapping[str, RuleState],
    *,
    now: datetime,
    tried: Mapping[str, datetime],
) -> tuple[DueWindow, ...]:
    """The current window of every rule whose newest start time has not been run yet, earliest start first.

    The window is that of the start time, not of `now`: a late tick searches what a punctual one would have. `tried`
    holds the end of the newest window that was tried of each rule: a failed window becomes backlog, not live again.
    """
    due: list[DueWindow] = []
    for rule in rules:
        window = schedule.live(rule, now)
        state = states.get(rule.rule_id)
        done = [span.end for span in state.searched[-1:]] if state is not None else []
        if rule.rule_id in tried:
            done.append(tried[rule.rule_id])
        if not done or max(done) < window.end:
            due.append(DueWindow(rule, window, "live"))
    return tuple(sorted(due, key=lambda item: (item.window.end, item.rule.rule_id)))


def owed(state: RuleState | None, until: datetime, *, horizon: timedelta) -> tuple[Window, ...]:
    """The spans between a rule's first window and `until` that were not searched to the end, oldest first.

    Spans older than `horizon` are given up. A rule that never ran owes nothing: its first window is live.
    """
    if state is None or not state.searched:
        return ()
    start = max(state.searched[0].start, until - horizon)
    return subtract(Window(start, until), state.searched) if start < until else ()


def oldest_owed(schedule: Schedule, rule: Rule, spans: Sequence[Window]) -> tuple[DueWindow, ...]:
    """The window that searches the beginning of a rule's backlog, ascending as `owed` gives it; none without any."""
    if not spans:
        return ()
    first = spans[0]
    window = Window(first.start - margin(rule, schedule.reach(rule)), min(first.end, first.start + CATCH_UP_CHUNK))
    return (DueWindow(rule, window, "owed"),)


def due_owed(
    schedule: Schedule,
    rules: Iterable[Rule],
    states: Mapping[str, RuleState],
    *,
    now: datetime,
    tried: Mapping[str, datetime],
    most: int,
) -> tuple[DueWindow, ...]:
    """The oldest backlog of each rule, one bounded window a rule, oldest first, at most `most` rules at a time.

    Each window reaches back by the overlap of the rule's own windows, so that a sequence across its edge, or an event
    that came late, is found as a timely run would have found it. `tried` as for `due_live`: the backlog ends where the
    live window begins, which is due by itself until it was tried.
    """
    due: list[DueWindow] = []
    for rule in rules:
        live = schedule.live(rule, now)
        is_tried = rule.rule_id in tried and tried[rule.rule_id] >= live.end
        until = live.end if is_tried else live.start
        spans = owed(states.get(rule.rule_id), until, horizon=schedule.horizon)
        due.extend(oldest_owed(schedule, rule, spans))
    due.sort(key=lambda item: (item.window.start, item.rule.rule_id))
    return tuple(due[:most])
