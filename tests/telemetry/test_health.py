"""Alive and ready: what the service says of itself, and the verdicts made of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner.errors import Problem, StoreError
from runner.rule_run import RuleRun, Status
from runner.rules.rule import Rule
from runner.service.rules_in_use import ActiveRules
from runner.telemetry.health import HealthSnapshot, HealthState, liveness, readiness
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


def pulse_at_work() -> HealthState:
    pulse = HealthState(NOW)
    pulse.note_rules(ActiveRules(compiled=(compiled(RULE),)))
    pulse.note_tick(NOW, None)
    return pulse


def failing(vitals: HealthSnapshot, now: datetime = NOW) -> dict[str, str]:
    return {check.name: check.reason for check in readiness(vitals, now, PATIENCE).checks if not check.ok}


def test_before_the_first_tick_it_is_alive_and_not_ready() -> None:
    vitals = HealthState(NOW).vitals
    assert liveness(vitals, NOW, PATIENCE).ok
    assert failing(vitals) == {"rules": "not loaded yet", "store": "not asked yet: the first tick is not over"}


def test_a_service_at_work_is_ready() -> None:
    verdict = readiness(pulse_at_work().vitals, NOW, PATIENCE)
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
    pulse = pulse_at_work()
    late = NOW + timedelta(seconds=121)
    assert liveness(pulse.vitals, late - timedelta(seconds=1), PATIENCE).ok
    (check,) = liveness(pulse.vitals, late, PATIENCE).checks
    assert (check.ok, "silent since 2026-03-02T10:05:00.000Z, for 121 s" in check.reason) == (False, True)
    assert set(failing(pulse.vitals, late)) == {"loop"}
    pulse.beat(late)
    assert failing(pulse.vitals, late) == {}


def test_a_store_that_is_away_costs_readiness_not_life() -> None:
    pulse = pulse_at_work()
    pulse.note_tick(NOW, StoreError("disk full"))
    assert liveness(pulse.vitals, NOW, PATIENCE).ok
    assert failing(pulse.vitals) == {"store": "disk full"}
    pulse.note_tick(NOW, ValueError())
    assert failing(pulse.vitals) == {"store": "ValueError"}
    pulse.note_tick(NOW, None)
    assert failing(pulse.vitals) == {}


def test_rules_that_cannot_be_run() -> None:
    pulse = pulse_at_work()
    pulse.note_rules(ActiveRules(problems=(PROBLEM,)))
    assert failing(pulse.vitals) == {"rules": "no rule can be run: 1 problem in the rule files"}
    pulse.note_rules(ActiveRules(compiled=(compiled(RULE),), problems=(PROBLEM, PROBLEM)))
    (_, rules, *_) = readiness(pulse.vitals, NOW, PATIENCE).checks
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
    pulse = pulse_at_work()
    for status in statuses:
        pulse.note_run(rule_run(status, "no route"))
    pulse.note_tick(NOW, None)
    pulse.note_tick(NOW, None)  # a tick with nothing due changes nothing
    assert failing(pulse.vitals).get("search") == said
    pulse.note_run(rule_run("succeeded"))
    pulse.note_tick(NOW, None)
    assert failing(pulse.vitals) == {}


def test_reasons_are_cleaned_before_they_are_shown() -> None:
    pulse = pulse_at_work()
    pulse.note_tick(NOW, StoreError("https://elastic:hunter2@es:9200 is away"))
    shown = readiness(pulse.vitals, NOW, PATIENCE).as_json(lambda text: text.replace("hunter2", "***"))
    assert "hunter2" not in str(shown) and "***" in str(shown)
