"""The SQLite file itself: opened, checked, made, and messages for one that cannot be used."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from runner.errors import StoreError

_VERSION: Final = 2
"""Of the tables, kept in the file's `user_version`."""
_APPLICATION: Final = 0x52756E52
"""Marks the file as ours ("RunR"), kept in its `application_id`."""
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
        fingerprint TEXT NOT NULL, source INTEGER NOT NULL DEFAULT 0)
    """,
)
_LEDGERS: Final = (
    # 0 is the ledger of no source in particular: that of files of version 1.
    "CREATE TABLE sources (id INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE, is_lasting INTEGER NOT NULL)",
    "INSERT INTO sources VALUES (0, '', 1)",
    "CREATE INDEX runs_by_source ON runs (source, rule_id, seq)",
    """
    CREATE TABLE spans (
        source INTEGER NOT NULL, rule_id TEXT NOT NULL, window_start INTEGER NOT NULL, window_end INTEGER NOT NULL,
        PRIMARY KEY (source, rule_id, window_start))
    """,
    """
    CREATE TABLE pauses (
        source INTEGER NOT NULL, rule_id TEXT NOT NULL, pause_start INTEGER NOT NULL, pause_end INTEGER,
        PRIMARY KEY (source, rule_id, pause_start))
    """,
    """
    CREATE TABLE late (
        source INTEGER NOT NULL, rule_id TEXT NOT NULL, window_start INTEGER NOT NULL, window_end INTEGER NOT NULL,
        PRIMARY KEY (source, rule_id, window_start))
    """,
    "CREATE TABLE files (source INTEGER NOT NULL, path TEXT NOT NULL, marks BLOB NOT NULL, PRIMARY KEY (source, path))",
)
_FORMER: Final = {
    "spans": "rule_id, window_start, window_end",
    "pauses": "rule_id, pause_start, pause_end",
    "late": "rule_id, window_start, window_end",
    "files": "path, marks",
}
"""The tables of version 1 that have no source, of which the first files had only the first."""
_FROM_VERSION_1: Final = (
    *(f"CREATE TABLE IF NOT EXISTS {table} ({columns})" for table, columns in _FORMER.items()),
    *(f"ALTER TABLE {table} RENAME TO former_{table}" for table in _FORMER),
    "ALTER TABLE runs ADD COLUMN source INTEGER NOT NULL DEFAULT 0",
    "DROP INDEX runs_by_rule",
    *_LEDGERS,
    *(f"INSERT INTO {table} SELECT 0, {columns} FROM former_{table}" for table, columns in _FORMER.items()),
    *(f"DROP TABLE former_{table}" for table in _FORMER),
)


class UnsuitableFileError(Exception):
    """The file is a database, but not one that this program can use."""


def reason_of(error: sqlite3.Error, busy_timeout: float) -> str:
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


def check_place(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"{path} is a folder; expected the name of a file")
    if not path.parent.is_dir():
        raise StoreError(f"{path} cannot be made: there is no folder {path.parent}; make it, or name another file")


def open_or_make(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """A connection for reading and writing; the file and its tables are made if they are not there."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = _connect(path, "rw", busy_timeout=busy_timeout)
    try:
        if not _is_empty(connection):
            _check_version(connection)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a file that is made now; others stay as they are
        _use_write_ahead_log(connection, busy_timeout)
        _make_tables(connection)
        _check_version(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path, busy_timeout: float) -> sqlite3.Connection:
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
        if _check_version(connection) == 1:
            _show_as_version_2(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _show_as_version_2(connection: sqlite3.Connection) -> None:
    """Make views for a connection that may not change the file: they stand before the file's own tables."""
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("CREATE TEMP VIEW sources AS SELECT 0 AS id, '' AS source, 1 AS is_lasting")
    connection.execute("CREATE TEMP VIEW runs AS SELECT *, 0 AS source FROM main.runs")
    for table, columns in _FORMER.items():
        nothing = ", ".join(f"NULL AS {column}" for column in columns.split(", "))
        former = f"main.{table}" if _has_table(connection, table) else f"(SELECT {nothing} WHERE 0)"
        connection.execute(f"CREATE TEMP VIEW {table} AS SELECT 0 AS source, {columns} FROM {former}")


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
    if _is_empty(connection):
        with transaction(connection):
            if _is_empty(connection):  # else another process was faster
                for statement in (*_SCHEMA, *_LEDGERS):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
    if _check_version(connection) < _VERSION:
        with transaction(connection):
            if _check_version(connection) < _VERSION:  # else another process was faster
                for statement in _FROM_VERSION_1:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_VERSION}")


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone())


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()


def _check_version(connection: sqlite3.Connection) -> int:
    """The version of the file's tables; raises UnsuitableFileError for a file that is not ours, or a newer one."""
    version, application = _pragma(connection, "user_version"), _pragma(connection, "application_id")
    if application != _APPLICATION:
        raise UnsuitableFileError("is an SQLite file, but not one of rule-runner; name another file")
    if version > _VERSION:
        raise UnsuitableFileError(
            f"was written by a newer rule-runner (its tables have version {version}, this program knows {_VERSION})"
        )
    return version


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction that holds the file for writing from its start: committed whole, or rolled back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself; the first error is the one that matters
            connection.execute("ROLLBACK")
        raise
