"""Alive and ready: what the service says of itself, and the verdicts made of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner.errors import Problem, StoreError
from runner.rule_run import RuleRun, Status
from runner.rules.rule import Rule
from runner.service.rules_in_use import ActiveRules
from runner.telemetry.health import EventsSeen, HealthSnapshot, HealthState, liveness, readiness, sight
from runner.windows import Window
from tests.compiled import compiled

NOW = datetime(2026, 3, 2, 10, 5, tzinfo=UTC)
PATIENCE = timedelta(minutes=2)
RULE = Rule(
    rule_id="a",
    name="A",
    description="d",
    type="eql",
    language="eql",
    query="any where true",
    severity="low",
    risk_score=1,
)
PROBLEM = Problem(Path("b.toml"), 3, 1, "error", "broken", "b")


def rule_run(status: Status, said: str = "") -> RuleRun:
    return RuleRun("a", "A", "e", status, Window(NOW, NOW), NOW, messages=(said,) if said else ())


def state_at_work() -> HealthState:
    health = HealthState(NOW)
    health.record_rules(ActiveRules(compiled=(compiled(RULE),)))
    health.record_tick(NOW, None)
    return health


def failing(snapshot: HealthSnapshot, now: datetime = NOW) -> dict[str, str]:
    return {check.name: check.reason for check in readiness(snapshot, now, PATIENCE).checks if not check.ok}


def test_before_the_first_tick_it_is_alive_and_not_ready() -> None:
    snapshot = HealthState(NOW).snapshot
    assert liveness(snapshot, NOW, PATIENCE).ok
    assert failing(snapshot) == {"rules": "not loaded yet", "store": "not asked yet: the first tick is not over"}


def test_a_service_at_work_is_ready() -> None:
    verdict = readiness(state_at_work().snapshot, NOW, PATIENCE)
    assert verdict.as_json(str) == {
        "status": "ok",
        "checks": [
            {"name": "loop", "ok": True, "reason": "at work"},
            {"name": "rules", "ok": True, "reason": "1 rule in use"},
            {"name": "store", "ok": True, "reason": "reachable"},
            {"name": "search", "ok": True, "reason": "nothing searched yet"},
        ],
    }


def test_silence_is_neither_alive_nor_ready() -> None:
    health = state_at_work()
    late = NOW + timedelta(seconds=121)
    assert liveness(health.snapshot, late - timedelta(seconds=1), PATIENCE).ok
    (check,) = liveness(health.snapshot, late, PATIENCE).checks
    assert (check.ok, "silent since 2026-03-02T10:05:00.000Z, for 121 s" in check.reason) == (False, True)
    assert set(failing(health.snapshot, late)) == {"loop"}
    health.beat(late)
    assert failing(health.snapshot, late) == {}


def test_a_store_that_is_away_costs_readiness_not_life() -> None:
    health = state_at_work()
    health.record_tick(NOW, StoreError("disk full"))
    assert liveness(health.snapshot, NOW, PATIENCE).ok
    assert failing(health.snapshot) == {"store": "disk full"}
    health.record_tick(NOW, ValueError())
    assert failing(health.snapshot) == {"store": "ValueError"}
    health.record_tick(NOW, None)
    assert failing(health.snapshot) == {}


def test_rules_that_cannot_be_run() -> None:
    health = state_at_work()
    health.record_rules(ActiveRules(problems=(PROBLEM,)))
    assert failing(health.snapshot) == {"rules": "no rule can be run: 1 problem in the rule files"}
    health.record_rules(ActiveRules(compiled=(compiled(RULE),), problems=(PROBLEM, PROBLEM)))
    (_, rules, *_) = readiness(health.snapshot, NOW, PATIENCE).checks
    assert (rules.ok, rules.reason) == (True, "1 rule in use; 2 problems in the rule files")


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (("failed",), "the last run failed: no route"),
        (("failed", "failed"), "the last 2 runs all failed: no route"),
        (("failed", "succeeded"), None),
        (("warning",), None),
    ],
)
def test_only_when_every_search_fails_it_is_not_ready(statuses: tuple[Status, ...], said: str | None) -> None:
    health = state_at_work()
    for status in statuses:
        health.record_run(rule_run(status, "no route"))
    health.record_tick(NOW, None)
    health.record_tick(NOW, None)  # a tick with nothing due changes nothing
    assert failing(health.snapshot).get("search") == said
    health.record_run(rule_run("succeeded"))
    health.record_tick(NOW, None)
    assert failing(health.snapshot) == {}


def test_reasons_are_cleaned_before_they_are_shown() -> None:
    health = state_at_work()
    health.record_tick(NOW, StoreError("https://elastic:hunter2@es:9200 is away"))
    shown = readiness(health.snapshot, NOW, PATIENCE).as_json(lambda text: text.replace("hunter2", "***"))
    assert "hunter2" not in str(shown) and "***" in str(shown)


def test_every_change_is_handed_on() -> None:
    seen: list[HealthSnapshot] = []
    state = HealthState(NOW, on_change=seen.append)
    state.beat(NOW + PATIENCE)
    state.record_tick(NOW + 2 * PATIENCE, StoreError("disk full"))
    state.beat(NOW + 3 * PATIENCE)
    assert [(one.at - NOW, one.trouble) for one in seen] == [
        (PATIENCE, ""),
        (2 * PATIENCE, "disk full"),
        (3 * PATIENCE, "disk full"),
    ]


def test_a_sensor_that_sees_nothing_is_not_ready() -> None:
    hour = timedelta(hours=1)

    def events(health: HealthState, now: datetime = NOW, quiet_after: timedelta = hour) -> tuple[bool, str] | None:
        found = sight(health.snapshot, now, quiet_after)
        assert liveness(health.snapshot, NOW, PATIENCE).ok
        return None if found is None else (found.ok, found.reason)

    health = state_at_work()
    assert events(health) is None
    health.record_events(EventsSeen(0, None))
    assert events(health) == (False, "there is no event file")
    health.record_events(EventsSeen(2, NOW - hour))
    health.record_run(rule_run("succeeded"))
    health.record_tick(NOW, None)
    assert events(health) == (True, "newest event of 2026-03-02T09:05:00.000Z")
    assert events(health, NOW + hour) == (
        False,
        "the newest event is of 2026-03-02T09:05:00.000Z, 2 h ago; expected one within 1 h (RUNNER_QUIET_AFTER)",
    )
    assert events(health, NOW + hour, timedelta(0)) == (True, "newest event of 2026-03-02T09:05:00.000Z")
    health.record_events(EventsSeen(2, None))  # events that are all ahead of the clock, or too old to be read
    assert events(health) == (True, "seen")
    assert events(health, NOW + 2 * hour) == (
        False,
        "no event came since 2026-03-02T10:05:00.000Z, 2 h ago; expected one within 1 h (RUNNER_QUIET_AFTER)",
    )


def test_rules_that_nothing_is_there_for() -> None:
    health = state_at_work()
    other = replace(rule_run("succeeded"), rule_id="b")
    health.record_run(replace(rule_run("warning"), blind=True))
    health.record_tick(NOW, None)
    reason = "nothing is there that the index patterns of 1 rule name"
    assert failing(health.snapshot) == {"events": reason}
    health.record_run(other)
    health.record_tick(NOW, None)
    assert failing(health.snapshot) == {}
    assert (health.snapshot.searched, health.snapshot.blind) == (2, 1)
    health.record_rules(ActiveRules(compiled=(compiled(RULE),)))
    health.record_tick(NOW, None)
    assert failing(health.snapshot) == {"events": reason}
