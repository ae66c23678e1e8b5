"""Builds the search and the stores that the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from runner.alerts.build import AlertContext
from runner.alerts.event_fields import FieldTypes
from runner.analyst.ledger_status import StatusPlaces
from runner.cli.locations import (
    NO_SOURCE,
    alerts_place,
    cluster_address,
    file_source,
    has_cluster,
    kibana_names,
    require_indicators,
    rule_sources,
    stores_in_cluster,
    wanted_source,
)
from runner.clock import Clock, SystemClock
from runner.errors import SettingsError
from runner.events.fields.schema import shipped_schema
from runner.events.files.event_files import ReadProgress, unreported
from runner.exceptions import Exceptions, load_exceptions
from runner.file_formats.inner_events import InnerEvents
from runner.rules.rule import Rule
from runner.schedule.schedule import Schedule
from runner.search.files.file_search import FileSearch
from runner.search.protocol import Search
from runner.search.stored_alerts import AlertReader, StoredAlertSearch
from runner.search.term_store import MemoryTerms
from runner.service.arrivals import ArrivalWatch
from runner.service.execution import Execution
from runner.service.kept_events import ExceptedKeeper
from runner.service.kibana.kibana_exceptions import KibanaExceptions
from runner.service.kibana.kibana_queries import KibanaQueries, QueryReader
from runner.service.rules_in_use import RuleSources
from runner.settings.settings import Settings
from runner.store.alert_filter import AlertFilter
from runner.store.file_lock import FileLock
from runner.store.leases import EveryRule, Leases
from runner.store.memory import MemoryStore
from runner.store.protocol import AlertStore, Stores
from runner.store.source import UNNAMED, EventSource
from runner.store.sqlite.retention import Retention
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import Window

PATIENCE_S = 60.0
"""Seconds that `run` and `once` wait for a `once` that works with the same state file."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything that a command works with."""

    settings: Settings
    stores: Stores
    search: Search
    lists: KibanaExceptions | None = None
    """The exception lists in Kibana, if they are to count."""
    queries: KibanaQueries | None = None
    """The saved queries in Kibana, if its address is set."""

    @property
    def sources(self) -> RuleSources:
        """What rules and exceptions are read from."""
        is_own = not self.settings.events and self.is_shared and self.settings.alerts_as == "own"
        own = self.settings.alerts_alias if is_own else ""
        return replace(rule_sources(self.settings), lists=self.lists, queries=self.queries, own_alerts=own)

    @property
    def files(self) -> FileSearch | None:
        """The search in files, if that is where the events are."""
        return self.search if isinstance(self.search, FileSearch) else None

    @property
    def schedule(self) -> Schedule:
        return Schedule(together=self.files is not None, horizon=self.settings.catch_up)

    @property
    def is_shared(self) -> bool:
        """Whether several runners may work with the same store at a time."""
        return stores_in_cluster(self.settings)

    @property
    def places(self) -> tuple[str, str]:
        """Where the events come from and where the alerts go, as text."""
        source = ", ".join(self.settings.events) or f"Elasticsearch at {cluster_address(self.settings)}"
        dry = isinstance(self.stores.alerts, MemoryStore)
        return source, "nowhere: this is a dry run" if dry else alerts_place(self.settings)

    @property
    def arrivals(self) -> ArrivalWatch | None:
        """The watch for late events in files that are written to."""
        if self.files is None or "-" in self.settings.events:
            return None
        stores = self.stores
        return ArrivalWatch(self.files, stores.files, stores.ledger, horizon=self.settings.catch_up)

    def lock(self, command: str) -> FileLock:
        """The lock of the state file, for a process that does `command`; not locked yet."""
        return FileLock(self.settings.state, command)

    def leases(self, clock: Clock) -> Leases:
        """The leases that runners with the same stores share the rules by."""
        if isinstance(self.stores.alerts, MemoryStore):
            return EveryRule()
        if not self.is_shared:
            return self.lock("run")
        from runner.cli.cluster_wiring import elasticsearch_leases

        return elasticsearch_leases(self.settings, self.stores, clock)

    def execution(self, clock: Clock) -> Execution:
        settings = self.settings
        context = AlertContext(
            now=clock.now(),
            execution_id="",
            space=settings.space,
            kibana_url=settings.kibana_link,
            alias=settings.alerts_alias if stores_in_cluster(settings) else "",
            data_view=_data_view(settings),
            is_external=settings.alerts_as == "external" and stores_in_cluster(settings),
            types=FieldTypes.of(shipped_schema()),
        )
        alerts, ledger = self.stores.alerts, self.stores.ledger
        return Execution(
            self.search,
            alerts,
            ledger,
            clock=clock.now,
            context=context,
            on_cap=settings.on_cap,
            groups_kept=settings.catch_up + timedelta(days=1),
            keeper=None
            if settings.keep_excepted is None
            else ExceptedKeeper(settings.keep_excepted, SystemClock().now),
        )


def _data_view(settings: Settings) -> str:
    """The data view in which Discover shows the alerts; "" where Security's own table shows them."""
    if not stores_in_cluster(settings) or settings.alerts_as == "security":
        return ""
    return kibana_names(settings).alerts_view


