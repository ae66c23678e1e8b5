"""`ElasticsearchGroups`: the groups of alert suppression, a document per key in the state index."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from runner.alerts.groups import KeyGroups
from runner.cluster.elasticsearch import Elastic
from runner.errors import AccessError, ClusterError, StoreError, UnreachableError
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.bulk import Action, write_bulk
from runner.store.elasticsearch.installation import Installation, store_errors
from runner.store.group_store import groups_json, read_groups
from runner.windows import iso

_LOG = logging.getLogger("runner.store.elasticsearch")
_PREFIX: Final = "suppression:"
_MARK: Final = "suppression"
"""The `runner.status` of these documents, by which old ones are found; they have no `rule.id`, which ledgers have."""
_AT_ONCE: Final = 500
_FORGOTTEN_EVERY: Final = timedelta(hours=1)


class ElasticsearchGroups:
    """The groups in one cluster. Implements `GroupStore`."""

    def __init__(self, client: Elastic, names: StoreNames, installation: Installation) -> None:
        self._client = client
        self._index = names.state
        self._installation = installation
        self._forgotten: datetime | None = None

    async def read(self, keys: Collection[str]) -> Mapping[str, KeyGroups]:
        found: dict[str, KeyGroups] = {}
        distinct = list(dict.fromkeys(keys))
        for start in range(0, len(distinct), _AT_ONCE):
            ids = [f"{_PREFIX}{key}" for key in distinct[start : start + _AT_ONCE]]
            with store_errors():
                documents = await self._client.read_documents(self._index, ids)
            for document in documents:
                record = self._record(document)
                found[record.key] = record
        return found

    async def replace(self, records: Sequence[KeyGroups], now: datetime) -> Mapping[str, KeyGroups | None]:
        if not records:
            return {}
        await self._installation.ensure()
        with store_errors():
            outcomes = await write_bulk(self._client, list(map(self._action, records)), index=self._index)
        found: dict[str, KeyGroups | None] = {}
        for record, outcome in zip(records, outcomes, strict=True):
            if outcome.stored:
                found[record.key] = replace(record, version=_version(outcome.item))
            elif outcome.conflict or (record.version is not None and outcome.status == 404):
                found[record.key] = None
            else:
                raise StoreError(f"{self._index} can not be written: {outcome.explained}")
        await self._forget(now)
        return found

    def _action(self, record: KeyGroups) -> Action:
        header: dict[str, Any] = {"_index": self._index, "_id": f"{_PREFIX}{record.key}"}
        document = {
            "@timestamp": None if record.until is None else iso(record.until),
            "runner": {
                "status": _MARK,
                "suppression": {"key": record.key, "rule_id": record.rule_id, "groups": groups_json(record)},
            },
        }
        if record.version is None:
            return Action(orjson.dumps({"create": header}), orjson.dumps(document))
        number, term = record.version
        header |= {"if_seq_no": number, "if_primary_term": term}
        return Action(orjson.dumps({"index": header}), orjson.dumps(document))

    def _record(self, document: Mapping[str, Any]) -> KeyGroups:
        try:
            source = document["_source"]
            part = source["runner"]["suppression"]
            until = None if source.get("@timestamp") is None else datetime.fromisoformat(source["@timestamp"])
            return KeyGroups(part["key"], part["rule_id"], read_groups(part["groups"]), until, _version(document))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            place = f"{self._index}/{document.get('_id')}"
            raise StoreError(f"{place} is not a group of suppressed alerts that can be read: {error!r}") from None

    async def _forget(self, now: datetime) -> None:
        """Remove what may be forgotten, once an hour; a failure is logged, since it costs nothing but space."""
        if self._forgotten is not None and abs(now - self._forgotten) < _FORGOTTEN_EVERY:
            return
        self._forgotten = now
        of_ours = [{"term": {"runner.status": _MARK}}, {"range": {"@timestamp": {"lt": iso(now)}}}]
        body = {
            "size": _AT_ONCE,
            "_source": False,
            "query": {"bool": {"filter": of_ours}},
            "seq_no_primary_term": True,
        }
        try:
            with store_errors():
                answer = await self._client.search((self._index,), body)
                actions = [_deletion(self._index, hit) for hit in answer["hits"]["hits"]]
                if actions:
                    await write_bulk(self._client, actions, index=self._index)
        except (AccessError, ClusterError, StoreError, UnreachableError) as error:
            _LOG.warning("old groups of suppressed alerts were not removed from %s: %s", self._index, error)


def _version(item: Mapping[str, Any]) -> tuple[int, int]:
    return item["_seq_no"], item["_primary_term"]


def _deletion(index: str, hit: Mapping[str, Any]) -> Action:
    """Removes the document that was found, and none that was written since."""
    header = {"_index": index, "_id": hit["_id"], "if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}
    return Action(orjson.dumps({"delete": header}), None)
