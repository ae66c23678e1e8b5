"""Where rules stand: what is owed, what is given up, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runner.rule_run import RuleRun, Status
from runner.rules.load import LoadedRules, load_rules
from runner.rules.rule import Rule
from runner.schedule.rule_status import gaps_of, standing_of, standings_of
from runner.schedule.schedule import Schedule
from runner.search.compiled_rule import Reach
from runner.store.protocol import RuleState
from runner.windows import Window, merge
from tests.scenarios.timeline import rule_text

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SCHEDULE = Schedule(together=True, horizon=timedelta(hours=6))
RULE = Rule(rule_id="a", name="A", description="d", type="eql", severity="low", risk_score=1, from_="now-9m")
LOADED = LoadedRules(rules=(RULE,))


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-02T{text}:00Z")


def span(start: str, end: str) -> Window:
    return Window(at(start), at(end))


def rule_run(start: str, end: str, status: Status = "succeeded", *, complete: bool = True, said: str = "") -> RuleRun:
    messages = (said,) if said else ()
    return RuleRun("a", "A", "e", status, span(start, end), at(end), complete=complete, messages=messages)


def told(loaded: LoadedRules, state: RuleState, now: datetime, *unfinished: RuleRun) -> list[tuple[str, ...]]:
    standings = standings_of(loaded, {state.rule_id: state}, SCHEDULE, now=now)
    rules = {rule.rule_id: rule for rule in loaded.rules}
    return [
        (gap.kind, f"{gap.span.start:%H:%M}-{gap.span.end:%H:%M}", gap.reason)
        for gap in gaps_of(standings, rules, SCHEDULE, unfinished=unfinished)
    ]


def test_a_rule_that_was_searched_in_time_owes_nothing() -> None:
    state = RuleState("a", (span("10:00", "12:00"),), rule_run("11:51", "12:00"))
    standing = standing_of(RULE, state, SCHEDULE, now=at("12:04"))
    assert (standing.owed, standing.given_up, standing.owed_windows) == ((), (), 0)
    assert (standing.lag(at("12:04")), standing.next_due) == (timedelta(minutes=4), at("12:05"))


def test_the_time_since_the_service_stopped_is_owed_up_to_the_window_that_is_due_now() -> None:
    state = RuleState("a", (span("09:00", "10:00"),), rule_run("09:51", "10:00"))
    standing = standing_of(RULE, state, SCHEDULE, now=at("12:04"))
    assert standing.owed == (span("10:00", "11:51"),)
    assert (standing.owed_length, standing.owed_windows) == (timedelta(minutes=111), 2)
    assert told(LOADED, state, at("12:04")) == [("never searched", "10:00-11:51", "no run has covered it yet")]


def test_what_is_older_than_the_horizon_is_given_up() -> None:
    searched = (span("01:00", "02:00"), span("05:00", "08:00"), span("09:00", "12:00"))
    state = RuleState("a", searched, rule_run("11:51", "12:00"))
    standing = standing_of(RULE, state, SCHEDULE, now=at("12:04"))
    assert (standing.given_up, standing.owed) == ((span("02:00", "05:00"),), (span("08:00", "09:00"),))
    later = standing_of(RULE, state, SCHEDULE, now=at("14:30"))
    assert later.given_up == (span("02:00", "05:00"), Window(at("08:00"), at("08:30")))
    assert later.owed == (Window(at("08:30"), at("09:00")), span("12:00", "14:21"))


def test_a_failure_and_matches_left_over_are_told_with_what_the_run_said() -> None:
    failed = rule_run("10:00", "10:09", "failed", complete=False, said="no shard answered")
    capped = rule_run("11:00", "11:09", "warning", complete=False, said="max_signals reached")
    state = RuleState("a", (span("09:00", "10:04"), span("10:09", "11:04")), capped)
    assert told(LOADED, state, at("11:09"), failed) == [
        ("failed", "10:04-10:09", "no shard answered"),
        ("left over", "11:04-11:09", "max_signals reached"),
    ]
    state = RuleState("a", (span("09:00", "10:04"), span("10:09", "11:09")), rule_run("11:00", "11:09"))
    assert told(LOADED, state, at("11:09"), failed) == [("failed", "10:04-10:09", "no shard answered")]


def test_a_run_that_only_overlaps_a_gap_does_not_explain_it() -> None:
    failed = rule_run("11:51", "12:00", "failed", complete=False, said="timeout")
    state = RuleState("a", (span("09:00", "10:00"), span("11:55", "11:56")), failed)
    assert told(LOADED, state, at("12:00")) == [
        ("never searched", "10:00-11:55", "no run has covered it yet"),
        ("failed", "11:56-12:00", "timeout"),
    ]


def test_a_gap_is_due_since_the_run_that_should_have_searched_its_beginning() -> None:
    state = RuleState("a", (span("09:00", "10:02"),), rule_run("09:53", "10:02"))
    (standing,) = standings_of(LOADED, {"a": state}, SCHEDULE, now=at("12:00"))
    (gap,) = gaps_of([standing], {"a": RULE}, SCHEDULE)
    assert (gap.due_since, gap.span.start) == (at("10:05"), at("10:02"))


def test_rules_that_are_disabled_or_gone_are_told_as_such() -> None:
    capped = rule_run("11:00", "11:09", complete=True)
    state = RuleState("a", (span("09:00", "10:00"), span("11:00", "11:09")), capped)
    disabled = LoadedRules(rules=(RULE.model_copy(update={"enabled": False}),))
    (standing,) = standings_of(disabled, {"a": state}, SCHEDULE, now=NOON)
    assert (standing.presence, standing.next_due, standing.owed) == ("disabled", None, (span("10:00", "11:00"),))
    assert told(disabled, state, NOON)[0][2] == "the rule is disabled"
    (standing,) = standings_of(LoadedRules(), {"a": state}, SCHEDULE, now=NOON)
    assert (standing.presence, standing.name, standing.next_due) == ("gone", "A", None)
    assert told(LoadedRules(), state, NOON)[0][2] == "the rule is no longer in the rule files"


def test_a_rule_whose_file_is_broken_is_not_gone(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(rule_text("a", {"query": "any where true", "interval": "often"}))
    (standing,) = standings_of(load_rules([tmp_path]), {"a": RuleState("a")}, SCHEDULE, now=NOON)
    assert standing.presence == "broken"


def test_the_time_in_which_a_rule_was_disabled_is_not_owed() -> None:
    facts: dict[str, Any] = {"skipped": (span("10:00", "11:00"),), "paused": at("11:30")}
    state = RuleState("a", (span("09:00", "10:00"), span("11:00", "11:20")), rule_run("11:11", "11:20"), **facts)
    assert standing_of(RULE, state, SCHEDULE, now=NOON).owed == (span("11:20", "11:30"),)


def test_a_rule_that_never_ran_owes_nothing() -> None:
    standing = standing_of(RULE, None, SCHEDULE, now=NOON)
    assert (standing.owed, standing.given_up, standing.lag(NOON), standing.last) == ((), (), None, None)


MINUTES = st.integers(min_value=0, max_value=1_000)


@given(st.lists(st.tuples(MINUTES, MINUTES), max_size=8), MINUTES, st.integers(0, 600))
def test_searched_owed_and_given_up_are_all_of_the_time_and_nothing_twice(
    pairs: list[tuple[int, int]], late: int, horizon: int
) -> None:
    start = NOON - timedelta(days=1)
    searched = merge(
        Window(start + timedelta(minutes=min(pair)), start + timedelta(minutes=max(pair))) for pair in pairs
    )
    schedule = Schedule(together=True, horizon=timedelta(minutes=horizon))
    now = start + timedelta(minutes=late)
    standing = standing_of(RULE, RuleState("a", searched), schedule, now=now)
    if not searched:
        assert (standing.owed, standing.given_up) == ((), ())
        return
    until = max(schedule.live(RULE, Reach(), now).start, searched[0].start)
    parts = [*standing.owed, *standing.given_up]
    assert merge((*parts, *searched, Window(until, until)))[0].end >= until
    assert all(span.end <= until for span in parts)
    inside = sum((min(span.end, until) - min(span.start, until) for span in searched), timedelta(0))
    total = sum((part.length for part in parts), timedelta(0))
    assert total + inside == until - searched[0].start
    assert all(span.end <= now - schedule.horizon for span in standing.given_up)
    assert all(span.start >= now - schedule.horizon for span in standing.owed)
