"""The ledgers and the run logs in an SQLite file: functions over a connection, each in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

import orjson

from runner.rule_run import COUNTS, ExceptedCount, RuleRun, RunCost, Status
from runner.store.first_state import first_state
from runner.store.memory import KEPT_RUNS
from runner.store.protocol import MOST_UNFINISHED, Mark, RuleState, state_after, state_with_mark
from runner.store.source import UNNAMED, EventSource, read_source
from runner.store.sqlite.database import transaction
from runner.windows import Window, from_nanoseconds, nanoseconds

KEPT_ENDED: Final = 100
"""How many sources that come to an end have a ledger: one for each file that is searched would add up."""
_RUN_COLUMNS: Final = (
    "rule_id, name, execution_id, status, window_start, window_end, started, matches, created, duplicates, suppressed, "
    "capped, took_ms, complete, messages"
)

LAST_RUNS: Final = "SELECT max(seq) FROM runs GROUP BY source, rule_id"
"""The rows of `runs` that are each rule's last run over a source: a state has them."""


def record(connection: sqlite3.Connection, source: EventSource, run: RuleRun, fingerprint: str) -> None:
    """Add one run to the log, of which the newest `KEPT_RUNS` of a rule are kept, and to its rule's state."""
    columns = (
        run.rule_id, run.name, run.execution_id, run.status, nanoseconds(run.window.start), nanoseconds(run.window.end),
        nanoseconds(run.started), *run.counts.values(), run.took_ms, run.complete,
        orjson.dumps(run.messages).decode(), fingerprint,
    )  # fmt: skip
    marks = ",".join("?" * (len(columns) + 1))
    with transaction(connection):
        number = _number_of(connection, source)
        before, there = _state(connection, source, number, run.rule_id)
        connection.execute(
            f"INSERT INTO runs ({_RUN_COLUMNS}, fingerprint, source) VALUES ({marks})", (*columns, number)
        )
        connection.execute(
            "DELETE FROM runs WHERE source = ?1 AND rule_id = ?2 AND seq <= (SELECT seq FROM runs "
            "WHERE source = ?1 AND rule_id = ?2 ORDER BY seq DESC LIMIT 1 OFFSET ?3)",
            (number, run.rule_id, KEPT_RUNS),
        )
        _write_state(connection, number, there, after=state_after(before, run, fingerprint))
        _add_excepted(connection, number, run)


def _add_excepted(connection: sqlite3.Connection, number: int, run: RuleRun) -> None:
    """Add what exceptions removed; their table is made when there is something to count."""
    if not run.excepted or not run.complete:
        return
    connection.execute(
        "CREATE TABLE IF NOT EXISTS excepted (source INTEGER NOT NULL, rule_id TEXT NOT NULL, exception TEXT NOT NULL, "
        "events INTEGER NOT NULL, newest INTEGER NOT NULL, PRIMARY KEY (source, rule_id, exception))"
    )
    add = (
        "INSERT INTO excepted VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET events = events + excluded.events, "
        "newest = max(newest, excluded.newest)"
    )
    rows = [(one.exception, one.events, 0 if one.newest is None else nanoseconds(one.newest)) for one in run.excepted]
    connection.executemany(add, [(number, run.rule_id, *row) for row in rows])


def _read_excepted(connection: sqlite3.Connection, number: int) -> dict[str, list[ExceptedCount]]:
    """What exceptions have removed, by rule."""
    found: dict[str, list[ExceptedCount]] = {}
    if not _has_excepted(connection):
        return found
    query = "SELECT rule_id, exception, events, newest FROM excepted WHERE source = ? ORDER BY rule_id, exception"
    for rule_id, exception, events, newest in connection.execute(query, (number,)):
        time = from_nanoseconds(newest) if newest else None
        found.setdefault(rule_id, []).append(ExceptedCount(exception, events, time))
    return found


