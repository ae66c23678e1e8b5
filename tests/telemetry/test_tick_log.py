"""The log of ticks: a line for all rules and one for each with news, outages and their ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest

from runner.errors import UnreachableError
from runner.rule_run import RuleRun
from runner.settings.settings import Settings
from runner.telemetry.logs import configure_logging
from runner.telemetry.tick_log import TickLog
from runner.windows import Window
from tests.scenarios.timeline import at

BROKEN = "1 broken line skipped: events.ndjson:7: unexpected end of data"
RUN = RuleRun("r", "Rule", "x", "succeeded", Window(at("10:00:00"), at("10:09:00")), at("10:09:00"))


class World:
    """A tick log with a clock that is set by hand, and the lines that it wrote."""

    def __init__(self, stream: StringIO) -> None:
        self._stream = stream
        self.now = at("10:09:00")
        self.owed = (0, timedelta(0))
        self.log = TickLog(lambda: self.now, lambda: self.owed, store="the cluster")

    def tick(self, *runs: RuleRun, trouble: Exception | None = None) -> list[dict[str, Any]]:
        """The lines of a tick."""
        self._stream.seek(0)
        self._stream.truncate()
        if trouble is not None:
            self.log.trouble(trouble)
        for run in runs:
            self.log.add(run)
        self.log.tick_over(trouble)
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture
def world() -> Iterator[World]:
    stream = StringIO()
    configure_logging(Settings(log_format="json"), stream=stream)
    yield World(stream)


def runs(count: int, **fields: Any) -> list[RuleRun]:
    return [replace(RUN, rule_id=f"r{number}", name=f"Rule {number}", **fields) for number in range(count)]


def told(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(line["log.level"], line["message"]) for line in lines]


def test_rules_without_a_match_are_one_line(world: World) -> None:
    expected = "350 rules searched up to 2026-03-02T10:09:00.000Z: 0 created, 350 rules found nothing"
    assert told(world.tick(*runs(350))) == [("info", expected)]
    assert world.tick() == []


def test_what_concerns_all_rules_is_one_line_and_a_rule_with_news_has_its_own(world: World) -> None:
    several = runs(350, status="warning", messages=(BROKEN,))
    several[3] = replace(several[3], matches=2, created=2)
    several[4] = replace(several[4], messages=(BROKEN, "max_signals reached"))
    first, second, summary = world.tick(*several)
    assert first["message"].startswith("Rule 3: warning, 2 created") and "event.reason" not in first
    assert second["event.reason"] == "max_signals reached"
    assert summary["log.level"] == "warning"
    assert summary["message"].endswith(f"2 created, 348 rules found nothing; 350 rules: {BROKEN}")
    assert (summary["runner.rules"], summary["runner.created"]) == (350, 2)


def test_a_failure_of_all_rules_is_one_error(world: World) -> None:
    ((level, message),) = told(world.tick(*runs(350, status="failed", complete=False, messages=("no index",))))
    assert level == "error"
    assert message.endswith("350 rules could not be searched to the end; 350 rules: no index")


def test_an_outage_is_told_at_times_and_its_end_once(world: World) -> None:
    away = UnreachableError("no host answers")
    lines = []
    for _ in range(21):
        lines += told(world.tick(trouble=away))
        world.now += timedelta(seconds=30)
    assert [level for level, _ in lines] == ["error"] * 3
    world.owed = (350, timedelta(hours=61, minutes=15))
    (end, summary) = reversed(told(world.tick(*runs(2))))
    assert end == (
        "info",
        "the cluster can be reached again after 10m 30s: 350 rules owe 2d 13h 15m in all, searched oldest first",
    )
    assert "2 rules found nothing" in summary[1]
    assert len(world.tick(*runs(2))) == 1


def test_events_that_can_be_searched_again(world: World) -> None:
    world.tick(*runs(2, status="failed", messages=("the folder is empty",)))
    world.now += timedelta(minutes=5)
    assert world.tick() == []  # nothing was due, which shows nothing
    assert told(world.tick(*runs(2)))[-1][1] == "the events can be searched again after 5m: nothing is owed"


def test_a_tick_that_is_cut_off_is_told(world: World) -> None:
    world.log.add(RUN)
    world.log.flush()
    assert world.tick() == []
