"""`SqliteStore`: alerts and ledger in one SQLite file, for use without a stack.

Several processes may use the file at once. What `create` and `record` were given is on the disk, whole or not at all,
when they return. The blocking calls run in a thread, one after the other, so that waiting for another process does not
hold up the loop.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from runner.alerts.alert import Alert
from runner.errors import StoreError
from runner.rule_run import RuleRun, RunCost
from runner.store.alert_row import AlertRow, alert_row
from runner.store.changes import AlertChange, UpdateResult
from runner.store.memory import LONGEST_ANSWER, write_result
from runner.store.overview import Overview, OverviewRequest, overview_of
from runner.store.protocol import AlertFilter, Mark, RuleState, StoredAlert, WriteResult
from runner.store.source import UNNAMED, EventSource
from runner.store.sqlite.alert_numbers import next_number
from runner.store.sqlite.alert_rows import newest_events, next_page, readable
from runner.store.sqlite.changes import update
from runner.store.sqlite.database import (
    UnsuitableFileError,
    check_place,
    open_for_reading,
    open_or_make,
    reason_of,
    transaction,
)
from runner.store.sqlite.excepted import SqliteExcepted
from runner.store.sqlite.groups import SqliteGroups
from runner.store.sqlite.ledger import (
    keep_files,
    mark_all,
    read_costs,
    read_files,
    read_sources,
    read_states,
    read_unfinished,
    record,
)
from runner.store.sqlite.outbox import SqliteOutbox
from runner.store.sqlite.overview import fill, overview
from runner.store.sqlite.retention import (
    KEEPS_ALL,
    Contents,
    Removed,
    Retention,
    contents,
    prune,
    pruned_ids,
    vacuum,
)
from runner.store.sqlite.terms import SqliteTerms
from runner.windows import nanoseconds

T = TypeVar("T")

_LOG = logging.getLogger("runner.store.sqlite")
_PAGE: Final = 500
"""Alerts read, or ids looked up, in one query."""
_PRUNED_EVERY: Final = timedelta(hours=1)
_ALERT_COLUMNS: Final = "id, rule_id, kind, group_id, group_index, detected, host_name, host_id, severity, document"


class SqliteStore:
    """An `AlertStore` and `Ledgers` on one SQLite file, made if absent, readable by its owner alone.

    It is also the `Ledger`, the `RunLog` and the `FileRecord` of one source: that without a name unless `ledger` gives
    another. `busy_timeout` is how long, in seconds, to wait for another process that holds the file. What `retention`
    does not keep is removed after a run was recorded, once an hour. Every method raises StoreError, with the file's
    name, for what the file or its folder does not allow.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        busy_timeout: float = 10.0,
        must_exist: bool = False,
        retention: Retention = KEEPS_ALL,
    ) -> None:
        self._path = Path(path)
        self._retention = retention
        self._pruned: datetime | None = None
        self._busy_timeout = busy_timeout
        self._lock = threading.Lock()
        self._source = UNNAMED
        with self._errors():
            check_place(self._path)
            if must_exist and not self._path.exists():
                raise StoreError(f"{path}: there is no such file; it is made by the first run that writes alerts")
            self._connection = (open_for_reading if must_exist else open_or_make)(self._path, busy_timeout)

    @classmethod
    def open_existing(cls, path: Path | str, *, busy_timeout: float = 10.0) -> SqliteStore:
        """The store of a file that is there, for reading alone; StoreError if it is missing."""
        return cls(path, busy_timeout=busy_timeout, must_exist=True)

    async def existing_ids(self, ids: Collection[str]) -> frozenset[str]:
        return await self._run(lambda connection: _existing_ids(connection, tuple(ids)))

    @property
    def groups(self) -> SqliteGroups:
        return SqliteGroups(self._run)

    @property
    def excepted(self) -> SqliteExcepted:
        return SqliteExcepted(self._run)

    @property
    def terms(self) -> SqliteTerms:
        return SqliteTerms(self._run)

    @property
    def outbox(self) -> SqliteOutbox:
        """What targets of notifications are owed."""
        return SqliteOutbox(self._run)

    async def by_ids(self, ids: Collection[str]) -> Mapping[str, StoredAlert]:
        return await self._run(lambda connection: _by_ids(connection, tuple(ids)))

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        """Store each alert whose id is not there yet, all of them in one transaction."""
        return await self._run(lambda connection: _create(connection, alerts))

    async def update(self, changes: Sequence[AlertChange]) -> UpdateResult:
        """Apply the changes in their order, all of them in one transaction."""
        return await self._run(lambda connection: update(connection, changes))

    async def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        """Matching alerts, newest detection first; of one detection time the one written last comes first."""
        if wanted.newest == "event":
            for alert in await self._run(lambda connection: newest_events(connection, wanted)):
                yield alert
            return
        left = wanted.limit
        after: tuple[int, int] | None = None
        while left is None or left > 0:
            rows, after = await self._run(partial(next_page, wanted=wanted, after=after))
            for alert in rows[:left]:
                yield alert
            if after is None:
                return
            left = None if left is None else left - len(rows)

    async def overview(self, request: OverviewRequest) -> Overview:
        """A page of the alerts with the counts around it; where nothing may be written every alert is looked into."""
        while await self._run(fill):
            continue
        found = await self._run(lambda connection: overview(connection, request))
        if found is None:
            wanted = replace(request.wanted, limit=None)
            return overview_of([alert async for alert in self.find(wanted)], request)
        return found

    async def get(self, prefix: str) -> Sequence[StoredAlert]:
        """The alert of that id, else those whose id starts with it, by id, at most `LONGEST_ANSWER`; none for ""."""
        return await self._run(lambda connection: _get(connection, prefix))

    async def group(self, group_id: str) -> Sequence[StoredAlert]:
        query = "SELECT id, document FROM alerts WHERE group_id = ? AND kind = 'building_block' ORDER BY group_index"
        return await self._run(lambda connection: _stored_all(connection.execute(query, (group_id,))))

    async def read(self) -> Mapping[str, RuleState]:
        return await self._run(lambda connection: read_states(connection, self._source))

    async def sources(self) -> Sequence[EventSource]:
        return await self._run(read_sources)

    def ledger(self, source: EventSource) -> SqliteStore:
        """The same store with the ledger and the run log of that source."""
        other = copy(self)
        other._source = source
        return other

    def run_log(self, source: EventSource) -> SqliteStore:
        return self.ledger(source)

    def files(self, source: EventSource) -> SqliteStore:
        return self.ledger(source)

    async def costs(self, since: datetime | None) -> Mapping[str, RunCost]:
        start = None if since is None else min(nanoseconds(since), 2**63 - 1)
        return await self._run(lambda connection: read_costs(connection, start))

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        await self._run(lambda connection: record(connection, self._source, run, fingerprint))
        now = self._retention.now() if self._retention.now is not None else None
        if now is not None and (self._pruned is None or now - self._pruned >= _PRUNED_EVERY):
            self._pruned = now
            await self._prune_aside(now)

    async def add_marks(self, marks: Sequence[Mark]) -> None:
        """Add marks to the states of their rules, all of them or none."""
        await self._run(lambda connection: mark_all(connection, self._source, marks))

    async def unfinished(self, rule_ids: Collection[str], since: datetime) -> Sequence[RuleRun]:
        source, start = self._source, nanoseconds(since)
        return await self._run(lambda connection: read_unfinished(connection, source, rule_ids, start))

    async def prune(self, now: datetime) -> Removed:
        """Remove what is not kept any longer. The ids of alerts stay, so that none is created again."""
        return await self._run(lambda connection: prune(connection, self._retention, now))

    async def vacuum(self) -> None:
        """Write the file anew without free space; other processes wait for it."""
        await self._run(vacuum)

    async def contents(self) -> Contents:
        """What is in the file."""
        return await self._run(contents)

    async def pruned_ids(self, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` whose documents were removed."""
        return await self._run(lambda connection: frozenset(pruned_ids(connection, ids)))

    async def _prune_aside(self, now: datetime) -> None:
        """Remove what is not kept any longer; a failure is logged, since the run before it was recorded."""
        try:
            removed = await self.prune(now)
        except StoreError as error:
            _LOG.warning("nothing old was removed: %s", error)
            return
        if removed.alerts:
            _LOG.info("documents of %d alerts older than RUNNER_KEEP_ALERTS removed, their ids stay", removed.alerts)

    async def read_files(self) -> Mapping[str, bytes]:
        return await self._run(lambda connection: read_files(connection, self._source))

    async def keep_files(self, texts: Mapping[str, bytes]) -> None:
        await self._run(lambda connection: keep_files(connection, self._source, texts))

    async def close(self) -> None:
        """Close the file; a call that is running ends first."""
        await self._run(sqlite3.Connection.close)

    async def _run(self, action: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._locked, action)

    def _locked(self, action: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock, self._errors():
            return action(self._connection)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns errors of SQLite and of the file system into a StoreError that names the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} {reason_of(error, self._busy_timeout)}") from error
        except OSError as error:
            raise StoreError(f"{self._path} cannot be opened: {error.strerror or error}") from error
        except UnsuitableFileError as error:
            raise StoreError(f"{self._path} {error}") from None


def _existing_ids(connection: sqlite3.Connection, ids: Sequence[str]) -> frozenset[str]:
    found: set[str] = set()
    for start in range(0, len(ids), _PAGE):
        chunk = ids[start : start + _PAGE]
        marks = ",".join("?" * len(chunk))
        found.update(row[0] for row in connection.execute(f"SELECT id FROM alerts WHERE id IN ({marks})", chunk))
    return frozenset(found | pruned_ids(connection, [id_ for id_ in ids if id_ not in found]))


def _by_ids(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, StoredAlert]:
    found: dict[str, StoredAlert] = {}
    for start in range(0, len(ids), _PAGE):
        chunk = ids[start : start + _PAGE]
        marks = ",".join("?" * len(chunk))
        rows = connection.execute(f"SELECT id, document FROM alerts WHERE id IN ({marks})", chunk)
        found.update((stored.id, stored) for stored in readable(rows))
    return found


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
    insert = f"INSERT INTO alerts (seq, {_ALERT_COLUMNS}) VALUES (?, {marks}) ON CONFLICT (id) DO NOTHING"
    if rows:
        with transaction(connection):
            gone, number = pruned_ids(connection, [row.id for row in rows]), next_number(connection)
            for row in rows:
                is_new = row.id not in gone and connection.execute(insert, (number, *_columns(row))).rowcount
                (created if is_new else duplicates).add(row.id)
                number = None if is_new else number
    return write_result(created, duplicates, rejected=rejected)


def _columns(row: AlertRow) -> tuple[Any, ...]:
    return (
        row.id, row.rule_id, row.kind, row.group_id, row.group_index, row.detected, row.host_name, row.host_id,
        row.severity, row.document,
    )  # fmt: skip


def _get(connection: sqlite3.Connection, prefix: str) -> tuple[StoredAlert, ...]:
    if not prefix:
        return ()
    exact = _stored_all(connection.execute("SELECT id, document FROM alerts WHERE id = ?", (prefix,)))
    if exact:
        return exact
    query = "SELECT id, document FROM alerts WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
    return _stored_all(connection.execute(query, (prefix, prefix + "\U0010ffff", LONGEST_ANSWER)))


def _stored_all(rows: sqlite3.Cursor) -> tuple[StoredAlert, ...]:
    return tuple(readable(rows))
