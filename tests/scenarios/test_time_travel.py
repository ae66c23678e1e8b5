"""Every span is searched once to the end, whatever happens to ticks, clocks, processes, disks and rule files."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.clock import ClockSteps, FakeClock, SetBack, SystemClock
from runner.errors import Problem
from runner.rule_run import RuleRun
from runner.schedule.schedule import LONGEST_PAUSE, Schedule, owed, pause_after
from runner.search.compiled_rule import CompiledRule
from runner.search.files.file_search import FileSearch
from runner.search.protocol import Search, SearchRequest, SearchResult
from runner.service.due_requests import known_states
from runner.service.rules_in_use import load_active
from runner.service.service import OWED_AT_A_TIME
from runner.service.ticker import Ticker
from runner.store.memory import MemoryStore
from runner.store.protocol import Mark, RuleState
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import Window
from tests.scenarios.test_edges import rule_of
from tests.scenarios.test_guarantees import Diary
from tests.scenarios.timeline import at, ndjson, rule_text
from tests.scenarios.world import World, told

pytestmark = pytest.mark.slow

NC = 'process where process.name == "nc"'
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, Diary(), FakeClock(at("10:05:00")))
    write_rule(made)
    yield made
    await made.restart()


def write_rule(world: World, name: str = "nc", **fields: Any) -> None:
    (world.folder / "rules" / f"{name}.toml").write_text(rule_text(name, {"query": NC} | fields))


async def tick_through(world: World, span: timedelta, *, every: timedelta = timedelta(seconds=10)) -> None:
    """Ticks until so much time has passed."""
    end = world.clock.elapsed() + span
    while world.clock.elapsed() < end:
        world.clock.advance(every)
        await world.tick()


async def spans(world: World, rule_id: str = "nc") -> tuple[Window, ...]:
    return (await world.store.read())[rule_id].searched


def event(name: str, moment: datetime) -> str:
    return ndjson([f"{name} exec {moment:%H:%M:%S}.000 name=nc day={moment:%Y-%m-%d}"])


async def found(world: World) -> Counter[str]:
    """How often each event has an alert."""
    return Counter((await world.heads()).values())


# Ticks


async def test_doubled_and_overlapping_ticks_search_nothing_twice(world: World) -> None:
    world.append(event("one", at("10:00:00")))
    service = world.service()
    await asyncio.gather(*(service.tick() for _ in range(5)))
    assert [told(run) for run in world.runs] == ["nc 09:56:00-10:05:00 succeeded created=1"]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=12), st.data())
def test_whatever_the_distance_of_ticks_every_event_is_found_once(
    tmp_path_factory: pytest.TempPathFactory, distances: list[int], data: st.DataObject
) -> None:
    """Late, skipped and doubled ticks, and restarts at any of them."""
    moments = data.draw(st.lists(st.integers(0, sum(distances)), max_size=8))

    async def live() -> None:
        world = World(tmp_path_factory.mktemp("world"), MemoryStore(), FakeClock(at("10:05:00")))
        write_rule(world)
        await world.tick()
        coming = sorted(moments)
        passed = 0
        for number, distance in enumerate(distances):
            passed += distance
            world.clock.advance(timedelta(seconds=distance))
            while coming and coming[0] <= passed:
                world.append(event(f"e{len(coming)}", at("10:05:00") + timedelta(seconds=coming.pop(0))))
            await world.tick()
            if number % 3 == 2:
                await world.restart()
        await tick_through(world, 3 * HOUR, every=5 * MINUTE)
        (span,) = await spans(world)
        assert span.start == at("09:56:00") and world.clock.now() - span.end <= 5 * MINUTE
        assert await found(world) == Counter(f"nc: e{number + 1}" for number in range(len(moments)))
        await world.restart()

    asyncio.run(live())


async def test_a_laptop_that_slept_for_a_night_catches_up(world: World) -> None:
    await world.tick()
    for hour in range(1, 9):
        world.append(event(f"h{hour}", at("10:05:00") + hour * HOUR - 3 * MINUTE))
    world.clock.advance(8 * HOUR)
    first = (await world.tick())[0]
    assert first.window.end == at("18:05:00")  # what happens now comes first
    await tick_through(world, 2 * MINUTE)
    assert await spans(world) == (Window(at("09:56:00"), at("18:05:00")),)
    assert await found(world) == Counter(f"nc: h{hour}" for hour in range(1, 9))


# Clocks


def test_a_clock_that_is_set_back_was_right_until_it_was_set_forwards() -> None:
    clock, watch = FakeClock(at("10:00:00")), ClockSteps()
    assert watch.check(clock) is None
    for _ in range(3):
        clock.advance(MINUTE)
        assert watch.check(clock) is None
    clock.step(HOUR)  # or the machine slept, where the system does not count that
    for _ in range(30):
        clock.advance(MINUTE)
        assert watch.check(clock) is None
    clock.step(-HOUR)
    clock.advance(MINUTE)
    assert watch.check(clock) == SetBack(HOUR, at("10:03:00"))
    clock.advance(MINUTE)
    assert watch.check(clock) is None
    clock.step(timedelta(seconds=-1))
    assert watch.check(clock) is None
    clock.step(-3 * HOUR)
    found = watch.check(clock)
    assert found is not None and found.right_until is None


@given(st.lists(st.tuples(st.integers(0, 900), st.sampled_from((0, 0, -3_600, 3_600, -300, 90_000))), max_size=12))
def test_a_clock_that_was_right_at_first_is_found_right_again(steps: list[tuple[int, int]]) -> None:
    clock, watch = FakeClock(at("10:00:00")), ClockSteps()
    watch.check(clock)
    right, wrong = clock.now(), 0
    for passed, step in steps:
        clock.advance(timedelta(seconds=passed))
        clock.step(timedelta(seconds=step))
        wrong += step
        if wrong < 0:  # only a clock that is ahead is meant here
            clock.step(timedelta(seconds=-wrong))
            wrong = 0
        watch.check(clock)
        if wrong == 0:
            right = clock.now()
    if wrong:
        clock.step(timedelta(seconds=-wrong))
        found = watch.check(clock)
        assert found is not None and found.right_until == right


def test_the_machines_clock_and_the_time_that_passes() -> None:
    clock, watch = SystemClock(), ClockSteps()
    before = clock.elapsed()
    assert [watch.check(clock) for _ in range(3)] == [None] * 3
    assert clock.elapsed() >= before
    assert abs(clock.now() - datetime.now(UTC)) < MINUTE


@pytest.mark.parametrize("ahead", [3 * MINUTE, HOUR, timedelta(days=1), timedelta(days=30)])
@pytest.mark.parametrize("restarts", [False, True])
async def test_a_clock_that_is_ahead_for_a_while_loses_nothing(world: World, ahead: timedelta, restarts: bool) -> None:
    await tick_through(world, HOUR, every=MINUTE)
    right = world.clock.now()
    world.clock.step(ahead)
    for number in range(20):
        world.clock.advance(MINUTE)
        # Events have the time of the machines that they come from, whose clocks are right.
        world.append(event(f"e{number}", right + number * MINUTE))
        await world.tick()
        if restarts and number == 10:
            await world.restart()
    world.clock.step(-ahead)
    await tick_through(world, 3 * HOUR, every=MINUTE)
    now = world.clock.now()
    assert now == right + 20 * MINUTE + 3 * HOUR
    searched = await spans(world)
    assert searched[-1].end <= now  # the future is not searched
    assert sum((span.length for span in searched if span.end > right - 9 * MINUTE), timedelta(0)) >= 3 * HOUR
    assert await found(world) == Counter(f"nc: e{number}" for number in range(20))
    if not restarts:
        assert len(world.remarks) == 1 and "the clock was set back" in world.remarks[0]
        assert len(searched) == 1


async def test_a_clock_that_is_set_forwards_for_good_searches_what_lies_between(world: World) -> None:
    await world.tick()
    world.append(event("between", at("10:05:00") + 20 * HOUR))
    world.clock.step(timedelta(days=1))
    await tick_through(world, 10 * MINUTE)
    assert await found(world) == {"nc: between": 1}
    (span,) = await spans(world)
    assert span.start == at("09:56:00")
    assert world.remarks == []


async def test_pauses_are_measured_by_the_time_that_passes(world: World) -> None:
    store = world.store
    assert isinstance(store, Diary)
    store.away = True
    await world.tick()
    world.clock.step(-5 * HOUR)
    store.away = False
    world.clock.advance(timedelta(seconds=20))
    assert len(await world.tick()) == 1


@pytest.mark.parametrize("days", [1, 400])
async def test_a_ledger_that_is_ahead_at_the_start_owes_no_future_and_believes_no_claim(
    world: World, days: int
) -> None:
    """A process ended while the clock was ahead; the next one starts with the right time."""
    await tick_through(world, HOUR, every=5 * MINUTE)
    right = world.clock.now()
    world.clock.step(timedelta(days=days))
    await world.tick()
    await world.restart()
    world.clock.step(timedelta(days=-days))
    world.append(event("late", right))
    await tick_through(world, HOUR, every=MINUTE)
    assert await found(world) == {"nc: late": 1}
    assert all(span.end <= world.clock.now() for span in await spans(world))


@pytest.fixture(params=["Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The time zone of the process for a while."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize("change", ["2026-03-29T00:30:00", "2026-10-25T00:30:00", "2026-03-08T06:30:00"])
async def test_summer_time_changes_nothing(tmp_path: Path, zone: str, change: str) -> None:
    begin = datetime.fromisoformat(change).replace(tzinfo=UTC)
    world = World(tmp_path, MemoryStore(), FakeClock(begin))
    write_rule(world)
    write_rule(world, "day", **{"from": "now/d", "interval": "1h"})
    await world.tick()
    for number in range(12):
        world.append(event(f"e{number}", begin + number * 10 * MINUTE))
    await tick_through(world, 3 * HOUR, every=5 * MINUTE)
    assert await spans(world) == (Window(begin - 9 * MINUTE, begin + 3 * HOUR),), zone
    midnight = begin.replace(hour=0, minute=0)
    days = [run.window for run in world.runs if run.rule_id == "day"]
    assert {window.start for window in days} <= {midnight, midnight - timedelta(hours=12, minutes=30)} | {
        window.end - timedelta(hours=12, minutes=30) for window in days
    }
    assert all(window.end.minute == 0 for window in days)
    assert await found(world) == Counter(f"{name}: e{number}" for name in ("nc", "day") for number in range(12))
    await world.restart()


async def test_a_window_ends_when_it_is_searched_whatever_the_rule_says(world: World) -> None:
    write_rule(world, "future", **{"to": "now+1h"})
    write_rule(world, "past", **{"from": "now-20m", "to": "now-10m"})
    await world.tick()
    ends = {run.rule_id: run.window.end for run in world.runs}
    assert ends == {"nc": at("10:05:00"), "future": at("10:05:00"), "past": at("09:55:00")}
    world.append(event("one", at("10:06:00")))
    await tick_through(world, 20 * MINUTE)
    assert await found(world) == Counter(f"{name}: one" for name in ("nc", "future", "past"))


async def test_a_clock_that_is_set_back_does_not_stop_the_ticks() -> None:
    """The scheduler goes by the machine's clock; an hour's wait for the next tick is what it makes of an hour back."""
    calls: list[int] = []
    stopping, again = asyncio.Event(), asyncio.Event()

    async def call() -> None:
        calls.append(1)
        if len(calls) == 1:
            job = ticker.scheduler.get_job("0")
            job.modify(next_run_time=datetime.now(UTC) + HOUR)
        else:
            again.set()

    ticker = Ticker({call: timedelta(milliseconds=20)})
    running = asyncio.create_task(ticker.run(stopping))
    async with asyncio.timeout(30):
        await again.wait()
    stopping.set()
    await running
    ticker.close()
    assert len(calls) >= 2


# Outages and restarts


class Killed(BaseException):
    """The end of a process, at an instant that a test chooses."""


class Fragile:
    """A search that fails for some rules, or with which the process dies; it notes what it is asked."""

    def __init__(self, inner: Search) -> None:
        self.inner = inner
        self.fails: set[str] = set()
        self.dies = False
        self.asked: list[SearchRequest] = []

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        return await self.inner.prepare(rules)

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        self.asked += requests
        if self.dies:
            raise Killed
        failing = [request for request in requests if request.rule.rule_id in self.fails]
        async for result in self.inner.run([request for request in requests if request not in failing]):
            yield result
        for request in failing:
            yield SearchResult(request, error="no answer")

    async def close(self) -> None:
        await self.inner.close()


@pytest.fixture
async def fragile(world: World) -> AsyncIterator[Fragile]:
    """The search of the world's first service."""
    search = Fragile(FileSearch([world.events], live=True))
    world.service(search)
    yield search
    await search.close()


