"""What holds beyond single scenarios: the cap at scale, the order of writing, outages, orderly ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from runner.alerts.alert import Alert
from runner.clock import FakeClock
from runner.errors import Problem, StoreError, UnreachableError
from runner.rule_run import RuleRun
from runner.sample_data import RuleId
from runner.sample_data.write import write_sample
from runner.search.compiled_rule import CompiledRule
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest, SearchResult
from runner.service.service import Pace
from runner.store.memory import MemoryStore
from runner.store.protocol import Mark, RuleState, WriteResult
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.scenarios.timeline import at, ndjson, rule_text
from tests.scenarios.world import SHIPPED_RULES, World, told

NC = 'process where process.name == "nc"'


class Diary(MemoryStore):
    """A store that notes what it is asked to do, in order, and that can be away, or refuse one document."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[str] = []
        self.away = False
        self.refuses: set[str] = set()

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        self._answer()
        wanted = [alert for alert in alerts if not self._is_refused(alert)]
        self.entries += [f"{alert.kind} {alert.id}" for alert in wanted]
        made = await super().create(wanted)
        refused = {alert.id: "mapping says no" for alert in alerts if self._is_refused(alert)}
        return WriteResult(made.created, made.duplicates, refused or None)

    async def existing_ids(self, ids: Collection[str]) -> frozenset[str]:
        self._answer()
        return await super().existing_ids(ids)

    async def read(self) -> Mapping[str, RuleState]:
        self._answer()
        return await super().read()

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        self._answer()
        self.entries.append(f"ledger {run.rule_id}")
        await super().record(run, fingerprint)

    async def add_marks(self, marks: Sequence[Mark]) -> None:
        self._answer()
        await super().add_marks(marks)

    def _answer(self) -> None:
        if self.away:
            raise UnreachableError("http://cluster:9200: connection refused", hosts=("http://cluster:9200",))

    def _is_refused(self, alert: Alert) -> bool:
        return any(name in orjson.dumps(alert.document).decode() for name in self.refuses)


class Gate:
    """A search that waits for the test before it answers."""

    def __init__(self, inner: FileSearch) -> None:
        self.inner = inner
        self.asked = asyncio.Event()
        self.open = asyncio.Event()

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        return await self.inner.prepare(rules)

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        self.asked.set()
        await self.open.wait()
        async for result in self.inner.run(requests):
            yield result

    async def close(self) -> None:
        await self.inner.close()


@pytest.fixture
async def diary(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, Diary(), FakeClock(at("10:05:00")))
    yield world
    await world.restart()


def rule(world: World, name: str, query: str, **fields: Any) -> None:
    (world.folder / "rules" / f"{name}.toml").write_text(rule_text(name, {"query": query, **fields}), encoding="utf-8")


def completed(planted: Mapping[str, Any]) -> float:
    """When the second event of a planted attack happened, in milliseconds since 1970: sequences are in that order."""
    return datetime.fromisoformat(planted["timestamp"]).timestamp() * 1_000 + float(planted["gap_ms"])


@pytest.mark.slow
@pytest.mark.parametrize("planted", list(RuleId))
async def test_250_attacks_take_three_runs_the_earliest_first_and_a_fourth_creates_none(
    tmp_path: Path, planted: RuleId
) -> None:
    end = at("10:05:00")
    store = SqliteStore(tmp_path / "state.db")
    world = World(tmp_path, store, FakeClock(end), rule_paths=(SHIPPED_RULES,))
    truth = tmp_path / "truth.ndjson"
    write_sample(
        world.events / "sample.ndjson", events=6_000, attacks=250, seed=3, end=end, truth=truth, rule=planted.value
    )
    lines = map(orjson.loads, truth.read_text().splitlines())
    attacks = sorted((completed(line), line["event_ids"]) for line in lines if line["kind"] == "attack")
    expected = [f"{planted.value}: {' + '.join(ids)}" for _, ids in attacks]
    found: list[str] = []
    for created, known, over in ((100, 0, 150), (100, 100, 50), (50, 200, 0), (0, 250, 0)):
        runs = {run.rule_id: run for run in await world.once()}
        run = runs.pop(planted.value)
        assert (run.matches, run.created, run.duplicates, run.capped) == (250, created, known, over)
        assert (run.complete, run.status) == (over == 0, "warning" if over else "succeeded")
        assert [(other.matches, other.created) for other in runs.values()] == [(0, 0)]
        found = list((await world.heads()).values())
        assert sorted(found) == sorted(expected[: 250 - over])
    assert len(await world.alerts(building_blocks=True)) == 750
    await store.close()


