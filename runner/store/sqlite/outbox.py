"""The outbox of an SQLite file: each target has a position in the alerts, in the order in which they were created.

Only one transaction writes at a time, so the numbers of the alerts rise in the order in which they are committed: what
is behind a target's position was seen, what is before it was not. Every call here is one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from runner.errors import StoreError
from runner.json_text import read_document
from runner.store.outbox import (
    Backlog,
    Incident,
    ItemOf,
    OutboxItem,
    OutboxMessage,
    TargetRecord,
    read_incident,
    read_item,
    read_message,
    read_target_record,
)
from runner.store.sqlite.alert_numbers import highest_number
from runner.store.sqlite.database import transaction
from runner.store.sqlite.groups import Runs
from runner.windows import from_nanoseconds, nanoseconds

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS outbox_targets (target TEXT PRIMARY KEY, position INTEGER NOT NULL, "
    "record BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS outbox_items (seq INTEGER PRIMARY KEY, target TEXT NOT NULL, id TEXT NOT NULL, "
    "rank INTEGER NOT NULL, added INTEGER NOT NULL, item BLOB NOT NULL, UNIQUE (target, id))",
    "CREATE INDEX IF NOT EXISTS outbox_items_by_rank ON outbox_items (target, rank DESC, seq)",
    "CREATE TABLE IF NOT EXISTS outbox_messages (seq INTEGER PRIMARY KEY, target TEXT NOT NULL, id TEXT NOT NULL, "
    "items INTEGER NOT NULL, oldest INTEGER NOT NULL, message BLOB NOT NULL, UNIQUE (target, id))",
    "CREATE TABLE IF NOT EXISTS outbox_incidents (key TEXT PRIMARY KEY, incident BLOB NOT NULL)",
)
_TABLE_NAMES: Final = ("outbox_targets", "outbox_items", "outbox_messages")
_PAGE: Final = 500
"""Alerts read in one transaction."""
_NEXT: Final = "SELECT seq, id, kind, document FROM alerts WHERE seq > ? ORDER BY seq LIMIT ?"
_ADD: Final = (
    "INSERT INTO outbox_items (target, id, rank, added, item) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (target, id) DO NOTHING"
)
_MAKE: Final = (
    "INSERT INTO outbox_messages (target, id, items, oldest, message) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (target, id) DO UPDATE SET message = excluded.message"
)


class SqliteOutbox:
    """The outbox in one file. Implements `Outbox`."""

    def __init__(self, run: Runs) -> None:
        self._run = run

    async def open(self, target: str, now: datetime) -> TargetRecord:
        return await self._run(lambda connection: _open(connection, target, now))

    async def take_in(self, target: str, item_of: ItemOf) -> bool:
        return await self._run(lambda connection: _take_in(connection, target, item_of))

    async def waiting(self, target: str, most: int) -> Sequence[OutboxItem]:
        query = "SELECT item FROM outbox_items WHERE target = ? ORDER BY rank DESC, seq LIMIT ?"
        rows = await self._run(lambda connection: connection.execute(query, (target, most)).fetchall())
        return [_read(read_item, text) for (text,) in rows]

    async def pending(self, target: str) -> Sequence[OutboxMessage]:
        query = "SELECT message FROM outbox_messages WHERE target = ? ORDER BY seq"
        rows = await self._run(lambda connection: connection.execute(query, (target,)).fetchall())
        return [_read(read_message, text) for (text,) in rows]

    async def backlog(self, target: str) -> Backlog:
        return await self._run(lambda connection: _backlog(connection, target))

    async def make(self, target: str, messages: Sequence[OutboxMessage], record: TargetRecord) -> None:
        await self._run(lambda connection: _make(connection, target, messages, record))

    async def note(
        self, target: str, done: Sequence[OutboxMessage], kept: Sequence[OutboxMessage], record: TargetRecord
    ) -> None:
        await self._run(lambda connection: _note(connection, target, done, kept=kept, record=record))

    async def targets(self) -> Mapping[str, TargetRecord]:
        return await self._run(_targets)

    async def forget(self, target: str) -> None:
        await self._run(lambda connection: _forget(connection, target))

    async def incidents(self) -> Mapping[str, Incident]:
        return await self._run(_incidents)

    async def set_incident(
        self, key: str, incident: Incident | None, items: Mapping[str, Sequence[OutboxItem]]
    ) -> None:
        await self._run(lambda connection: _set_incident(connection, key, incident, items=items))


def _open(connection: sqlite3.Connection, target: str, now: datetime) -> TargetRecord:
    for statement in _TABLES:
        connection.execute(statement)
    query = "SELECT record FROM outbox_targets WHERE target = ?"
    with transaction(connection):
        if (row := connection.execute(query, (target,)).fetchone()) is not None:
            known: TargetRecord = _read(read_target_record, row[0])
            return known
        record = TargetRecord(now)
        values = target, highest_number(connection), orjson.dumps(record.as_json())
        connection.execute("INSERT INTO outbox_targets VALUES (?, ?, ?)", values)
    return record


def _take_in(connection: sqlite3.Connection, target: str, item_of: ItemOf) -> bool:
    (position,) = connection.execute("SELECT position FROM outbox_targets WHERE target = ?", (target,)).fetchone()
    rows = connection.execute(_NEXT, (position, _PAGE)).fetchall()
    if not rows:
        return False
    found = (item_of(id_, _document(text)) for _, id_, kind, text in rows if kind != "building_block")
    items = [item for item in found if item is not None]
    with transaction(connection):
        _add(connection, target, items)
        move = "UPDATE outbox_targets SET position = ? WHERE target = ? AND position < ?"
        connection.execute(move, (rows[-1][0], target, rows[-1][0]))
    return len(rows) == _PAGE


def _document(text: bytes) -> Mapping[str, Any] | None:
    try:
        return read_document(text)
    except ValueError:
        return None


def _add(connection: sqlite3.Connection, target: str, items: Iterable[OutboxItem]) -> None:
    rows = [(target, item.id, item.rank, nanoseconds(item.added), orjson.dumps(item.as_json())) for item in items]
    connection.executemany(_ADD, rows)


def _backlog(connection: sqlite3.Connection, target: str) -> Backlog:
    query = "SELECT count(*), min(added) FROM outbox_items WHERE target = ?"
    waiting, oldest = connection.execute(query, (target,)).fetchone()
    query = "SELECT count(*), coalesce(sum(items), 0), min(oldest) FROM outbox_messages WHERE target = ?"
    messages, items, oldest_sent = connection.execute(query, (target,)).fetchone()
    first = min((time for time in (oldest, oldest_sent) if time is not None), default=None)
    return Backlog(waiting + items, messages, None if first is None else from_nanoseconds(first))


def _make(connection: sqlite3.Connection, target: str, messages: Sequence[OutboxMessage], record: TargetRecord) -> None:
    with transaction(connection):
        connection.executemany(_MAKE, [_row(target, message) for message in messages])
        gone = [(target, item.id) for message in messages for item in message.items]
        connection.executemany("DELETE FROM outbox_items WHERE target = ? AND id = ?", gone)
        _keep_record(connection, target, record)


def _row(target: str, message: OutboxMessage) -> tuple[object, ...]:
    text = orjson.dumps(message.as_json())
    return target, message.id, len(message.items), nanoseconds(message.oldest), text


def _note(
    connection: sqlite3.Connection,
    target: str,
    done: Sequence[OutboxMessage],
    *,
    kept: Sequence[OutboxMessage],
    record: TargetRecord,
) -> None:
    with transaction(connection):
        connection.executemany(
            "DELETE FROM outbox_messages WHERE target = ? AND id = ?", [(target, message.id) for message in done]
        )
        connection.executemany(_MAKE, [_row(target, message) for message in kept])
        _keep_record(connection, target, record)


def _keep_record(connection: sqlite3.Connection, target: str, record: TargetRecord) -> None:
    values = orjson.dumps(record.as_json()), target
    connection.execute("UPDATE outbox_targets SET record = ? WHERE target = ?", values)


def _targets(connection: sqlite3.Connection) -> dict[str, TargetRecord]:
    if not _has_tables(connection):
        return {}
    rows = connection.execute("SELECT target, record FROM outbox_targets ORDER BY target")
    return {target: _read(read_target_record, text) for target, text in rows}


def _forget(connection: sqlite3.Connection, target: str) -> None:
    if _has_tables(connection):
        with transaction(connection):
            for table in _TABLE_NAMES:
                connection.execute(f"DELETE FROM {table} WHERE target = ?", (target,))


def _incidents(connection: sqlite3.Connection) -> dict[str, Incident]:
    if not _has_tables(connection):
        return {}
    rows = connection.execute("SELECT key, incident FROM outbox_incidents")
    return {key: _read(read_incident, text) for key, text in rows}


def _set_incident(
    connection: sqlite3.Connection,
    key: str,
    incident: Incident | None,
    *,
    items: Mapping[str, Sequence[OutboxItem]],
) -> None:
    with transaction(connection):
        connection.execute("DELETE FROM outbox_incidents WHERE key = ?", (key,))
        if incident is not None:
            values = key, orjson.dumps(incident.as_json())
            connection.execute("INSERT INTO outbox_incidents VALUES (?, ?)", values)
        for target, owed in items.items():
            _add(connection, target, owed)


def _read(read: Any, text: bytes) -> Any:
    try:
        return read(orjson.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"a record of the outbox cannot be read: {error!r}") from None


def _has_tables(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'outbox_incidents'"
    return connection.execute(query).fetchone() is not None