async def test_a_first_start_during_an_outage_is_recorded_before_anything_is_searched(
    world: World, fragile: Fragile
) -> None:
    store = world.store
    assert isinstance(store, Diary)
    store.away = True
    world.append(event("during", at("10:30:00")))
    await tick_through(world, HOUR, every=MINUTE)
    assert not fragile.asked
    store.away, fragile.dies = False, True
    world.clock.advance(5 * MINUTE)
    with pytest.raises(Killed):
        await world.tick()
    assert await spans(world) == (Window(at("09:56:00"), at("09:56:00")),)
    await world.restart()
    await tick_through(world, 20 * MINUTE, every=MINUTE)
    assert await found(world) == {"nc: during": 1}
    (span,) = await spans(world)
    assert span.start <= at("09:56:00")


async def test_a_process_that_dies_between_two_rules_owes_the_second(world: World, fragile: Fragile) -> None:
    write_rule(world, "other")
    fragile.dies = True
    world.append(event("one", at("10:01:00")))
    with pytest.raises(Killed):
        await world.tick()
    await world.restart()
    world.clock.advance(HOUR)
    await tick_through(world, 10 * MINUTE, every=MINUTE)
    assert await found(world) == {"nc: one": 1, "other: one": 1}


# Fair shares


async def test_a_week_of_backlog_holds_up_no_live_window_and_no_other_backlog(tmp_path: Path) -> None:
    """One rule owes a week, fifty are live, one owes two hours; a cluster would be asked for each window."""
    world = World(tmp_path, MemoryStore(), FakeClock(at("10:00:00")), together=False)
    live = [f"live-{number:02}" for number in range(50)]
    for name in ("week", "hours", *live):
        write_rule(world, name)
    now = world.clock.now()
    for name, back in (("week", timedelta(days=7)), ("hours", 2 * HOUR)):
        await world.store.add_marks([Mark(name, "begin", now - back)])
    searched: list[RuleRun] = []
    for _ in range(60):
        searched += await world.tick()
        world.clock.advance(timedelta(seconds=10))
    late = {run.rule_id: run.started - run.window.end for run in searched if run.rule_id in live}
    assert late.keys() == set(live)
    # A live window is searched at the first tick after its start time.
    assert all(
        run.started - run.window.end < timedelta(seconds=10)
        for run in searched
        if run.rule_id in live and run.window.end > now
    )
    states = await world.store.read()
    assert len(states["hours"].searched) == 1
    week = [run.window for run in searched if run.rule_id == "week" and run.window.length > HOUR]
    assert 30 < len(week) <= 60
    assert [window.start for window in week] == sorted(window.start for window in week)
    await tick_through(world, 20 * MINUTE)
    (span,) = await spans(world, "week")
    assert span.start <= now - timedelta(days=7) + MINUTE
    await world.restart()


