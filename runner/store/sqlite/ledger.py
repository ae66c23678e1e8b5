"""The ledger and the run log in an SQLite file: functions over a connection, each in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

import orjson

from runner.rule_run import COUNTS, RuleRun, Status
from runner.store.memory import KEPT_RUNS
from runner.store.protocol import MOST_UNFINISHED, Mark, RuleState, state_after, state_with_mark
from runner.store.sqlite.database import has_table, transaction
from runner.windows import Window, from_nanoseconds, nanoseconds

_RUN_COLUMNS: Final = (
    "rule_id, name, execution_id, status, window_start, window_end, started, matches, created, duplicates, suppressed, "
    "capped, took_ms, complete, messages"
)

LAST_RUNS: Final = "SELECT max(seq) FROM runs GROUP BY rule_id"
"""The rows of `runs` that are each rule's last run: a state has them."""


def record(connection: sqlite3.Connection, run: RuleRun, fingerprint: str) -> None:
    """Add one run to the log, of which the newest `KEPT_RUNS` of a rule are kept, and to its rule's state."""
    columns = (
        run.rule_id, run.name, run.execution_id, run.status, nanoseconds(run.window.start), nanoseconds(run.window.end),
        nanoseconds(run.started), *run.counts.values(), run.took_ms, run.complete,
        orjson.dumps(run.messages).decode(), fingerprint,
    )  # fmt: skip
    marks = ",".join("?" * len(columns))
    with transaction(connection):
        connection.execute(f"INSERT INTO runs ({_RUN_COLUMNS}, fingerprint) VALUES ({marks})", columns)
        connection.execute(
            "DELETE FROM runs WHERE rule_id = ?1 AND seq <= "
            "(SELECT seq FROM runs WHERE rule_id = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
            (run.rule_id, KEPT_RUNS),
        )
        before = _state(connection, run.rule_id)
        _write_state(connection, before, after=state_after(before, run, fingerprint))


def mark_all(connection: sqlite3.Connection, marks: Sequence[Mark]) -> None:
    """Add marks to the states of their rules, all of them or none."""
    with transaction(connection):
        for mark in marks:
            before = _state(connection, mark.rule_id)
            _write_state(connection, before, after=state_with_mark(before, mark))


def read_states(connection: sqlite3.Connection) -> dict[str, RuleState]:
    """The state of every rule that ever ran or was marked, by rule id."""
    spans: dict[str, list[Window]] = {}
    for rule_id, start, end in connection.execute("SELECT * FROM spans ORDER BY rule_id, window_start"):
        spans.setdefault(rule_id, []).append(_window(start, end))
    last: dict[str, tuple[RuleRun, str]] = {}
    query = f"SELECT fingerprint, {_RUN_COLUMNS} FROM runs WHERE seq IN ({LAST_RUNS})"
    for fingerprint, *columns in connection.execute(query):
        run = read_run(columns)
        last[run.rule_id] = (run, fingerprint)
    pauses: dict[str, list[tuple[int, int | None]]] = {}
    if has_table(connection, "pauses"):  # one of the first files, only read since, has none
        for rule_id, start, end in connection.execute("SELECT * FROM pauses ORDER BY rule_id, pause_start"):
            pauses.setdefault(rule_id, []).append((start, end))
    late: dict[str, list[Window]] = {}
    if has_table(connection, "late"):
        for rule_id, start, end in connection.execute("SELECT * FROM late ORDER BY rule_id, window_start"):
            late.setdefault(rule_id, []).append(_window(start, end))
    states: dict[str, RuleState] = {}
    for rule_id in last.keys() | spans.keys() | pauses.keys():
        newest, fingerprint = last.get(rule_id, (None, ""))
        skipped, paused = _pauses(pauses.get(rule_id, ()))
        searched, again = tuple(spans.get(rule_id, ())), tuple(late.get(rule_id, ()))
        states[rule_id] = RuleState(rule_id, searched, newest, fingerprint, skipped, paused, again)
    return states


def read_files(connection: sqlite3.Connection) -> dict[str, bytes]:
    """What was read of event files, by path."""
    return dict(connection.execute("SELECT path, marks FROM files")) if has_table(connection, "files") else {}


def keep_files(connection: sqlite3.Connection, texts: Mapping[str, bytes]) -> None:
    """Replace what was read of the event files of these paths."""
    with transaction(connection):
        connection.executemany("INSERT OR REPLACE INTO files (path, marks) VALUES (?, ?)", texts.items())


