"""`ElasticsearchStore`: alerts, ledger and run log in Elasticsearch, with what they need there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from runner.alerts.alert import Alert
from runner.cluster.elasticsearch import Elastic
from runner.errors import ClusterError, StoreError
from runner.rule_run import RuleRun
from runner.setup.index_objects import AlertsAs, StoreNames, setup_objects
from runner.setup.install_indices import SetupReport, install, install_roles, is_installed
from runner.store.elasticsearch.alerts import ElasticsearchAlerts
from runner.store.elasticsearch.lease_board import ElasticsearchBoard
from runner.store.elasticsearch.ledger import ElasticsearchLedger
from runner.store.elasticsearch.run_log import read_unfinished
from runner.store.protocol import AlertFilter, Mark, RuleState, StoredAlert, WriteResult

_LOG = logging.getLogger("runner.store.elasticsearch")


class ElasticsearchStore:
    """Alerts, ledger and run log in one cluster. Implements `AlertStore` and `Ledger`.

    What is missing in the cluster is created before the first write. Alerts are visible to searches when `create`
    returns. Methods raise StoreError, and AccessError and UnreachableError as the client does.
    """

    def __init__(
        self,
        client: Elastic,
        *,
        alias: str = "rule-runner-alerts",
        runs: str = "rule-runner-runs",
        state: str = "rule-runner-state",
        alerts_as: AlertsAs = "own",
    ) -> None:
        self._client = client
        self._names = StoreNames(alias, runs, state, alerts_as)
        self._alerts = ElasticsearchAlerts(client, self._names, reinstall=self.install)
        self._ledger = ElasticsearchLedger(client, self._names)
        self._ready = False
        self._installing = asyncio.Lock()

    async def install(self) -> SetupReport:
        """Create what is missing in the cluster; what is there stays as it is. Safe to repeat."""
        async with self._installing:
            try:
                report = await install(self._client, self._names)
            except ClusterError as error:
                raise StoreError(str(error)) from None
            self._ready = True
            return report

    async def install_roles(self, *, events: Sequence[str] = ("logs-*",)) -> SetupReport:
        """Create the roles of the runner where they are missing; `events` are the patterns of the rules' indices."""
        try:
            return await install_roles(self._client, self._names, events=tuple(events))
        except ClusterError as error:
            raise StoreError(str(error)) from None

    def setup_objects(self, *, events: Sequence[str] = ("logs-*",)) -> dict[str, Any]:
        """Everything that `install` and `install_roles` create, by kind and name, as JSON to print; asks no cluster."""
        return setup_objects(self._names, events=events)

    async def known(self, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` that are stored already, in any index behind the alias."""
        return await self._alerts.known(ids)

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        """Store each alert whose id is not there yet; see `ElasticsearchAlerts.create`."""
        await self._ensure_ready()
        return await self._alerts.create(alerts)

    def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        """Matching alerts, newest detection first."""
        return self._alerts.find(wanted)

    async def get(self, prefix: str) -> Sequence[StoredAlert]:
        """The alerts whose id is, or starts with, `prefix`; at most 100 of them."""
        return await self._alerts.get(prefix)

    async def group(self, group_id: str) -> Sequence[StoredAlert]:
        """The building blocks of a shell alert, by `kibana.alert.group.index`."""
        return await self._alerts.group(group_id)

    async def read(self) -> Mapping[str, RuleState]:
        """The state of every rule that ever ran, by rule id."""
        return await self._ledger.read()

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        """Add one run to its rule's state and to the run log."""
        await self._ensure_ready()
        await self._ledger.record(run, fingerprint)

    async def mark(self, marks: Sequence[Mark]) -> None:
        """Add marks to the states of their rules."""
        await self._ensure_ready()
        await self._ledger.mark(marks)

    async def unfinished(self, rule_ids: Collection[str], since: datetime) -> Sequence[RuleRun]:
        """The newest runs of these rules that left a window unsearched which ends after `since`, newest first."""
        return await read_unfinished(self._client, self._names.runs, rule_ids, since=since)

    def board(self) -> ElasticsearchBoard:
        """Where runners with the same state index leave notes for each other."""
        return ElasticsearchBoard(self._client, self._names.state, ready=self._ensure_ready)

    async def close(self) -> None:
        """Nothing to close: the client belongs to whoever opened it."""

    async def _ensure_ready(self) -> None:
        """Install what is missing, once; with everything there, no right to create anything is needed."""
        if self._ready:
            return
        try:
            installed = await is_installed(self._client, self._names)
        except ClusterError as error:
            raise StoreError(str(error)) from None
        if installed:
            self._ready = True
        else:
            for warning in (await self.install()).warnings:
                _LOG.warning(warning)
