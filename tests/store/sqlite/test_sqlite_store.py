"""The SQLite file: durability, locks, rights, and what is said of a file that cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from runner.errors import StoreError
from runner.store.memory import KEPT_RUNS
from runner.store.source import UNNAMED, EventSource
from runner.store.sqlite.ledger import KEPT_ENDED
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import Window, nanoseconds
from tests.paths import ROOT
from tests.store.alerts import Made, alert_id, at, found, found_ids, run
from tests.store.killed_writer import GROUP_SIZE

MADE = Made()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.db"


async def test_a_second_start_finds_all_that_was_stored(path: Path) -> None:
    first = SqliteStore(path)
    await first.create(MADE.group("g"))
    await first.record(run(), "f")
    await first.close()
    second = SqliteStore(path)
    assert await found_ids(second) == [alert_id("g")]
    assert (await second.read())["rule-1"].last == run()
    await second.close()


async def test_the_file_is_its_owners_alone(path: Path) -> None:
    store = SqliteStore(path)
    await store.create([MADE.alert("a")])
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    await store.close()


@pytest.mark.parametrize("calls", [1, 7, 40])
def test_a_killed_process_leaves_whole_calls_behind(path: Path, calls: int) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.store.killed_writer", str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(calls)]
        os.kill(writer.pid, signal.SIGKILL)
    with sqlite3.connect(path) as connection:
        groups = Counter(row[0] for row in connection.execute("SELECT group_id FROM alerts"))
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert set(groups.values()) == {GROUP_SIZE}
    assert {alert_id(number) for number in acknowledged} <= groups.keys()


async def test_two_processes_write_to_one_file(path: Path) -> None:
    one, other = SqliteStore(path), SqliteStore(path)
    await one.create([MADE.alert("a", message="one")])
    assert (await other.create([MADE.alert("a", message="other"), MADE.alert("b")])).duplicates == {alert_id("a")}
    await one.record(run(first=0, last=9), "f")
    await other.record(run(first=9, last=14), "f")
    assert len((await one.read())["rule-1"].searched) == 1
    assert len(await found(one)) == 2
    await one.close()
    await other.close()


async def test_a_locked_file_is_said_to_be_locked(path: Path) -> None:
    store = SqliteStore(path, busy_timeout=0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"alerts\.db is locked by another process; waited 0\.05 s"):
        await store.create([MADE.alert("a")])
    with pytest.raises(StoreError, match="locked"):
        await store.record(run(), "f")
    assert await found(store) == []
    holder.execute("ROLLBACK")
    holder.close()
    assert (await store.create([MADE.alert("a")])).created
    await store.close()


async def test_reading_makes_and_changes_nothing(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such file"):
        SqliteStore.open_existing(path)
    assert not path.exists()
    writer = SqliteStore(path)
    await writer.create([MADE.alert("a")])
    await writer.close()
    before = path.read_bytes()
    reader = SqliteStore.open_existing(path)
    assert await found_ids(reader) == [alert_id("a")]
    with pytest.raises(StoreError, match="opened for reading"):
        await reader.create([MADE.alert("b")])
    await reader.close()
    assert path.read_bytes() == before


async def test_a_reader_sees_what_a_living_writer_stored(path: Path) -> None:
    writer = SqliteStore(path)
    reader = SqliteStore.open_existing(path)
    await writer.create([MADE.alert("a")])
    assert await found_ids(reader) == [alert_id("a")]
    await reader.close()
    await writer.close()


async def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    await SqliteStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    for opened in (SqliteStore, SqliteStore.open_existing):
        with pytest.raises(StoreError, match=r"newer rule-runner \(its tables have version 3, this program knows 2\)"):
            opened(path)


def test_the_database_of_another_program_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    before = path.read_bytes()
    for opened in (SqliteStore, SqliteStore.open_existing):
        with pytest.raises(StoreError, match="not one of rule-runner"):
            opened(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_kept(path: Path) -> None:
    path.write_text('{"event": 1}\n' * 200)
    for opened in (SqliteStore, SqliteStore.open_existing):
        with pytest.raises(StoreError, match="is not an SQLite database"):
            opened(path)
    assert path.read_text() == '{"event": 1}\n' * 200


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder"):
        SqliteStore(tmp_path)
    with pytest.raises(StoreError, match=r"there is no folder .*/missing/deep; make it"):
        SqliteStore(tmp_path / "missing" / "deep" / "alerts.db")
    assert not list(tmp_path.iterdir())


UNPRIVILEGED = """
import asyncio, concurrent.futures.thread, os, sys
from pathlib import Path
from runner.errors import StoreError
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.store.alerts import found_ids

