"""The groups of alert suppression in an SQLite file; every call is one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol, TypeVar

import orjson

from runner.alerts.groups import KeyGroups
from runner.errors import StoreError
from runner.store.group_store import groups_json, read_groups
from runner.store.sqlite.database import transaction
from runner.windows import from_nanoseconds, nanoseconds

T = TypeVar("T")

_LOOKED_UP: Final = 500
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS suppression (key TEXT PRIMARY KEY, rule_id TEXT NOT NULL, version INTEGER NOT NULL, "
    "until INTEGER NOT NULL, groups BLOB NOT NULL)"
)
_INDEX: Final = "CREATE INDEX IF NOT EXISTS suppression_by_until ON suppression (until)"
_WRITE: Final = (
    "INSERT INTO suppression VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
    "version = excluded.version, until = excluded.until, groups = excluded.groups"
)


class Runs(Protocol):
    """A call of a function on the connection, one at a time."""

    def __call__(self, action: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]: ...


class SqliteGroups:
    """The groups in one file. Implements `GroupStore`."""

    def __init__(self, run: Runs) -> None:
        self._run = run

    async def read(self, keys: Collection[str]) -> Mapping[str, KeyGroups]:
        return await self._run(lambda connection: _read(connection, list(keys)))

    async def replace(self, records: Sequence[KeyGroups], now: datetime) -> Mapping[str, KeyGroups | None]:
        if not records:
            return {}
        return await self._run(lambda connection: _replace(connection, records, nanoseconds(now)))


def _read(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, KeyGroups]:
    found: dict[str, KeyGroups] = {}
    if not _has_table(connection):
        return found
    for start in range(0, len(keys), _LOOKED_UP):
        chunk = keys[start : start + _LOOKED_UP]
        marks = ",".join("?" * len(chunk))
        query = f"SELECT key, rule_id, version, until, groups FROM suppression WHERE key IN ({marks})"
        for key, rule_id, version, until, text in connection.execute(query, chunk):
            try:
                groups = read_groups(orjson.loads(text))
            except (KeyError, TypeError, ValueError) as error:
                raise StoreError(f"the suppression group {key} of rule {rule_id} cannot be read: {error!r}") from None
            found[key] = KeyGroups(key, rule_id, groups, from_nanoseconds(until), version)
    return found


def _replace(connection: sqlite3.Connection, records: Sequence[KeyGroups], now: int) -> dict[str, KeyGroups | None]:
    outcome: dict[str, KeyGroups | None] = {}
    with transaction(connection):
        connection.execute(_TABLE)
        connection.execute(_INDEX)
        for record in records:
            row = connection.execute("SELECT version FROM suppression WHERE key = ?", (record.key,)).fetchone()
            outcome[record.key] = None
            if (None if row is None else row[0]) == record.version:
                after = replace(record, version=(record.version or 0) + 1)
                until = now if after.until is None else nanoseconds(after.until)
                text = orjson.dumps(groups_json(after))
                connection.execute(_WRITE, (after.key, after.rule_id, after.version, until, text))
                outcome[record.key] = after
        connection.execute("DELETE FROM suppression WHERE until < ?", (now,))
    return outcome


def _has_table(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'suppression'"
    return connection.execute(query).fetchone() is not None
