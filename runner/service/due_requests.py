"""Which searches are due: windows of the schedule and of the backlog as search requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from runner.rules.rule import Rule
from runner.schedule.schedule import DueWindow, Schedule, due_marks, due_owed, oldest_owed, owed
from runner.search.protocol import SearchRequest
from runner.service.execution import size_for
from runner.service.rules_in_use import ActiveRules
from runner.store.protocol import Ledger, RuleState, state_with_mark


def requests_for(due: Sequence[DueWindow], schedule: Schedule) -> list[SearchRequest]:
    """What to ask of a search for windows that are due."""
    return [SearchRequest(item.rule, item.window, size_for(item.rule), schedule.reach(item.rule)) for item in due]


def requests_at(rules: Sequence[Rule], now: datetime, schedule: Schedule) -> list[SearchRequest]:
    """One request per rule for its window at `now`, whatever was searched before."""
    return requests_for([DueWindow(rule, schedule.window(rule, now), "live") for rule in rules], schedule)


def requests_before(
    current: Sequence[SearchRequest], states: Mapping[str, RuleState], schedule: Schedule
) -> list[SearchRequest]:
    """The oldest part of each rule's backlog that lies before its current window."""
    due: list[DueWindow] = []
    for request in current:
        until = schedule.shown(request.rule, request.window).start
        spans = owed(states.get(request.rule.rule_id), until, horizon=schedule.horizon)
        due.extend(oldest_owed(schedule, request.rule, spans))
    return requests_for(due, schedule)


def requests_due(
    rules: Sequence[Rule], states: Mapping[str, RuleState], now: datetime, *, schedule: Schedule
) -> list[SearchRequest]:
    """For a single run from cron: the window at `now` of each rule whose interval has passed, and each rule's backlog.

    An interval counts as passed at nine tenths of it: cron does not start on the second.
    """
    due: list[DueWindow] = []
    for rule in rules:
        state, window = states.get(rule.rule_id), schedule.window(rule, now)
        newest = state.searched[-1].end if state is not None and state.searched else None
        if newest is None or window.end - newest >= rule.every * 0.9:
            due.append(DueWindow(rule, window, "live"))
    tried = {state.rule_id: state.last.window.end for state in states.values() if state.last is not None}
    backlog = due_owed(schedule, rules, states, now=now, tried=tried, most=len(rules))
    return requests_for([*due, *backlog], schedule)


async def known_states(
    ledger: Ledger, active: ActiveRules, now: datetime, *, schedule: Schedule
) -> Mapping[str, RuleState]:
    """For a single run: what the ledger says, after it was told which rules are new, disabled or enabled again."""
    states = dict(await ledger.read())
    first = {rule.rule_id: schedule.shown(rule, schedule.window(rule, now)).start for rule in active.rules}
    if marks := due_marks(schedule, active.told, states, now=now, first=first):
        await ledger.add_marks(marks)
        for mark in marks:
            states[mark.rule_id] = state_with_mark(states.get(mark.rule_id), mark)
    return states
