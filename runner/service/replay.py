"""Replay: the live path over a past span, window by window.

What a replay searches counts as searched in the ledger, within the time that the ledger knows of the rule: it closes
gaps and opens none.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from runner.alerts.alert import Alert
from runner.rule_run import RuleRun
from runner.schedule.schedule import window_at
from runner.search.compiled_rule import CompiledRule
from runner.search.protocol import SearchRequest
from runner.service.execution import Execution, size_for
from runner.service.replay_journal import Done
from runner.store.alert_row import alert_row
from runner.store.protocol import AlertFilter, Ledger, Mark, RuleState, StoredAlert, WriteResult
from runner.windows import Window

WINDOWS_AT_A_TIME = 10_000
"""Windows of one pass over files: enough that reading is not what takes the time, few enough for memory."""


def replay_windows(compiled: CompiledRule, span: Window) -> Iterator[Window]:
    """The windows that a service would have searched for the rule, oldest first, so that all of the span is covered.

    They end every interval from the start of the span on, the last one at its end.
    """
    moment = span.start
    while moment < span.end:
        moment = min(moment + compiled.rule.every, span.end)
        yield window_at(compiled, moment)


def replay_requests(rules: Sequence[CompiledRule], span: Window) -> list[SearchRequest]:
    """All windows of all rules over the span, oldest first."""
    requests = [
        SearchRequest(compiled, window, size_for(compiled.rule))
        for compiled in rules
        for window in replay_windows(compiled, span)
    ]
    return sorted(requests, key=lambda request: (request.window.end, request.rule.rule_id))


async def replay(execution: Execution, requests: Sequence[SearchRequest]) -> AsyncGenerator[RuleRun, None]:
    """Each run of the requests, in their order; a window with more matches than the cap allows is run again."""
    for first in range(0, len(requests), WINDOWS_AT_A_TIME):
        waiting = list(requests[first : first + WINDOWS_AT_A_TIME])
        while waiting:
            by_rule = {request.rule.rule_id: request for request in waiting}
            left: list[RuleRun] = []
            progressed: set[str] = set()
            async for run in execution.run(waiting):
                yield run
                if run.created:
                    progressed.add(run.rule_id)
                if not run.complete and run.status != "failed":
                    left.append(run)  # the cap was reached; how many matches are over it is not known
            waiting = [replace(by_rule[run.rule_id], window=run.window) for run in left if run.rule_id in progressed]


def requests_left(requests: Sequence[SearchRequest], done: Done) -> list[SearchRequest]:
    """Those of the requests that an interrupted replay has not done."""
    return [request for request in requests if (request.rule.rule_id, request.window.end) not in done.windows]


def hour_of(window: Window) -> datetime:
    """The full hour in which a window ends; one that ends on the hour is of the hour before it."""
    moment = max(window.start, window.end - timedelta(microseconds=1))
    return moment.replace(minute=0, second=0, microsecond=0)


class ReplayLedger:
    """A ledger that records only runs within the time that it knows of their rule; else it is the one behind it.

    Runs outside the known time are not recorded: the ledger would count the gap before the rule's first window as owed.
    """

    def __init__(self, ledger: Ledger, states: Mapping[str, RuleState]) -> None:
        self._ledger = ledger
        self._first = {id_: state.searched[0].start for id_, state in states.items() if state.searched}

    async def read(self) -> Mapping[str, RuleState]:
        return await self._ledger.read()

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        first = self._first.get(run.rule_id)
        if first is not None and run.window.end > first:
            await self._ledger.record(run, fingerprint)

    async def add_marks(self, marks: Sequence[Mark]) -> None:
        await self._ledger.add_marks(marks)


class DryRunStore:
    """An `AlertStore` and a `Ledger` that keep nothing but which alerts there would be, for a replay that writes
    nothing: 16 bytes an alert, since a noisy rule makes many."""

    def __init__(self) -> None:
        self._ids: set[bytes] = set()

    async def existing_ids(self, ids: Collection[str]) -> frozenset[str]:
        return frozenset(id_ for id_ in ids if _short(id_) in self._ids)

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        """What a store would answer to the alerts."""
        created: set[str] = set()
        rejected: dict[str, str] = {}
        for alert in alerts:
            if _short(alert.id) in self._ids:
                continue
            try:
                alert_row(alert)
            except ValueError as error:
                rejected[alert.id] = str(error)
                continue
            self._ids.add(_short(alert.id))
            created.add(alert.id)
        duplicates = {alert.id for alert in alerts} - created - rejected.keys()
        return WriteResult(frozenset(created), frozenset(duplicates), rejected or None)

    async def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        """None: they are not kept."""
        nothing: tuple[StoredAlert, ...] = ()
        for alert in nothing:
            yield alert

    async def get(self, prefix: str) -> Sequence[StoredAlert]:
        return ()

    async def group(self, group_id: str) -> Sequence[StoredAlert]:
        return ()

    async def read(self) -> Mapping[str, RuleState]:
        return {}

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        """Nothing is recorded."""

    async def add_marks(self, marks: Sequence[Mark]) -> None:
        """Nothing is marked."""


def _short(id_: str) -> bytes:
    return hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=16).digest()
