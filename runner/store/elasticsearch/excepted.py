"""`ElasticsearchExcepted`: excepted events, a document each in the state index.

They stand there, not in the run log, since an id is unique in one index, and since what is over can be deleted. What a
filter asks for is in the packed document.
"""

from __future__ import annotations

import base64
import logging
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from runner.alerts.event_fields import text_at
from runner.alerts.event_time import event_time_ns
from runner.cluster.elasticsearch import Elastic
from runner.errors import AccessError, ClusterError, StoreError, UnreachableError
from runner.json_text import read_document, write_json
from runner.setup.index_objects import StoreNames
from runner.store.alert_filter import AlertFilter
from runner.store.elasticsearch.bulk import Action, write_bulk
from runner.store.elasticsearch.installation import Installation, store_errors
from runner.store.elasticsearch.run_log import search_hits
from runner.store.excepted_store import KEPT_OF_RULE, KeptEvent, is_wanted
from runner.windows import from_nanoseconds, iso

_LOG = logging.getLogger("runner.store.elasticsearch")
_PREFIX: Final = "excepted:"
_MARK: Final = "excepted"
"""The `runner.status` of these documents; they have no `rule.id`, which ledgers have."""
_PAGE: Final = 500
_TIDIED_EVERY: Final = timedelta(hours=1)
_TIDIED_AFTER: Final = 2_000
"""Events written after which what is too much is removed, if the hour is not over before."""
_MOST_RULES: Final = 1_000
"""Rules with too many events whose surplus is removed at a time."""


class ElasticsearchExcepted:
    """The excepted events in one cluster. Implements `ExceptedStore`."""

    def __init__(self, client: Elastic, names: StoreNames, installation: Installation) -> None:
        self._client = client
        self._index = names.state
        self._installation = installation
        self._tidied: datetime | None = None
        self._written = 0

    async def keep(self, events: Sequence[KeptEvent], now: datetime) -> None:
        if not events:
            return
        await self._installation.ensure()
        actions = list(map(self._action, {one.id: one for one in reversed(events)}.values()))
        with store_errors():
            outcomes = await write_bulk(self._client, actions, index=self._index)
        for outcome in outcomes:
            if not outcome.stored and not outcome.conflict:
                raise StoreError(f"{self._index} can not be written: {outcome.explained}")
        self._written += len(events)
        if self._tidied is None or self._written >= _TIDIED_AFTER or abs(now - self._tidied) >= _TIDIED_EVERY:
            self._tidied, self._written = now, 0
            await self._tidy(now)

    async def find(self, wanted: AlertFilter, now: datetime) -> Sequence[KeptEvent]:
        await self._refresh()
        found: list[KeptEvent] = []
        kept = [_OURS, {"range": {"@timestamp": {"gte": iso(now)}}}]
        async for event in self._events(kept):
            if is_wanted(event, wanted):
                found.append(event)
            if wanted.limit is not None and len(found) >= wanted.limit:
                break
        return found

    async def _events(self, clauses: Sequence[Mapping[str, Any]]) -> AsyncIterator[KeptEvent]:
        by_time = {"runner.window.from": {"order": "desc", "missing": "_last", "unmapped_type": "date"}}
        body: dict[str, Any] = {
            "size": _PAGE,
            "query": {"bool": {"filter": clauses}},
            "sort": [by_time, {"runner.fingerprint": {"order": "desc", "unmapped_type": "keyword"}}],
        }
        while True:
            hits = await search_hits(self._client, self._index, body)
            for hit in hits:
                yield self._event(hit)
            if len(hits) < _PAGE:
                return
            body["search_after"] = hits[-1]["sort"]

    def _action(self, event: KeptEvent) -> Action:
        time = event_time_ns(event.document)
        text = base64.b64encode(zlib.compress(write_json(event.document))).decode()
        document = {
            "@timestamp": iso(event.until),
            "rule": {"name": event.rule_id},
            "runner": {
                "status": _MARK,
                "fingerprint": event.id,
                "window": {} if time is None else {"from": iso(from_nanoseconds(time))},
                "excepted": {"event": text_at(event.document, "kibana.alert.reason"), "document": text},
            },
        }
        header = {"_index": self._index, "_id": f"{_PREFIX}{event.id}"}
        return Action(orjson.dumps({"create": header}), write_json(document))

    def _event(self, hit: Mapping[str, Any]) -> KeptEvent:
        try:
            source = hit["_source"]
            document = read_document(zlib.decompress(base64.b64decode(source["runner"]["excepted"]["document"])))
            until = datetime.fromisoformat(source["@timestamp"])
            return KeptEvent(source["runner"]["fingerprint"], source["rule"]["name"], document, until)
        except (AttributeError, KeyError, TypeError, ValueError, zlib.error) as error:
            place = f"{hit.get('_index')}/{hit.get('_id')}"
            raise StoreError(f"{place} is not an excepted event that can be read: {error!r}") from None

    async def _tidy(self, now: datetime) -> None:
        """Remove what is kept no longer, and what is too much of a rule; a failure is logged, it costs space alone."""
        try:
            await self._refresh()
            await self._delete([_OURS, {"range": {"@timestamp": {"lt": iso(now)}}}])
            by_rule = {"terms": {"field": "rule.name", "size": _MOST_RULES, "min_doc_count": KEPT_OF_RULE + 1}}
            body = {"size": 0, "query": {"bool": {"filter": [_OURS]}}, "aggs": {"rules": by_rule}}
            with store_errors():
                answer = await self._client.search((self._index,), body)
            for bucket in answer["aggregations"]["rules"]["buckets"]:
                of_rule = [_OURS, {"term": {"rule.name": bucket["key"]}}]
                await self._delete(of_rule, most=bucket["doc_count"] - KEPT_OF_RULE)
        except (AccessError, ClusterError, StoreError, UnreachableError) as error:
            _LOG.warning("old excepted events were not removed from %s: %s", self._index, error)

    async def _delete(self, clauses: Sequence[Mapping[str, Any]], most: int | None = None) -> None:
        """Remove the documents that meet the clauses, the oldest first; all, or at most `most`."""
        while most is None or most > 0:
            size = _PAGE if most is None else min(_PAGE, most)
            body = {
                "size": size,
                "_source": False,
                "query": {"bool": {"filter": clauses}},
                "sort": [{"@timestamp": "asc"}],
            }
            hits = await search_hits(self._client, self._index, body)
            if hits:
                headers = [orjson.dumps({"delete": {"_index": self._index, "_id": hit["_id"]}}) for hit in hits]
                with store_errors():
                    outcomes = await write_bulk(
                        self._client, [Action(header, None) for header in headers], index=self._index, refresh=True
                    )
                refused = next((one for one in outcomes if not one.stored and one.status != 404), None)
                if refused is not None:
                    raise StoreError(f"{self._index}: {refused.explained}")
            if len(hits) < size:
                return
            most = None if most is None else most - len(hits)

    async def _refresh(self) -> None:
        """Make the last writes visible; without the right to do so, go by what is visible."""
        try:
            with store_errors():
                await self._client.refresh(self._index)
        except (AccessError, StoreError) as error:
            _LOG.debug("the newest excepted events may not be visible yet: %s", error)


_OURS: Final[Mapping[str, Any]] = {"term": {"runner.status": _MARK}}
