"""`SqliteStore`: alerts and ledger in one SQLite file, for use without a stack.

Several processes may use the file at once. What `create` and `record` were told is on the disk, whole or not at all,
when they return. The blocking calls run in a thread, one after the other, so that waiting for another process does not
hold up the loop.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import orjson

from runner.alerts.alert import Alert
from runner.errors import StoreError
from runner.report import RuleRun, Status
from runner.store.memory import KEPT_RUNS, LONGEST_ANSWER, write_result
from runner.store.row import AlertRow, alert_row
from runner.store.store import AlertFilter, RuleState, StoredAlert, WriteResult, state_after
from runner.windows import Window, from_nanoseconds, nanoseconds

T = TypeVar("T")

_VERSION: Final = 1
"""Of the tables, kept in the file's `user_version`."""
_APPLICATION: Final = 0x52756E52
"""Marks the file as ours ("RunR"), kept in its `application_id`."""
_PAGE: Final = 500
"""Alerts read, or ids looked up, in one query."""
_SCHEMA: Final = (
    """
    CREATE TABLE alerts (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, rule_id TEXT NOT NULL, kind TEXT NOT NULL, group_id TEXT,
        group_index INTEGER, detected INTEGER NOT NULL, host_name TEXT NOT NULL, host_id TEXT NOT NULL,
        severity TEXT NOT NULL, document BLOB NOT NULL)
    """,
    "CREATE INDEX alerts_by_time ON alerts (detected, seq)",
    "CREATE INDEX alerts_by_rule ON alerts (rule_id, detected, seq)",
    "CREATE INDEX alerts_by_group ON alerts (group_id, group_index) WHERE group_id IS NOT NULL",
    """
    CREATE TABLE runs (
        seq INTEGER PRIMARY KEY, rule_id TEXT NOT NULL, name TEXT NOT NULL, execution_id TEXT NOT NULL,
        status TEXT NOT NULL, window_start INTEGER NOT NULL, window_end INTEGER NOT NULL, started INTEGER NOT NULL,
        matches INTEGER NOT NULL, created INTEGER NOT NULL, duplicates INTEGER NOT NULL, suppressed INTEGER NOT NULL,
        capped INTEGER NOT NULL, took_ms INTEGER NOT NULL, complete INTEGER NOT NULL, messages TEXT NOT NULL,
        fingerprint TEXT NOT NULL)
    """,
    "CREATE INDEX runs_by_rule ON runs (rule_id, seq)",
    """
    CREATE TABLE spans (
        rule_id TEXT NOT NULL, window_start INTEGER NOT NULL, window_end INTEGER NOT NULL,
        PRIMARY KEY (rule_id, window_start)) WITHOUT ROWID
    """,
)
_ALERT_COLUMNS: Final = "id, rule_id, kind, group_id, group_index, detected, host_name, host_id, severity, document"
_RUN_COLUMNS: Final = (
    "rule_id, name, execution_id, status, window_start, window_end, started, matches, created, duplicates, suppressed, "
    "capped, took_ms, complete, messages"
)


