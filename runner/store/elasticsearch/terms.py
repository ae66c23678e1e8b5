"""`ElasticsearchTerms`: the tables of new-terms rules, a document per rule and source in the state index."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from runner.cluster.elasticsearch import Elastic
from runner.errors import StoreError
from runner.search.term_store import TermRecord
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.bulk import Action, write_bulk
from runner.store.elasticsearch.installation import Installation, store_errors

_PREFIX: Final = "terms:"
_AT_ONCE: Final = 20
"""Tables of one request: each may have a few megabytes."""


class ElasticsearchTerms:
    """The tables in one cluster. Implements `TermStore`."""

    def __init__(self, client: Elastic, names: StoreNames, installation: Installation) -> None:
        self._client = client
        self._index = names.state
        self._installation = installation

    async def read_terms(self, keys: Collection[str]) -> Mapping[str, TermRecord]:
        found: dict[str, TermRecord] = {}
        wanted = list(keys)
        for start in range(0, len(wanted), _AT_ONCE):
            with store_errors():
                ids = [f"{_PREFIX}{key}" for key in wanted[start : start + _AT_ONCE]]
                documents = await self._client.read_documents(self._index, ids)
            for document in documents:
                record = self._record(document)
                found[record.key] = record
        return found

    async def replace_terms(self, records: Sequence[TermRecord]) -> Mapping[str, TermRecord | None]:
        if not records:
            return {}
        await self._installation.ensure()
        found: dict[str, TermRecord | None] = {}
        for start in range(0, len(records), _AT_ONCE):
            part = records[start : start + _AT_ONCE]
            with store_errors():
                outcomes = await write_bulk(self._client, list(map(self._action, part)), index=self._index)
            for record, outcome in zip(part, outcomes, strict=True):
                if outcome.stored:
                    found[record.key] = replace(record, version=_version(outcome.item))
                elif outcome.conflict or (record.version is not None and outcome.status == 404):
                    found[record.key] = None
                else:
                    raise StoreError(f"{self._index} can not be written: {outcome.explained}")
        return found

    def _action(self, record: TermRecord) -> Action:
        header: dict[str, Any] = {"_index": self._index, "_id": f"{_PREFIX}{record.key}"}
        table = base64.b64encode(record.table).decode()
        part = {"key": record.key, "rule_id": record.rule_id, "definition": record.definition, "table": table}
        document = orjson.dumps({"runner": {"status": "terms", "terms": part}})
        if record.version is None:
            return Action(orjson.dumps({"create": header}), document)
        number, term = record.version
        header |= {"if_seq_no": number, "if_primary_term": term}
        return Action(orjson.dumps({"index": header}), document)

    def _record(self, document: Mapping[str, Any]) -> TermRecord:
        try:
            part = document["_source"]["runner"]["terms"]
            table = base64.b64decode(part["table"])
            return TermRecord(part["key"], part["rule_id"], part["definition"], table, _version(document))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            place = f"{self._index}/{document.get('_id')}"
            raise StoreError(f"{place} is not a table of terms that can be read: {error!r}") from None


def _version(item: Mapping[str, Any]) -> tuple[int, int]:
    return item["_seq_no"], item["_primary_term"]