async def test_where_there_is_more_backlog_than_time_everybody_gets_a_turn(tmp_path: Path) -> None:
    world = World(tmp_path, MemoryStore(), FakeClock(at("10:00:00")), together=False)
    names = [f"r-{number:03}" for number in range(120)]
    for number, name in enumerate(names):
        write_rule(world, name, interval="1h", **{"from": "now-65m"})
        await world.store.add_marks([Mark(name, "begin", world.clock.now() - timedelta(hours=30 + number))])
    rounds = [{run.rule_id for run in await world.tick()} for _ in range(13)][1:]
    assert all(len(turn) == OWED_AT_A_TIME for turn in rounds)
    for first in range(10):
        assert rounds[first] | rounds[first + 1] | rounds[first + 2] == set(names)  # 50 of 120 at a time
    await world.restart()


async def test_a_rule_that_fails_is_asked_at_its_own_times_and_its_backlog_less_and_less(
    world: World, fragile: Fragile
) -> None:
    write_rule(world, "well")
    await world.tick()
    fragile.fails = {"nc"}
    fragile.asked.clear()
    world.append(event("during", at("13:00:00")))
    await tick_through(world, 6 * HOUR, every=MINUTE)
    asked = [request.window for request in fragile.asked if request.rule.rule_id == "nc"]
    live = [window for window in asked if window.length == 9 * MINUTE]
    assert len(live) >= 6 * 12
    assert len(asked) - len(live) < 12
    well = [request.window for request in fragile.asked if request.rule.rule_id == "well"]
    assert len(well) == 6 * 12
    fragile.fails = set()
    await tick_through(world, 10 * MINUTE, every=MINUTE)
    assert await found(world) == {"nc: during": 1, "well: during": 1}
    assert len(await spans(world)) == 1


