"""Nothing missed, nothing twice, whenever a process is killed and whatever becomes of its state file.

The first tests are the short form of the crash campaign, which `benchmarks/crashes.py` runs with hundreds of kills.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from random import Random

import orjson
import pytest

from runner.clock import FakeClock
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.elasticsearch.proxy import Proxy
from tests.scenarios.campaign import WORK_SECONDS, Report, live_round, past_round
from tests.scenarios.incidents import Incident, past_plan, write_past_rules
from tests.scenarios.places import ClusterPlace, FolderPlace
from tests.scenarios.snapshot import Snapshot, copy_sqlite, read_sqlite, unfinished_write
from tests.scenarios.starter import Starter
from tests.scenarios.timeline import at, ndjson, rule_text
from tests.scenarios.world import World

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="watches foreign processes the Linux way"),
]

SEED = 20_260_302
NOW = ("--now", "2026-03-02T10:05:00Z")


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    with Starter(tmp_path) as made:
        yield made


def as_undisturbed(report: Report, *, kills: int) -> None:
    assert report.faults == []
    assert report.kills == kills
    assert sum(report.phases.values()) == kills
    assert report.incidents > 0  # how many is up to the speed of the machine


def test_services_and_single_runs_are_killed(tmp_path: Path, starter: Starter) -> None:
    as_undisturbed(live_round(FolderPlace(tmp_path), starter, tmp_path, seed=SEED, kills=4), kills=4)


def test_replays_are_killed(tmp_path: Path, starter: Starter) -> None:
    as_undisturbed(past_round(FolderPlace(tmp_path), starter, tmp_path, seed=SEED, kills=5), kills=5)


def test_replays_on_a_node_are_killed_and_more_goes_wrong(
    tmp_path: Path, starter: Starter, elasticsearch_url: str, namespace: str, plain_proxy: Proxy
) -> None:
    place = ClusterPlace(elasticsearch_url, plain_proxy, name=namespace, rules=tmp_path / "rules")
    report = past_round(place, starter, tmp_path, seed=SEED, kills=2, length=timedelta(minutes=6))
    as_undisturbed(report, kills=2)


class Folder:
    """Rules and events that lie behind, and single runs over them."""

    def __init__(self, folder: Path, starter: Starter) -> None:
        self.folder, self.starter = folder, starter
        self.state = folder / "state.db"
        (folder / "rules").mkdir()
        (folder / "events").mkdir()
        (folder / "rules" / "nc.toml").write_text(rule_text("nc", {"query": 'process where process.name == "nc"'}))

    def write(self, *names: str) -> None:
        lines = [f"{name} exec 10:00:{place // 10:02}.{place % 10}00 name=nc" for place, name in enumerate(names)]
        with (self.folder / "events" / "events.ndjson").open("a", encoding="utf-8") as file:
            file.write(ndjson(lines))

    def arguments(self, *more: object, state: Path | None = None) -> tuple[object, ...]:
        places = ("--events", self.folder / "events", "--rules", self.folder / "rules")
        return ("once", *places, "--state", state or self.state, "--output", "json", *(more or NOW))

    def once(self, *more: object, state: Path | None = None) -> tuple[int, str]:
        """The exit code and the output of a run."""
        started = self.starter.start(*self.arguments(*more, state=state))
        return started.code(), started.text()

    def created(self) -> int:
        code, text = self.once()
        assert code == 0, text
        return int(orjson.loads(text)["created"])


@pytest.fixture
def folder(tmp_path: Path, starter: Starter) -> Folder:
    return Folder(tmp_path, starter)


def names_of(snapshot: Snapshot) -> Counter[str]:
    found: Counter[Incident] = snapshot.incidents()
    return Counter({events[0]: count for (_, events), count in found.items()})


def log_of_a_whole_run(state: Path, starter: Starter, command: Sequence[object]) -> bytes:
    """The log of the state file with everything that the command has written, of which the file itself has nothing."""
    asyncio.run(SqliteStore(state).close())
    with closing(sqlite3.connect(state, isolation_level=None)) as reader:
        reader.execute("BEGIN")  # while somebody reads an older state of the file, what is newer stays in the log
        assert reader.execute("SELECT COUNT(*) FROM alerts").fetchone() == (0,)
        started = starter.start(*command)
        assert started.code(WORK_SECONDS) == 0, started.text()
        shutil.copyfile(state, state.with_name("before.db"))
        return state.with_name(f"{state.name}-wal").read_bytes()


def test_what_a_power_cut_leaves_is_whole_and_is_gone_on_from(tmp_path: Path, starter: Starter) -> None:
    """The log of the state file, cut off anywhere: what was not yet on the disk is missing from its end."""
    rng = Random(SEED)
    place = FolderPlace(tmp_path)
    write_past_rules(tmp_path / "rules")
    plan = past_plan(at("10:00:00"), timedelta(minutes=30), rng)
    place.write(plan.events)
    replay = ("replay", *place.arguments(), "--from", "2026-03-02T09:30:00Z", "--to", "2026-03-02T10:01:00Z")
    log = log_of_a_whole_run(place.state, starter, replay)
    cut = tmp_path / "cut.db"

    def cut_off(size: int) -> bool:
        """Leave so many bytes of the log; whether the last of them are of a transaction that was not finished."""
        shutil.copyfile(tmp_path / "before.db", cut)
        cut_log = tmp_path / "cut.db-wal"
        cut_log.write_bytes(log[:size])
        return unfinished_write(cut_log)

    assert not cut_off(len(log))
    whole, known, torn = read_sqlite(cut), 0, 0
    everything = whole.contents()
    sizes = sorted(rng.randrange(len(log)) for _ in range(15))
    for size in sizes:
        torn += cut_off(size)
        left = read_sqlite(cut)
        assert left.faults() == []
        assert left.alerts.keys() <= whole.alerts.keys()
        assert all(everything[id_] == alert for id_, alert in left.contents().items())
        assert set(left.runs) <= set(whole.runs)
        assert len(left.alerts) >= known, "a longer log knows less"
        known = len(left.alerts)
    assert torn, "no cut was inside a transaction"
    cut_off(sizes[7])
    again = starter.start(*(cut if word == place.state else word for word in replay), "--restart")
    assert again.code(WORK_SECONDS) == 0, again.text()
    after = read_sqlite(cut)
    assert after.contents() == everything
    assert after.incidents() == whole.incidents() == Counter(plan.among(event.id for event in plan.events))


def test_an_older_copy_of_the_state_repeats_nothing_that_is_seen(folder: Folder) -> None:
    folder.write("a", "b")
    assert folder.created() == 2
    copy_sqlite(folder.state, folder.folder / "older.db")
    folder.write("c")
    assert folder.created() == 1
    newer = read_sqlite(copy_sqlite(folder.state, folder.folder / "newer.db"))
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (folder.folder / name).unlink(missing_ok=True)
    shutil.copyfile(folder.folder / "older.db", folder.state)
    assert folder.created() == 1, "only what the copy does not know is found again"
    restored = read_sqlite(copy_sqlite(folder.state, folder.folder / "restored.db"))
    assert restored.contents() == newer.contents()
    assert names_of(restored) == Counter(["a", "b", "c"])


@pytest.mark.parametrize("room", [4_000, 250_000])
def test_a_full_disk_is_said_and_gone_on_from(folder: Folder, room: int) -> None:
    """No file of the process can grow beyond so many bytes: what a full disk does, without one."""
    folder.write("a")
    assert folder.created() == 1
    folder.write(*(f"more-{number}" for number in range(90)))
    started = folder.starter.start(*folder.arguments(), room=room)
    text = started.text() if started.code() != 0 else ""
    left = read_sqlite(copy_sqlite(folder.state, folder.folder / "copy.db"))
    assert left.faults() == []
    assert "Traceback" not in started.text()
    if text:
        assert started.code() in (2, 3)
        assert "state.db cannot be read or written" in text or "state.db cannot grow: the disk is full" in text
        assert names_of(left) == Counter(["a"])
    if room <= 40_000:
        assert text, "so little room was enough"
    code, _ = folder.once()
    assert code == 0
    assert sum(names_of(read_sqlite(copy_sqlite(folder.state, folder.folder / "after.db"))).values()) == 91


def test_a_state_file_that_becomes_read_only_while_a_service_runs(tmp_path: Path) -> None:
    """Somebody else holds the file: what a run could not write stays due, and is written when the file is free."""

    async def scenario() -> None:
        store = SqliteStore(tmp_path / "state.db", busy_timeout=0.05)
        world = World(tmp_path, store, FakeClock(at("10:05:00")))
        (tmp_path / "rules" / "nc.toml").write_text(rule_text("nc", {"query": 'process where process.name == "nc"'}))
        world.append(ndjson(["a exec 10:00:00.000 name=nc"]))
        await world.tick()
        world.append(ndjson(["b exec 10:06:00.000 name=nc"]))
        world.go_to(at("10:10:00"))
        with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert [run for run in await world.tick() if run.complete] == []
            other.execute("ROLLBACK")
        assert "state.db is locked by another process" in str(world.troubles[-1])
        for minute in range(15, 35, 5):
            world.go_to(at(f"10:{minute}:00"))
            await world.tick()
        assert list((await world.heads()).values()) == ["nc: a", "nc: b"]
        states = await store.read()
        assert [(span.start, span.end) for span in states["nc"].searched] == [(at("09:56:00"), at("10:30:00"))]
        await world.restart()
        await store.close()

    asyncio.run(scenario())


def test_single_runs_at_once_on_one_file_write_every_alert_once(folder: Folder) -> None:
    folder.write(*(f"e{number}" for number in range(50)))
    started = [folder.starter.start(*folder.arguments()) for _ in range(4)]
    for one in started:
        assert one.code() == 0, one.text()
    made = [int(orjson.loads(one.text())["created"]) for one in started]
    assert sum(made) == 50
    after = read_sqlite(copy_sqlite(folder.state, folder.folder / "copy.db"))
    assert after.faults() == []
    assert names_of(after) == Counter(f"e{number}" for number in range(50))


def test_a_clock_that_differs_between_runs_repeats_nothing_and_misses_nothing(folder: Folder) -> None:
    """Runs as of times that jump forwards and back, as on machines whose clocks differ."""
    folder.write("a", "b")
    for now in ("10:05:00", "10:08:00", "10:02:00", "11:30:00"):
        assert folder.once("--now", f"2026-03-02T{now}Z")[0] == 0
    folder.write("c")
    assert folder.created() == 1
    after = read_sqlite(copy_sqlite(folder.state, folder.folder / "copy.db"))
    assert names_of(after) == Counter(["a", "b", "c"])
    assert after.faults() == []