@pytest.mark.slow
async def test_a_flood_is_delivered_over_the_runs_earliest_first_and_said_once_a_run(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    world = World(tmp_path, store, FakeClock(at("10:05:00")))
    rule(world, "nc", NC, max_signals=150)
    await world.tick()
    flood = [f"e{number:04} exec 10:{10 + number // 60:02}:{number % 60:02}.000 name=nc" for number in range(1_800)]
    world.append(ndjson(flood))
    world.go_to(at("10:45:00"))
    while sum(run.created for run in world.runs) < 1_800:
        created = await world.tick()
        assert all(run.created <= 150 for run in created)
        assert all(sum("max_signals reached" in text for text in run.messages) <= 1 for run in created)
        world.clock.advance(timedelta(minutes=1))
        assert world.clock.now() < at("13:00:00")
    world.go_to(at("13:00:00"))
    for _ in range(3):
        await world.tick()
        world.clock.advance(timedelta(minutes=5))
    heads = Counter((await world.heads()).values())
    assert heads == Counter(f"nc: e{number:04}" for number in range(1_800))
    (span,) = (await store.read())["nc"].searched
    assert span.end >= at("13:00:00")
    owed = [run for run in world.runs if run.window.start < at("10:15:00") and run.created]
    times = [run.started for run in owed]
    assert times == sorted(times) and len(owed) > 3
    await store.close()
    await world.restart()


async def test_building_blocks_are_written_before_their_shell_and_the_ledger_after_all(diary: World) -> None:
    diary.rule_paths = (SHIPPED_RULES,)
    diary.append(ndjson(["c1 connect 10:00:01.000 entity=e1", "s1 exec 10:00:02.000 parent=e1"]))
    await diary.tick()
    assert isinstance(diary.store, Diary)
    kinds = [entry.split()[0] for entry in diary.store.entries]
    assert kinds == ["building_block", "building_block", "shell", "ledger", "ledger"]


async def test_a_cluster_that_is_away_is_waited_for_longer_each_time_then_everything_is_caught_up(diary: World) -> None:
    store = diary.store
    assert isinstance(store, Diary)
    rule(diary, "nc", NC)
    diary.append(ndjson(["before exec 09:57:00.000 name=nc"]))
    store.away = True
    tries = []
    while diary.clock.now() < at("11:10:00"):
        seen = len(diary.troubles)
        assert await diary.tick() == []
        if len(diary.troubles) > seen:
            tries.append(diary.clock.now())
        diary.clock.advance(timedelta(seconds=10))
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(tries)]
    assert pauses[:3] == [20, 30, 30]
    assert max(pauses) == 30
    assert isinstance(diary.ticks[-1], UnreachableError)
    diary.append(ndjson(["during exec 10:20:00.000 name=nc"]))
    store.away = False
    diary.clock.advance(timedelta(minutes=5))
    made: list[str] = []
    for _ in range(4):
        made += [told(run) for run in await diary.tick()]
        diary.clock.advance(timedelta(seconds=10))
    assert made == [
        "nc 11:06:00-11:15:00 succeeded",
        "nc 09:52:00-10:56:00 succeeded created=2",
        "nc 10:52:00-11:06:00 succeeded",
    ]
    assert diary.ticks[-1] is None
    assert list((await diary.heads()).values()) == ["nc: before", "nc: during"]


async def test_an_outage_between_search_and_ledger_loses_and_doubles_nothing(diary: World) -> None:
    store = diary.store
    assert isinstance(store, Diary)
    rule(diary, "nc", NC)
    await diary.tick()
    diary.append(ndjson(["one exec 10:07:00.000 name=nc"]))
    diary.go_to(at("10:10:00"))
    store.away = True
    await diary.tick()
    assert [type(error) for error in diary.troubles] == [UnreachableError]
    store.away = False
    diary.go_to(at("10:21:00"))
    assert [told(run) for run in await diary.tick()] == [
        "nc 10:11:00-10:20:00 succeeded",
        "nc 10:01:00-10:11:00 succeeded created=1",
    ]


async def test_an_alert_that_the_store_rejects_is_told_and_owes_nothing(diary: World) -> None:
    store = diary.store
    assert isinstance(store, Diary)
    rule(diary, "a", NC)
    rule(diary, "b", 'process where process.name == "socat"')
    diary.append(ndjson(["one exec 10:00:00.000 name=nc", "two exec 10:00:01.000 name=socat user=odd"]))
    store.refuses = {"odd"}
    runs = await diary.tick()
    assert [told(run) for run in runs] == ["a 09:56:00-10:05:00 succeeded created=1", "b 09:56:00-10:05:00 warning"]
    assert "mapping says no" in runs[1].messages[0]
    assert "replay --from 2026-03-02T09:56:00.000Z --to 2026-03-02T10:05:00.000Z" in runs[1].messages[0]
    store.refuses = set()
    diary.go_to(at("10:10:00"))
    await diary.tick()
    assert list((await diary.heads()).values()) == ["a: one"]


async def test_stopping_finishes_the_windows_in_hand(tmp_path: Path) -> None:
    pace = Pace(grace=timedelta(minutes=5))  # however slow the machine is
    world = World(tmp_path, MemoryStore(), FakeClock(at("10:05:00")), pace=pace)
    rule(world, "a", NC)
    rule(world, "b", NC)
    world.append(ndjson(["one exec 10:00:00.000 name=nc"]))
    gate = Gate(FileSearch([world.events], live=True))
    service = world.service(gate)
    running = asyncio.create_task(service.run())
    await gate.asked.wait()
    service.stop()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not running.done()
    gate.open.set()
    await running
    found = "09:56:00-10:05:00 succeeded created=1"
    assert [told(run) for run in world.runs] == [f"a {found}", f"b {found}"]  # both were searched in one pass
    states = await world.store.read()
    assert [states[name].last is not None for name in ("a", "b")] == [True, True]
    await gate.close()


async def test_a_window_that_does_not_end_is_not_waited_for(tmp_path: Path) -> None:
    pace = Pace(grace=timedelta(0))
    world = World(tmp_path, MemoryStore(), FakeClock(at("10:05:00")), pace=pace)
    rule(world, "a", NC)
    gate = Gate(FileSearch([world.events], live=True))
    service = world.service(gate)
    running = asyncio.create_task(service.run())
    await gate.asked.wait()
    service.stop()
    await running
    assert world.runs == []
    assert world.remarks == ["the window in hand could not be finished in time: it stays due"]
    await gate.close()


async def test_a_ledger_that_cannot_be_written_is_trouble_for_the_tick(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    world = World(tmp_path, store, FakeClock(at("10:05:00")))
    rule(world, "a", NC)
    await world.tick()
    await store.close()
    world.go_to(at("10:10:00"))
    assert await world.tick() == []
    assert [type(error) for error in world.troubles] == [StoreError]
    await world.restart()
