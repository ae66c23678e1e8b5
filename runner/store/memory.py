"""The stores that live in the process: for `--dry-run` and for tests. Same contract as the others, gone at exit."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime

from runner.alerts.alert import Alert
from runner.json_text import read_document
from runner.rule_run import RuleRun
from runner.store.alert_row import AlertRow, alert_row
from runner.store.protocol import (
    MOST_UNFINISHED,
    AlertFilter,
    Mark,
    RuleState,
    StoredAlert,
    WriteResult,
    state_after,
    state_with_mark,
)

KEPT_RUNS = 1_000
"""How many runs of a rule a ledger remembers one by one."""
LONGEST_ANSWER = 100
"""How many alerts `get` returns at most for a prefix that many share."""


class MemoryStore:
    """Alerts, ledger and run log in memory. Implements `AlertStore`, `Ledger`, `RunLog` and `FileRecord`."""

    def __init__(self) -> None:
        self._rows: dict[str, AlertRow] = {}
        self._runs: dict[str, deque[RuleRun]] = {}
        self._states: dict[str, RuleState] = {}
        self._files: dict[str, bytes] = {}

    async def existing_ids(self, ids: Collection[str]) -> frozenset[str]:
        return frozenset(id_ for id_ in ids if id_ in self._rows)

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        created: set[str] = set()
        duplicates: set[str] = set()
        rejected: dict[str, str] = {}
        for alert in alerts:
            if alert.id in self._rows:
                duplicates.add(alert.id)
                continue
            try:
                self._rows[alert.id] = alert_row(alert)
                created.add(alert.id)
            except ValueError as error:
                rejected[alert.id] = str(error)
        return write_result(created, duplicates, rejected=rejected)

    async def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        """Matching alerts, newest detection first; of one detection time the one written last comes first."""
        rows = [row for row in reversed(self._rows.values()) if row.is_wanted(wanted)]
        rows.sort(key=lambda row: -row.detected)
        for row in rows[: wanted.limit]:
            yield _stored(row)

    async def get(self, prefix: str) -> Sequence[StoredAlert]:
        """The alert of that id, else those whose id starts with it, by id, at most `LONGEST_ANSWER`; none for ""."""
        if not prefix:
            return ()
        if prefix in self._rows:
            return (_stored(self._rows[prefix]),)
        found = sorted(id_ for id_ in self._rows if id_.startswith(prefix))
        return tuple(_stored(self._rows[id_]) for id_ in found[:LONGEST_ANSWER])

    async def group(self, group_id: str) -> Sequence[StoredAlert]:
        blocks = [row for row in self._rows.values() if row.group_id == group_id and row.kind == "building_block"]
        return tuple(_stored(row) for row in sorted(blocks, key=lambda row: row.group_index or 0))

    async def read(self) -> Mapping[str, RuleState]:
        return dict(self._states)

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        self._states[run.rule_id] = state_after(self._states.get(run.rule_id), run, fingerprint)
        self._runs.setdefault(run.rule_id, deque(maxlen=KEPT_RUNS)).append(run)

    async def add_marks(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            self._states[mark.rule_id] = state_with_mark(self._states.get(mark.rule_id), mark)

    async def unfinished(self, rule_ids: Collection[str], since: datetime) -> Sequence[RuleRun]:
        runs = (run for rule_id in rule_ids for run in self._runs.get(rule_id, ()))
        found = [run for run in runs if not run.complete and run.window.end > since]
        return tuple(sorted(found, key=lambda run: run.started, reverse=True)[:MOST_UNFINISHED])

    async def read_files(self) -> Mapping[str, bytes]:
        return dict(self._files)

    async def keep_files(self, texts: Mapping[str, bytes]) -> None:
        self._files |= texts

    async def close(self) -> None:
        """Nothing to close."""


def write_result(created: set[str], duplicates: set[str], *, rejected: Mapping[str, str]) -> WriteResult:
    """The result of a write; an id that stands in the batch twice counts for its first alert that was stored."""
    rejected = {id_: reason for id_, reason in rejected.items() if id_ not in created}
    return WriteResult(frozenset(created), frozenset(duplicates - created), rejected or None)


def _stored(row: AlertRow) -> StoredAlert:
    return StoredAlert(row.id, "memory", read_document(row.document))
