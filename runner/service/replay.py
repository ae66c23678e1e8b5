"""Replay: the live path over a past span, window by window.

What a replay searches counts as searched in the ledger, within the time that the ledger knows of the rule: it closes
gaps and opens none.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Literal

from runner.alerts.alert import Alert
from runner.events.files.event_times import EventTimes
from runner.rule_run import RuleRun
from runner.schedule.schedule import window_at
from runner.search.compiled_rule import CompiledRule
from runner.search.protocol import SearchRequest
from runner.service.execution import Execution, size_for
from runner.service.replay_journal import Done
from runner.store.alert_row import alert_row
from runner.store.changes import AlertChange, UpdateResult
from runner.store.excepted_store import MemoryExcepted
from runner.store.group_store import MemoryGroups
from runner.store.overview import Overview, OverviewRequest, overview_of
from runner.store.protocol import AlertFilter, Ledger, Mark, RuleState, StoredAlert, WriteResult
from runner.triage.noise import NoiseReport
from runner.windows import Window, from_nanoseconds

WINDOWS_AT_A_TIME = 2_048
"""Windows of one pass over files: 2 dense hours with 1,024 rules take 250 MB in all, with 10,000 windows 510."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Windows of a rule, one after another, that are not searched, and why: they hold no event, an earlier start did
    them, or they hold none of the events that could be read, which decides nothing."""

    compiled: CompiledRule
    window: Window
    """From the start of the first to the end of the last."""
    count: int
    why: Literal["empty", "done", "unread"]


def window_count(compiled: CompiledRule, span: Window) -> int:
    """How many windows `replay_windows` has; one for an instant."""
    return max(1, -(-span.length // compiled.rule.every))


def replay_windows(
    compiled: CompiledRule, span: Window, times: EventTimes | None = None
) -> Iterator[tuple[Window, int]]:
    """The windows that a service would have searched for the rule, oldest first, so that all of the span is covered.

    They end every interval from the start of the span on, the last one at its end. Each stands with 1. With `times`,
    windows without an event are one, which stands with minus their count. Time goes with the events.
    """
    count, every = window_count(compiled, span), compiled.rule.every
    place, empty, start = 0, 0, span.start

    def window_of(place: int) -> Window:
        return window_at(compiled, span.end if place >= count - 1 else span.start + (place + 1) * every)

    while place < count:
        window = window_of(place)
        event = window.start_ns if times is None else times.next_event(window.start_ns)
        if event is not None and event <= window.end_ns:
            if empty:
                yield Window(start, window_of(place - 1).end), -empty
            yield window, 1
            place, empty = place + 1, 0
            continue
        # No window ends after its run: the first that may have the next event is of the run at that event or later.
        then = count if event is None else -(-(from_nanoseconds(event) - span.start) // every) - 1
        start, then = start if empty else window.start, min(count, max(place + 1, then))
        place, empty = then, empty + then - place
    if empty:
        yield Window(start, window_of(count - 1).end), -empty


class ReplayPlan:
    """All windows of all rules over the span, oldest first, made as they are needed; by `times` those without an event
    are passed over, by `done` those that an interrupted replay has done."""

    def __init__(
        self,
        rules: Sequence[CompiledRule],
        span: Window,
        *,
        times: EventTimes | None = None,
        is_whole: bool = True,
        done: Done | None = None,
    ) -> None:
        """`is_whole`: the times are those of all events."""
        self._rules, self._span, self._times = rules, span, times
        self._done = frozenset() if done is None else done.windows
        self._empty: Literal["empty", "unread"] = "empty" if is_whole else "unread"
        self.count = sum(window_count(compiled, span) for compiled in rules)
        self.waiting: set[tuple[str, datetime]] = set()
        """Rule id and end of the windows that were given out; who has a run of one takes it out."""

    def __iter__(self) -> Iterator[SearchRequest | Passed]:
        parts = map(self._of, self._rules)
        for item in merge(*parts, key=lambda item: (item.window.end, item.compiled.rule.rule_id)):
            if isinstance(item, SearchRequest):
                self.waiting.add((item.rule.rule_id, item.window.end))
            yield item

    def _of(self, compiled: CompiledRule) -> Iterator[SearchRequest | Passed]:
        seen: datetime | None = None  # up to where excepted events were counted
        for window, count in replay_windows(compiled, self._span, self._times):
            if count < 0:
                yield Passed(compiled, window, -count, self._empty)
            elif (compiled.rule.rule_id, window.end) in self._done:
                yield Passed(compiled, window, 1, "done")
            else:
                counted = (window if seen is None else Window(max(window.start, seen), window.end),)
                yield SearchRequest(compiled, window, size_for(compiled.rule), counted)
                seen = window.end


async def replay(
    execution: Execution, plan: Iterable[SearchRequest | Passed], *, is_over: Callable[[], bool] = lambda: False
) -> AsyncGenerator[RuleRun | Passed, None]:
    """Each run of the plan, about in its order; a window with more matches than the cap allows is run again.

    Windows that are passed over because they hold no event are recorded in the ledger as searched. Once it `is_over`,
    nothing more is begun.
    """
    items = iter(plan)
    while not is_over() and (part := list(islice(items, WINDOWS_AT_A_TIME))):
        for item in part:
            if isinstance(item, Passed):
                await _record(execution, item)
                yield item
        waiting = [item for item in part if isinstance(item, SearchRequest)]
        await asyncio.sleep(0)
        while waiting and not is_over():
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


async def _record(execution: Execution, passed: Passed) -> None:
    if passed.why != "empty":
        return
    rule, window = passed.compiled.rule, passed.window
    run = RuleRun(
        rule.rule_id, rule.name, str(uuid.uuid4()), "succeeded", window, execution.clock(),
        shown=passed.compiled.reach.shown(window),
    )  # fmt: skip
    await execution.ledger.record(run, rule.fingerprint)


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
            known = Window(max(run.searched.start, first), run.searched.end)
            await self._ledger.record(replace(run, shown=known), fingerprint)

    async def add_marks(self, marks: Sequence[Mark]) -> None:
        await self._ledger.add_marks(marks)


class DryRunStore:
    """An `AlertStore` and a `Ledger` for a replay that writes nothing: they keep which alerts there would be, in 16
    bytes an alert, since a noisy rule makes many, and what these have in common. The first `keep` are kept whole."""

    def __init__(self, keep: int = 0) -> None:
        self._keep = keep
        self.kept: list[Alert] = []
        self._ids: set[bytes] = set()
        self.groups = MemoryGroups()
        self.excepted = MemoryExcepted()
        self.noise = NoiseReport()

    async def existing_ids(self, ids: Collection[str]) -> frozenset[str]:
        return frozenset(id_ for id_ in ids if _short(id_) in self._ids)

    async def by_ids(self, ids: Collection[str]) -> Mapping[str, StoredAlert]:
        """The alerts that there would be, without their documents."""
        return {id_: StoredAlert(id_, "", {}) for id_ in ids if _short(id_) in self._ids}

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
            self.noise.add(alert.document)
            if len(self.kept) < self._keep:
                self.kept.append(alert)
            created.add(alert.id)
        duplicates = {alert.id for alert in alerts} - created - rejected.keys()
        return WriteResult(frozenset(created), frozenset(duplicates), rejected or None)

    async def update(self, changes: Sequence[AlertChange]) -> UpdateResult:
        """Nothing is changed: of no alert more than its id is kept."""
        return UpdateResult(missing=frozenset(change.id for change in changes))

    async def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        """None: they are not kept."""
        nothing: tuple[StoredAlert, ...] = ()
        for alert in nothing:
            yield alert

    async def overview(self, request: OverviewRequest) -> Overview:
        return overview_of((), request)

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