class SqliteStore:
    """An `AlertStore` and a `Ledger` on one SQLite file; made if it is not there, readable by its owner alone.

    `busy_timeout` is how long, in seconds, to wait for another process that holds the file. Every method raises
    StoreError, with the file's name, for what the file or its folder does not allow.
    """

    def __init__(self, path: Path | str, *, busy_timeout: float = 10.0, must_exist: bool = False) -> None:
        self._path = Path(path)
        self._busy_timeout = busy_timeout
        self._lock = threading.Lock()
        with self._errors():
            _check_place(self._path)
            if must_exist and not self._path.exists():
                raise StoreError(f"{path}: there is no such file; it is made by the first run that writes alerts")
            self._connection = (_open_for_reading if must_exist else _open_or_make)(self._path, busy_timeout)

    @classmethod
    def open_existing(cls, path: Path | str, *, busy_timeout: float = 10.0) -> SqliteStore:
        """The store of a file that is there, for reading alone; StoreError if it is missing."""
        return cls(path, busy_timeout=busy_timeout, must_exist=True)

    async def known(self, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` that are stored."""
        return await self._run(lambda connection: _known(connection, tuple(ids)))

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        """Store each alert whose id is not there yet, all of them in one transaction."""
        return await self._run(lambda connection: _create(connection, alerts))

    async def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        """Matching alerts, newest detection first; of one detection time the one written last comes first."""
        left = wanted.limit
        after: tuple[int, int] | None = None
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            rows = await self._run(partial(_page, wanted=wanted, after=after, size=size))
            for _, _, id_, document in rows:
                yield _stored(id_, document)
            if len(rows) < size:
                return
            after = rows[-1][:2]
            left = None if left is None else left - len(rows)

    async def get(self, prefix: str) -> Sequence[StoredAlert]:
        """The alert of that id, else those whose id starts with it, by id, at most `LONGEST_ANSWER`; none for ""."""
        return await self._run(lambda connection: _get(connection, prefix))

    async def group(self, group_id: str) -> Sequence[StoredAlert]:
        """The building blocks of a shell alert, by `kibana.alert.group.index`."""
        query = "SELECT id, document FROM alerts WHERE group_id = ? AND kind = 'building_block' ORDER BY group_index"
        return await self._run(lambda connection: _stored_all(connection.execute(query, (group_id,))))

    async def read(self) -> Mapping[str, RuleState]:
        """The state of every rule that ever ran, by rule id."""
        return await self._run(_read_states)

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        """Add one run; its window counts as searched if the run is complete."""
        await self._run(lambda connection: _record(connection, run, fingerprint))

    async def runs(self, rule_id: str, limit: int = KEPT_RUNS) -> Sequence[RuleRun]:
        """The last runs of a rule, newest first."""
        query = f"SELECT {_RUN_COLUMNS} FROM runs WHERE rule_id = ? ORDER BY seq DESC LIMIT ?"
        return await self._run(lambda connection: tuple(map(_read_run, connection.execute(query, (rule_id, limit)))))

    async def close(self) -> None:
        """Close the file; a call that is running ends first."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock, self._errors():
            self._connection.close()

    async def _run(self, action: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._locked, action)

    def _locked(self, action: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock, self._errors():
            return action(self._connection)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what SQLite and the file system say into a StoreError that names the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} {_reason(error, self._busy_timeout)}") from error
        except OSError as error:
            raise StoreError(f"{self._path} cannot be opened: {error.strerror or error}") from error
        except _UnsuitableFileError as error:
            raise StoreError(f"{self._path} {error}") from None


class _UnsuitableFileError(Exception):
    """The file is a database, but not one that this program can use."""


def _reason(error: sqlite3.Error, busy_timeout: float) -> str:
    """The end of a sentence that begins with the file's name; codes: https://www.sqlite.org/rescode.html"""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"is locked by another process; waited {busy_timeout:g} s for it"
        case sqlite3.SQLITE_READONLY:
            return (
                "cannot be written: the file, its folder or its file system is read-only, or it was opened for reading"
            )
        case sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return "cannot be opened: permission denied"
        case sqlite3.SQLITE_FULL:
            return "cannot grow: the disk is full"
        case sqlite3.SQLITE_CORRUPT:
            return f"is damaged ({error}); restore it from a copy, or move it away to start anew"
        case sqlite3.SQLITE_NOTADB:
            return "is not an SQLite database"
        case sqlite3.SQLITE_CANTOPEN:
            return "cannot be opened: no permission to read it or to write in its folder"
        case sqlite3.SQLITE_IOERR:
            return f"cannot be read or written ({error}): the disk is full or failing, or a file size limit is reached"
    return f"cannot be used: {error}"


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"{path} is a folder; expected the name of a file")
    if not path.parent.is_dir():
        raise StoreError(f"{path} cannot be made: there is no folder {path.parent}; make it, or name another file")


def _open_or_make(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """A connection for reading and writing; the file and its tables are made if they are not there."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = _connect(path, "rw", busy_timeout=busy_timeout)
    try:
        if not _is_empty(connection):
            _check_version(connection)
        _use_write_ahead_log(connection, busy_timeout)
        _make_tables(connection)
        _check_version(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_for_reading(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """A connection for reading, also to a file in a folder that refuses the files which SQLite puts beside it."""
    try:
        return _open_checked(path, "ro", busy_timeout=busy_timeout)
    except sqlite3.OperationalError as error:
        log = path.with_name(path.name + "-wal")
        refused = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if not refused or (log.exists() and log.stat().st_size):
            raise
        return _open_checked(path, "ro&immutable=1", busy_timeout=busy_timeout)


def _open_checked(path: Path, mode: str, *, busy_timeout: float) -> sqlite3.Connection:
    connection = _connect(path, mode, busy_timeout=busy_timeout)
    try:
        _check_version(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, mode: str, *, busy_timeout: float) -> sqlite3.Connection:
    """A connection in one of the modes of SQLite's URIs, without transactions that begin by themselves."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def _use_write_ahead_log(connection: sqlite3.Connection, patience: float) -> None:
    """Let readers read while one writes; SQLite does not wait by itself when two processes ask for this at once."""
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous = FULL")


def _make_tables(connection: sqlite3.Connection) -> None:
    if not _is_empty(connection):
        return
    with _transaction(connection):
        if not _is_empty(connection):
            return  # another process was faster
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()


def _check_version(connection: sqlite3.Connection) -> None:
    version, application = _pragma(connection, "user_version"), _pragma(connection, "application_id")
    if application != _APPLICATION:
        raise _UnsuitableFileError("is an SQLite file, but not one of rule-runner; name another file")
    if version > _VERSION:
        raise _UnsuitableFileError(
            f"was written by a newer rule-runner (its tables have version {version}, this program knows {_VERSION})"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction that holds the file for writing from its start: committed whole, or rolled back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself; the first error is the one that matters
            connection.execute("ROLLBACK")
        raise


def _known(connection: sqlite3.Connection, ids: Sequence[str]) -> frozenset[str]:
    found: set[str] = set()
    for start in range(0, len(ids), _PAGE):
        chunk = ids[start : start + _PAGE]
        marks = ",".join("?" * len(chunk))
        found.update(row[0] for row in connection.execute(f"SELECT id FROM alerts WHERE id IN ({marks})", chunk))
    return frozenset(found)


def _create(connection: sqlite3.Connection, alerts: Sequence[Alert]) -> WriteResult:
    created: set[str] = set()
    duplicates: set[str] = set()
    rejected: dict[str, str] = {}
    rows: list[AlertRow] = []
    for alert in alerts:
        try:
            rows.append(alert_row(alert))
        except ValueError as error:
            rejected[alert.id] = str(error)
    marks = ",".join("?" * len(_ALERT_COLUMNS.split(",")))
    insert = f"INSERT INTO alerts ({_ALERT_COLUMNS}) VALUES ({marks}) ON CONFLICT (id) DO NOTHING"
    if rows:
        with _transaction(connection):
            for row in rows:
                done = connection.execute(insert, _columns(row))
                (created if done.rowcount else duplicates).add(row.id)
    return write_result(created, duplicates, rejected=rejected)


def _columns(row: AlertRow) -> tuple[Any, ...]:
    return (
        row.id, row.rule_id, row.kind, row.group_id, row.group_index, row.detected, row.host_name, row.host_id,
        row.severity, row.document,
    )  # fmt: skip


def _page(
    connection: sqlite3.Connection, *, wanted: AlertFilter, after: tuple[int, int] | None, size: int
) -> list[tuple[int, int, str, bytes]]:
    """The next alerts after the one at (detected, seq); a reader holds no lock between two pages."""
    conditions: list[str] = []
    values: list[object] = []
    if not wanted.building_blocks:
        conditions.append("kind <> 'building_block'")
    if wanted.rule_id is not None:
        conditions.append("rule_id = ?")
        values.append(wanted.rule_id)
    if wanted.since is not None:
        conditions.append("detected >= ?")
        values.append(nanoseconds(wanted.since))
    if wanted.until is not None:
        conditions.append("detected <= ?")
        values.append(nanoseconds(wanted.until))
    if wanted.host is not None:
        conditions.append("(instr(host_name, ?) OR instr(host_id, ?))")
        values += [f"\n{wanted.host}\n"] * 2
    if after is not None:
        conditions.append("(detected, seq) < (?, ?)")
        values += after
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    query = f"SELECT detected, seq, id, document FROM alerts {where} ORDER BY detected DESC, seq DESC LIMIT ?"
    return connection.execute(query, (*values, size)).fetchall()


def _get(connection: sqlite3.Connection, prefix: str) -> tuple[StoredAlert, ...]:
    if not prefix:
        return ()
    exact = _stored_all(connection.execute("SELECT id, document FROM alerts WHERE id = ?", (prefix,)))
    if exact:
        return exact
    query = "SELECT id, document FROM alerts WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
    return _stored_all(connection.execute(query, (prefix, prefix + "\U0010ffff", LONGEST_ANSWER)))


def _stored_all(rows: sqlite3.Cursor) -> tuple[StoredAlert, ...]:
    return tuple(_stored(id_, document) for id_, document in rows)


def _stored(id_: str, document: bytes) -> StoredAlert:
    return StoredAlert(id_, "sqlite", orjson.loads(document))


def _record(connection: sqlite3.Connection, run: RuleRun, fingerprint: str) -> None:
    columns = (
        run.rule_id, run.name, run.execution_id, run.status, nanoseconds(run.window.start), nanoseconds(run.window.end),
        nanoseconds(run.started), run.matches, run.created, run.duplicates, run.suppressed, run.capped, run.took_ms,
        run.complete, orjson.dumps(run.messages).decode(), fingerprint,
    )  # fmt: skip
    marks = ",".join("?" * len(columns))
    with _transaction(connection):
        connection.execute(f"INSERT INTO runs ({_RUN_COLUMNS}, fingerprint) VALUES ({marks})", columns)
        connection.execute(
            "DELETE FROM runs WHERE rule_id = ?1 AND seq <= "
            "(SELECT seq FROM runs WHERE rule_id = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
            (run.rule_id, KEPT_RUNS),
        )
        before = _spans(connection, run.rule_id)
        _write_spans(connection, run.rule_id, before=before, after=state_after(before, run, fingerprint).searched)


def _spans(connection: sqlite3.Connection, rule_id: str) -> RuleState | None:
    query = "SELECT window_start, window_end FROM spans WHERE rule_id = ? ORDER BY window_start"
    searched = tuple(_window(*row) for row in connection.execute(query, (rule_id,)))
    return RuleState(rule_id, searched) if searched else None


def _write_spans(
    connection: sqlite3.Connection, rule_id: str, *, before: RuleState | None, after: Sequence[Window]
) -> None:
    """Replace the spans that changed."""
    there = set(before.searched) if before is not None else set()
    gone = [(rule_id, nanoseconds(span.start)) for span in there.difference(after)]
    new = [(rule_id, nanoseconds(span.start), nanoseconds(span.end)) for span in set(after).difference(there)]
    connection.executemany("DELETE FROM spans WHERE rule_id = ? AND window_start = ?", gone)
    connection.executemany("INSERT INTO spans (rule_id, window_start, window_end) VALUES (?, ?, ?)", new)


def _read_states(connection: sqlite3.Connection) -> dict[str, RuleState]:
    spans: dict[str, list[Window]] = {}
    for rule_id, start, end in connection.execute("SELECT * FROM spans ORDER BY rule_id, window_start"):
        spans.setdefault(rule_id, []).append(_window(start, end))
    query = f"SELECT fingerprint, {_RUN_COLUMNS} FROM runs WHERE seq IN (SELECT max(seq) FROM runs GROUP BY rule_id)"
    states: dict[str, RuleState] = {}
    for fingerprint, *columns in connection.execute(query):
        run = _read_run(columns)
        states[run.rule_id] = RuleState(run.rule_id, tuple(spans.get(run.rule_id, ())), run, fingerprint)
    return states


def _read_run(columns: Sequence[Any]) -> RuleRun:
    rule_id, name, execution_id, status, start, end, started, *counts, complete, messages = columns
    matches, created, duplicates, suppressed, capped, took_ms = counts
    return RuleRun(
        rule_id=rule_id,
        name=name,
        execution_id=execution_id,
        status=cast(Status, status),
        window=_window(start, end),
        started=from_nanoseconds(started),
        matches=matches,
        created=created,
        duplicates=duplicates,
        suppressed=suppressed,
        capped=capped,
        took_ms=took_ms,
        complete=bool(complete),
        messages=tuple(orjson.loads(messages)),
    )


def _window(start: int, end: int) -> Window:
    return Window(from_nanoseconds(start), from_nanoseconds(end))