if os.geteuid() == 0:
    os.seteuid(65534)
folder = Path(sys.argv[1])

def attempt(open_store, path):
    try:
        store = open_store(path)
        return "read " + str(len(asyncio.run(found_ids(store))))
    except StoreError as error:
        return str(error)

print(attempt(SqliteStore, folder / "new.db"))
print(attempt(SqliteStore, folder / "readable.db"))
print(attempt(SqliteStore.open_existing, folder / "readable.db"))
print(attempt(SqliteStore.open_existing, folder / "secret.db"))
print(attempt(SqliteStore.open_existing, folder / "closed" / "any.db"))
"""


async def test_what_permissions_forbid_is_said() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, mode in (("readable.db", 0o444), ("secret.db", 0o000)):
            store = SqliteStore(folder / file)
            await store.create([MADE.alert("a")])
            await store.close()
            (folder / file).chmod(mode)
        (folder / "closed").mkdir(mode=0o000)
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, name], cwd=ROOT, capture_output=True, text=True, check=True
        )
        left = sorted(file.name for file in folder.iterdir())
        folder.chmod(0o700)
        (folder / "closed").chmod(0o700)
    made, written, read, secret, closed = done.stdout.splitlines()
    for line, file in ((made, "new.db"), (written, "readable.db"), (closed, "any.db")):
        assert line.endswith(f"{file} cannot be opened: Permission denied")
    assert read == "read 1"
    assert secret.endswith("secret.db cannot be opened: no permission to read it or to write in its folder")
    assert left == ["closed", "readable.db", "secret.db"]


async def test_a_damaged_file_is_said_to_be_damaged(path: Path) -> None:
    store = SqliteStore(path)
    await store.create([MADE.alert(number, message="x" * 2_000) for number in range(200)])
    await store.close()
    data = bytearray(path.read_bytes())
    data[4096 * 2 :] = b"\x5a" * (len(data) - 4096 * 2)
    path.write_bytes(bytes(data))
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="is damaged"):
        await found(store)
    await store.close()


FULL = """
import asyncio, resource, sys
from runner.errors import StoreError
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.store.alerts import Made, run

async def fill(path):
    store = SqliteStore(path)
    await store.create([Made().alert("first")])
    await store.record(run(first=0, last=9), "f")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
    try:
        await store.create([Made().alert(number, message="x" * 5_000) for number in range(400)])
    except StoreError as error:
        print(error)
    try:
        for number in range(2_000):
            await store.record(run(first=9 + number, last=10 + number, messages=("x" * 5_000,)), "f")
    except StoreError as error:
        print(error)
    print((await store.read())["rule-1"].searched[-1].end.isoformat(), number)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    await store.create([Made().alert("last")])
    await store.record(run(first=9 + number, last=10 + number), "f")
    print((await store.read())["rule-1"].searched[-1].end.isoformat(), number)
    await store.close()

