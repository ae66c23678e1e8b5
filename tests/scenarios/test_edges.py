"""Window edges cut nothing: however time is cut into windows, the alerts are those of one search over everything."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.alerts.build import AlertContext
from runner.execution import Execution
from runner.replay import replay, replay_requests
from runner.rules.rule import Rule
from runner.schedule import Schedule
from runner.search.edges import is_settled, reach_of, widened
from runner.search.files import FileSearch
from runner.search.search import Reach, SearchRequest
from runner.store.memory import MemoryStore
from runner.store.store import AlertFilter
from runner.windows import Window, iso

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


def write_events(path: Path, events: list[tuple[int, str, str]]) -> None:
    with path.open("wb") as file:
        for number, (second, name, host) in enumerate(sorted(events)):
            document = {
                "@timestamp": iso(START + timedelta(seconds=second)),
                "agent": {"id": "a"},
                "event": {"id": str(number), "category": "process"},
                "host": {"id": host},
                "process": {"name": name},
            }
            file.write(orjson.dumps(document) + b"\n")


async def alerts_of(path: Path, rule: Rule, requests: list[SearchRequest]) -> set[str]:
    search, store = FileSearch([path]), MemoryStore()
    await search.prepare([rule])
    context = AlertContext(now=START, execution_id="")
    execution = Execution(search, store, store, clock=lambda: START, context=context)
    failed = [run async for run in replay(execution, requests) if run.status == "failed"]
    assert not failed
    await search.close()
    return {alert.id async for alert in store.find(AlertFilter(building_blocks=True))}


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.sampled_from(QUERIES), st.integers(1, 8), st.integers(0, 6), st.integers(0, 59))
def test_windows_find_what_one_search_finds(
    events: list[tuple[int, str, str]], query: str, interval: int, overlap: int, offset: int
) -> None:
    rule = rule_of(query, interval, interval + overlap)
    schedule = Schedule(reaches={rule.rule_id: reach_of(query)})
    # Long enough before and after the events that every absence among them can be told.
    span = Window(START - timedelta(minutes=30, seconds=offset), START + timedelta(minutes=100))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.ndjson"
        write_events(path, events)
        cut = asyncio.run(alerts_of(path, rule, replay_requests(schedule, [rule], span)))
        whole = asyncio.run(alerts_of(path, rule, [SearchRequest(rule, span, 1_000, schedule.reach(rule))]))
    assert cut == whole


def test_the_reach_of_a_query() -> None:
    assert reach_of("process where true") == Reach()
    assert reach_of("sequence [process where true] [process where true]") == Reach()
    assert reach_of("sequence with maxspan=2h ![any where true] [any where true]") == Reach(timedelta(hours=2), True)
    assert reach_of("no EQL at all") == Reach()


@pytest.mark.parametrize(("maxspan", "minutes"), [(3, 9), (4, 9), (10, 15)])
def test_a_window_reaches_back_by_maxspan_where_the_overlap_is_shorter(maxspan: int, minutes: int) -> None:
    rule = rule_of("process where true", 5, 9)
    window = Window(START - timedelta(minutes=9), START)
    assert widened(window, rule, Reach(timedelta(minutes=maxspan))).length == timedelta(minutes=minutes)


def test_an_absence_is_told_only_where_all_of_its_span_was_seen() -> None:
    window = Window(START, START + timedelta(minutes=9))
    leading, trailing = Reach(timedelta(minutes=5), leading=True), Reach(timedelta(minutes=5), trailing=True)
    early, late = START + timedelta(minutes=4), START + timedelta(minutes=5)
    assert not is_settled(early, early, window=window, reach=leading)
    assert is_settled(late, late, window=window, reach=leading)
    assert is_settled(early, early, window=window, reach=trailing)
    assert not is_settled(late, late, window=window, reach=trailing)
