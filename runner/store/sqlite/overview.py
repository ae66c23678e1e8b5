"""The overview of the alerts in an SQLite file, from a table of the columns that pages are sorted and counted by.

The table is a copy that may be thrown away. Triggers note the rows that an alert was written to, whichever program
wrote it, so that only those are read again before the table is used; a first look at a large file fills it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from runner.alerts.event_fields import text_at, texts_at
from runner.alerts.event_time import event_time_ns
from runner.json_text import read_document
from runner.store.alert_filter import AlertFilter, is_of_building_block_rule
from runner.store.overview import (
    COUNTED,
    Overview,
    OverviewRequest,
    TimeBin,
    ValueCount,
    bin_width,
    counted_values,
    overview_of,
)
from runner.store.protocol import StoredAlert
from runner.store.sqlite.alert_rows import readable
from runner.store.sqlite.database import transaction
from runner.windows import nanoseconds

_CHUNK: Final = 1_000
"""Alerts that are entered in one transaction: others that write wait for it."""
_MOST_LOOKED_INTO: Final = 20_000
"""Documents that are searched for a text, the newest events first."""
_BESIDE: Final = {"rule": ", rule_name", "severity": ", event"}
"""What stands in the index of a column beside it, so that the index alone is read to count by it."""
_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS alert_columns (
        seq INTEGER PRIMARY KEY, shown INTEGER NOT NULL, event INTEGER, severity TEXT NOT NULL, status TEXT NOT NULL,
        rule TEXT NOT NULL, host TEXT NOT NULL, user TEXT NOT NULL, rule_name TEXT NOT NULL, rule_key TEXT NOT NULL,
        detected INTEGER NOT NULL, hosts TEXT NOT NULL, users TEXT NOT NULL, tags TEXT NOT NULL)
    """,
    "CREATE TABLE IF NOT EXISTS alert_columns_due (seq INTEGER PRIMARY KEY)",
    "CREATE INDEX IF NOT EXISTS alert_columns_by_event ON alert_columns (shown, event, seq)",
    *(
        f"CREATE INDEX IF NOT EXISTS alert_columns_by_{name} ON alert_columns (shown, {name}{_BESIDE.get(name, '')})"
        for name in COUNTED
    ),
    """
    CREATE TRIGGER IF NOT EXISTS alert_columns_added AFTER INSERT ON alerts
    BEGIN INSERT OR IGNORE INTO alert_columns_due VALUES (new.seq); END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS alert_columns_changed AFTER UPDATE OF document ON alerts
    BEGIN INSERT OR IGNORE INTO alert_columns_due VALUES (new.seq); END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS alert_columns_removed AFTER DELETE ON alerts
    BEGIN DELETE FROM alert_columns WHERE seq = old.seq; DELETE FROM alert_columns_due WHERE seq = old.seq; END
    """,
    "INSERT OR IGNORE INTO alert_columns_due SELECT seq FROM alerts",
)
_CHOSEN_COLUMNS: Final = "seq, event, severity, status, rule, host, user, rule_name"
_CHOSEN: Final = """
    CREATE TEMP TABLE IF NOT EXISTS chosen_alerts (
        seq INTEGER PRIMARY KEY, event INTEGER, severity TEXT, status TEXT, rule TEXT, host TEXT, user TEXT,
        rule_name TEXT)
    """
_EVERY: Final = 1_000
_SHOWN, _OF_BUILDING_BLOCK_RULE, _EVENT_OF_SEQUENCE = 0, 1, 2


def fill(connection: sqlite3.Connection) -> bool:
    """Enter a bounded number of the alerts that are due; returns whether some are left.

    False, too, where the file may not be written; `overview` does without the table then.
    """
    try:
        if not _is_there(connection):
            with transaction(connection):
                if not _is_there(connection):  # else another process was faster
                    for statement in _TABLES:
                        connection.execute(statement)
        return _enter_due(connection)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
            return False
        raise


def _enter_due(connection: sqlite3.Connection) -> bool:
    due = "SELECT seq FROM alert_columns_due LIMIT ?"
    if connection.execute(due, (1,)).fetchone() is None:
        return False
    with transaction(connection):
        seqs = [seq for (seq,) in connection.execute(due, (_CHUNK,))]
        for seq in seqs:
            _enter(connection, seq)
        marks = ",".join("?" * len(seqs))
        connection.execute(f"DELETE FROM alert_columns_due WHERE seq IN ({marks})", seqs)
    return len(seqs) == _CHUNK