async def test_an_hour_that_always_fails_holds_up_no_other_hour(tmp_path: Path) -> None:
    """A part of the backlog that can not be searched: it is tried in shorter parts, and then the others go first."""
    world = World(tmp_path, MemoryStore(), FakeClock(at("10:00:00")))
    write_rule(world)
    bad = at("05:17:00")

    class Poisoned(Fragile):
        async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
            self.fails = {r.rule.rule_id for r in requests if r.window.start <= bad <= r.window.end}
            async for result in super().run(requests):
                yield result

    await world.store.add_marks([Mark("nc", "begin", at("03:00:00"))])
    for hour in (3, 4, 5, 6, 7, 8, 9):
        world.append(event(f"h{hour}", at(f"0{hour}:30:00")))
    search = Poisoned(FileSearch([world.events], live=True))
    world.service(search)
    await tick_through(world, 10 * HOUR, every=MINUTE)
    assert await found(world) == Counter(f"nc: h{hour}" for hour in (3, 4, 5, 6, 7, 8, 9))
    now = world.clock.now()
    (gap,) = owed((await world.store.read())["nc"], now - 20 * MINUTE, horizon=timedelta(days=7))
    assert gap.start <= bad <= gap.end and gap.length <= 20 * MINUTE
    await search.close()
    await world.restart()


