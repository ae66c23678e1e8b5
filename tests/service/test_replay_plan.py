"""`ReplayPlan`: which windows a replay searches, and which it passes over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.events.files.event_times import EventTimes
from runner.schedule.schedule import window_at
from runner.search.compiled_rule import CompiledRule
from runner.search.protocol import SearchRequest
from runner.service.replay import Passed, ReplayPlan, replay_windows, window_count
from runner.service.replay_journal import Done
from runner.windows import Window, nanoseconds
from tests.compiled import compiled
from tests.scenarios.test_edges import rule_of

START = datetime(2026, 3, 2, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SLOT = 60 * 10**9


def rule(interval: int = 5, look_back: int = 9) -> CompiledRule:
    return compiled(rule_of("process where true", interval, look_back))


def times_of(minutes: list[int]) -> EventTimes:
    """A slot for each of the minutes after `START`."""
    moments = [nanoseconds(START + minute * MINUTE) for minute in sorted(set(minutes))]
    return EventTimes(moments, [moment + SLOT for moment in moments], moments, moments)


def test_an_instant_is_one_window() -> None:
    assert [*replay_windows(rule(), Window(START, START))] == [(window_at(rule(), START), 1)]


@given(st.lists(st.integers(-30, 700), max_size=8), st.integers(1, 20), st.integers(1, 40), st.integers(0, 600))
def test_every_window_with_an_event_is_searched(minutes: list[int], interval: int, look_back: int, length: int) -> None:
    one, span, times = (
        rule(interval, max(interval, look_back)),
        Window(START, START + length * MINUTE),
        times_of(minutes),
    )
    every = [window for window, _ in replay_windows(one, span)]
    assert len(every) == window_count(one, span)
    holding = [
        window
        for window in every
        if any(
            start <= window.end_ns and end > window.start_ns
            for start, end in zip(times.starts, times.ends, strict=True)
        )
    ]
    found = [*replay_windows(one, span, times)]
    assert [window for window, count in found if count == 1] == holding
    assert sum(abs(count) for _, count in found) == len(every)
    place = 0
    for window, count in found:
        assert (window.start, window.end) == (every[place].start, every[place + abs(count) - 1].end)
        place += abs(count)


def test_centuries_without_an_event_cost_nothing() -> None:
    old, new = datetime(1690, 1, 1, tzinfo=UTC), START
    moments = [nanoseconds(old), nanoseconds(new)]
    times = EventTimes(moments, [moment + SLOT for moment in moments], moments, moments)
    plan = ReplayPlan([rule() for _ in range(200)], Window(old, new), times=times)
    items = [*plan]
    assert len(items) <= 200 * 10
    assert sum(item.count if isinstance(item, Passed) else 1 for item in items) == plan.count > 200 * 35_000_000
    assert sum(isinstance(item, SearchRequest) for item in items) <= 200 * 5


def test_windows_are_made_as_they_are_needed() -> None:
    plan = ReplayPlan([rule(1)], Window(START - timedelta(days=36_500), START))
    assert [item.window.end for item in islice(plan, 2)] == [
        plan_end * MINUTE + START - timedelta(days=36_500) for plan_end in (1, 2)
    ]
    assert len(plan.waiting) == 2


def test_what_was_done_is_passed_over() -> None:
    one, span = rule(), Window(START, START + 15 * MINUTE)
    done = Done(windows=frozenset({(one.rule.rule_id, START + 10 * MINUTE)}))
    items = [*ReplayPlan([one], span, done=done)]
    assert [item.why if isinstance(item, Passed) else "search" for item in items] == ["search", "done", "search"]


@pytest.mark.parametrize(("is_whole", "why"), [(True, "empty"), (False, "unread")])
def test_what_was_not_read_is_not_taken_for_empty(is_whole: bool, why: str) -> None:
    (item,) = ReplayPlan([rule()], Window(START, START + 15 * MINUTE), times=EventTimes(), is_whole=is_whole)
    assert isinstance(item, Passed) and (item.why, item.count) == (why, 3)
