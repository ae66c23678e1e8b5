"""Changes of the alerts in a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from runner.json_text import read_document, write_json
from runner.store.changes import AlertChange, Tally, UpdateResult, block_changes, is_as_expected, set_fields
from runner.store.sqlite.database import transaction

_READ: Final = "SELECT document FROM alerts WHERE id = ?"
_WRITE: Final = "UPDATE alerts SET document = ? WHERE id = ?"
_BLOCKS: Final = "SELECT group_id, id FROM alerts WHERE group_id = ? AND kind = 'building_block'"


def update(connection: sqlite3.Connection, changes: Sequence[AlertChange]) -> UpdateResult:
    """Apply the changes in their order, all of them in one transaction."""
    tally = Tally()
    if changes:
        with transaction(connection):
            for change in changes:
                _apply(connection, change, tally)
    return tally.result()


def _apply(connection: sqlite3.Connection, change: AlertChange, tally: Tally) -> None:
    row = connection.execute(_READ, (change.id,)).fetchone()
    if row is None:
        tally.missing.add(change.id)
        return
    try:
        document = read_document(row[0])
    except ValueError as error:
        tally.rejected[change.id] = f"its stored document is damaged: {error}"
        return
    if not is_as_expected(document, change.expected):
        tally.conflicts.add(change.id)
        return
    if set_fields(document, change.fields):
        connection.execute(_WRITE, (write_json(document), change.id))
        tally.changed.add(change.id)
    else:
        tally.unchanged.add(change.id)
    if change.with_blocks:
        blocks = Tally()
        for block in block_changes([change], connection.execute(_BLOCKS, (change.id,)).fetchall()):
            _apply(connection, block, blocks)
        tally.rejected.update(blocks.rejected)
