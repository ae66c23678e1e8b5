"""The tables of new-terms rules in an SQLite file; every call is one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from runner.search.term_store import TermRecord
from runner.store.sqlite.database import transaction

T = TypeVar("T")

_LOOKED_UP: Final = 500
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS terms (key TEXT PRIMARY KEY, rule_id TEXT NOT NULL, definition TEXT NOT NULL, "
    "version INTEGER NOT NULL, seen BLOB NOT NULL)"
)


class _Runs(Protocol):
    """A call of a function on the connection, one at a time."""

    def __call__(self, action: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]: ...


class SqliteTerms:
    """The tables in one file. Implements `TermStore`."""

    def __init__(self, run: _Runs) -> None:
        self._run = run

    async def read_terms(self, keys: Collection[str]) -> Mapping[str, TermRecord]:
        return await self._run(lambda connection: _read(connection, list(keys)))

    async def all_terms(self) -> Mapping[str, TermRecord]:
        """The tables of all rules over all sources."""
        return await self._run(lambda connection: _read(connection, None))

    async def replace_terms(self, records: Sequence[TermRecord]) -> Mapping[str, TermRecord | None]:
        return await self._run(lambda connection: _replace(connection, records)) if records else {}


def _read(connection: sqlite3.Connection, keys: Sequence[str] | None) -> dict[str, TermRecord]:
    """The records of these keys; None: of all."""
    found: dict[str, TermRecord] = {}
    has_table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'terms'"
    if connection.execute(has_table).fetchone() is None:
        return found
    if keys is None:
        keys = [key for (key,) in connection.execute("SELECT key FROM terms")]
    for start in range(0, len(keys), _LOOKED_UP):
        chunk = keys[start : start + _LOOKED_UP]
        marks = ",".join("?" * len(chunk))
        query = f"SELECT key, rule_id, definition, seen, version FROM terms WHERE key IN ({marks})"
        found.update((row[0], TermRecord(*row)) for row in connection.execute(query, chunk))
    return found


def _replace(connection: sqlite3.Connection, records: Sequence[TermRecord]) -> dict[str, TermRecord | None]:
    outcome: dict[str, TermRecord | None] = {}
    with transaction(connection):
        connection.execute(_TABLE)
        for record in records:
            row = connection.execute("SELECT version FROM terms WHERE key = ?", (record.key,)).fetchone()
            outcome[record.key] = None
            if (None if row is None else row[0]) == record.version:
                after = replace(record, version=(record.version or 0) + 1)
                given = (after.key, after.rule_id, after.definition, after.version, after.table)
                connection.execute("INSERT OR REPLACE INTO terms VALUES (?, ?, ?, ?, ?)", given)
                outcome[record.key] = after
    return outcome
