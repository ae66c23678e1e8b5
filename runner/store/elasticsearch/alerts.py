"""`ElasticsearchAlerts`: the alerts in an alias of ours, in a data stream of external alerts, or in Kibana's own alias.

An id is created once over all of the indices behind the name. `create` of the bulk API guards the index that is written
to, and a search by ids those before it. Two that write around a rollover can pass both: so what was written is searched
for once more, and of two documents with one id the one in the older index stays.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from runner.alerts.alert import Alert
from runner.alerts.ecs_alert import PREFIX, alert_document, external_document
from runner.cluster.elasticsearch import Elastic
from runner.errors import AccessError, ClusterError, StoreError, UnreachableError
from runner.json_text import write_json
from runner.setup.index_objects import StoreNames
from runner.setup.install_indices import find_security_alerts
from runner.store.changes import AlertChange, UpdateResult
from runner.store.elasticsearch.bulk import Action, ActionOutcome, write_bulk
from runner.store.elasticsearch.changes import AlertUpdate
from runner.store.elasticsearch.excepted import ElasticsearchExcepted
from runner.store.elasticsearch.groups import ElasticsearchGroups
from runner.store.elasticsearch.installation import Installation, store_errors
from runner.store.elasticsearch.outbox import ElasticsearchOutbox
from runner.store.elasticsearch.overview import MOST_LOOKED_INTO, bins_body, overview_body, read_overview
from runner.store.overview import Overview, OverviewRequest, overview_of
from runner.store.protocol import AlertFilter, StoredAlert, WriteResult
from runner.windows import iso

_LOG = logging.getLogger("runner.store.elasticsearch")
_PAGE = 500
_IDS = 1_000
"""How many ids one search asks for; the limit of the server is 10,000 hits."""
_WHOLE = {"allow_partial_search_results": False}


class ElasticsearchAlerts:
    """The alerts under one name. Implements `AlertStore`.

    Alerts are visible to searches when `create` returns. Methods raise StoreError, and AccessError and UnreachableError
    as the client does.
    """

    def __init__(self, client: Elastic, names: StoreNames, installation: Installation) -> None:
        self._client = client
        self._name = names.alerts
        self._as = names.alerts_as
        self._installation = installation
        self._fields = _Fields(f"{PREFIX if names.alerts_as == 'external' else 'kibana'}.alert")
        self._needs_alias: bool | None = None
        self.groups = ElasticsearchGroups(client, names, installation)
        self.excepted = ElasticsearchExcepted(client, names, installation)
        self.outbox = ElasticsearchOutbox(client, names, installation, self.existing_ids)

    async def existing_ids(self, ids: Collection[str]) -> frozenset[str]:
        """Those of `ids` that are stored already, in any index behind the name."""
        return frozenset([id_ for id_, _ in await self._places(ids)])

    async def by_ids(self, ids: Collection[str]) -> Mapping[str, StoredAlert]:
        found: dict[str, StoredAlert] = {}
        distinct = list(dict.fromkeys(ids))
        for start in range(0, len(distinct), _PAGE):
            chunk = distinct[start : start + _PAGE]
            for hit in await self._search({"size": 2 * len(chunk), "query": {"ids": {"values": chunk}}}):
                found[hit["_id"]] = _stored(hit)
        return found

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        """Store each alert whose id is not there yet.

        Shells are sent after everything else has been answered, so that a shell that is there has its building blocks.
        Raises StoreError if an alert could not be written for a reason that is not its own, as an overloaded or
        read-only cluster; what had been written until then stays and is a duplicate the next time.
        """
        await self._installation.ensure()
        by_id: dict[str, Alert] = {}
        for alert in alerts:
            by_id.setdefault(alert.id, alert)  # of two with one id the first is the alert, as in every store
        known = await self.existing_ids(by_id)
        work = _Sorted(set(known))
        new = [alert for alert in by_id.values() if alert.id not in known]
        shells = [alert for alert in new if alert.kind == "shell"]
        for batch in ([alert for alert in new if alert.kind != "shell"], shells):
            if batch:
                await self._create_batch(batch, work)
        lost = await self._remove_second_copies(work.created) if work.created else set()
        created = frozenset(work.created.keys() - lost)
        return WriteResult(created, frozenset(work.duplicates | lost), work.rejected or None)

    async def update(self, changes: Sequence[AlertChange]) -> UpdateResult:
        """Apply the changes; they are visible to searches when this returns.

        Raises StoreError if one could not be written for a reason that is not of its alert; what had been written until
        then stays, and is unchanged the next time.
        """

        async def write(actions: Sequence[Action]) -> list[ActionOutcome]:
            with store_errors():
                return await write_bulk(self._client, actions, index=self._name, refresh=True)

        async def refresh() -> None:
            with store_errors():
                await self._client.refresh(self._name)

        work = AlertUpdate(self._search, write, refresh, name_of=self._fields.stored_name)
        await work.apply(changes)
        return work.tally.result()

    async def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        left = wanted.limit
        after: list[Any] | None = None
        order = [{"@timestamp": "desc"}, self._fields.by_uuid]
        if wanted.newest == "event":
            order = self._fields.by_newest_event
        while left is None or left > 0:
            size = _PAGE if left is None or wanted.text else min(_PAGE, left)
            body = {"size": size, "query": self._fields.query_for(wanted), "sort": order}
            hits = await self._search(body | ({"search_after": after} if after else {}))
            # No query finds what is in the middle of values of any type, as text does here.
            found = [alert for alert in map(_stored, hits) if wanted.has_text(alert.document)]
            for alert in found[:left]:
                yield alert
            if len(hits) < size:
                return
            after = hits[-1]["sort"]
            left = None if left is None else left - len(found)

    async def overview(self, request: OverviewRequest) -> Overview:
        wanted = request.wanted
        if wanted.text:  # no query finds it: the newest alerts are looked into
            newest = replace(wanted, limit=None, newest="event", text=None)
            looked = 0
            found = []
            async for alert in self.find(newest):
                looked += 1
                if looked > MOST_LOOKED_INTO:
                    break
                found += [alert] if wanted.has_text(alert.document) else []
            return overview_of(found, request, is_whole=looked <= MOST_LOOKED_INTO)
        query, stored_name = self._fields.query_for(wanted), self._fields.stored_name
        body = overview_body(request, query, stored_name) | {"sort": self._fields.by_newest_event}
        if (answer := await self._answer(body)) is None:
            return read_overview((), None, None)
        bins = bins_body(answer, query, stored_name)
        times = None if bins is None else await self._answer(bins)
        return read_overview([_stored(hit) for hit in answer["hits"]["hits"]], answer, times)

    async def get(self, prefix: str) -> Sequence[StoredAlert]:
        """The alerts whose id is, or starts with, `prefix`; at most 100 of them."""
        exact = await self._search({"size": 1, "query": {"ids": {"values": [prefix]}}})
        if exact or not prefix:
            return [_stored(hit) for hit in exact]
        query = {"prefix": {self._fields.uuid: {"value": prefix}}}
        hits = await self._search({"size": 100, "query": query, "sort": [self._fields.by_uuid]})
        return [_stored(hit) for hit in hits]

    async def group(self, group_id: str) -> Sequence[StoredAlert]:
        position = self._fields.group_index
        query = {"bool": {"filter": [{"term": {self._fields.group: group_id}}, {"exists": {"field": position}}]}}
        hits = await self._search({"size": 1_000, "query": query, "sort": [_ascending(position, "integer")]})
        return [_stored(hit) for hit in hits]

    async def _create_batch(self, alerts: Sequence[Alert], work: _Sorted) -> None:
        """Send the alerts and sort their ids by what became of them."""
        sent, actions = await self._actions(alerts, work.rejected)
        outcomes = await self._write(actions)
        if any(outcome.type == "index_not_found_exception" for outcome in outcomes):
            # What is written to was taken away since it was looked for; nothing can have been written without it.
            await self._installation.install()
            outcomes = await self._write(actions)
        unsure: list[Alert] = []
        failed: list[ActionOutcome] = []
        for alert, outcome in zip(sent, outcomes, strict=True):
            if outcome.stored:
                work.created[alert.id] = str(outcome.item.get("_index", ""))
            elif outcome.conflict and outcome.resent:
                unsure.append(alert)
            elif outcome.conflict:
                work.duplicates.add(alert.id)
            elif outcome.refused:
                work.rejected[alert.id] = outcome.reason
            else:
                failed.append(outcome)
        if unsure:
            ours = await self._written_by_us(unsure)
            work.created.update(ours)
            work.duplicates |= {alert.id for alert in unsure} - ours.keys()
        if failed:
            raise StoreError(
                f"{len(failed)} of {len(alerts)} alerts could not be written to {self._name}: {failed[0].explained}"
            )

    async def _actions(self, alerts: Sequence[Alert], rejected: dict[str, str]) -> tuple[list[Alert], list[Action]]:
        """The alerts that can be sent, with their bulk actions; the others are put into `rejected`."""
        if self._needs_alias is None:
            self._needs_alias = self._as == "own"
            if self._as == "security":
                with store_errors():
                    target = await find_security_alerts(self._client, self._name)
                self._needs_alias = target.kind == "alias"
        sent: list[Alert] = []
        actions: list[Action] = []
        # Nothing may come to be by being written to: what Kibana has not made would lack Kibana's mappings.
        must = {"require_data_stream": True} if self._as == "security" and not self._needs_alias else {}
        for alert in alerts:
            document = alert.document
            if self._as == "external":
                document = external_document(document, stream=self._name)
            try:
                body = write_json(document)
            except TypeError as error:
                rejected[alert.id] = f"the document is not JSON: {error}"
                continue
            sent.append(alert)
            actions.append(Action(orjson.dumps({"create": {"_id": alert.id, **must}}), body))
        return sent, actions

    async def _write(self, actions: Sequence[Action]) -> list[ActionOutcome]:
        with store_errors():
            return await write_bulk(
                self._client, actions, index=self._name, refresh=True, require_alias=bool(self._needs_alias)
            )

    async def _written_by_us(self, alerts: Sequence[Alert]) -> dict[str, str]:
        """The ids, with their index, whose stored alert is of the same execution: the answer to it was lost."""
        await self._client.refresh(self._name)
        wanted = {alert.id: alert.document.get(self._fields.plain_execution, "") for alert in alerts}
        name = self._fields.execution
        body = {"size": 2 * len(wanted), "_source": [name], "query": {"ids": {"values": list(wanted)}}}
        hits = await self._search(body)
        return {hit["_id"]: hit["_index"] for hit in hits if hit["_source"].get(name) == wanted[hit["_id"]]}

    async def _remove_second_copies(self, written: Mapping[str, str]) -> set[str]:
        """Those of the written ids that are in an older index as well, where they stay; the newer document goes.

        Of two that write the same alert, the one that is done later sees both documents; so one of the two removes one.
        """
        places: dict[str, list[str]] = {}
        for id_, index in await self._places(written):
            places.setdefault(id_, []).append(index)
        doubled = {id_: sorted(indices, key=_age) for id_, indices in places.items() if len(indices) > 1}
        if not doubled:
            return set()
        newer = [(id_, index) for id_, indices in doubled.items() for index in indices[1:]]
        actions = [Action(orjson.dumps({"delete": {"_index": index, "_id": id_}}), None) for id_, index in newer]
        try:
            outcomes = await write_bulk(self._client, actions, index=self._name, refresh=True)
            kept = [outcome for outcome in outcomes if not outcome.stored and outcome.status != 404]
            if kept:
                raise StoreError(kept[0].explained)
        except (AccessError, ClusterError, StoreError, UnreachableError) as error:
            what = "1 alert is" if len(doubled) == 1 else f"{len(doubled):,} alerts are"
            _LOG.warning("%s stored twice, around a rollover of %s: %s", what, self._name, error)
        return {id_ for id_, indices in doubled.items() if written[id_] != indices[0]}

    async def _places(self, ids: Collection[str]) -> list[tuple[str, str]]:
        """Every stored document with one of the ids: its id and its index."""
        found: list[tuple[str, str]] = []
        distinct = list(dict.fromkeys(ids))
        for start in range(0, len(distinct), _IDS):
            chunk = distinct[start : start + _IDS]
            # Room for second copies; there is none of more than a few ids.
            body = {"size": len(chunk) + _IDS, "_source": False, "query": {"ids": {"values": chunk}}}
            found += [(hit["_id"], hit["_index"]) for hit in await self._search(body)]
        return found

    async def _search(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The hits of a search under the name; none if there is nothing of that name yet."""
        answer = await self._answer(body)
        if answer is None:
            return []
        hits: list[dict[str, Any]] = answer["hits"]["hits"]
        return hits

    async def _answer(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The whole answer to a search under the name; None if there is nothing of that name yet."""
        try:
            answer = await self._client.search((self._name,), body, params=_WHOLE)
        except ClusterError as error:
            if error.type == "index_not_found_exception":
                return None
            if error.type == "index_closed_exception":
                raise StoreError(f"{error}: an index behind {self._name} is closed; open it") from None
            raise StoreError(str(error)) from None
        shards = answer.get("_shards", {})
        if answer.get("timed_out") or not isinstance(shards, Mapping) or shards.get("failed"):
            raise StoreError(f"{self._name} was searched in part only: some shards did not answer")
        return answer


@dataclass(slots=True)
class _Sorted:
    """The ids of one `create` by what became of them; created ones with their index."""

    duplicates: set[str]
    created: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)


class _Fields:
    """The names of the fields that alerts are looked up by, below `kibana.alert` or what stands for it."""

    plain_execution = "kibana.alert.rule.execution.uuid"

    def __init__(self, parent: str) -> None:
        self._parent = parent
        self.uuid = f"{parent}.uuid"
        self.by_uuid = _ascending(self.uuid, "keyword")
        self.rule_id = f"{parent}.rule.rule_id"
        self.execution = f"{parent}.rule.execution.uuid"
        self.event_time = f"{parent}.original_time"
        self.by_newest_event = [
            {self.event_time: {"order": "desc", "missing": "_last", "unmapped_type": "date"}},
            self.by_uuid,
        ]
        self.group = f"{parent}.group.id"
        self.group_index = f"{parent}.group.index"
        """Only the building blocks of a sequence have one."""

    def stored_name(self, name: str) -> str:
        """The name that the documents have a field below `kibana.alert` by."""
        return self._parent + name.removeprefix("kibana.alert")

    def query_for(self, wanted: AlertFilter) -> dict[str, Any]:
        """Everything that the filter asks for but a text."""
        name = self.stored_name
        clauses: list[dict[str, Any]] = []
        if wanted.rule_id is not None:
            clauses.append({"term": {self.rule_id: wanted.rule_id}})
        if wanted.rule is not None:
            named = {"value": wanted.rule, "case_insensitive": True}
            clauses.append(
                _any_of({"term": {self.rule_id: wanted.rule}}, {"term": {f"{self._parent}.rule.name": named}})
            )
        if wanted.statuses:
            clauses.append({"terms": {name("kibana.alert.workflow_status"): wanted.statuses}})
        if wanted.severities:
            clauses.append({"terms": {name("kibana.alert.severity"): wanted.severities}})
        for value, *names in (
            (wanted.host, "host.name", "host.id"),
            (wanted.user, "user.name", "user.id"),
            (wanted.tag, name("kibana.alert.rule.tags"), name("kibana.alert.workflow_tags")),
        ):
            if value is not None:
                clauses.append(_any_of(*({"term": {one: value}} for one in names)))
        clauses += _range("@timestamp", wanted.since, wanted.until)
        clauses += _range(self.event_time, wanted.event_since, wanted.event_until)
        event_of_sequence = {"exists": {"field": self.group_index}}
        hidden: list[dict[str, Any]] = [] if wanted.building_blocks else [event_of_sequence]
        if not wanted.of_building_block_rules:
            of_rule = {"exists": {"field": name("kibana.alert.building_block_type")}}
            hidden.append({"bool": {"filter": [of_rule], "must_not": [event_of_sequence]}})
        return {"bool": {"filter": clauses, "must_not": hidden}}


def _any_of(*queries: dict[str, Any]) -> dict[str, Any]:
    return {"bool": {"should": list(queries), "minimum_should_match": 1}}


def _range(name: str, first: datetime | None, last: datetime | None) -> list[dict[str, Any]]:
    """The condition that a time lies between two, each of which may be open."""
    bounds = {key: iso(moment) for key, moment in (("gte", first), ("lte", last)) if moment is not None}
    return [{"range": {name: bounds | {"format": "strict_date_optional_time"}}}] if bounds else []


def _ascending(name: str, kind: str) -> dict[str, Any]:
    """Sorts by a field, of that type where an index from before does not have it."""
    return {name: {"order": "asc", "unmapped_type": kind}}


def _age(index: str) -> tuple[int, str]:
    """Sorts the indices behind a name, the oldest first: by the number at the end, which every rollover raises."""
    number = re.search(r"-(\d+)$", index)
    return (int(number[1]) if number else 0, index)


def _stored(hit: Mapping[str, Any]) -> StoredAlert:
    return StoredAlert(hit["_id"], hit["_index"], alert_document(hit["_source"]))