asyncio.run(fill(sys.argv[1]))
"""


async def test_a_file_that_cannot_grow_keeps_what_it_had_and_goes_on_when_there_is_room(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    created, recorded, kept, later = done.stdout.splitlines()
    for said in (created, recorded):
        assert "alerts.db cannot" in said and "full" in said
    end, number = kept.split()
    assert datetime.fromisoformat(end) == at(9 + int(number))
    assert datetime.fromisoformat(later.split()[0]) == at(10 + int(number))
    store = SqliteStore(path)
    assert sorted(await found_ids(store)) == sorted([alert_id("first"), alert_id("last")])
    await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk_is_said_to_be_full_and_costs_nothing(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "alerts.db")
    await store.create([MADE.alert("first")])
    await store.record(run(first=0, last=9), "f")
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4_096))
    batch = [MADE.alert(number, message="x" * 3_000) for number in range(40)]
    with pytest.raises(StoreError, match=r"alerts\.db cannot .*disk is full"):
        await store.create(batch)
    with pytest.raises(StoreError, match=r"alerts\.db cannot .*disk is full"):
        for number in range(200):
            await store.record(run(first=9, last=10 + number, messages=("x" * 2_000,)), "f")
    ballast.unlink()
    assert await found_ids(store) == [alert_id("first")]
    assert len((await store.create(batch)).created) == 40
    await store.record(run(first=9, last=500), "f")
    assert (await store.read())["rule-1"].searched == (Window(at(0), at(500)),)
    await store.close()


async def test_what_is_recorded_is_on_the_disk_when_it_is_said_to_be(path: Path) -> None:
    """A power failure is not to be had in a test; that SQLite is told to wait for the disk is."""
    store = SqliteStore(path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    synchronous = await store._run(lambda connection: connection.execute("PRAGMA synchronous").fetchone())
    assert synchronous == (2,)  # FULL: every commit waits for the log to be on the disk
    await store.close()


async def test_an_older_copy_of_the_file_is_as_it_was(path: Path) -> None:
    store = SqliteStore(path)
    await store.create([MADE.alert("a")])
    await store.record(run(first=0, last=9), "f")
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(f"{path}.copy")) as to:
        source.backup(to)
    await store.create([MADE.alert("b")])
    await store.record(run(first=9, last=19), "f")
    await store.close()
    Path(f"{path}.copy").replace(path)
    restored = SqliteStore(path)
    assert (await restored.read())["rule-1"].searched == (Window(at(0), at(9)),)
    result = await restored.create([MADE.alert("a"), MADE.alert("b")])
    assert (set(result.created), set(result.duplicates)) == ({alert_id("b")}, {alert_id("a")})
    await restored.close()


VERSION_1 = (
    "DROP TABLE sources", "DROP TABLE spans", "DROP TABLE pauses", "DROP INDEX runs_by_source",
    "ALTER TABLE runs DROP COLUMN source", "CREATE INDEX runs_by_rule ON runs (rule_id, seq)",
    "CREATE TABLE spans (rule_id TEXT NOT NULL, window_start INTEGER NOT NULL, window_end INTEGER NOT NULL, "
    "PRIMARY KEY (rule_id, window_start)) WITHOUT ROWID",
    "CREATE TABLE pauses (rule_id TEXT NOT NULL, pause_start INTEGER NOT NULL, pause_end INTEGER, "
    "PRIMARY KEY (rule_id, pause_start)) WITHOUT ROWID",
    "PRAGMA user_version = 1",
)  # fmt: skip
"""Makes a file of version 2 one of version 1, without spans and pauses."""


@pytest.mark.parametrize("has_pauses", [True, False])
async def test_a_file_of_version_1_is_read_and_gets_a_ledger_for_each_source(path: Path, has_pauses: bool) -> None:
    store = SqliteStore(path)
    await store.record(run(first=0, last=9, complete=False), "f")
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in VERSION_1:
            connection.execute(statement)
        span = ("rule-1", nanoseconds(at(0)), nanoseconds(at(9)))
        connection.execute("INSERT INTO spans VALUES (?, ?, ?)", span)
        if has_pauses:
            connection.execute("INSERT INTO pauses VALUES (?, ?, ?)", ("rule-1", nanoseconds(at(2)), None))
        else:
            connection.execute("DROP TABLE pauses")
    before = path.read_bytes()
    folder = EventSource("files", ("/var/log/a",))
    reader = SqliteStore.open_existing(path)
    assert await reader.sources() == (UNNAMED,)
    for ledger in (reader, reader.ledger(folder)):  # nothing else is known of the folder: all of it may be owed there
        state = (await ledger.read())["rule-1"]
        assert (state.searched, state.paused) == ((Window(at(0), at(9)),), at(2) if has_pauses else None)
    assert [one.window for one in await reader.unfinished(["rule-1"], at(0))] == [Window(at(0), at(9))]
    await reader.close()
    assert path.read_bytes() == before
    writer = SqliteStore(path)
    await writer.ledger(folder).record(run(first=12, last=15), "f")
    assert (await writer.ledger(folder).read())["rule-1"].searched == (Window(at(0), at(9)), Window(at(12), at(15)))
    assert (await writer.read())["rule-1"].searched == (Window(at(0), at(9)),)
    assert (await writer.ledger(EventSource("cluster", ("https://a:9200",))).read()) == {}
    assert await writer.sources() == (UNNAMED, folder)
    await writer.close()


async def test_sources_that_have_come_to_an_end_are_forgotten_after_many_others(path: Path) -> None:
    store = SqliteStore(path)
    folder = EventSource("files", ("/var/log/a",))
    exports = [
        EventSource("files", (f"/exports/{number}.ndjson",), is_lasting=False) for number in range(KEPT_ENDED + 2)
    ]
    for source in (exports[0], folder, *exports[1:]):
        await store.ledger(source).record(run(), "f")
    assert await store.sources() == (folder, *exports[2:])
    assert await store.ledger(exports[1]).read() == {}
    await store.ledger(exports[1]).record(run(), "f")
    await store.ledger(replace(exports[1], is_lasting=True)).record(run(), "f")  # a service reads it now
    for number in range(KEPT_ENDED):
        await store.ledger(EventSource("files", (f"/more/{number}",), is_lasting=False)).record(run(), "f")
    assert (await store.sources())[:2] == (folder, exports[1])
    await store.close()


async def test_the_last_runs_of_each_rule_are_kept(path: Path) -> None:
    store = SqliteStore(path)
    await store.record(run("rule-2", first=1, last=2, complete=False), "f")
    connection = sqlite3.connect(path)
    with connection:
        row = connection.execute("SELECT * FROM runs").fetchone()
        marks = ",".join("?" * len(row))
        connection.executemany(
            f"INSERT INTO runs VALUES ({marks})", [(number, "rule-1", *row[2:]) for number in range(10, KEPT_RUNS + 30)]
        )
    connection.close()
    await store.record(run(first=5, last=9, complete=False), "f")
    runs = await store.unfinished(["rule-1"], at(0))
    assert len(runs) == KEPT_RUNS
    assert runs[0] == run(first=5, last=9, complete=False)
    assert list(await store.unfinished(["rule-2"], at(0))) == [run("rule-2", first=1, last=2, complete=False)]
    await store.close()


async def test_many_may_make_the_file_at_once(path: Path) -> None:
    stores = await asyncio.gather(*(asyncio.to_thread(SqliteStore, path) for _ in range(8)))
    results = [await store.create([MADE.alert("a")]) for store in stores]
    assert sum(len(result.created) for result in results) == 1
    for store in stores:
        await store.close()


async def test_a_damaged_alert_is_logged_and_hides_no_other(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SqliteStore(path)
    await store.create([MADE.alert("a"), MADE.alert("b"), MADE.alert("c")])
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alerts SET document = ? WHERE id = ?", (b"{", alert_id("b")))
    assert await found_ids(store) == [alert_id("c"), alert_id("a")]
    assert await store.get(alert_id("b")) == ()
    assert f"alert {alert_id('b')} is left out: its stored document is damaged" in caplog.text
    await store.close()
