"""The status of the rules over every source of events: how far they searched, what is owed, which gaps there are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runner.exceptions import Exceptions
from runner.rules.load import LoadedRules
from runner.rules.rule import Rule
from runner.schedule.exception_status import ExceptionStatus, exception_statuses
from runner.schedule.rule_status import Gap, RuleStatus, gaps_of, standings_of
from runner.schedule.schedule import Schedule
from runner.selection import SelectedRules
from runner.service.rules_in_use import RuleSources
from runner.store.protocol import Stores
from runner.store.source import UNNAMED, EventSource


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """What the ledger of one source says."""

    source: EventSource
    standings: tuple[RuleStatus, ...]
    gaps: tuple[Gap, ...]
    exceptions: tuple[ExceptionStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusPlaces:
    """Where rules are read from and whose ledgers are looked at."""

    rules: RuleSources
    exceptions: Callable[[Sequence[Rule]], Awaitable[Exceptions]]
    """The exceptions that these rules have."""
    wanted: EventSource | None
    """The source that the settings name; None for all that have a ledger."""
    is_shared: bool
    """Whether the ledgers are in a cluster."""
    horizon: timedelta
    """How far back owed time is searched."""


@dataclass(frozen=True, slots=True)
class StatusReading:
    """The status of all rules at one moment."""

    ledgers: tuple[LedgerStatus, ...]
    others: tuple[EventSource, ...]
    """Sources with a ledger that are not shown."""
    selected: SelectedRules
    exceptions: Exceptions


async def read_status(
    places: StatusPlaces, stores: Stores, now: datetime, *, with_gaps: bool, before: SelectedRules | None = None
) -> StatusReading:
    """The status over the source that is wanted, over all sources without one; and the other sources.

    Of the rules that were read `before` those are read again whose files have changed.
    """
    selected = await asyncio.to_thread(places.rules.read, before)
    exceptions = await places.exceptions(selected.loaded.rules)
    there = await stores.ledgers.sources()
    wanted = places.wanted
    if wanted is None:
        shown = [source for source in there if source.kind] or [UNNAMED]
    elif wanted.kind == "cluster":  # its id is not known: it goes by its addresses
        shown = [source for source in there if source.is_akin(wanted)] or [wanted]
    else:
        shown = [source for source in there if source == wanted] or [wanted]
    ledgers = [
        await _read_one(places, stores.of(source), selected.loaded, exceptions, source, now=now, with_gaps=with_gaps)
        for source in shown
    ]
    others = [source for source in there if source not in shown and (source.kind or places.is_shared)]
    return StatusReading(tuple(ledgers), tuple(others), selected, exceptions)


async def _read_one(
    places: StatusPlaces,
    stores: Stores,
    loaded: LoadedRules,
    exceptions: Exceptions,
    source: EventSource,
    *,
    now: datetime,
    with_gaps: bool,
) -> LedgerStatus:
    is_cluster = source.kind == "cluster" or (not source.kind and places.is_shared)
    schedule = Schedule(together=not is_cluster, horizon=places.horizon)
    states = await stores.ledger.read()
    standings = standings_of(loaded, states, schedule, now=now, is_lasting=source.is_lasting)
    lacking = [standing for standing in standings if standing.owed or standing.given_up]
    if not with_gaps or not lacking:
        return LedgerStatus(source, standings, (), exception_statuses(exceptions, loaded.rules, states, now))
    oldest = min(span.start for standing in lacking for span in (*standing.given_up, *standing.owed))
    unfinished = await stores.run_log.unfinished([standing.rule_id for standing in lacking], oldest)
    rules = {rule.rule_id: rule for rule in loaded.rules}
    return LedgerStatus(source, standings, gaps_of(lacking, rules, schedule, unfinished=unfinished))
