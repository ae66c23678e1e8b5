"""The storage protocols: alerts are created if absent by id, the ledger remembers what was searched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from runner.alerts.alert import Alert
from runner.report import RuleRun
from runner.windows import Window, merge


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a batch of alerts, by id: every id of the batch is in exactly one of the three."""

    created: frozenset[str] = frozenset()
    duplicates: frozenset[str] = frozenset()
    rejected: Mapping[str, str] | None = None
    """Ids that could not be stored, each with the reason."""


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts to read; None means no restriction. Building blocks are left out unless asked for."""

    rule_id: str | None = None
    since: datetime | None = None
    """Detection time (`@timestamp`) at or after."""
    until: datetime | None = None
    host: str | None = None
    """`host.name` or `host.id`."""
    building_blocks: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """One alert as it is stored."""

    id: str
    index: str
    document: Mapping[str, Any]


class AlertStore(Protocol):
    """Where alerts are kept. `create` never changes an alert that is there."""

    async def known(self, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` that are stored already, whatever their status."""
        ...

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        """Store each alert whose id is not there yet, in order; raises StoreError if nothing can be written at all."""
        ...

    def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        """Matching alerts, newest detection first."""
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
    """Merged, ascending. The first one begins where the rule's first window did, and may be empty: all time from there
    on that is in none of the spans is owed."""
    last: RuleRun | None = None
    fingerprint: str = ""
    """Of the rule's query, index and schedule when it last ran."""


KEPT_SPANS = 300
"""How many separate searched spans of a rule a ledger remembers; the oldest go first."""


def state_after(before: RuleState | None, run: RuleRun, fingerprint: str) -> RuleState:
    """The state of a rule after one more run: its window counts as searched if the run is complete."""
    searched = before.searched if before is not None else ()
    if not searched:
        searched = (Window(run.window.start, run.window.start),)
    if run.complete:
        searched = merge((*searched, run.window))[-KEPT_SPANS:]
    return RuleState(run.rule_id, searched, run, fingerprint)


class Ledger(Protocol):
    """The record of what was searched. Written after the alerts of the run it records."""

    async def read(self) -> Mapping[str, RuleState]:
        """The state of every rule that ever ran, by rule id."""
        ...

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        """Add one run: its window counts as searched if the run is complete; the run becomes the rule's last."""
        ...