@pytest.mark.parametrize("interval", ["1m", "5m", "1h", "1d"])
def test_pauses_grow_to_a_cap_and_differ_from_rule_to_rule(interval: str) -> None:
    rules = [
        rule_of(NC, 5, 9).model_copy(update={"rule_id": f"r{number}", "interval": interval}) for number in range(50)
    ]
    every = rules[0].every
    for rule in rules:
        pauses = [pause_after(rule, failures) for failures in range(1, 30)]
        assert pauses == [pause_after(rule, failures) for failures in range(1, 30)]
        assert 0.75 * every <= pauses[0] <= 1.25 * every
        assert all(pause <= 1.25 * max(LONGEST_PAUSE, every) for pause in pauses)
        assert pauses[-1] >= 0.75 * max(LONGEST_PAUSE, every)
    assert len({pause_after(rule, 3) for rule in rules}) == 50


# Rules that change


async def test_an_edited_rule_owes_what_it_owed_and_is_not_searched_again(world: World) -> None:
    store = world.store
    assert isinstance(store, Diary)
    world.append(ndjson(["early-b exec 10:01:00.000 name=socat", "owed-b exec 10:20:00.000 name=socat"]))
    await world.tick()
    store.away = True
    await tick_through(world, 30 * MINUTE, every=MINUTE)
    store.away = False
    world.runs.clear()
    write_rule(world, query='process where process.name == "socat"', interval="10m")
    await tick_through(world, 40 * MINUTE, every=MINUTE)
    assert await found(world) == {"nc: owed-b": 1}
    said = [text for run in world.runs for text in run.messages]
    assert len(said) == 1 and said[0].startswith("the rule was edited since its last run")
    (span,) = await spans(world)
    assert span.start == at("09:56:00")