def read_unfinished(connection: sqlite3.Connection, rule_ids: Collection[str], since: int) -> tuple[RuleRun, ...]:
    """The newest runs of these rules that left a window unsearched which ends after `since`, newest first."""
    query = (
        f"SELECT seq, {_RUN_COLUMNS} FROM runs WHERE rule_id = ? AND NOT complete AND window_end > ? "
        "ORDER BY seq DESC LIMIT ?"
    )
    rows = [row for id_ in rule_ids for row in connection.execute(query, (id_, since, MOST_UNFINISHED))]
    rows.sort(key=lambda row: -int(row[0]))
    return tuple(read_run(row[1:]) for row in rows[:MOST_UNFINISHED])


def read_run(columns: Sequence[Any]) -> RuleRun:
    """The run of a row of `_RUN_COLUMNS`."""
    rule_id, name, execution_id, status, start, end, started, *counts, took_ms, complete, messages = columns
    return RuleRun(
        rule_id=rule_id,
        name=name,
        execution_id=execution_id,
        status=cast(Status, status),
        window=_window(start, end),
        started=from_nanoseconds(started),
        **dict(zip(COUNTS, counts, strict=True)),
        took_ms=took_ms,
        complete=bool(complete),
        messages=tuple(orjson.loads(messages)),
    )


def _state(connection: sqlite3.Connection, rule_id: str) -> RuleState | None:
    """The spans and pauses of a rule; None if nothing was ever recorded of it."""
    query = "SELECT window_start, window_end FROM spans WHERE rule_id = ? ORDER BY window_start"
    searched = tuple(_window(*row) for row in connection.execute(query, (rule_id,)))
    query = "SELECT pause_start, pause_end FROM pauses WHERE rule_id = ? ORDER BY pause_start"
    skipped, paused = _pauses(connection.execute(query, (rule_id,)).fetchall())
    if not searched and not skipped and paused is None:
        return None
    query = "SELECT window_start, window_end FROM late WHERE rule_id = ? ORDER BY window_start"
    late = tuple(_window(*row) for row in connection.execute(query, (rule_id,)))
    return RuleState(rule_id, searched, skipped=skipped, paused=paused, late=late)


def _write_state(connection: sqlite3.Connection, before: RuleState | None, *, after: RuleState) -> None:
    """Replace the spans and pauses that changed; what was kept of the last run stands in its own table."""
    rule_id = after.rule_id
    for table, there, here in (
        ("spans", before.searched if before is not None else (), after.searched),
        ("late", before.late if before is not None else (), after.late),
    ):
        gone = [(rule_id, nanoseconds(span.start)) for span in set(there).difference(here)]
        new = [(rule_id, nanoseconds(span.start), nanoseconds(span.end)) for span in set(here).difference(there)]
        connection.executemany(f"DELETE FROM {table} WHERE rule_id = ? AND window_start = ?", gone)
        connection.executemany(f"INSERT INTO {table} (rule_id, window_start, window_end) VALUES (?, ?, ?)", new)
    if before is not None and (before.skipped, before.paused) == (after.skipped, after.paused):
        return
    pauses: list[tuple[str, int, int | None]] = [
        (rule_id, nanoseconds(span.start), nanoseconds(span.end)) for span in after.skipped
    ]
    if after.paused is not None:
        # One that begins where another ended is the same pause, not ended yet.
        start = nanoseconds(after.paused)
        pauses = [pause for pause in pauses if pause[1] != start] + [(rule_id, start, None)]
    connection.execute("DELETE FROM pauses WHERE rule_id = ?", (rule_id,))
    connection.executemany("INSERT INTO pauses (rule_id, pause_start, pause_end) VALUES (?, ?, ?)", pauses)


def _pauses(rows: Sequence[tuple[int, int | None]]) -> tuple[tuple[Window, ...], datetime | None]:
    """The pauses that have ended, and the beginning of one that has not."""
    skipped = tuple(_window(start, end) for start, end in rows if end is not None)
    paused = [from_nanoseconds(start) for start, end in rows if end is None]
    return skipped, (paused[-1] if paused else None)


def _window(start: int, end: int) -> Window:
    return Window(from_nanoseconds(start), from_nanoseconds(end))
