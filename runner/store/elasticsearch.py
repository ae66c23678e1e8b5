"""`ElasticsearchStore`: alerts, ledger and run log in Elasticsearch.

Alerts live behind an alias over our own indices. An id is created once over the whole alias: `create` of the bulk API
guards the index that is written to, a search by ids guards those before it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import orjson

from runner.alerts.alert import Alert
from runner.elastic import Elastic
from runner.errors import ClusterError, StoreError
from runner.report import RuleRun
from runner.store.elasticsearch_bulk import Action, Outcome, write_bulk
from runner.store.elasticsearch_ledger import ElasticsearchLedger
from runner.store.elasticsearch_objects.install import SetupReport, install, install_roles, is_installed
from runner.store.elasticsearch_objects.objects import StoreNames, setup_objects
from runner.store.store import AlertFilter, RuleState, StoredAlert, WriteResult
from runner.windows import iso

_LOG = logging.getLogger("runner.store.elasticsearch")
_PAGE = 500
_IDS = 1_000
"""How many ids one search asks for; the limit of the server is 10,000 hits."""
_WHOLE = {"allow_partial_search_results": False}
_EXECUTION = "kibana.alert.rule.execution.uuid"
_GROUP = "kibana.alert.group.id"
_GROUP_INDEX = "kibana.alert.group.index"
"""Only the building blocks of a sequence have one."""


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
    ) -> None:
        self._client = client
        self._alias = alias
        self._names = StoreNames(alias, runs, state)
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
        """Those of `ids` that are stored already, in any index of the alias."""
        found: set[str] = set()
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), _IDS):
            chunk = wanted[start : start + _IDS]
            body = {"size": len(chunk), "_source": False, "query": {"ids": {"values": chunk}}}
            found.update(hit["_id"] for hit in await self._search(body))
        return frozenset(found)

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        """Store each alert whose id is not there yet.

        Shells are sent after everything else has been answered, so that a shell that is there has its building blocks.
        Raises StoreError if an alert could not be written for a reason that is not its own, as an overloaded or
        read-only cluster; what had been written until then stays and is a duplicate the next time.
        """
        await self._ensure_ready()
        by_id: dict[str, Alert] = {}
        for alert in alerts:
            by_id.setdefault(alert.id, alert)  # of two with one id the first is the alert, as in every store
        known = await self.known(by_id)
        created: set[str] = set()
        duplicates: set[str] = set(known)
        rejected: dict[str, str] = {}
        new = [alert for alert in by_id.values() if alert.id not in known]
        shells = [alert for alert in new if alert.kind == "shell"]
        for batch in ([alert for alert in new if alert.kind != "shell"], shells):
            if batch:
                await self._create_batch(batch, created, duplicates=duplicates, rejected=rejected)
        return WriteResult(frozenset(created), frozenset(duplicates), rejected or None)

    async def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        """Matching alerts, newest detection first."""
        left = wanted.limit
        after: list[Any] | None = None
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            body: dict[str, Any] = {
                "size": size,
                "query": _query_for(wanted),
                "sort": [{"@timestamp": "desc"}, {"kibana.alert.uuid": "asc"}],
            }
            hits = await self._search(body | ({"search_after": after} if after else {}))
            for hit in hits:
                yield _stored(hit)
            if len(hits) < size:
                return
            after = hits[-1]["sort"]
            left = None if left is None else left - len(hits)

    async def get(self, prefix: str) -> Sequence[StoredAlert]:
        """The alerts whose id is, or starts with, `prefix`; at most 100 of them."""
        exact = await self._search({"size": 1, "query": {"ids": {"values": [prefix]}}})
        if exact or not prefix:
            return [_stored(hit) for hit in exact]
        query = {"prefix": {"kibana.alert.uuid": {"value": prefix}}}
        hits = await self._search({"size": 100, "query": query, "sort": [{"kibana.alert.uuid": "asc"}]})
        return [_stored(hit) for hit in hits]

    async def group(self, group_id: str) -> Sequence[StoredAlert]:
        """The building blocks of a shell alert, by `kibana.alert.group.index`."""
        query = {"bool": {"filter": [{"term": {_GROUP: group_id}}, {"exists": {"field": _GROUP_INDEX}}]}}
        hits = await self._search({"size": 1_000, "query": query, "sort": [{_GROUP_INDEX: "asc"}]})
        return [_stored(hit) for hit in hits]

    async def read(self) -> Mapping[str, RuleState]:
        """The state of every rule that ever ran, by rule id."""
        return await self._ledger.read()

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        """Add one run to its rule's state and to the run log."""
        await self._ensure_ready()
        await self._ledger.record(run, fingerprint)

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

    async def _create_batch(
        self, alerts: Sequence[Alert], created: set[str], *, duplicates: set[str], rejected: dict[str, str]
    ) -> None:
        """Send the alerts and sort their ids by what became of them."""
        sent, actions = _actions(alerts, rejected)
        outcomes = await self._write(actions)
        if any(outcome.type == "index_not_found_exception" for outcome in outcomes):
            # The alias was taken away since it was looked for; nothing can have been written without it.
            await self.install()
            outcomes = await self._write(actions)
        unsure: list[Alert] = []
        failed: list[Outcome] = []
        for alert, outcome in zip(sent, outcomes, strict=True):
            if outcome.stored:
                created.add(alert.id)
            elif outcome.conflict and outcome.resent:
                unsure.append(alert)
            elif outcome.conflict:
                duplicates.add(alert.id)
            elif outcome.refused:
                rejected[alert.id] = outcome.reason
            else:
                failed.append(outcome)
        if unsure:
            ours = await self._written_by_us(unsure)
            created |= ours
            duplicates |= {alert.id for alert in unsure} - ours
        if failed:
            raise StoreError(
                f"{len(failed)} of {len(alerts)} alerts could not be written to {self._alias}: "
                f"{failed[0].reason} (HTTP {failed[0].status})"
            )

    async def _write(self, actions: Sequence[Action]) -> list[Outcome]:
        try:
            return await write_bulk(self._client, actions, index=self._alias, refresh=True, require_alias=True)
        except ClusterError as error:
            raise StoreError(str(error)) from None

    async def _written_by_us(self, alerts: Sequence[Alert]) -> set[str]:
        """The ids whose stored alert is of the same execution: they were written by a request whose answer was lost."""
        await self._client.refresh(self._alias)
        body = {
            "size": len(alerts),
            "_source": [_EXECUTION],
            "query": {"ids": {"values": [alert.id for alert in alerts]}},
        }
        stored = {hit["_id"]: hit["_source"].get(_EXECUTION) for hit in await self._search(body)}
        return {
            alert.id
            for alert in alerts
            if stored.get(alert.id) == alert.document.get(_EXECUTION, "") and alert.id in stored
        }

    async def _search(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The hits of a search over the alias; none if there is no alias yet."""
        try:
            answer = await self._client.search((self._alias,), body, params=_WHOLE)
        except ClusterError as error:
            if error.type == "index_not_found_exception":
                return []
            raise StoreError(str(error)) from None
        if answer.get("timed_out") or answer.get("_shards", {}).get("failed"):
            raise StoreError(f"{self._alias} was searched in part only: some shards did not answer")
        hits: list[dict[str, Any]] = answer["hits"]["hits"]
        return hits


def _actions(alerts: Sequence[Alert], rejected: dict[str, str]) -> tuple[list[Alert], list[Action]]:
    """The alerts that can be sent, with their bulk actions; the others are put into `rejected`."""
    sent: list[Alert] = []
    actions: list[Action] = []
    for alert in alerts:
        try:
            body = orjson.dumps(alert.document)
        except TypeError as error:
            rejected[alert.id] = f"the document is not JSON: {error}"
            continue
        sent.append(alert)
        actions.append(Action(orjson.dumps({"create": {"_id": alert.id}}), body))
    return sent, actions


def _query_for(wanted: AlertFilter) -> dict[str, Any]:
    clauses: list[dict[str, Any]] = []
    if wanted.rule_id is not None:
        clauses.append({"term": {"kibana.alert.rule.rule_id": wanted.rule_id}})
    if wanted.host is not None:
        either = [{"term": {"host.name": wanted.host}}, {"term": {"host.id": wanted.host}}]
        clauses.append({"bool": {"should": either, "minimum_should_match": 1}})
    bounds = {"gte": wanted.since, "lte": wanted.until}
    span = {name: iso(moment) for name, moment in bounds.items() if moment is not None}
    if span:
        clauses.append({"range": {"@timestamp": span | {"format": "strict_date_optional_time"}}})
    blocks = [] if wanted.building_blocks else [{"exists": {"field": _GROUP_INDEX}}]
    return {"bool": {"filter": clauses, "must_not": blocks}}


def _stored(hit: Mapping[str, Any]) -> StoredAlert:
    return StoredAlert(hit["_id"], hit["_index"], hit["_source"])