async def test_a_disabled_rule_owes_what_it_owed_before_and_nothing_of_the_time_between(world: World) -> None:
    store = world.store
    assert isinstance(store, Diary)
    await world.tick()
    store.away = True
    world.append(event("owed", at("10:20:00")))
    world.append(event("disabled", at("12:30:00")))
    world.append(event("after", at("13:25:00")))
    await tick_through(world, 30 * MINUTE, every=MINUTE)
    write_rule(world, enabled=False)
    store.away = False
    await tick_through(world, HOUR, every=MINUTE)
    await world.restart()
    await tick_through(world, 100 * MINUTE, every=MINUTE)
    state = (await store.read())["nc"]
    assert state.paused is not None and at("10:35:00") <= state.paused <= at("10:42:00")
    assert state.last is not None and state.last.window.end == at("10:05:00")
    write_rule(world)
    await tick_through(world, 30 * MINUTE, every=MINUTE)
    assert await found(world) == {"nc: owed": 1, "nc: after": 1}
    state = (await store.read())["nc"]
    assert state.paused is None and len(state.skipped) == 1
    assert owed(state, world.clock.now() - 10 * MINUTE, horizon=timedelta(days=7)) == ()
    assert not any(span.start <= at("12:30:00") <= span.end for span in state.searched)


async def test_a_rule_file_that_was_away_costs_nothing(world: World) -> None:
    await world.tick()
    (world.folder / "rules" / "nc.toml").rename(world.folder / "away")
    world.append(event("away", at("11:00:00")))
    await tick_through(world, 2 * HOUR, every=5 * MINUTE)
    assert len(world.runs) == 1
    await world.restart()
    (world.folder / "away").rename(world.folder / "rules" / "nc.toml")
    await tick_through(world, 30 * MINUTE, every=MINUTE)
    assert await found(world) == {"nc: away": 1}
    assert len(await spans(world)) == 1


async def test_a_single_run_tells_the_ledger_of_disabled_rules_too(world: World) -> None:
    search = FileSearch([world.events])
    await world.tick()

    async def stock(moment: datetime) -> RuleState:
        active = await load_active(world.sources, search, at=moment)
        return (await known_states(world.store, active, moment, schedule=Schedule(together=True)))["nc"]

    write_rule(world, enabled=False)
    assert (await stock(at("10:30:00"))).paused == at("10:30:00")
    assert (await stock(at("11:30:00"))).paused == at("10:30:00")
    write_rule(world)
    assert (await stock(at("12:30:00"))).skipped == (Window(at("10:30:00"), at("12:30:00")),)
    assert (await world.store.read())["nc"] == await stock(at("12:30:00"))
    await search.close()


# Ledgers


@pytest.mark.parametrize("alerts_too", [True, False])
async def test_an_older_copy_of_the_ledger_repeats_nothing_and_loses_nothing(tmp_path: Path, alerts_too: bool) -> None:
    store = SqliteStore(tmp_path / "state.db")
    world = World(tmp_path, store, FakeClock(at("10:05:00")))
    write_rule(world)
    await world.tick()
    await store.close()
    copy = (tmp_path / "state.db").read_bytes()
    world.store = SqliteStore(tmp_path / "state.db")
    await world.restart()
    for number in range(24):
        world.append(event(f"e{number}", world.clock.now()))
        await tick_through(world, 5 * MINUTE, every=MINUTE)
    before = await found(world)
    assert len(before) == 24
    await world.store.close()
    if alerts_too:
        (tmp_path / "state.db").write_bytes(copy)
    else:
        with closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
            connection.execute("DELETE FROM runs WHERE seq > 1")
            connection.execute("UPDATE spans SET window_end = (SELECT window_end FROM runs WHERE seq = 1)")
    world.store = SqliteStore(tmp_path / "state.db")
    await world.restart()
    world.runs.clear()
    await tick_through(world, 10 * MINUTE, every=MINUTE)
    assert await found(world) == before
    assert sum(run.created for run in world.runs) == (24 if alerts_too else 0)
    assert len(await spans(world)) == 1
    await world.store.close()
    await world.restart()
