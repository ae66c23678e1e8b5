"""Which windows are due: a pure function of the rules, the ledger and the time.

What is due follows from what was searched to the end, so a late, doubled or lost tick can neither lose a span nor have
one searched twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Literal

from runner.rules.rule import Rule
from runner.schedule.window_edges import margin, widened
from runner.search.compiled_rule import CompiledRule, Reach
from runner.store.protocol import Mark, RuleState
from runner.windows import Window, subtract

CATCH_UP_CHUNK = timedelta(hours=1)
"""Longest span of backlog in one window, beyond the overlap."""
LONGEST_PAUSE = timedelta(hours=1)
"""Longest wait of a failing rule's backlog, unless its interval is longer."""
USUAL_SKEW = timedelta(minutes=5)
"""Difference between the clocks of two machines up to which a ledger is trusted."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


WindowKind = Literal["live", "owed"]
"""A rule's own current window, or a part of its backlog."""


@dataclass(frozen=True, slots=True)
class DueWindow:
    """One rule and one window that is to be searched for it."""

    compiled: CompiledRule
    window: Window
    kind: WindowKind

    @property
    def rule(self) -> Rule:
        return self.compiled.rule


def spread(rule_id: str, interval: timedelta) -> timedelta:
    """The offset of the rule's start from each whole interval: stable, derived from the id, evenly spread over rules.

    >>> spread("48b3d2e3-f4e8-41e6-95e6-9b2091228db3", timedelta(minutes=5)) < timedelta(minutes=5)
    True
    """
    number = int.from_bytes(hashlib.sha256(rule_id.encode()).digest()[:8], "big")
    return timedelta(milliseconds=number % max(1, interval // _MILLISECOND))


@dataclass(frozen=True, slots=True)
class Schedule:
    """When rules start. `together`: all rules of one interval at the same time, as one pass over files serves them all;
    else spread over the interval, so that a thousand searches do not reach a cluster in the same second."""

    together: bool = False
    horizon: timedelta = timedelta(days=7)
    """Backlog older than this is given up."""

    def live(self, rule: Rule, reach: Reach, now: datetime) -> Window:
        """The window of the rule's newest start time."""
        return _window_at(rule, reach, self.last_start(rule, now))

    def first_owed(self, compiled: CompiledRule, now: datetime) -> datetime:
        """The earliest time at which a match may end that the rule's live window shows whole."""
        return compiled.reach.shown(self.live(compiled.rule, compiled.reach, now)).start

    def last_start(self, rule: Rule, now: datetime) -> datetime:
        """The rule's newest start time that is not after `now`: whole intervals since 1970, plus the rule's spread."""
        interval = rule.every
        offset = timedelta(0) if self.together else spread(rule.rule_id, interval)
        return now - (now - _EPOCH - offset) % interval

    def next_start(self, rule: Rule, now: datetime) -> datetime:
        """The rule's first start time after `now`."""
        return self.last_start(rule, now) + rule.every


def window_at(compiled: CompiledRule, at: datetime) -> Window:
    """The rule's window of a run at that time, wide enough that its edge cuts no match.

    It ends at that time at the latest, whatever the rule says: what has not happened yet cannot be searched.
    """
    return _window_at(compiled.rule, compiled.reach, at)


def _window_at(rule: Rule, reach: Reach, at: datetime) -> Window:
    window = rule.window_at(at)
    return widened(Window(min(window.start, at), min(window.end, at)), rule, reach)


def due_live(
    schedule: Schedule,
    rules: Iterable[CompiledRule],
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
    for compiled in rules:
        rule = compiled.rule
        start = schedule.last_start(rule, now)
        state = states.get(rule.rule_id)
        done = [span.end for span in state.searched[-1:]] if state is not None else []
        if rule.rule_id in tried:
            done.append(tried[rule.rule_id])
        if done and max(done) >= start:
            continue  # nearly every rule at nearly every tick; no window of this start ends after it
        window = window_at(compiled, start)
        if not done or max(done) < window.end:
            due.append(DueWindow(compiled, reaching_back(window, compiled, state), "live"))
    return tuple(sorted(due, key=lambda item: (item.window.end, item.rule.rule_id)))


def reaching_back(window: Window, compiled: CompiledRule, state: RuleState | None) -> Window:
    """The live window, begun as early as the one after the newest searched window would be.

    Where starts were skipped, came late or failed, it may follow that one without a gap: then no backlog window covers
    the overlap, in which events may have come since.
    """
    if compiled.reach.step is not None:
        return window
    newest = state.searched[-1] if state is not None and state.searched else None
    if newest is None or newest.start == newest.end or newest.end < compiled.reach.shown(window).start:
        return window
    return Window(min(window.start, newest.end - margin(compiled.rule, compiled.reach)), window.end)


def owed(state: RuleState | None, until: datetime, *, horizon: timedelta) -> tuple[Window, ...]:
    """The spans between a rule's first window and `until` that were not searched to the end, oldest first.

    Time in which the rule was disabled is not owed. Spans older than `horizon` are given up. A rule that never ran owes
    nothing: its first window is live.
    """
    if state is None or not state.searched:
        return ()
    start = max(state.searched[0].start, until - horizon)
    return subtract(Window(start, until), state.accounted) if start < until else ()


@dataclass(frozen=True, slots=True)
class CatchUpState:
    """The progress of a rule's catch-up."""

    turn: int = -1
    """The round in which a backlog window of the rule was last searched."""
    failures: int = 0
    """Failures of its backlog window in a row; after each the next window is half as long."""
    beyond: datetime | None = None
    """The end of the shortest window, if even that fails: the backlog after it goes first."""


def oldest_owed(
    compiled: CompiledRule, spans: Sequence[Window], catch_up: CatchUpState = CatchUpState()
) -> tuple[DueWindow, ...]:
    """The window over the beginning of a rule's backlog, which is ascending as `owed` gives it; none without any. Of a
    rule with a step those of the runs that were missed.

    It reaches back beyond the beginning, so that it holds every match that ends in the span.
    """
    if not spans:
        return ()
    first = spans[0]
    step = compiled.reach.step
    if catch_up.beyond is not None and spans[-1].end > catch_up.beyond:
        first = next(span for span in spans if span.end > catch_up.beyond)
        first = Window(max(first.start, catch_up.beyond), first.end)
    if step is not None:
        most = max(1, min(_MOST_STEPS, chunk_of(compiled.rule, catch_up.failures) // step))
        return tuple(DueWindow(compiled, window, "owed") for window in _steps(compiled, first, step, most))
    end = min(first.end, first.start + chunk_of(compiled.rule, catch_up.failures))
    return (DueWindow(compiled, Window(first.start - margin(compiled.rule, compiled.reach), end), "owed"),)


_MOST_STEPS = 12
"""Most windows of the backlog that a rule with a step has searched in one turn."""


def _steps(compiled: CompiledRule, span: Window, step: timedelta, most: int) -> Iterator[Window]:
    """The windows of the runs that were missed in a span, as they would have been, the oldest first."""
    end = span.start
    for _ in range(most):
        if end >= span.end:
            return
        end = min(end + step, span.end)
        yield Window(end - compiled.rule.look_back, end)


def chunk_of(rule: Rule, failures: int) -> timedelta:
    """The span of backlog in a window beyond the overlap: `CATCH_UP_CHUNK`, halved with each failure down to an
    interval, as a window may fail because it is too large."""
    chunk: timedelta = CATCH_UP_CHUNK / 2.0 ** min(failures, 16)
    return max(min(rule.every, CATCH_UP_CHUNK), chunk)


def due_owed(
    schedule: Schedule,
    rules: Iterable[CompiledRule],
    states: Mapping[str, RuleState],
    *,
    now: datetime,
    tried: Mapping[str, datetime],
    most: int,
    catch_ups: Mapping[str, CatchUpState] = MappingProxyType({}),
) -> tuple[DueWindow, ...]:
    """The oldest backlog of each rule, one bounded window a rule, or some of a rule with a step, oldest first, of at
    most `most` rules at a time.

    Each window reaches back by the overlap of the rule's own windows, so that a sequence across its edge, or an event
    that came late, is found as a timely run would have found it. `tried` as for `due_live`: the backlog ends where the
    live window begins, which is due by itself until it was tried. Where there are too many rules, those that have
    waited longest come first, by their `catch_ups`.
    """
    due: list[tuple[DueWindow, ...]] = []
    for compiled in rules:
        rule = compiled.rule
        start, state = schedule.last_start(rule, now), states.get(rule.rule_id)
        if state is not None and len(state.accounted) == 1 and state.accounted[0].end >= start:
            continue  # as usual: one span up to the newest start, so nothing is owed
        live = window_at(compiled, start)
        is_tried = rule.rule_id in tried and tried[rule.rule_id] >= live.end
        until = live.end if is_tried else compiled.reach.shown(live).start
        spans = owed(state, until, horizon=schedule.horizon)
        catch_up = catch_ups.get(rule.rule_id, CatchUpState())
        if oldest := oldest_owed(compiled, spans, catch_up):
            due.append(oldest)
    turns = {rule_id: catch_up.turn for rule_id, catch_up in catch_ups.items()}
    due.sort(key=lambda of: (turns.get(of[0].rule.rule_id, -1), of[0].window.start, of[0].rule.rule_id))
    taken = (item for of in due[:most] for item in of)
    return tuple(sorted(taken, key=lambda item: (item.window.start, item.rule.rule_id)))


def due_marks(
    schedule: Schedule,
    rules: Iterable[CompiledRule],
    states: Mapping[str, RuleState],
    *,
    now: datetime,
    disabled: Iterable[Rule] = (),
    first: Mapping[str, datetime] = MappingProxyType({}),
    trusted: Mapping[str, datetime] = MappingProxyType({}),
) -> tuple[Mark, ...]:
    """What a ledger has to record of rules beside their runs; `rules` are enabled in their files.

    `first` is where the first window of a new rule begins, if that is not its live window. `trusted` is given after the
    clock was found to have been ahead: the time up to which the ledger is right, by rule id.
    """
    marks: list[Mark] = []
    for compiled in rules:
        rule = compiled.rule
        state = states.get(rule.rule_id)
        if state is not None and (doubt := _doubted(state, now, trusted.get(rule.rule_id), horizon=schedule.horizon)):
            marks.append(Mark(rule.rule_id, "doubt", doubt))
        if state is not None and state.paused is not None:
            marks.append(Mark(rule.rule_id, "resume", now))
        if state is None or not state.searched:
            start = first.get(rule.rule_id) or schedule.first_owed(compiled, now)
            marks.append(Mark(rule.rule_id, "begin", start))
    for rule in disabled:
        state = states.get(rule.rule_id)
        if state is not None and state.paused is None:
            marks.append(Mark(rule.rule_id, "pause", now))
    return tuple(marks)


def _doubted(state: RuleState, now: datetime, trusted: datetime | None, *, horizon: timedelta) -> datetime | None:
    """The time from which on the ledger's record of a rule cannot be true; None if it can."""
    newest = max((span.end for span in state.accounted[-1:]), default=None)
    if newest is None:
        return None
    if trusted is not None and trusted <= now:
        return trusted if newest > trusted else None
    if newest <= now:
        return None
    if newest - now <= USUAL_SKEW:
        return now - USUAL_SKEW
    # Since when the clock was ahead is unknown. A rule that began by the wrong clock begins now.
    begin = min((span.start for span in state.searched[:1]), default=now)
    return max(now - horizon, min(begin, now))


def edited(rules: Iterable[Rule], states: Mapping[str, RuleState]) -> tuple[str, ...]:
    """The ids of the rules whose query, index or schedule is not the one that they last ran with."""
    return tuple(
        rule.rule_id
        for rule in rules
        if (state := states.get(rule.rule_id)) is not None and state.fingerprint not in ("", rule.fingerprint)
    )


def pause_after(rule: Rule, failures: int) -> timedelta:
    """The wait of a rule's backlog after failures in a row (exponential backoff with jitter): an interval, doubled with
    each failure up to `LONGEST_PAUSE` or an interval, and up to a quarter more or less by the rule's id.

    A live window does not wait: it shows when the rule can be searched again.
    """
    longest = max(LONGEST_PAUSE, rule.every)
    pause: timedelta = min(rule.every * 2.0 ** min(failures - 1, 16), longest)
    quarter = pause / 4
    return pause - quarter + spread(f"{rule.rule_id} {failures}", 2 * quarter)
