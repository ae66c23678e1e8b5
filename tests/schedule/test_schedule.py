"""What is due: of live windows each once, of the backlog all of it, whatever the ticks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.rule_run import RuleRun, Status
from runner.rules.load import load_rules
from runner.schedule.schedule import (
    CATCH_UP_CHUNK,
    CatchUpState,
    DueWindow,
    Schedule,
    chunk_of,
    due_live,
    due_marks,
    due_owed,
    edited,
    oldest_owed,
    owed,
    spread,
)
from runner.search.compiled_rule import CompiledRule, compile_rule
from runner.service.due_requests import requests_at, requests_due
from runner.store.protocol import Mark, RuleState, state_after, state_with_mark
from runner.windows import Window, merge
from tests.scenarios.timeline import rule_text

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
TOGETHER = Schedule(together=True)


def rule(folder: Path, name: str = "nc", **fields: Any) -> CompiledRule:
    path = folder / f"{name}.toml"
    path.write_text(rule_text(name, {"query": "any where true", **fields}))
    loaded = load_rules([path])
    assert loaded.problems == ()
    return compile_rule(loaded.rules[0])


def minutes(start: float, end: float) -> Window:
    return Window(START + timedelta(minutes=start), START + timedelta(minutes=end))


def run_of(item: DueWindow, *, complete: bool = True) -> RuleRun:
    rule, window = item.rule, item.window
    status: Status = "succeeded" if complete else "failed"
    shown = item.compiled.reach.shown(window)
    return RuleRun(rule.rule_id, rule.name, "x", status, window, window.end, complete=complete, shown=shown)


def test_spread_is_stable_and_even() -> None:
    interval = timedelta(minutes=5)
    offsets = [spread(f"rule-{number}", interval) for number in range(1_000)]
    assert offsets == [spread(f"rule-{number}", interval) for number in range(1_000)]
    tenths = [sum(offset // timedelta(seconds=30) == tenth for offset in offsets) for tenth in range(10)]
    assert all(60 < count < 140 for count in tenths)
    assert len({offset // timedelta(seconds=1) for offset in offsets}) > 250


def test_start_times_are_whole_intervals_and_the_spread(tmp_path: Path) -> None:
    one = rule(tmp_path)
    now = START + timedelta(minutes=7, seconds=12)
    assert TOGETHER.last_start(one.rule, now) == START + timedelta(minutes=5)
    assert TOGETHER.next_start(one.rule, now) == START + timedelta(minutes=10)
    assert TOGETHER.last_start(one.rule, START) == START
    apart = Schedule()
    for moment in (now, now + timedelta(hours=5)):
        last = apart.last_start(one.rule, moment)
        assert last <= moment < apart.next_start(one.rule, moment) == last + timedelta(minutes=5)
        assert (last - spread("nc", timedelta(minutes=5)) - START) % timedelta(minutes=5) == timedelta(0)


def test_a_window_that_follows_another_without_a_gap_reaches_back_as_far_as_a_punctual_one(tmp_path: Path) -> None:
    """Events that came into that time since are not late: the next window is to find them."""
    one = rule(tmp_path)
    states = {"nc": RuleState("nc", (minutes(-60, 0),))}
    for passed, start in ((5, -4), (5.5, -4), (8, -4), (9, -4), (9.5, 0.5)):
        now = START + timedelta(minutes=passed)
        (cron,) = [request.window for request in requests_due([one], states, now, schedule=TOGETHER)]
        assert cron.start == START + timedelta(minutes=start)
        assert [request.window for request in requests_at([one], now, states)] == [cron]
    begun = {"nc": RuleState("nc", (minutes(-1, -1),))}
    assert requests_at([one], START, begun)[0].window == minutes(-9, 0)


def test_the_live_window_is_due_until_it_was_tried(tmp_path: Path) -> None:
    one = rule(tmp_path)
    now = START + timedelta(minutes=7)
    (due,) = due_live(TOGETHER, [one], {}, now=now, tried={})
    assert (due.window, due.kind) == (minutes(-4, 5), "live")
    states = {"nc": state_after(None, run_of(due), "")}
    assert due_live(TOGETHER, [one], states, now=now, tried={}) == ()
    failed = {"nc": state_after(None, run_of(due, complete=False), "")}
    assert due_live(TOGETHER, [one], failed, now=now, tried={"nc": due.window.end}) == ()
    assert due_live(TOGETHER, [one], failed, now=now, tried={}) == (due,)


def test_a_rule_that_never_ran_owes_nothing_and_old_backlog_is_given_up() -> None:
    day = timedelta(days=1)
    assert owed(None, START, horizon=day) == ()
    begun = RuleState("nc", (minutes(-60, -60),))
    assert owed(begun, START, horizon=day) == (minutes(-60, 0),)
    assert owed(begun, START, horizon=timedelta(minutes=20)) == (minutes(-20, 0),)
    assert owed(begun, START, horizon=timedelta(0)) == ()
    gaps = RuleState("nc", (minutes(-60, -50), minutes(-30, -20)))
    assert owed(gaps, START, horizon=day) == (minutes(-50, -30), minutes(-20, 0))


def test_the_backlog_comes_oldest_first_bounded_and_with_the_overlap(tmp_path: Path) -> None:
    rules = [rule(tmp_path, name) for name in ("a", "b", "c")]
    states = {
        "a": RuleState("a", (minutes(-60, -50),)),
        "b": RuleState("b", (minutes(-300, -290),)),
        "c": RuleState("c", (minutes(-90, -80),)),
    }
    due = due_owed(TOGETHER, rules, states, now=START, tried={}, most=2)
    assert [(item.rule.rule_id, item.window) for item in due] == [("b", minutes(-294, -230)), ("c", minutes(-84, -20))]
    assert all(item.window.length <= CATCH_UP_CHUNK + timedelta(minutes=4) for item in due)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(1, 7_000), st.booleans(), st.booleans()), min_size=1, max_size=25),
    together=st.booleans(),
)
def test_whatever_the_ticks_everything_up_to_the_last_start_is_searched_in_the_end(
    tmp_path_factory: Any, steps: list[tuple[int, bool, bool]], together: bool
) -> None:
    """Ticks at any distance, runs that fail, restarts that forget what was tried; then it is left to catch up."""
    one = rule(tmp_path_factory.mktemp("rules"))
    schedule = Schedule(together=together, horizon=timedelta(days=30))
    now, states, tried = START, dict[str, RuleState](), dict[str, datetime]()
    first: Window | None = None

    def tick(fails: bool) -> int:
        nonlocal first
        due = list(due_live(schedule, [one], states, now=now, tried=tried))
        for item in due:
            first = first or item.window
            note(item, fails)
        backlog = due_owed(schedule, [one], states, now=now, tried=tried, most=50)
        for item in backlog:
            note(item, fails)
        return len(due) + len(backlog)

    def note(item: DueWindow, fails: bool) -> None:
        assert item.window.end <= now
        states["nc"] = state_after(states.get("nc"), run_of(item, complete=not fails), "")
        tried["nc"] = max(tried.get("nc", item.window.end), item.window.end)

    for seconds, fails, restarts in steps:
        tick(fails)
        now += timedelta(seconds=seconds)
        if restarts:
            tried.clear()
    for _ in range(200):
        if tick(fails=False) == 0:
            break
    assert first is not None
    (span,) = merge(part for part in states["nc"].searched if part.start < part.end)
    assert span.start <= first.start
    assert span.end == schedule.last_start(one.rule, now)


def test_a_single_run_from_cron_takes_what_is_due_and_all_backlog(tmp_path: Path) -> None:
    one = rule(tmp_path)
    assert [request.window for request in requests_due([one], {}, START, schedule=Schedule())] == [minutes(-9, 0)]
    fresh = {"nc": RuleState("nc", (minutes(-60, -4),), None)}
    assert requests_due([one], fresh, START, schedule=TOGETHER) == []
    punctual = {"nc": RuleState("nc", (minutes(-60, -4.6),), None)}
    assert [request.window for request in requests_due([one], punctual, START, schedule=TOGETHER)] == [minutes(-9, 0)]
    late = {"nc": RuleState("nc", (minutes(-60, -30),), None)}
    windows = [request.window for request in requests_due([one], late, START, schedule=TOGETHER)]
    assert windows == [minutes(-9, 0), minutes(-34, -9)]
    assert {request.size for request in requests_due([one], late, START, schedule=TOGETHER)} == {101}


def test_a_window_shows_whole_only_what_a_match_may_have_ended_in(tmp_path: Path) -> None:
    one = rule(tmp_path, query="sequence with maxspan=3m [any where true] [any where true]")
    schedule = Schedule(together=True)
    (due,) = due_live(schedule, [one], {}, now=START, tried={})
    assert (due.window, one.reach.shown(due.window)) == (minutes(-10, 0), minutes(-7, 0))
    states = {"nc": state_after(None, run_of(due), "")}
    assert states["nc"].searched == (minutes(-7, 0),)
    # A start time that no tick came for: the overlap of the next window does not make up for it.
    late = START + timedelta(minutes=10)
    (due,) = due_live(schedule, [one], states, now=late, tried={})
    states = {"nc": state_after(states["nc"], run_of(due), "")}
    assert states["nc"].searched == (minutes(-7, 0), minutes(3, 10))
    (due,) = due_owed(schedule, [one], states, now=late, tried={"nc": late}, most=1)
    assert due.window == minutes(-5, 3)
    (due,) = oldest_owed(one, [minutes(0, 200)])
    assert due.window == minutes(-5, 60)


def test_a_window_of_backlog_that_fails_gets_shorter_and_then_others_go_first(tmp_path: Path) -> None:
    one = rule(tmp_path)
    spans = [minutes(0, 100), minutes(150, 160)]
    lengths = [chunk_of(one.rule, failures).total_seconds() / 60 for failures in range(6)]
    assert lengths == [60, 30, 15, 7.5, 5, 5]

    def window(catch_up: CatchUpState) -> Window:
        (due,) = oldest_owed(one, spans, catch_up)
        return due.window

    assert window(CatchUpState(failures=2)) == minutes(-4, 15)
    assert window(CatchUpState(beyond=START + timedelta(minutes=5))) == minutes(1, 65)
    assert window(CatchUpState(beyond=START + timedelta(minutes=120))) == minutes(146, 160)
    assert window(CatchUpState(beyond=START + timedelta(minutes=160))) == minutes(-4, 60)  # and from the start again


def test_the_ledger_is_told_what_it_has_to_know_and_nothing_twice(tmp_path: Path) -> None:
    new, off, again = rule(tmp_path, "new"), rule(tmp_path, "off", enabled=False), rule(tmp_path, "again")
    states = {
        "off": RuleState("off", (minutes(-60, -5),)),
        "again": RuleState("again", (minutes(-60, -50),), paused=START - timedelta(minutes=50)),
    }
    rules = [new, again]
    marks = due_marks(TOGETHER, rules, states, now=START, disabled=[off.rule])
    assert marks == (
        Mark("new", "begin", START - timedelta(minutes=9)),
        Mark("again", "resume", START),
        Mark("off", "pause", START),
    )
    for mark in marks:
        states[mark.rule_id] = state_with_mark(states.get(mark.rule_id), mark)
    assert due_marks(TOGETHER, rules, states, now=START + timedelta(minutes=1), disabled=[off.rule]) == ()
    assert owed(states["again"], START, horizon=timedelta(days=1)) == ()
    never = due_marks(TOGETHER, [], {}, now=START, disabled=[rule(tmp_path, "never", enabled=False).rule])
    assert never == ()


def test_what_cannot_have_been_searched_yet_is_doubted(tmp_path: Path) -> None:
    one = rule(tmp_path)

    def doubted(end: float, trusted: float | None = None, *, begin: float = -600) -> float | None:
        states = {"nc": RuleState("nc", (minutes(begin, end),), None)}
        given = {} if trusted is None else {"nc": START + timedelta(minutes=trusted)}
        day = Schedule(together=True, horizon=timedelta(days=1))
        marks = due_marks(day, [one], states, now=START, trusted=given)
        return (marks[0].at - START).total_seconds() / 60 if marks else None

    assert doubted(0) is None
    assert doubted(2) == -5  # clocks of two machines
    assert doubted(60) == -600  # the rule began then
    assert doubted(60, begin=-60 * 48) == -60 * 24  # the horizon
    assert doubted(60, begin=30) == 0
    assert doubted(60, trusted=-30) == -30
    assert doubted(-5, trusted=-30) == -30
    assert doubted(-40, trusted=-30) is None
    assert doubted(60, trusted=10) == -600  # what is trusted is ahead itself


def test_an_edit_is_seen_by_the_fingerprint(tmp_path: Path) -> None:
    one = rule(tmp_path)
    ran = state_after(None, run_of(DueWindow(one, minutes(-9, 0), "live")), one.rule.fingerprint)
    assert edited([one.rule], {}) == edited([one.rule], {"nc": ran}) == ()
    assert edited([one.rule], {"nc": RuleState("nc", ran.searched)}) == ()
    assert edited([rule(tmp_path, interval="7m").rule], {"nc": ran}) == ("nc",)
    assert edited([rule(tmp_path, severity="critical").rule], {"nc": ran}) == ()


def test_a_single_run_from_cron_of_a_rule_that_ends_before_now(tmp_path: Path) -> None:
    one = rule(tmp_path, **{"from": "now-20m", "to": "now-10m"})
    fresh = {"nc": RuleState("nc", (minutes(-60, -12),), None)}
    assert requests_due([one], fresh, START, schedule=TOGETHER) == []
    late = {"nc": RuleState("nc", (minutes(-60, -15),), None)}
    assert requests_due([one], late, START, schedule=TOGETHER)[0].window == minutes(-20, -10)