def overview(connection: sqlite3.Connection, request: OverviewRequest) -> Overview | None:
    """The overview; None if the table is not there or not whole, as in a file that may only be read."""
    if not _is_there(connection) or connection.execute("SELECT 1 FROM alert_columns_due LIMIT 1").fetchone():
        return None
    where, values = _where(request.wanted)
    if request.wanted.text:
        return _looked_into(connection, request, where, values)
    source = f"alert_columns {where}"
    if _narrows(request.wanted):  # what is found is put aside, so that the conditions are looked at once
        connection.execute(_CHOSEN)
        connection.execute("DELETE FROM temp.chosen_alerts")
        connection.execute(f"INSERT INTO temp.chosen_alerts SELECT {_CHOSEN_COLUMNS} FROM {source}", values)
        source, values = "temp.chosen_alerts WHERE 1", []
    total = connection.execute(f"SELECT COUNT(*) FROM {source}", values).fetchone()[0]
    order = "ORDER BY event DESC, seq DESC LIMIT ? OFFSET ?"
    page = connection.execute(
        f"SELECT id, document FROM (SELECT seq FROM {source} {order}) JOIN alerts USING (seq)",
        (*values, request.size, request.offset),
    ).fetchall()
    counts = {name: _counts(connection, name, source, values, request.most_values) for name in COUNTED}
    severities = [one.value for one in _counts(connection, "severity", source, values, _EVERY)]
    return Overview(tuple(readable(page)), total, counts, _bins(connection, source, values, severities))


def _narrows(wanted: AlertFilter) -> bool:
    """Whether the filter asks for more than the kinds of alerts."""
    every = AlertFilter(building_blocks=wanted.building_blocks, of_building_block_rules=wanted.of_building_block_rules)
    return replace(wanted, limit=None, newest=every.newest) != every


def _is_there(connection: sqlite3.Connection) -> bool:
    found = "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = 'alert_columns_removed'"
    return connection.execute(found).fetchone() is not None


