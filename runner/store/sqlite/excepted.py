"""The excepted events of an SQLite file; their table is made when the first one is kept."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from runner.json_text import read_document, write_json
from runner.store.alert_filter import AlertFilter
from runner.store.excepted_store import KEPT_OF_RULE, KeptEvent, chosen
from runner.store.sqlite.database import transaction
from runner.store.sqlite.groups import Runs
from runner.windows import from_nanoseconds, nanoseconds

_LOG = logging.getLogger("runner.store.sqlite")
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS excepted_events (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, "
    "rule_id TEXT NOT NULL, until INTEGER NOT NULL, document BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS excepted_events_by_rule ON excepted_events (rule_id, seq)",
    "CREATE INDEX IF NOT EXISTS excepted_events_by_until ON excepted_events (until)",
)
_INSERT: Final = (
    "INSERT INTO excepted_events (id, rule_id, until, document) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
)
_LIMIT: Final = (
    "DELETE FROM excepted_events WHERE rule_id = ? AND seq <= "
    f"(SELECT seq FROM excepted_events WHERE rule_id = ? ORDER BY seq DESC LIMIT 1 OFFSET {KEPT_OF_RULE})"
)


class SqliteExcepted:
    """The excepted events in one file. Implements `ExceptedStore`."""

    def __init__(self, run: Runs) -> None:
        self._run = run

    async def keep(self, events: Sequence[KeptEvent], now: datetime) -> None:
        if events:
            await self._run(lambda connection: _keep(connection, events, nanoseconds(now)))

    async def find(self, wanted: AlertFilter, now: datetime) -> Sequence[KeptEvent]:
        return await self._run(lambda connection: chosen(_kept(connection, nanoseconds(now)), wanted))


def prune_excepted(connection: sqlite3.Connection, now: int) -> int:
    """Remove what is kept no longer than `now`, in nanoseconds since 1970; returns how many events that were."""
    if not _has_table(connection):
        return 0
    with transaction(connection):
        return connection.execute("DELETE FROM excepted_events WHERE until < ?", (now,)).rowcount


def _keep(connection: sqlite3.Connection, events: Sequence[KeptEvent], now: int) -> None:
    rows = [(one.id, one.rule_id, nanoseconds(one.until), write_json(one.document)) for one in events]
    with transaction(connection):
        for statement in _TABLES:
            connection.execute(statement)
        connection.executemany(_INSERT, rows)
        connection.executemany(_LIMIT, [(rule_id, rule_id) for rule_id in {one.rule_id for one in events}])
        connection.execute("DELETE FROM excepted_events WHERE until < ?", (now,))


def _kept(connection: sqlite3.Connection, now: int) -> Iterator[KeptEvent]:
    if not _has_table(connection):
        return
    query = "SELECT id, rule_id, until, document FROM excepted_events WHERE until >= ?"
    for id_, rule_id, until, text in connection.execute(query, (now,)):
        try:
            yield KeptEvent(id_, rule_id, read_document(text), from_nanoseconds(until))
        except ValueError as error:
            _LOG.warning("excepted event %s is left out: its stored document is damaged: %s", id_, error)


def _has_table(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'excepted_events'"
    return connection.execute(query).fetchone() is not None