def _has_excepted(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'excepted'"
    return connection.execute(query).fetchone() is not None


def mark_all(connection: sqlite3.Connection, source: EventSource, marks: Sequence[Mark]) -> None:
    """Add marks to the states of their rules, all of them or none."""
    with transaction(connection):
        number = _number_of(connection, source)
        for mark in marks:
            before, there = _state(connection, source, number, mark.rule_id)
            _write_state(connection, number, there, after=state_with_mark(before, mark))


def read_sources(connection: sqlite3.Connection) -> tuple[EventSource, ...]:
    """Every source of which something was recorded, in the order in which they were first."""
    query = (
        "SELECT source, is_lasting FROM sources WHERE id IN "
        "(SELECT source FROM spans UNION SELECT source FROM runs UNION SELECT source FROM pauses) ORDER BY id"
    )
    return tuple(read_source(text, is_lasting=bool(lasts)) for text, lasts in connection.execute(query))


def read_states(connection: sqlite3.Connection, source: EventSource) -> dict[str, RuleState]:
    """The state over the source of every rule that ever ran or was marked, by rule id."""
    texts = connection.execute("SELECT id, source FROM sources").fetchall()
    sources = {number: other for number, text in texts if (other := read_source(text)) in (source, UNNAMED)}
    sources |= {number: other for number, text in texts if (other := read_source(text)).is_akin(source)}
    by_source = {other: _read_states(connection, number) for number, other in sources.items()}
    states = by_source.pop(source, {})
    for rule_id in {rule_id for others in by_source.values() for rule_id in others} - states.keys():
        known = {other: found[rule_id] for other, found in by_source.items() if rule_id in found}
        if (state := first_state(source, known)) is not None:
            states[rule_id] = state
    return states


def _read_states(connection: sqlite3.Connection, number: int) -> dict[str, RuleState]:
    spans: dict[str, list[Window]] = {}
    query = "SELECT rule_id, window_start, window_end FROM spans WHERE source = ? ORDER BY rule_id, window_start"
    for rule_id, start, end in connection.execute(query, (number,)):
        spans.setdefault(rule_id, []).append(_window(start, end))
    last: dict[str, tuple[RuleRun, str]] = {}
    query = f"SELECT fingerprint, {_RUN_COLUMNS} FROM runs WHERE source = ? AND seq IN ({LAST_RUNS})"
    for fingerprint, *columns in connection.execute(query, (number,)):
        run = read_run(columns)
        last[run.rule_id] = (run, fingerprint)
    pauses: dict[str, list[tuple[int, int | None]]] = {}
    query = "SELECT rule_id, pause_start, pause_end FROM pauses WHERE source = ? ORDER BY rule_id, pause_start"
    for rule_id, start, end in connection.execute(query, (number,)):
        pauses.setdefault(rule_id, []).append((start, end))
    late: dict[str, list[Window]] = {}
    query = "SELECT rule_id, window_start, window_end FROM late WHERE source = ? ORDER BY rule_id, window_start"
    for rule_id, start, end in connection.execute(query, (number,)):
        late.setdefault(rule_id, []).append(_window(start, end))
    excepted = _read_excepted(connection, number)
    states: dict[str, RuleState] = {}
    for rule_id in last.keys() | spans.keys() | pauses.keys():
        newest, fingerprint = last.get(rule_id, (None, ""))
        skipped, paused = _pauses(pauses.get(rule_id, ()))
        searched, again = tuple(spans.get(rule_id, ())), tuple(late.get(rule_id, ()))
        counts = tuple(excepted.get(rule_id, ()))
        states[rule_id] = RuleState(rule_id, searched, newest, fingerprint, skipped, paused, again, counts)
    return states


def read_files(connection: sqlite3.Connection, source: EventSource) -> dict[str, bytes]:
    """What was read of event files, by path; of paths of which the source has nothing what the latest other one has."""
    query = "SELECT path, marks, sources.source FROM files JOIN sources ON id = files.source ORDER BY id"
    own: dict[str, bytes] = {}
    others: dict[str, bytes] = {}
    for path, marks, text in connection.execute(query):
        other = read_source(text)
        if other == source:
            own[path] = marks
        elif other.leaves_files_to(source):
            others[path] = marks
    return others | own


def keep_files(connection: sqlite3.Connection, source: EventSource, texts: Mapping[str, bytes]) -> None:
    """Replace what was read of the event files of these paths."""
    with transaction(connection):
        number = _number_of(connection, source)
        rows = [(number, path, text) for path, text in texts.items()]
        connection.executemany("INSERT OR REPLACE INTO files (source, path, marks) VALUES (?, ?, ?)", rows)


def read_costs(connection: sqlite3.Connection, since: int | None) -> dict[str, RunCost]:
    """What the runs over all sources that started at or after `since` took, by rule id."""
    query = (
        "SELECT rule_id, count(*), sum(status = 'failed'), sum(matches), sum(suppressed), sum(took_ms) FROM runs "
        "WHERE started >= ? GROUP BY rule_id"
    )
    return {row[0]: RunCost(*row[1:]) for row in connection.execute(query, (-(2**63) if since is None else since,))}


def read_unfinished(
    connection: sqlite3.Connection, source: EventSource, rule_ids: Collection[str], since: int
) -> tuple[RuleRun, ...]:
    """The newest runs of these rules that left a window unsearched which ends after `since`, newest first."""
    query = (
        f"SELECT seq, {_RUN_COLUMNS} FROM runs WHERE source = (SELECT id FROM sources WHERE source = ?) "
        "AND rule_id = ? AND NOT complete AND window_end > ? ORDER BY seq DESC LIMIT ?"
    )
    found = (connection.execute(query, (source.text, id_, since, MOST_UNFINISHED)) for id_ in rule_ids)
    rows = [row for each in found for row in each]
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


def _number_of(connection: sqlite3.Connection, source: EventSource) -> int:
    """The number of the source in the file, which gets one if it is new.

    Of the sources that come to an end, as files that are named one by one, the newest `KEPT_ENDED` keep their ledgers.
    """
    add = "INSERT INTO sources (source, is_lasting) VALUES (?, ?) ON CONFLICT (source) DO NOTHING"
    if connection.execute(add, (source.text, source.is_lasting)).rowcount:
        ended = "SELECT id FROM sources WHERE NOT is_lasting ORDER BY id DESC LIMIT -1 OFFSET ?"
        for table in ("spans", "pauses", "late", "runs", "files"):
            connection.execute(f"DELETE FROM {table} WHERE source IN ({ended})", (KEPT_ENDED,))
        if _has_excepted(connection):
            connection.execute(f"DELETE FROM excepted WHERE source IN ({ended})", (KEPT_ENDED,))
        connection.execute(f"DELETE FROM sources WHERE id IN ({ended})", (KEPT_ENDED,))
    elif source.is_lasting:
        connection.execute("UPDATE sources SET is_lasting = 1 WHERE source = ? AND NOT is_lasting", (source.text,))
    (number,) = connection.execute("SELECT id FROM sources WHERE source = ?", (source.text,)).fetchone()
    return int(number)


def _state(
    connection: sqlite3.Connection, source: EventSource, number: int, rule_id: str
) -> tuple[RuleState | None, RuleState | None]:
    """The state of a rule, None if nothing counts for it, and that part of it which is recorded for the source."""
    there = _recorded(connection, number, rule_id)
    if there is not None or not source.kind:
        return there, there
    known: dict[EventSource, RuleState] = {}
    for other_number, text in connection.execute("SELECT id, source FROM sources").fetchall():
        other = read_source(text)
        if (not other.kind or source.is_akin(other)) and (state := _recorded(connection, other_number, rule_id)):
            known[other] = state
    return first_state(source, known), None


def _recorded(connection: sqlite3.Connection, number: int, rule_id: str) -> RuleState | None:
    """The spans and pauses of a rule over a source; None if nothing was ever recorded of it."""
    query = "SELECT window_start, window_end FROM spans WHERE source = ? AND rule_id = ? ORDER BY window_start"
    searched = tuple(_window(*row) for row in connection.execute(query, (number, rule_id)))
    query = "SELECT pause_start, pause_end FROM pauses WHERE source = ? AND rule_id = ? ORDER BY pause_start"
    skipped, paused = _pauses(connection.execute(query, (number, rule_id)).fetchall())
    if not searched and not skipped and paused is None:
        return None
    query = "SELECT window_start, window_end FROM late WHERE source = ? AND rule_id = ? ORDER BY window_start"
    late = tuple(_window(*row) for row in connection.execute(query, (number, rule_id)))
    return RuleState(rule_id, searched, skipped=skipped, paused=paused, late=late)


def _write_state(connection: sqlite3.Connection, number: int, before: RuleState | None, *, after: RuleState) -> None:
    """Replace the spans and pauses that changed; what was kept of the last run stands in its own table."""
    key = number, after.rule_id
    for table, there, here in (
        ("spans", before.searched if before is not None else (), after.searched),
        ("late", before.late if before is not None else (), after.late),
    ):
        gone = [(*key, nanoseconds(span.start)) for span in set(there).difference(here)]
        new = [(*key, nanoseconds(span.start), nanoseconds(span.end)) for span in set(here).difference(there)]
        connection.executemany(f"DELETE FROM {table} WHERE source = ? AND rule_id = ? AND window_start = ?", gone)
        insert = f"INSERT INTO {table} (source, rule_id, window_start, window_end) VALUES (?, ?, ?, ?)"
        connection.executemany(insert, new)
    if before is not None and (before.skipped, before.paused) == (after.skipped, after.paused):
        return
    pauses: list[tuple[int, int | None]] = [(nanoseconds(span.start), nanoseconds(span.end)) for span in after.skipped]
    if after.paused is not None:
        # One that begins where another ended is the same pause, not ended yet.
        start = nanoseconds(after.paused)
        pauses = [pause for pause in pauses if pause[0] != start] + [(start, None)]
    connection.execute("DELETE FROM pauses WHERE source = ? AND rule_id = ?", key)
    insert = "INSERT INTO pauses (source, rule_id, pause_start, pause_end) VALUES (?, ?, ?, ?)"
    connection.executemany(insert, [(*key, *pause) for pause in pauses])


def _pauses(rows: Sequence[tuple[int, int | None]]) -> tuple[tuple[Window, ...], datetime | None]:
    """The pauses that have ended, and the beginning of one that has not."""
    skipped = tuple(_window(start, end) for start, end in rows if end is not None)
    paused = [from_nanoseconds(start) for start, end in rows if end is None]
    return skipped, (paused[-1] if paused else None)


def _window(start: int, end: int) -> Window:
    return Window(from_nanoseconds(start), from_nanoseconds(end))
