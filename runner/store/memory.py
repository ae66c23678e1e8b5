"""The stores that live in the process: for `--dry-run` and for tests. Same contract as the others, gone at exit."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime

from runner.alerts.alert import Alert
from runner.alerts.event_time import event_order
from runner.json_text import read_document, write_json
from runner.rule_run import RuleRun, RunCost
from runner.search.term_store import MemoryTerms, TermStore
from runner.store.alert_row import AlertRow, alert_row
from runner.store.changes import AlertChange, Tally, UpdateResult, block_changes, is_as_expected, set_fields
from runner.store.excepted_store import MemoryExcepted
from runner.store.first_state import first_state
from runner.store.group_store import MemoryGroups
from runner.store.overview import Overview, OverviewRequest, overview_of
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
from runner.store.source import UNNAMED, EventSource

KEPT_RUNS = 1_000
"""How many runs of a rule a ledger remembers one by one."""
LONGEST_ANSWER = 100
"""How many alerts `get` returns at most for a prefix that many share."""


class MemoryStore:
    """Alerts, ledgers and run logs in memory. Implements `AlertStore` and `Ledgers`.

    It is also the `Ledger`, the `RunLog` and the `FileRecord` of one source: that without a name unless `ledger` gives
    another.
    """

    def __init__(self) -> None:
        self._rows: dict[str, AlertRow] = {}
        self._runs: dict[EventSource, dict[str, deque[RuleRun]]] = {}
        self._states: dict[EventSource, dict[str, RuleState]] = {}
        self._files: dict[EventSource, dict[str, bytes]] = {}
        self._source = UNNAMED
        self.groups = MemoryGroups()
        self.terms: TermStore = MemoryTerms()
        self.excepted = MemoryExcepted()

    async def existing_ids(self, ids: Collection[str]) -> frozenset[str]:
        return frozenset(id_ for id_ in ids if id_ in self._rows)

    async def by_ids(self, ids: Collection[str]) -> Mapping[str, StoredAlert]:
        return {id_: _stored(self._rows[id_]) for id_ in ids if id_ in self._rows}

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

    async def update(self, changes: Sequence[AlertChange]) -> UpdateResult:
        tally = Tally()
        for change in changes:
            self._change(change, tally)
        return tally.result()

    def _change(self, change: AlertChange, tally: Tally) -> None:
        if change.id not in self._rows:
            tally.missing.add(change.id)
            return
        row = self._rows[change.id]
        document = read_document(row.document)
        if not is_as_expected(document, change.expected):
            tally.conflicts.add(change.id)
            return
        is_changed = set_fields(document, change.fields)
        (tally.changed if is_changed else tally.unchanged).add(change.id)
        self._rows[change.id] = replace(row, document=write_json(document))
        if change.with_blocks:
            group = [(change.id, one.id) for one in self._rows.values() if one.group_id == change.id]
            for block in block_changes([change], [pair for pair in group if pair[1] != change.id]):
                self._change(block, Tally())

    async def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        """Matching alerts, newest detection first; of one detection time the one written last comes first."""
        rows = [row for row in reversed(self._rows.values()) if row.is_wanted(wanted)]
        rows.sort(key=lambda row: -row.detected)
        found = [alert for alert in map(_stored, rows) if wanted.admits(alert.document)]
        if wanted.newest == "event":
            found.sort(key=lambda alert: event_order(alert.document), reverse=True)
        for alert in found[: wanted.limit]:
            yield alert

    async def overview(self, request: OverviewRequest) -> Overview:
        wanted = replace(request.wanted, limit=None)
        return overview_of([alert async for alert in self.find(wanted)], request)

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

    async def sources(self) -> Sequence[EventSource]:
        return tuple(self._states)

    def ledger(self, source: EventSource) -> MemoryStore:
        """The same store with the ledger and the run log of that source."""
        other = copy(self)
        other._source = source
        return other

    def run_log(self, source: EventSource) -> MemoryStore:
        return self.ledger(source)

    def files(self, source: EventSource) -> MemoryStore:
        return self.ledger(source)

    async def costs(self, since: datetime | None) -> Mapping[str, RunCost]:
        found: dict[str, RunCost] = {}
        for logged in self._runs.values():
            for run in (run for runs in logged.values() for run in runs):
                if since is None or run.started >= since:
                    found[run.rule_id] = found.get(run.rule_id, RunCost()).plus(run)
        return found

    async def read(self) -> Mapping[str, RuleState]:
        rule_ids = {rule_id for states in self._states.values() for rule_id in states}
        found = {rule_id: self._state(rule_id) for rule_id in rule_ids}
        return {rule_id: state for rule_id, state in found.items() if state is not None}

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        self._put(state_after(self._state(run.rule_id), run, fingerprint))
        self._runs.setdefault(self._source, {}).setdefault(run.rule_id, deque(maxlen=KEPT_RUNS)).append(run)

    async def add_marks(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            self._put(state_with_mark(self._state(mark.rule_id), mark))

    def _state(self, rule_id: str) -> RuleState | None:
        known = {source: states[rule_id] for source, states in self._states.items() if rule_id in states}
        return known.get(self._source) or first_state(self._source, known)

    def _put(self, state: RuleState) -> None:
        self._states.setdefault(self._source, {})[state.rule_id] = state

    async def unfinished(self, rule_ids: Collection[str], since: datetime) -> Sequence[RuleRun]:
        logged = self._runs.get(self._source, {})
        runs = (run for rule_id in rule_ids for run in logged.get(rule_id, ()))
        found = [run for run in runs if not run.complete and run.window.end > since]
        return tuple(sorted(found, key=lambda run: run.started, reverse=True)[:MOST_UNFINISHED])

    async def read_files(self) -> Mapping[str, bytes]:
        known = [source for source in self._files if source.leaves_files_to(self._source)]
        return {path: text for source in (*known, self._source) for path, text in self._files.get(source, {}).items()}

    async def keep_files(self, texts: Mapping[str, bytes]) -> None:
        self._files.setdefault(self._source, {}).update(texts)

    async def close(self) -> None:
        """Nothing to close."""


def write_result(created: set[str], duplicates: set[str], *, rejected: Mapping[str, str]) -> WriteResult:
    """The result of a write; an id that stands in the batch twice counts for its first alert that was stored."""
    rejected = {id_: reason for id_, reason in rejected.items() if id_ not in created}
    return WriteResult(frozenset(created), frozenset(duplicates - created), rejected or None)


def _stored(row: AlertRow) -> StoredAlert:
    return StoredAlert(row.id, "memory", read_document(row.document))
