"""Late events: however late lines and files come, whatever becomes of logs and of the service, nothing is missed."""

from __future__ import annotations

import asyncio
import gzip
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.clock import FakeClock
from runner.rule_run import RuleRun
from runner.store.memory import MemoryStore
from runner.store.protocol import Mark
from runner.windows import Window
from tests.scenarios.timeline import rule_text
from tests.scenarios.world import World

START = datetime(2026, 3, 2, tzinfo=UTC)
QUERIES = {
    "event": 'any where process.name : "a"',
    "pair": 'sequence by host.id with maxspan=12m [any where process.name : "a"] [any where process.name : "b"]',
    "short": 'sequence by host.id with maxspan=1m [any where process.name : "a"] [any where process.name : "b"]',
    "sample": 'sample by host.id [any where process.name : "a"] [any where process.name : "c"]',
}
SPAN_S, END_S = 3_600, 2 * 3_600
EXAMPLES = max(25, int(os.environ.get("RUNNER_FUZZ", "0")) // 200)


class DyingStore(MemoryStore):
    """A store that fails at its next write once, as that of a process that is killed there."""

    dies = False

    async def keep_files(self, texts: object) -> None:
        self._die()
        await super().keep_files(texts)  # type: ignore[arg-type]

    async def add_marks(self, marks: object) -> None:
        self._die()
        await super().add_marks(marks)  # type: ignore[arg-type]
        self._die()

    def _die(self) -> None:
        if self.dies:
            self.dies = False
            raise ConnectionError


def write(rng: Random, folder: Path, lines: list[bytes]) -> None:
    """Write lines into the log or a file of their own, and perhaps do to the log what happens to logs."""
    log = folder / "a.log"
    names = sorted(path.name for path in folder.iterdir())
    match rng.randrange(8):
        case 0 if log.exists():
            log.rename(folder / f"a.log.{len(names)}")
        case 1 if log.exists():
            (folder / f"a.log.{len(names)}.gz").write_bytes(gzip.compress(log.read_bytes()))
            log.unlink()
        case 2 if log.exists():
            (folder / f"a.log.{len(names)}").write_bytes(log.read_bytes())
            log.write_bytes(b"")
        case 3:
            name = folder / f"b{len(names)}.ndjson"
            name.write_bytes(b"".join(lines).removesuffix(b"\n"))
            os.utime(name, (rng.randrange(10**9), 10**9))
            return
        case 4:
            (folder / f"c{len(names)}.json").write_bytes(b"[" + b",".join(lines) + b"]")
            return
        case 5:
            (folder / f"d{len(names)}.log.gz").write_bytes(gzip.compress(b"".join(lines)))
            return
    with log.open("ab") as file:
        file.write(b"".join(lines))


async def timeline(seed: int, events: list[tuple[int, str, str, int]]) -> None:
    rng = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        store = DyingStore()
        world = World(Path(folder), store, FakeClock(START))
        for name, query in QUERIES.items():
            text = rule_text(name, {"query": query, "index": ["*"], "from": "now-9m"})
            (world.folder / "rules" / f"{name}.toml").write_text(text)
        await world.tick()
        waiting = sorted((second + delay, number) for number, (second, _, _, delay) in enumerate(events))
        for now in range(0, END_S + 2 * SPAN_S, 300):
            arrived = [number for at, number in waiting if now - 300 < at <= now]
            if arrived:
                write(rng, world.events, [line_of(number, *events[number][:3]) for number in arrived])
            store.dies = rng.random() < 0.2
            world.go_to(START + timedelta(seconds=now))
            await world.tick()
            if store.dies or world.ticks[-1] is not None or rng.random() < 0.2:
                store.dies = False
                await world.restart()
        for _ in range(20):
            await world.tick()
        for state in (await store.read()).values():
            assert state.late == () and len(state.searched) == 1, "nothing is owed at the end"
        found = {what for what in (await world.heads()).values() if not what.startswith("sample")}
        assert len(await world.heads()) == len(set((await world.heads()).values())), "nothing twice"
        missed = expected(events) - found
        assert not missed
        assert {what for what in found if what.startswith("event")} <= expected(events)
        await world.restart()


def line_of(number: int, second: int, name: str, host: str) -> bytes:
    time = (START + timedelta(seconds=second)).isoformat()
    document = {"@timestamp": time, "event": {"id": f"e{number}"}, "process": {"name": name}, "host": {"id": host}}
    return orjson.dumps(document) + b"\n"


def expected(events: list[tuple[int, str, str, int]]) -> set[str]:
    """The alerts of the simple queries, found by their definition; a pair is that of a `b` with the last `a` before."""
    alerts = {f"event: e{number}" for number, (_, name, _, _) in enumerate(events) if name == "a"}
    for number, (second, name, host, _) in enumerate(events):
        if name != "b":
            continue
        before = [
            (other, one)
            for one, (other, kind, where, _) in enumerate(events)
            if kind == "a" and where == host and other < second
        ]
        later = [b for b, kind, where, _ in events if kind == "b" and where == host]
        if not before:
            continue
        first, one = max(before)
        if any(first < b < second for b in later):
            continue  # the `a` is used up by the earlier `b`
        alerts |= {f"pair: e{one} + e{number}"} if second - first <= 720 else set()
        alerts |= {f"short: e{one} + e{number}"} if second - first <= 60 else set()
    return alerts


EVENTS = st.lists(
    st.tuples(
        st.integers(300, SPAN_S),
        st.sampled_from("abc"),
        st.sampled_from(("h1", "h2")),
        st.one_of(st.integers(0, 30), st.integers(0, END_S)),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda event: event[0],
)


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 10**6), EVENTS)
def test_nothing_is_missed_however_late_it_comes(seed: int, events: list[tuple[int, str, str, int]]) -> None:
    asyncio.run(timeline(seed, events))


async def test_normal_lateness_searches_nothing_twice(tmp_path: Path) -> None:
    world = World(tmp_path, MemoryStore(), FakeClock(START))
    (world.folder / "rules" / "event.toml").write_text(rule_text("event", {"query": QUERIES["event"], "index": ["*"]}))
    await world.tick()
    for minute in range(1, 60):
        for late in (0, 30, 60, 180):
            world.append(line_of(minute, minute * 60 - late, "a", "h").decode())
        world.go_to(START + timedelta(minutes=minute))
        await world.tick()
    assert len(world.runs) == 12
    assert not any(looked.late.marks for looked in world.looks)
    assert sum(looked.events for looked in world.looks) == 4 * 55  # those of the last minutes are read at 01:00
    await world.restart()


async def test_a_mark_of_late_events_keeps_where_the_rule_began() -> None:
    def at(minute: int) -> datetime:
        return START + timedelta(minutes=minute)

    store = MemoryStore()
    run = RuleRun("a", "A", "e", "succeeded", Window(at(0), at(60)), at(60))
    await store.record(run, "")
    await store.add_marks([Mark("a", "late", at(70), (Window(at(-10), at(5)), Window(at(20), at(80))))])
    state = (await store.read())["a"]
    assert state.searched == (Window(at(0), at(0)), Window(at(5), at(20)))
    assert state.late == (Window(at(0), at(5)), Window(at(20), at(60)))