@asynccontextmanager
async def opened(
    settings: Settings, *, live: bool = False, dry_run: bool = False, progress: ReadProgress = unreported
) -> AsyncIterator[Opened]:
    """Search and stores of the settings; with `dry_run` stores in memory.

    Raises SettingsError if the settings name no events at all.
    """
    if not settings.events and not has_cluster(settings):
        raise SettingsError(NO_SOURCE)
    require_indicators(settings)
    async with AsyncExitStack() as closing:
        search: Search | None = None
        source = UNNAMED
        if settings.events:
            source = file_source(settings, is_live=live)
            # The default is for searches of a cluster: how long a pass over files takes goes by their size.
            limit = None if settings.is_default("search_timeout") else settings.search_timeout
            search = FileSearch(
                settings.events,
                live=live,
                progress=progress,
                time_limit=limit,
                workers=settings.workers,
                inner=InnerEvents(settings.unwrap),
                keeps_excluded=settings.keep_excepted is not None,
                indicators=settings.indicators,
            )
            closing.push_async_callback(search.close)
        stores = _in_one(MemoryStore(), source) if dry_run else None
        if stores is None and not stores_in_cluster(settings):
            kept = Retention(settings.keep_alerts, settings.keep_runs, SystemClock().now)
            store = SqliteStore(settings.state, retention=kept)
            closing.push_async_callback(store.close)
            stores = _in_one(store, source)
        if search is None or stores is None:
            from runner.cli import cluster_wiring as cluster

            client = await closing.enter_async_context(cluster.opened_client(settings))
            stores = stores or cluster.stores_in(client, settings, source)
            if search is None:
                search = cluster.elasticsearch_search(settings, client)
                if isinstance(stores.alerts, SqliteStore):
                    ledger = cluster.ClusterLedger(stores.alerts, client, client.connection.shown_hosts)
                    stores = replace(stores, ledger=ledger, run_log=ledger)
        if isinstance(search, FileSearch):
            # Files that are named one by one are read whole in every run: no table of their terms need be kept.
            terms = stores.ledgers.terms if source.is_lasting else MemoryTerms()
            kept_for = settings.catch_up + timedelta(days=1)
            search.terms.keep_in(terms, source.digest, learn=settings.learn_terms, kept=kept_for)
            reader = stored_alerts(stores.alerts)
            own = StoredAlertSearch(reader, settings.events, space=settings.space, learn=settings.learn_terms)
            search.stored_alerts = own.with_alerts
        lists, queries = await _lists(settings, closing), await _queries(settings, closing)
        yield Opened(settings, stores, search, lists, queries)


def stored_alerts(store: AlertStore) -> AlertReader:
    """Reads the alerts of a store, as events for rules that read alerts."""

    async def read(window: Window) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        wanted = AlertFilter(since=window.start, building_blocks=True)
        before = AlertFilter(until=window.start, building_blocks=True, limit=1)
        for one in (wanted, before):
            async for alert in store.find(one):
                yield alert.id, dict(alert.document)

    return read


async def _queries(settings: Settings, closing: AsyncExitStack) -> KibanaQueries | None:
    """The saved queries in Kibana, which is not asked before a rule names one."""
    if settings.kibana_api is None:
        return None

    def opened() -> QueryReader:
        from runner.cli.cluster_wiring import kibana_queries

        return kibana_queries(settings)

    queries = KibanaQueries(opened, SystemClock())
    closing.push_async_callback(queries.close)
    return queries


async def _lists(settings: Settings, closing: AsyncExitStack) -> KibanaExceptions | None:
    if not settings.kibana_exceptions:
        return None
    from runner.cli.cluster_wiring import kibana_lists

    lists = KibanaExceptions(kibana_lists(settings), SystemClock())
    closing.push_async_callback(lists.close)
    return lists


async def known_exceptions(settings: Settings, rules: Sequence[Rule]) -> Exceptions:
    """The exceptions of the files and, with RUNNER_KIBANA_EXCEPTIONS, of the lists that the rules in use refer to."""
    found = await asyncio.to_thread(load_exceptions, rule_sources(settings).exception_paths())
    async with AsyncExitStack() as closing:
        lists = await _lists(settings, closing)
        return found if lists is None else found.with_listed(await lists.listed([one for one in rules if one.enabled]))


def status_places(settings: Settings) -> StatusPlaces:
    """Where rules and exceptions are read from, and whose ledgers `status` looks at."""
    return StatusPlaces(
        rule_sources(settings),
        partial(known_exceptions, settings),
        wanted_source(settings),
        stores_in_cluster(settings),
        settings.catch_up,
    )


def _in_one(store: MemoryStore | SqliteStore, source: EventSource = UNNAMED) -> Stores:
    return Stores(store, store, store, store, store).of(source)


@asynccontextmanager
async def alone(tools: Opened, *, enough: Callable[[], bool]) -> AsyncIterator[None]:
    """A block in which no other process works with the state file; in a cluster there is no need for that.

    Waits for another `once`, unless `enough`; raises HeldError if it takes too long, or if a service is at work.
    """
    if tools.is_shared:
        yield
        return
    lock = tools.lock("once")
    await lock.wait_for("once", seconds=PATIENCE_S, enough=enough)
    try:
        yield
    finally:
        await lock.release()


@asynccontextmanager
async def opened_stores(settings: Settings, *, writable: bool = False) -> AsyncIterator[Stores]:
    """The stores alone, for commands that look at alerts or change them; a SQLite file that is missing is an error."""
    async with AsyncExitStack() as closing:
        if stores_in_cluster(settings):
            from runner.cli.cluster_wiring import opened_client, stores_in

            yield stores_in(await closing.enter_async_context(opened_client(settings)), settings)
        else:
            store = SqliteStore.open_existing(settings.state)
            if writable:
                await store.close()
                store = SqliteStore(settings.state)
            closing.push_async_callback(store.close)
            yield _in_one(store)
