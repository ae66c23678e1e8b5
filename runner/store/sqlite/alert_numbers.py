"""The numbers of alerts in an SQLite file: they rise in the order of creation, and none is given twice.

SQLite gives a new row one more than the highest number in the table, which is a used one again after the newest rows
were removed. So what is removed leaves the highest number of its time behind.
"""

from __future__ import annotations

import sqlite3
from typing import Final

_TABLE: Final = "CREATE TABLE IF NOT EXISTS alert_numbers (id INTEGER PRIMARY KEY CHECK (id = 0), highest INTEGER)"


def highest_number(connection: sqlite3.Connection) -> int:
    """The highest number that an alert ever had; 0 before the first one."""
    (stored,) = connection.execute("SELECT max(seq) FROM alerts").fetchone()
    return max(stored or 0, _removed(connection))


def keep_highest_number(connection: sqlite3.Connection) -> None:
    """Remember the highest number, before alerts are removed in the same transaction."""
    highest = highest_number(connection)
    connection.execute(_TABLE)
    connection.execute("INSERT OR REPLACE INTO alert_numbers VALUES (0, ?)", (highest,))


def next_number(connection: sqlite3.Connection) -> int | None:
    """The number that the next alert must be given; None if the one that SQLite gives is right."""
    removed = _removed(connection)
    if not removed:
        return None
    (stored,) = connection.execute("SELECT max(seq) FROM alerts").fetchone()
    return removed + 1 if removed > (stored or 0) else None


def _removed(connection: sqlite3.Connection) -> int:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alert_numbers'"
    if connection.execute(query).fetchone() is None:
        return 0
    row = connection.execute("SELECT highest FROM alert_numbers").fetchone()
    return int(row[0]) if row else 0
