"""Search requests that are due: windows of the schedule and of the backlog, with the number of matches wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from runner.schedule.schedule import (
    DueWindow,
    Schedule,
    due_marks,
    due_owed,
    oldest_owed,
    owed,
    reaching_back,
    window_at,
)
from runner.search.compiled_rule import CompiledRule
from runner.search.protocol import SearchRequest
from runner.service.execution import size_for
from runner.service.rules_in_use import ActiveRules
from runner.store.protocol import Ledger, RuleState, state_with_mark
from runner.windows import subtract

_MOST_LATE = 24
"""Most windows of a rule that one run from cron searches for late events."""


def requests_for(due: Sequence[DueWindow], states: Mapping[str, RuleState]) -> list[SearchRequest]:
    """One request per window; excepted events count where the window was not searched before, as `states` say."""
    requests: list[SearchRequest] = []
    for item in due:
        state, counted = states.get(item.rule.rule_id), None
        if item.compiled.exceptions and state is not None:
            counted = tuple(subtract(item.window, state.searched))
        requests.append(SearchRequest(item.compiled, item.window, size_for(item.rule), counted))
    return requests


def requests_at(
    rules: Sequence[CompiledRule],
    now: datetime,
    states: Mapping[str, RuleState] = MappingProxyType({}),
    *,
    counted_by: Mapping[str, RuleState] | None = None,
) -> list[SearchRequest]:
    """One request per rule for its window at `now`, which reaches back to what was searched before as `states` say.

    `counted_by` are the states by which excepted events count, if those are others.
    """
    windows = {one: reaching_back(window_at(one, now), one, states.get(one.rule.rule_id)) for one in rules}
    due = [DueWindow(compiled, window, "live") for compiled, window in windows.items()]
    return requests_for(due, states if counted_by is None else counted_by)


def requests_before(
    current: Sequence[SearchRequest], states: Mapping[str, RuleState], schedule: Schedule
) -> list[SearchRequest]:
    """The oldest part of each rule's backlog that lies before its current window, and what is owed for late events."""
    due: list[DueWindow] = []
    for request in current:
        until = request.reach.shown(request.window).start
        state = states.get(request.rule.rule_id)
        spans = owed(state, until, horizon=schedule.horizon)
        for _ in range(_MOST_LATE if state is not None and state.late else 1):
            if not (part := oldest_owed(request.compiled, spans)):
                break
            due.extend(part)
            late = state.late if state is not None else ()
            done = [item.window for item in part]
            left = [rest for span in spans for rest in subtract(span, done)]
            spans = tuple(
                span for span in left if any(again.start < span.end and span.start < again.end for again in late)
            )
    return requests_for(due, states)


def requests_due(
    rules: Sequence[CompiledRule], states: Mapping[str, RuleState], now: datetime, *, schedule: Schedule
) -> list[SearchRequest]:
    """For a single run from cron: the window at `now` of each rule whose interval has passed, and each rule's backlog.

    An interval counts as passed at nine tenths of it: cron does not start on the second.
    """
    due: list[DueWindow] = []
    for compiled in rules:
        state, window = states.get(compiled.rule.rule_id), window_at(compiled, now)
        newest = state.searched[-1].end if state is not None and state.searched else None
        if newest is None or window.end - newest >= compiled.rule.every * 0.9:
            due.append(DueWindow(compiled, reaching_back(window, compiled, state), "live"))
    tried = {state.rule_id: state.last.window.end for state in states.values() if state.last is not None}
    backlog = due_owed(schedule, rules, states, now=now, tried=tried, most=len(rules))
    return requests_for([*due, *backlog], states)


async def known_states(
    ledger: Ledger, active: ActiveRules, now: datetime, *, schedule: Schedule
) -> Mapping[str, RuleState]:
    """For a single run: the ledger's states, after new, disabled and re-enabled rules were marked in it."""
    states = dict(await ledger.read())
    first = {one.rule.rule_id: one.reach.shown(window_at(one, now)).start for one in active.compiled}
    if marks := due_marks(schedule, active.compiled, states, now=now, disabled=active.disabled, first=first):
        await ledger.add_marks(marks)
        for mark in marks:
            states[mark.rule_id] = state_with_mark(states.get(mark.rule_id), mark)
    return states