def _enter(connection: sqlite3.Connection, seq: int) -> None:
    row = connection.execute("SELECT kind, detected, document FROM alerts WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        return
    try:
        document = read_document(row[2])
    except ValueError:  # every reader of the alert itself is told
        connection.execute("DELETE FROM alert_columns WHERE seq = ?", (seq,))
        return
    values = (seq, *_columns(document, kind=row[0], detected=row[1]))
    connection.execute(f"INSERT OR REPLACE INTO alert_columns VALUES ({','.join('?' * len(values))})", values)


def _columns(document: Mapping[str, Any], *, kind: str, detected: int) -> tuple[object, ...]:
    shown = _SHOWN
    if kind == "building_block":
        shown = _EVENT_OF_SEQUENCE
    elif is_of_building_block_rule(document):
        shown = _OF_BUILDING_BLOCK_RULE
    time = event_time_ns(document)
    values = counted_values(document)
    return (
        shown,
        time if time is not None and -(2**63) <= time < 2**63 else None,
        *(_storable(values[name]) for name in COUNTED),
        _storable(text_at(document, "kibana.alert.rule.name")),
        _storable(text_at(document, "kibana.alert.rule.name").casefold()),
        detected,
        _lines(document, "host.name", "host.id"),
        _lines(document, "user.name", "user.id"),
        _lines(document, "kibana.alert.rule.tags", "kibana.alert.workflow_tags"),
    )


def _lines(document: Mapping[str, Any], *names: str) -> str:
    """The values of the fields, each between line ends, so that one of them can be looked for."""
    return _storable("".join(("\n", *(f"{text}\n" for name in names for text in texts_at(document, name)))))


def _storable(text: str) -> str:
    """The text as SQLite takes it: halves of surrogate pairs are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _where(wanted: AlertFilter) -> tuple[str, list[object]]:
    """The condition on the columns, with its values; all that the filter asks for but a text."""
    shown = [_SHOWN]
    shown += [_OF_BUILDING_BLOCK_RULE] if wanted.of_building_block_rules else []
    shown += [_EVENT_OF_SEQUENCE] if wanted.building_blocks else []
    conditions: list[str] = [f"shown IN ({','.join(map(str, shown))})" if len(shown) > 1 else f"shown = {shown[0]}"]
    values: list[object] = []
    for column, given in (("severity", wanted.severities), ("status", wanted.statuses)):
        if given:
            conditions.append(f"{column} IN ({','.join('?' * len(given))})")
            values += given
    if wanted.rule_id is not None:
        conditions.append("rule = ?")
        values.append(wanted.rule_id)
    if wanted.rule is not None:
        conditions.append("(rule = ? OR rule_key = ?)")
        values += [_storable(wanted.rule), _storable(wanted.rule.casefold())]
    for column, text in (("hosts", wanted.host), ("users", wanted.user), ("tags", wanted.tag)):
        if text is not None:
            conditions.append(f"instr({column}, ?)")
            values.append(f"\n{_storable(text)}\n")
    for column, bound, moment in (
        ("detected", ">=", wanted.since),
        ("detected", "<=", wanted.until),
        ("event", ">=", wanted.event_since),
        ("event", "<=", wanted.event_until),
    ):
        if moment is not None:
            conditions.append(f"{column} {bound} ?")
            values.append(max(-(2**63), min(2**63 - 1, nanoseconds(moment))))
    return f"WHERE {' AND '.join(conditions)}", values


def _counts(
    connection: sqlite3.Connection, name: str, source: str, values: list[object], most: int
) -> tuple[ValueCount, ...]:
    rows = connection.execute(
        f"SELECT {name}, COUNT(*) AS alerts FROM {source} GROUP BY {name} ORDER BY alerts DESC, {name} LIMIT ?",
        (*values, most),
    ).fetchall()
    if name != "rule":
        return tuple(ValueCount(value, value, alerts) for value, alerts in rows)
    label = f"SELECT MAX(rule_name) FROM {source} AND rule = ?"
    return tuple(
        ValueCount(id_, connection.execute(label, (*values, id_)).fetchone()[0] or id_, alerts) for id_, alerts in rows
    )


def _bins(
    connection: sqlite3.Connection, source: str, values: list[object], severities: Sequence[str]
) -> tuple[TimeBin, ...]:
    """The bars; of all alerts each severity of each bar by itself, which reads an index once and sorts nothing."""
    known = f"FROM {source} AND event IS NOT NULL"
    first = connection.execute(f"SELECT MIN(event) {known}", values).fetchone()[0]
    if first is None:
        return ()
    last = connection.execute(f"SELECT MAX(event) {known}", values).fetchone()[0]
    width = bin_width(first, last)
    base = first - first % width
    bins = []
    if source.startswith("temp."):
        grouped: dict[int, dict[str, int]] = {}
        query = f"SELECT (event - ?) / ?, severity, COUNT(*) {known} GROUP BY 1, 2"
        for number, severity, alerts in connection.execute(query, (base, width)):
            grouped.setdefault(number, {})[severity] = alerts
        return tuple(TimeBin(base + number * width, width, grouped[number]) for number in sorted(grouped))
    count = f"SELECT COUNT(*) FROM {source} AND severity = ? AND event >= ? AND event < ?"
    for start in range(base, last + 1, width):
        found = {
            severity: connection.execute(count, (*values, severity, start, start + width)).fetchone()[0]
            for severity in severities
        }
        if any(found.values()):
            bins.append(TimeBin(start, width, {severity: alerts for severity, alerts in found.items() if alerts}))
    return tuple(bins)


def _looked_into(
    connection: sqlite3.Connection, request: OverviewRequest, where: str, values: list[object]
) -> Overview:
    """The overview of the alerts that have the text, among a bounded number of the newest."""
    rows = connection.execute(
        f"SELECT id, document FROM (SELECT seq FROM alert_columns {where} ORDER BY event DESC, seq DESC LIMIT ?) "
        "JOIN alerts USING (seq)",
        (*values, _MOST_LOOKED_INTO + 1),
    )
    looked: list[int] = []
    found = list(_with_text(readable(rows), request.wanted, looked))
    return overview_of(found, request, is_whole=len(looked) <= _MOST_LOOKED_INTO)


def _with_text(alerts: Iterable[StoredAlert], wanted: AlertFilter, looked: list[int]) -> Iterable[StoredAlert]:
    for alert in alerts:
        looked.append(1)
        if len(looked) <= _MOST_LOOKED_INTO and wanted.has_text(alert.document):
            yield alert
