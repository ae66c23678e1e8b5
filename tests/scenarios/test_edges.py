"""Window edges cut nothing: however time is cut into windows, the alerts are those of one search over everything.

`RUNNER_FUZZ=1000000` tries 50,000 examples of each property instead of the 60 of a usual run.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.alerts.alert import Alert
from runner.alerts.build import AlertContext
from runner.clock import FakeClock
from runner.rule_run import RuleRun
from runner.rules.rule import Rule
from runner.schedule.window_edges import is_decided, margin, widened
from runner.search.compiled_rule import Reach
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest
from runner.service.execution import Execution
from runner.service.replay import Passed, ReplayPlan, replay
from runner.store.memory import MemoryStore
from runner.store.protocol import AlertFilter, WriteResult
from runner.windows import Window, iso
from tests.compiled import compiled
from tests.scenarios.timeline import rule_text
from tests.scenarios.world import World

pytestmark = pytest.mark.slow

START = datetime(2026, 3, 1, tzinfo=UTC)
QUERIES = (
    'sequence by host.id with maxspan=3m [process where process.name : "a"] [process where process.name : "b"]',
    'sequence by host.id with maxspan=12m [process where process.name : "a"] [process where process.name : "b"]',
    'sequence by host.id with maxspan=9m [any where process.name : "a"] [any where process.name : "b"] '
    '[any where process.name : "c"] until [any where process.name : "d"]',
    'sequence by host.id with maxspan=7m [any where process.name : "a"] ![any where process.name : "b"]',
    'sequence by host.id with maxspan=7m ![any where process.name : "a"] [any where process.name : "b"]',
    'sequence by host.id with maxspan=11m [any where process.name : "a"] ![any where process.name : "c"] '
    '[any where process.name : "b"]',
    'process where process.name : ("a", "b")',
)
EVENTS = st.lists(
    st.tuples(st.integers(0, 3_600), st.sampled_from("abcd"), st.sampled_from(("h1", "h2"))), min_size=1, max_size=25
)


EXAMPLES = max(60, int(os.environ.get("RUNNER_FUZZ", "0")) // 20)
RULE_FIELDS = {"name": "r", "description": "r", "severity": "low", "risk_score": 1, "index": ["logs-*"]}


def rule_of(query: str, interval: int, look_back: int) -> Rule:
    return Rule.model_validate(
        {
            "rule_id": "r",
            "name": "r",
            "description": "r",
            "type": "eql",
            "language": "eql",
            "severity": "low",
            "risk_score": 1,
            "query": query,
            "interval": f"{interval}m",
            "from": f"now-{look_back}m",
        }
    )


def event_line(number: int, event: tuple[int, str, str]) -> bytes:
    second, name, host = event
    document = {
        "@timestamp": iso(START + timedelta(seconds=second)),
        "agent": {"id": "a"},
        "event": {"id": f"{number:03}", "category": "process"},
        "host": {"id": host},
        "process": {"name": name},
    }
    return orjson.dumps(document) + b"\n"


def write_events(path: Path, events: list[tuple[int, str, str]]) -> None:
    path.write_bytes(b"".join(event_line(number, event) for number, event in enumerate(sorted(events))))


async def alerts_of(path: Path, rule: Rule, requests: Sequence[SearchRequest | Passed]) -> set[str]:
    search, store = FileSearch([path]), MemoryStore()
    await search.prepare([compiled(rule)])
    context = AlertContext(now=START, execution_id="")
    execution = Execution(search, store, store, clock=lambda: START, context=context)
    failed = [run async for run in replay(execution, requests) if isinstance(run, RuleRun) and run.status == "failed"]
    assert not failed
    await search.close()
    return {alert.id async for alert in store.find(AlertFilter(building_blocks=True))}


@settings(max_examples=EXAMPLES, deadline=None)
@given(EVENTS, st.sampled_from(QUERIES), st.integers(1, 8), st.integers(0, 6), st.integers(0, 59))
def test_windows_find_what_one_search_finds(
    events: list[tuple[int, str, str]], query: str, interval: int, overlap: int, offset: int
) -> None:
    rule = rule_of(query, interval, interval + overlap)
    # Long enough before and after the events that every absence among them can be told.
    span = Window(START - timedelta(minutes=30, seconds=offset), START + timedelta(minutes=100))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.ndjson"
        write_events(path, events)
        cut = asyncio.run(alerts_of(path, rule, [*ReplayPlan([compiled(rule)], span)]))
        whole = asyncio.run(alerts_of(path, rule, [SearchRequest(compiled(rule), span, 1_000)]))
    assert cut == whole


class Killed(BaseException):
    """The end of the process."""


class MortalStore(MemoryStore):
    """A store whose process dies at certain of its calls: before or after it has written alerts, or before it has
    written the ledger."""

    def __init__(self, deaths: Collection[int]) -> None:
        super().__init__()
        self._deaths = set(deaths)
        self._moments = 0

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        self._pass()
        made = await super().create(alerts)
        self._pass()
        return made

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        self._pass()
        await super().record(run, fingerprint)
        self._pass()

    def _pass(self) -> None:
        self._moments += 1
        if self._moments in self._deaths:
            raise Killed


@dataclass(frozen=True)
class Course:
    """What becomes visible when, and when the service looks and dies."""

    events: list[tuple[int, str, str]]
    """Second, name and host of each."""
    delays: list[float]
    """How late each of them becomes visible, as a part of what the rule allows."""
    ticks: list[int]
    """Seconds between two ticks; after the last of them they come every minute."""
    deaths: frozenset[int]

    def visible(self, allowed: timedelta) -> list[tuple[float, int]]:
        """When each event becomes visible, in that order, with its number."""
        late = [part * allowed.total_seconds() for part in self.delays]
        return sorted((event[0] + late[number], number) for number, event in enumerate(self.events))


COURSES = st.builds(
    lambda events, delays, ticks, deaths: Course(events, delays[: len(events)], ticks, deaths),
    st.lists(
        st.tuples(st.integers(0, 1_800), st.sampled_from("abcd"), st.sampled_from(("h1", "h2"))),
        min_size=1,
        max_size=15,
        unique_by=lambda event: event[0],  # of one time, events are in the order in which they came
    ),
    st.just([0.0] * 15) | st.lists(st.floats(0, 1), min_size=15, max_size=15),
    st.lists(st.integers(1, 900), max_size=8),
    st.frozensets(st.integers(1, 60), max_size=6),
)


async def live_alerts(folder: Path, rule: Rule, course: Course, allowed: timedelta) -> set[str]:
    """The alerts of a service that lives through the course, and long enough after it."""
    store = MortalStore(course.deaths)
    world = World(folder, store, FakeClock(START - timedelta(minutes=30)))
    (folder / "rules" / "r.toml").write_text(
        rule_text("r", RULE_FIELDS | {"query": rule.query, "interval": rule.interval, "from": rule.from_})
    )
    coming = course.visible(allowed)
    lines = [event_line(number, event) for number, event in enumerate(course.events)]
    ticks = iter([1_800 - 300, *course.ticks])
    last_minutes = 6
    while world.clock.now() < START + timedelta(minutes=75) or (last_minutes := last_minutes - 1):
        try:
            await world.tick()
        except Killed:
            await world.restart()
            continue
        world.clock.advance(timedelta(seconds=next(ticks, 60)))
        now = (world.clock.now() - START).total_seconds()
        while coming and coming[0][0] <= now:
            with (world.events / "events.ndjson").open("ab") as file:
                file.write(lines[coming.pop(0)[1]])
    assert world.troubles == []
    (span,) = (await store.read())["r"].searched
    assert span.start <= START and span.end >= START + timedelta(minutes=65)
    await world.restart()
    return {alert.id for alert in await world.alerts(building_blocks=True)}


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(COURSES, st.sampled_from(QUERIES), st.integers(1, 8), st.integers(0, 6))
def test_a_service_finds_what_one_search_finds(course: Course, query: str, interval: int, overlap: int) -> None:
    """Events that come late within what the overlap allows, late ticks, and a process that dies before and after it
    has written alerts: nothing of what one search over everything finds is missing."""
    rule = rule_of(query, interval, interval + overlap)
    reach = compiled(rule).reach
    allowed = margin(rule, reach) - reach.maxspan
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "all.ndjson"
        path.write_bytes(b"".join(event_line(number, event) for number, event in enumerate(course.events)))
        span = Window(START - timedelta(minutes=30), START + timedelta(minutes=100))
        whole = asyncio.run(alerts_of(path, rule, [SearchRequest(compiled(rule), span, 1_000)]))
        lived = asyncio.run(live_alerts(Path(folder), rule, course, allowed))
    if any(course.delays) and "sequence" in query:
        # A late event may take the place of another in a sequence, or fill an absence: then both are alerts.
        assert whole <= lived
    else:
        assert whole == lived


def reach_of(query: str) -> Reach:
    return compiled(rule_of(query, 5, 9)).reach


def test_the_reach_of_a_query() -> None:
    assert reach_of("process where true") == Reach()
    assert reach_of("sequence [process where true] [process where true]") == Reach(bounded=False)
    assert reach_of("sample by host.id [any where true] [any where true]") == Reach(bounded=False)
    assert reach_of("process where true | head 5") == Reach(bounded=False)
    assert reach_of("sequence with maxspan=2h ![any where true] [any where true]") == Reach(timedelta(hours=2), True)


@pytest.mark.parametrize(("maxspan", "minutes"), [(1, 9), (2, 9), (3, 10), (4, 11), (10, 17)])
def test_a_window_reaches_back_by_maxspan_and_half_of_the_overlap_where_the_overlap_is_shorter(
    maxspan: int, minutes: int
) -> None:
    rule = rule_of("process where true", 5, 9)
    window = Window(START - timedelta(minutes=9), START)
    assert widened(window, rule, Reach(timedelta(minutes=maxspan))).length == timedelta(minutes=minutes)


def test_an_absence_is_told_only_where_all_of_its_span_was_seen() -> None:
    window = Window(START, START + timedelta(minutes=9))
    leading, trailing = Reach(timedelta(minutes=5), leading=True), Reach(timedelta(minutes=5), trailing=True)
    early, late = START + timedelta(minutes=4), START + timedelta(minutes=5)
    assert not is_decided(early, early, window=window, reach=leading)
    assert is_decided(late, late, window=window, reach=leading)
    assert is_decided(early, early, window=window, reach=trailing)
    assert not is_decided(late, late, window=window, reach=trailing)
