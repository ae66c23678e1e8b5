"""`ElasticsearchOutbox`: the outbox of a cluster, a document per item, message, target and incident in the state index.

Alerts have no order of creation there that a position could follow. So an item is stored before its alert is created
(`AnnouncedAlerts`), and waits until the alert is there, as the next search of the window creates it if a process died
in between. An item of a message counts as such by the message's document alone; when that is done, its items are marked
before it is removed. Marked items stay for a day, so that an item is not stored again by a runner that comes late.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from runner.cluster.elasticsearch import Elastic
from runner.errors import AccessError, ClusterError, StoreError, UnreachableError
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.bulk import Action, write_bulk
from runner.store.elasticsearch.installation import Installation, store_errors
from runner.store.elasticsearch.run_log import search_hits
from runner.store.outbox import (
    Backlog,
    Incident,
    ItemOf,
    OutboxItem,
    OutboxMessage,
    TargetRecord,
    read_incident,
    read_item,
    read_message,
    read_target_record,
)
from runner.windows import iso

_LOG = logging.getLogger("runner.store.elasticsearch")
_RANKS: Final = tuple(f"outbox-{rank}" for rank in (1, 2, 3, 4))
"""The `runner.status` of items that are not done."""
_DONE: Final = "outbox-done"
_KEPT: Final = timedelta(days=1)
_ABSENT: Final = timedelta(days=30)
"""How long an alert that is not there may still come: longer than a window is owed."""
_TIDIED_EVERY: Final = timedelta(hours=1)
_PAGE: Final = 1_000
_MOST: Final = 10_000
"""Most hits of one search: the limit of the server."""
_MOST_CONFIRMED: Final = 200_000


class ElasticsearchOutbox:
    """The outbox in one cluster. Implements `Outbox`."""

    def __init__(
        self,
        client: Elastic,
        names: StoreNames,
        installation: Installation,
        stored: Callable[[Collection[str]], Awaitable[frozenset[str]]],
    ) -> None:
        """`stored` gives those of some ids whose alerts are there."""
        self._client = client
        self._index = names.state
        self._installation = installation
        self._stored = stored
        self._confirmed: set[str] = set()
        self._in_messages: dict[str, set[str]] = {}
        self._tidied: datetime | None = None

    async def open(self, target: str, now: datetime) -> TargetRecord:
        await self._installation.ensure()
        await self._tidy(now)
        id_ = _id("target", target)
        for _ in range(2):
            with store_errors():
                found = await self._client.read_document(self._index, id_)
            if found is not None:
                known: TargetRecord = _read(read_target_record, found)
                return known
            record = TargetRecord(now)
            await self._write([self._record(target, record, create=True)], may_be_there=True)
        return record

    async def take_in(self, target: str, item_of: ItemOf) -> bool:
        """Nothing to do: items are stored before their alerts."""
        return False

    async def waiting(self, target: str, most: int) -> Sequence[OutboxItem]:
        sort = [{"runner.status": {"order": "desc"}}, {"@timestamp": {"order": "asc"}}]
        hits = await self._find(target, _RANKS, sort, most)
        apart = self._in_messages.get(target, set())
        items = [item for hit in hits if (item := _read(read_item, hit)).id not in apart]
        alerts = [item.id for item in items if not item.is_health and item.id not in self._confirmed]
        if alerts:
            if len(self._confirmed) > _MOST_CONFIRMED:
                self._confirmed.clear()
            self._confirmed |= await self._stored(alerts)
        return [item for item in items if item.is_health or item.id in self._confirmed]

    async def pending(self, target: str) -> Sequence[OutboxMessage]:
        hits = await self._find(target, ("outbox-message",), [{"@timestamp": {"order": "asc"}}], _MOST)
        messages = [_read(read_message, hit) for hit in hits]
        self._in_messages[target] = {item.id for message in messages for item in message.items}
        return messages

    async def backlog(self, target: str) -> Backlog:
        items, oldest = await self._count(target, _RANKS)
        messages, _ = await self._count(target, ("outbox-message",))
        return Backlog(items, messages, oldest)

    async def make(self, target: str, messages: Sequence[OutboxMessage], record: TargetRecord) -> None:
        await self._write([*(self._message(target, message) for message in messages), self._record(target, record)])
        self._in_messages.setdefault(target, set()).update(item.id for message in messages for item in message.items)

    async def note(
        self, target: str, done: Sequence[OutboxMessage], kept: Sequence[OutboxMessage], record: TargetRecord
    ) -> None:
        told = [item for message in done for item in message.items]
        now = datetime.now(UTC)
        marked = [self._item(target, item, _DONE, at=now) for item in told]
        gone = [self._removal(_id("message", target, message.id)) for message in done]
        changed = [self._message(target, message) for message in kept]
        await self._write([*marked, *gone, *changed, self._record(target, record)])
        self._in_messages.get(target, set()).difference_update(item.id for item in told)

    async def targets(self) -> Mapping[str, TargetRecord]:
        hits = await self._find(None, ("outbox-target",), [], _MOST, must_be_fresh=False)
        return {str(hit["_source"]["rule"]["name"]): _read(read_target_record, hit) for hit in hits}

    async def forget(self, target: str) -> None:
        while hits := await self._find(target, (*_RANKS, _DONE, "outbox-message", "outbox-target"), [], _PAGE):
            await self._write([self._removal(hit["_id"]) for hit in hits])
        self._in_messages.pop(target, None)

    async def incidents(self) -> Mapping[str, Incident]:
        found = (_read(read_incident, hit) for hit in await self._find(None, ("outbox-incident",), [], _MOST))
        return {incident.key: incident for incident in found}

    async def set_incident(
        self, key: str, incident: Incident | None, items: Mapping[str, Sequence[OutboxItem]]
    ) -> None:
        """Items first: what comes again after a crash in between has the same ids."""
        await self.add(items)
        id_ = _id("incident", key)
        if incident is None:
            await self._write([self._removal(id_)])
        else:
            await self._write([_action("index", self._index, id_, "outbox-incident", "", incident.as_json())])

    async def add(self, items: Mapping[str, Iterable[OutboxItem]]) -> None:
        """Store items that are not there yet, nor were within a day."""
        actions = [
            self._item(target, item, f"outbox-{item.rank}", at=item.added, create=True)
            for target, owed in items.items()
            for item in owed
        ]
        if actions:
            await self._installation.ensure()
            await self._write(actions, may_be_there=True)

    def _item(self, target: str, item: OutboxItem, status: str, *, at: datetime, create: bool = False) -> Action:
        id_ = _id("item", target, item.id)
        return _action("create" if create else "index", self._index, id_, status, target, item.as_json(), at)

    def _message(self, target: str, message: OutboxMessage) -> Action:
        id_ = _id("message", target, message.id)
        return _action("index", self._index, id_, "outbox-message", target, message.as_json(), message.created)

    def _record(self, target: str, record: TargetRecord, *, create: bool = False) -> Action:
        operation = "create" if create else "index"
        id_ = _id("target", target)
        return _action(operation, self._index, id_, "outbox-target", target, record.as_json(), record.since)

    def _removal(self, id_: str) -> Action:
        return Action(orjson.dumps({"delete": {"_index": self._index, "_id": id_}}), None)

    async def _write(self, actions: Sequence[Action], *, may_be_there: bool = False) -> None:
        """Write all of the actions, in order; a document that is gone is deleted already."""
        with store_errors():
            outcomes = await write_bulk(self._client, actions, index=self._index)
        for action, outcome in zip(actions, outcomes, strict=True):
            fine = outcome.stored or (outcome.conflict and may_be_there)
            if not fine and not (action.body is None and outcome.status == 404):
                raise StoreError(f"{self._index} can not be written: {outcome.explained}")

    async def _find(
        self,
        target: str | None,
        statuses: Sequence[str],
        sort: Sequence[Mapping[str, Any]],
        most: int,
        *,
        must_be_fresh: bool = True,
    ) -> list[dict[str, Any]]:
        await self._refresh(must_be_fresh=must_be_fresh)
        body = {"size": min(most, _MOST), "query": _query(target, statuses), "sort": [*sort, "_doc"]}
        return await search_hits(self._client, self._index, body)

    async def _count(self, target: str, statuses: Sequence[str]) -> tuple[int, datetime | None]:
        body = {
            "size": 1,
            "track_total_hits": True,
            "query": _query(target, statuses),
            "sort": [{"@timestamp": {"order": "asc"}}],
        }
        await self._refresh(must_be_fresh=False)
        with store_errors():
            answer = await self._client.search((self._index,), body)
        hits = answer["hits"]["hits"]
        oldest = datetime.fromisoformat(hits[0]["_source"]["@timestamp"]) if hits else None
        return int(answer["hits"]["total"]["value"]), oldest

    async def _refresh(self, *, must_be_fresh: bool) -> None:
        """Make everything that was written visible to searches: what is done must not be found again by who sends.

        Who only looks goes by what is visible, without the right to do this.
        """
        try:
            with store_errors():
                await self._client.refresh(self._index)
        except AccessError as error:
            if must_be_fresh:
                raise
            _LOG.debug("what targets were sent last may not be visible yet: %s", error)
        except StoreError as error:
            if "index_not_found" not in str(error) and "no such index" not in str(error):
                raise

    async def _tidy(self, now: datetime) -> None:
        """Remove marked items, and those whose alert never came; a failure costs nothing but space, and is logged."""
        if self._tidied is not None and abs(now - self._tidied) < _TIDIED_EVERY:
            return
        self._tidied = now
        try:
            await self._remove_old(_before(now - _KEPT, (_DONE,)))
            await self._remove_absent(_before(now - _ABSENT, _RANKS))
        except (AccessError, ClusterError, StoreError, UnreachableError) as error:
            _LOG.warning("what was sent to targets was not removed from %s: %s", self._index, error)

    async def _remove_old(self, query: Mapping[str, Any]) -> None:
        while True:
            hits = await search_hits(self._client, self._index, {"size": _PAGE, "_source": False, "query": query})
            if hits:
                await self._write([self._removal(hit["_id"]) for hit in hits])
            if len(hits) < _PAGE:
                return

    async def _remove_absent(self, query: Mapping[str, Any]) -> None:
        items = await search_hits(self._client, self._index, {"size": _PAGE, "query": query})
        by_alert = {item.id: hit for hit in items if not (item := _read(read_item, hit)).is_health}
        absent = by_alert.keys() - await self._stored(by_alert) if by_alert else set()
        if absent:
            await self._write([self._removal(by_alert[id_]["_id"]) for id_ in absent])
            _LOG.warning(
                "%d alerts that targets were owed are not stored, such as %s: not sent", len(absent), min(absent)
            )

    async def withdraw(self, targets: Iterable[str], ids: Collection[str]) -> None:
        """Remove the items of alerts that the store will never take."""
        await self._write([self._removal(_id("item", target, id_)) for target in targets for id_ in ids])


def _before(moment: datetime, statuses: Sequence[str]) -> dict[str, Any]:
    old = {"range": {"@timestamp": {"lt": iso(moment), "format": "strict_date_optional_time"}}}
    return {"bool": {"filter": [_query(None, statuses), old]}}


def _query(target: str | None, statuses: Sequence[str]) -> dict[str, Any]:
    clauses: list[dict[str, Any]] = [{"terms": {"runner.status": list(statuses)}}]
    return {"bool": {"filter": clauses + ([] if target is None else [{"term": {"rule.name": target}}])}}


def _id(kind: str, *names: str) -> str:
    digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return f"outbox-{kind}:{digest}"


def _action(
    operation: str,
    index: str,
    id_: str,
    status: str,
    target: str,
    content: Mapping[str, Any],
    at: datetime | None = None,
) -> Action:
    """The action that writes a document; like groups of suppression it has no `rule.id`, which ledgers have."""
    document: dict[str, Any] = {"rule": {"name": target}, "runner": {"status": status, "outbox": content}}
    if at is not None:
        document["@timestamp"] = iso(at)
    return Action(orjson.dumps({operation: {"_index": index, "_id": id_}}), orjson.dumps(document))


def _read(read: Callable[[Mapping[str, Any]], Any], hit: Mapping[str, Any]) -> Any:
    try:
        return read(hit["_source"]["runner"]["outbox"])
    except (KeyError, TypeError, ValueError) as error:
        place = f"{hit.get('_index')}/{hit.get('_id')}"
        raise StoreError(f"{place} is no record of the outbox that can be read: {error!r}") from None
