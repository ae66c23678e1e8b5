"""The alerts of an SQLite file that meet a filter: by its columns where it has them, else by a look into documents."""

from __future__ import annotations

import heapq
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from runner.alerts.event_time import event_order
from runner.json_text import read_document
from runner.store.protocol import AlertFilter, StoredAlert
from runner.windows import nanoseconds

_LOG = logging.getLogger("runner.store.sqlite")
_PAGE: Final = 500
"""Alerts read in one query."""
_SMALLEST_PAGE: Final = 50
"""Alerts read at least, since documents that are not wanted are among them."""


def next_page(
    connection: sqlite3.Connection, *, wanted: AlertFilter, after: tuple[int, int] | None
) -> tuple[list[StoredAlert], tuple[int, int] | None]:
    """Wanted alerts among the next ones after that at (detected, seq), newest detection first, and where to go on.

    None as the place is the end. A reader holds no lock between two pages.
    """
    where, values = _where(wanted, after)
    size = _PAGE if wanted.limit is None else min(max(wanted.limit, _SMALLEST_PAGE), _PAGE)
    query = f"SELECT detected, seq, id, document FROM alerts {where} ORDER BY detected DESC, seq DESC LIMIT ?"
    rows = connection.execute(query, (*values, size)).fetchall()
    found = [alert for alert in readable(row[2:] for row in rows) if wanted.admits(alert.document)]
    return found, rows[-1][:2] if len(rows) == size else None


def newest_events(connection: sqlite3.Connection, wanted: AlertFilter) -> list[StoredAlert]:
    """The wanted alerts, those of the newest events first; every alert that the columns let through is looked into."""
    where, values = _where(wanted, None)
    rows = connection.execute(f"SELECT id, document FROM alerts {where} ORDER BY detected DESC, seq DESC", values)
    found = (alert for alert in readable(rows) if wanted.admits(alert.document))
    if wanted.limit is not None:
        return heapq.nlargest(wanted.limit, found, key=lambda alert: event_order(alert.document))
    return sorted(found, key=lambda alert: event_order(alert.document), reverse=True)


def readable(rows: Iterable[tuple[str, bytes]]) -> Iterator[StoredAlert]:
    """The alerts of rows of id and document; one whose document is damaged is logged, and hides no other."""
    for id_, document in rows:
        try:
            yield StoredAlert(id_, "sqlite", read_document(document))
        except ValueError as error:
            _LOG.warning("alert %s is left out: its stored document is damaged: %s", id_, error)


def _where(wanted: AlertFilter, after: tuple[int, int] | None) -> tuple[str, list[object]]:
    """The condition on the columns, with its values."""
    conditions: list[str] = []
    values: list[object] = []
    if not wanted.building_blocks:
        conditions.append("kind <> 'building_block'")
    if wanted.rule_id is not None:
        conditions.append("rule_id = ?")
        values.append(wanted.rule_id)
    if wanted.since is not None:
        conditions.append("detected >= ?")
        values.append(_bound(wanted.since))
    if wanted.until is not None:
        conditions.append("detected <= ?")
        values.append(_bound(wanted.until))
    if wanted.severities:
        conditions.append(f"severity IN ({','.join('?' * len(wanted.severities))})")
        values += wanted.severities
    if wanted.host is not None:
        conditions.append("(instr(host_name, ?) OR instr(host_id, ?))")
        values += [f"\n{wanted.host}\n"] * 2
    if after is not None:
        conditions.append("(detected, seq) < (?, ?)")
        values += after
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", values


def _bound(moment: datetime) -> int:
    """The time as a column has it; one beyond what 64 bits hold is the first or the last of these."""
    return max(-(2**63), min(2**63 - 1, nanoseconds(moment)))
