"""The storage protocols: alerts are created if absent by id, the ledger remembers what was searched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, Protocol

from runner.alerts.alert import Alert
from runner.rule_run import ExceptedCount, RuleRun, RunCost
from runner.search.term_store import TermStore
from runner.store.alert_filter import AlertFilter as AlertFilter  # a part of the protocol
from runner.store.changes import AlertChange, UpdateResult
from runner.store.excepted_store import ExceptedStore
from runner.store.group_store import GroupStore
from runner.store.overview import Overview, OverviewRequest
from runner.store.source import EventSource
from runner.store.stored_alert import StoredAlert as StoredAlert
from runner.windows import Window, clipped, merge, subtract


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a batch of alerts, by id: every id of the batch is in exactly one of the three."""

    created: frozenset[str] = frozenset()
    duplicates: frozenset[str] = frozenset()
    rejected: Mapping[str, str] | None = None
    """Ids that could not be stored, each with the reason."""


class AlertStore(Protocol):
    """Where alerts are kept. `create` never changes an alert that is there; `update` does."""

    async def existing_ids(self, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` that are stored already, whatever their status."""
        ...

    @property
    def groups(self) -> GroupStore:
        """The groups of alert suppression, which belong to the alerts."""
        ...

    @property
    def excepted(self) -> ExceptedStore:
        """The events that exceptions left out, as far as they are kept."""
        ...

    async def by_ids(self, ids: Collection[str]) -> Mapping[str, StoredAlert]:
        """The alerts with these whole ids, by id; those that are not stored, or not any longer, are absent."""
        ...

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        """Store each alert whose id is not there yet, in order; raises StoreError if nothing can be written at all."""
        ...

    async def update(self, changes: Sequence[AlertChange]) -> UpdateResult:
        """Set the fields that the changes name, in order; raises StoreError if nothing can be written at all.

        Each change holds whole or not at all, several of one alert come one after another, and a repeat changes
        nothing. Nothing else of an alert changes. In SQLite all of them are one transaction; in a cluster what was
        written until an error came stays.
        """
        ...

    def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        """Matching alerts, newest detection first unless the filter says otherwise."""
        ...

    async def overview(self, request: OverviewRequest) -> Overview:
        """One page of matching alerts, newest events first, with how many there are and what they have in common."""
        ...

    async def get(self, prefix: str) -> Sequence[StoredAlert]:
        """The alert whose id is, or starts with, `prefix`: none, one, or several if the prefix is not unique."""
        ...

    async def group(self, group_id: str) -> Sequence[StoredAlert]:
        """The building blocks of a shell alert, by `kibana.alert.group.index`."""
        ...


@dataclass(frozen=True, slots=True)
class RuleState:
    """What the ledger knows of one rule: the spans searched to the end and the last run."""

    rule_id: str
    searched: tuple[Window, ...] = ()
    """Merged, ascending: the times at which a match may have ended of which every one was seen. The first span begins
    where the rule's first window did, and may be empty: all time from there on that is in none of the spans is owed."""
    last: RuleRun | None = None
    fingerprint: str = ""
    """Of the rule's query, index and schedule when it last ran."""
    skipped: tuple[Window, ...] = ()
    """Merged, ascending: spans in which the rule was disabled. They were not searched and are not owed."""
    paused: datetime | None = None
    """Since when the rule is disabled, if it is."""
    late: tuple[Window, ...] = ()
    """Merged, ascending: spans that were searched and are owed again, since events of their time came later."""
    excepted: tuple[ExceptedCount, ...] = field(default=(), compare=False)
    """What exceptions have removed so far, by their ids."""

    @property
    def accounted(self) -> tuple[Window, ...]:
        """The spans that are not owed: searched to the end, or skipped."""
        return merge((*self.searched, *self.skipped)) if self.skipped else self.searched


KEPT_SPANS = 300
"""How many separate spans of a rule a ledger remembers; what was searched before them is owed again."""


def state_after(before: RuleState | None, run: RuleRun, fingerprint: str) -> RuleState:
    """The state of a rule after one more run: what its window shows whole counts as searched if the run is complete."""
    before = before or RuleState(run.rule_id)
    searched = before.searched or (Window(run.searched.start, run.searched.start),)
    if run.complete:
        searched = kept_spans(merge((*searched, run.searched)))
    late = without(before.late, (run.searched,)) if run.complete else before.late
    is_counted = not run.complete or (before.last is not None and before.last.execution_id == run.execution_id)
    excepted = before.excepted if is_counted else added_counts(before.excepted, run.excepted)
    return replace(before, searched=searched, last=run, fingerprint=fingerprint, late=late, excepted=excepted)


KEPT_COUNTS = 1_000
"""Of how many exceptions a ledger remembers what they removed from a rule: those that removed an event last."""


def added_counts(before: Sequence[ExceptedCount], more: Sequence[ExceptedCount]) -> tuple[ExceptedCount, ...]:
    """The counts together, by the ids of the exceptions."""
    found = {one.exception: one for one in before}
    for one in more:
        known = found.get(one.exception, ExceptedCount(one.exception, 0))
        newest = max((time for time in (known.newest, one.newest) if time is not None), default=None)
        found[one.exception] = ExceptedCount(one.exception, known.events + one.events, newest)
    oldest = datetime.min.replace(tzinfo=UTC)
    kept = sorted(found.values(), key=lambda one: one.newest or oldest)[-KEPT_COUNTS:]
    return tuple(sorted(kept, key=lambda one: one.exception))


@dataclass(frozen=True, slots=True)
class Mark:
    """A change of a rule's state beside its runs, at a moment of time.

    `begin`: all time from there on is owed, unless the ledger knows the rule already. `pause` and `resume`: the rule
    was disabled and enabled again; what lies between is not owed. `doubt`: what was recorded of later times
    is owed again, since the clock was wrong then. `late`: the `spans` are owed again, as far as they were searched,
    since events of their time have come.
    """

    rule_id: str
    kind: Literal["begin", "pause", "resume", "doubt", "late"]
    at: datetime
    spans: tuple[Window, ...] = ()


def state_with_mark(before: RuleState | None, mark: Mark) -> RuleState:
    """The state of a rule with one more mark; marks that are there already change nothing."""
    state = before or RuleState(mark.rule_id)
    match mark.kind:
        case "begin":
            return state if state.searched else replace(state, searched=(Window(mark.at, mark.at),))
        case "pause":
            return state if state.paused is not None else replace(state, paused=mark.at)
        case "resume":
            if state.paused is None:
                return state
            pause = Window(state.paused, max(state.paused, mark.at))
            return replace(state, skipped=merge((*state.skipped, pause))[-KEPT_SPANS:], paused=None)
        case "late":
            return _reopened(state, mark.spans)
    first = min((span.start for span in state.searched[:1]), default=mark.at)
    return replace(
        state,
        searched=clipped(state.searched, mark.at) or (Window(min(first, mark.at), min(first, mark.at)),),
        skipped=clipped(state.skipped, mark.at),
        paused=None if state.paused is None else min(state.paused, mark.at),
        last=None if state.last is not None and state.last.started > mark.at else state.last,
    )


def _reopened(state: RuleState, spans: tuple[Window, ...]) -> RuleState:
    """The state with these spans as owed, as far as they were searched; the beginning of the rule stays where it is."""
    left = without(state.searched, spans)
    if left == state.searched:
        return state
    again = without(spans, without(spans, state.searched))
    if not left or left[0].start > state.searched[0].start:
        left = (Window(state.searched[0].start, state.searched[0].start), *left)
    return replace(state, searched=kept_spans(left), late=merge((*state.late, *again))[-KEPT_SPANS:])


def without(spans: Iterable[Window], others: Sequence[Window]) -> tuple[Window, ...]:
    """The parts of the spans that lie in none of the others."""
    return tuple(part for span in spans for part in subtract(span, others))


def kept_spans(searched: tuple[Window, ...]) -> tuple[Window, ...]:
    """The newest of too many spans, behind the mark of where the rule began."""
    if len(searched) <= KEPT_SPANS:
        return searched
    return (Window(searched[0].start, searched[0].start), *searched[1 - KEPT_SPANS :])


MOST_UNFINISHED = 5_000
"""How many runs `unfinished` returns at most."""


class RunLog(Protocol):
    """The record of single runs over one source; how long they are kept is up to the store."""

    async def unfinished(self, rule_ids: Collection[str], since: datetime) -> Sequence[RuleRun]:
        """The newest runs of these rules that left a window unsearched which ends after `since`, newest first."""
        ...


class Ledger(Protocol):
    """The record of what was searched in one source. Written after the alerts of the run it records."""

    async def read(self) -> Mapping[str, RuleState]:
        """The state of every rule that ever ran over the source, by rule id.

        Of a rule that never did, what sources with the same names leave to it (`first_state`).
        """
        ...

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        """Add one run: its window counts as searched if the run is complete; the run becomes the rule's last."""
        ...

    async def add_marks(self, marks: Sequence[Mark]) -> None:
        """Add marks to the states of their rules, all of them or, with an error, perhaps some."""
        ...


class FileRecord(Protocol):
    """The record of what was read of event files, as a text for each path that events are read from."""

    async def read_files(self) -> Mapping[str, bytes]:
        """The text of every path; of one that the source has none of, that of a source with the same names."""
        ...

    async def keep_files(self, texts: Mapping[str, bytes]) -> None:
        """Replace the texts of these paths. Raises StoreError."""
        ...


class Ledgers(Protocol):
    """The ledgers in one place, one for each source."""

    async def sources(self) -> Sequence[EventSource]:
        """Every source that has a ledger."""
        ...

    def ledger(self, source: EventSource) -> Ledger:
        """The ledger of a source; nothing need have been recorded of it."""
        ...

    def run_log(self, source: EventSource) -> RunLog:
        """The run log of a source."""
        ...

    def files(self, source: EventSource) -> FileRecord:
        """The record of the files of a source."""
        ...

    @property
    def terms(self) -> TermStore:
        """The tables of new-terms rules over all sources."""
        ...

    async def costs(self, since: datetime | None) -> Mapping[str, RunCost]:
        """What the logged runs over all sources that started at or after `since` took, by rule id."""
        ...


@dataclass(frozen=True, slots=True)
class Stores:
    """The places for alerts and state that a process works with."""

    alerts: AlertStore
    ledger: Ledger
    run_log: RunLog
    files: FileRecord
    ledgers: Ledgers
    """The ledgers, run logs and file records of all sources, those above among them."""

    def of(self, source: EventSource) -> Stores:
        """The same place for alerts, with the ledger, the run log and the file record of that source."""
        every = self.ledgers
        return replace(self, ledger=every.ledger(source), run_log=every.run_log(source), files=every.files(source))
