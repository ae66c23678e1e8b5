"""What is old goes from an SQLite file, and never comes again: ids stay, and each rule's last run."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.store.sqlite.retention import KEEPS_ALL, Removed, Retention
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.store.alerts import Made, alert_id, at, found_ids, run

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
MINUTES = st.lists(st.integers(min_value=0, max_value=5_000), max_size=30)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.db"


@given(minutes=MINUTES, now=st.integers(min_value=0, max_value=8_000))
def test_an_alert_that_is_removed_is_never_created_again(
    minutes: list[int], now: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def story() -> None:
        store = SqliteStore(tmp_path_factory.mktemp("kept") / "alerts.db", retention=Retention(alerts=DAY))
        alerts = [Made(minute=minute).alert(number) for number, minute in enumerate(minutes)]
        await store.create(alerts)
        removed = await store.prune(at(now))
        kept = {alert_id(number) for number, minute in enumerate(minutes) if at(minute) >= at(now) - DAY}
        assert set(await found_ids(store)) == kept
        assert removed == Removed(alerts=len(minutes) - len(kept))
        assert await store.existing_ids([one.id for one in alerts]) == {one.id for one in alerts}
        assert not (await store.create(alerts)).created
        assert set(await found_ids(store)) == kept
        assert await store.prune(at(now)) == Removed()
        await store.close()

    asyncio.run(story())


async def test_a_group_goes_with_its_building_blocks_and_many_go_in_parts(path: Path) -> None:
    store = SqliteStore(path, retention=Retention(alerts=DAY))
    await store.create([one for number in range(1_500) for one in Made().group(f"g{number}")])
    await store.create(Made(minute=3_000).group("new"))
    assert await store.prune(at(3_000)) == Removed(alerts=4_500)
    assert await found_ids(store) == [alert_id("new")]
    assert len(await store.group(alert_id("new"))) == 2
    assert await store.group(alert_id("g7")) == ()
    assert not (await store.create(Made().group("g7"))).created
    await store.close()


async def test_the_last_run_of_a_rule_stays_and_so_does_what_was_searched(path: Path) -> None:
    store = SqliteStore(path, retention=Retention(runs=DAY))
    for minute in range(0, 2_000, 10):
        await store.record(run(first=minute, last=minute + 10), "f")
    before = await store.read()
    gone = replace(run(first=0, last=5), rule_id="gone")
    await store.record(gone, "g")
    assert await store.prune(at(100_000)) == Removed(runs=199)
    after = await store.read()
    assert after["rule-1"] == before["rule-1"]
    assert (after["gone"].last, after["gone"].fingerprint) == (gone, "g")
    await store.close()


async def test_it_is_done_by_itself_once_an_hour_and_by_the_clock_of_the_machine(path: Path) -> None:
    now = [at(0)]

    def clock() -> datetime:
        return now[0]

    store = SqliteStore(path, retention=Retention(DAY, DAY, clock))
    await store.create([Made(minute=minute).alert(minute) for minute in range(0, 5_000, 500)])
    await store.record(run(first=90_000, last=90_010), "f")  # a run as of another time is no clock
    assert len(await found_ids(store)) == 10
    now[0] = at(30)
    await store.create([Made(minute=-3_000).alert("old")])
    await store.record(run(), "f")
    assert len(await found_ids(store)) == 11
    now[0] = at(60)
    await store.record(run(), "f")
    assert len(await found_ids(store)) == 10
    now[0] = at(5_000)
    await store.record(run(), "f")
    assert set(await found_ids(store)) == {alert_id(minute) for minute in (4_000, 4_500)}
    await store.close()


async def test_without_a_setting_everything_is_kept(path: Path) -> None:
    store = SqliteStore(path, retention=replace(KEEPS_ALL, now=lambda: at(10_000_000)))
    await store.create([Made().alert("a")])
    await store.record(run(), "f")
    await store.record(run(), "f")
    assert (await store.contents()).runs == 2
    assert await found_ids(store) == [alert_id("a")]
    await store.close()


async def test_the_file_gives_its_space_back(path: Path) -> None:
    store = SqliteStore(path, retention=Retention(alerts=DAY))
    await store.create([Made().alert(number, text="x" * 4_000) for number in range(500)])
    before = await store.contents()
    await store.prune(at(3_000))
    after = await store.contents()
    assert (after.alerts, after.pruned) == (0, 500)
    assert before.size > 2_000_000 > 200_000 > after.size
    await store.close()


async def test_a_file_of_before_keeps_its_size_until_it_is_vacuumed(path: Path) -> None:
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE filler (text TEXT)")  # a file that was made without giving pages back
        old.execute("DROP TABLE filler")
    old.close()
    store = SqliteStore(path, retention=Retention(alerts=DAY))
    await store.create([Made().alert(number, text="x" * 4_000) for number in range(500)])
    await store.prune(at(3_000))
    before = await store.contents()
    assert not before.gives_back
    assert before.free > 1_000_000
    await store.vacuum()
    after = await store.contents()
    assert after.gives_back
    assert after.size < 200_000
    assert not (await store.create([Made().alert(7)])).created
    await store.close()


async def test_an_older_file_is_read_without_the_table_of_ids(path: Path) -> None:
    writer = SqliteStore(path)
    await writer.create([Made().alert("a")])
    await writer.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE IF EXISTS pruned")
    connection.close()
    reader = SqliteStore.open_existing(path)
    assert await reader.existing_ids([alert_id("a"), alert_id("b")]) == {alert_id("a")}
    assert (await reader.contents()).pruned == 0
    await reader.close()
