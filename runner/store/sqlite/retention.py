"""How long alerts and runs are kept in an SQLite file, and the space that is given back.

Of an alert that is too old the document goes and the id stays, in 32 bytes: a window may be searched again at any time,
and an alert that was there once must never be created twice. Of the runs of a rule the last one stays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from runner.store.sqlite.alert_numbers import keep_highest_number
from runner.store.sqlite.database import transaction
from runner.store.sqlite.excepted import prune_excepted
from runner.store.sqlite.ledger import LAST_RUNS
from runner.windows import nanoseconds

_AT_ONCE: Final = 2_000
"""Rows removed, or pages given back, in one transaction, so that other processes wait for milliseconds only."""
_LOOKED_UP: Final = 500
_INCREMENTAL: Final = 2
"""SQLite's number for a file that can give single pages back."""
_TABLE: Final = "CREATE TABLE IF NOT EXISTS pruned (id BLOB PRIMARY KEY) WITHOUT ROWID"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long alerts (after their detection) and runs (after their start) are kept; None is for good."""

    alerts: timedelta | None = None
    runs: timedelta | None = None
    now: Callable[[], datetime] | None = None
    """The machine's time. Without it nothing is removed unless `prune` is called."""


KEEPS_ALL: Final = Retention()


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed from a file."""

    alerts: int = 0
    runs: int = 0
    excepted: int = 0
    """Events that exceptions left out."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a file, and how many bytes it has."""

    alerts: int
    pruned: int
    """Ids of alerts whose documents were removed."""
    runs: int
    size: int
    free: int
    """Bytes of its size that hold nothing."""
    gives_back: bool
    """Whether free pages are given back as they come; else by a vacuum alone."""


def packed(id_: str) -> bytes:
    """The id of an alert as the table of removed ids has it: 32 bytes for a digest, else its text."""
    try:
        digest = bytes.fromhex(id_)
    except ValueError:
        return b"-" + id_.encode()
    return digest if digest.hex() == id_ else b"-" + id_.encode()


def pruned_ids(connection: sqlite3.Connection, ids: Collection[str]) -> set[str]:
    """Those of `ids` whose documents were removed."""
    if not _has_table(connection):  # an older file, opened for reading alone
        return set()
    by_key = {packed(id_): id_ for id_ in ids}
    keys, found = list(by_key), set()
    for start in range(0, len(keys), _LOOKED_UP):
        chunk = keys[start : start + _LOOKED_UP]
        marks = ",".join("?" * len(chunk))
        found |= {by_key[key] for (key,) in connection.execute(f"SELECT id FROM pruned WHERE id IN ({marks})", chunk)}
    return found


def prune(connection: sqlite3.Connection, retention: Retention, now: datetime) -> Removed:
    """Remove what is older than it is kept, a part at a time, and give free pages back where the file can."""
    alerts = 0 if retention.alerts is None else _prune_alerts(connection, nanoseconds(now - retention.alerts))
    runs = 0 if retention.runs is None else _prune_runs(connection, nanoseconds(now - retention.runs))
    excepted = prune_excepted(connection, nanoseconds(now))
    if alerts or runs or excepted:
        _give_back(connection)
    return Removed(alerts, runs, excepted)


def vacuum(connection: sqlite3.Connection) -> None:
    """Write the file anew without free space, as one that gives pages back from now on."""
    connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def contents(connection: sqlite3.Connection) -> Contents:
    """What the file holds."""

    def number(query: str) -> int:
        return int(connection.execute(query).fetchone()[0])

    page = number("PRAGMA page_size")
    return Contents(
        alerts=number("SELECT count(*) FROM alerts"),
        pruned=number("SELECT count(*) FROM pruned") if _has_table(connection) else 0,
        runs=number("SELECT count(*) FROM runs"),
        size=page * number("PRAGMA page_count"),
        free=page * number("PRAGMA freelist_count"),
        gives_back=number("PRAGMA auto_vacuum") == _INCREMENTAL,
    )


def _give_back(connection: sqlite3.Connection) -> None:
    """Shorten the file by its free pages, where it can be; by a part at a time, as other processes wait."""
    while free := connection.execute("PRAGMA freelist_count").fetchone()[0]:
        connection.executescript(f"PRAGMA incremental_vacuum({_AT_ONCE})")  # `execute` would stop after one page
        if connection.execute("PRAGMA freelist_count").fetchone()[0] == free:
            return


def _prune_alerts(connection: sqlite3.Connection, before: int) -> int:
    removed = 0
    connection.execute(_TABLE)
    query = "SELECT seq, id FROM alerts WHERE detected < ? ORDER BY detected, seq LIMIT ?"
    while connection.execute("SELECT 1 FROM alerts WHERE detected < ? LIMIT 1", (before,)).fetchone():
        with transaction(connection):
            rows = connection.execute(query, (before, _AT_ONCE)).fetchall()
            ids = [(packed(id_),) for _, id_ in rows]
            keep_highest_number(connection)
            connection.executemany("INSERT INTO pruned (id) VALUES (?) ON CONFLICT (id) DO NOTHING", ids)
            connection.executemany("DELETE FROM alerts WHERE seq = ?", [(seq,) for seq, _ in rows])
        removed += len(rows)
    return removed


def _prune_runs(connection: sqlite3.Connection, before: int) -> int:
    """Runs are stored as they come, so the old ones are at the beginning."""
    removed, after = 0, 0
    query = "SELECT seq, started FROM runs WHERE seq > ? ORDER BY seq LIMIT ?"
    while rows := connection.execute(query, (after, _AT_ONCE)).fetchall():
        after = int(rows[-1][0])
        if not (old := [(seq,) for seq, started in rows if started < before]):
            return removed
        with transaction(connection):
            last = {seq for (seq,) in connection.execute(LAST_RUNS)}
            gone = [one for one in old if one[0] not in last]
            connection.executemany("DELETE FROM runs WHERE seq = ?", gone)
        removed += len(gone)
    return removed


def _has_table(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'pruned'"
    return connection.execute(query).fetchone() is not None
