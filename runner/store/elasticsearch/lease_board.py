"""`ElasticsearchBoard`: the notes of leases in the index of the ledger, one document each.

A note is replaced only if it is the one that was read (`if_seq_no`). Unlike the documents of the ledger they have no
`rule.id`. Their fields are not mapped, and stand in `_source` alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from runner.cluster.elasticsearch import Elastic, reason_of
from runner.errors import StoreError
from runner.store.elasticsearch.bulk import Action, write_bulk
from runner.store.elasticsearch.installation import Installation, store_errors
from runner.store.leases import Change, Note, Posted
from runner.store.source import UNNAMED, EventSource

_LOG = logging.getLogger("runner.store.elasticsearch")
_MOST = 10_000
"""Most notes read: the limit of the server, far above the number of groups and runners."""
_FORBIDDEN = 403


class ElasticsearchBoard:
    """A board in one index. Implements `LeaseBoard`; raises StoreError and the client's errors."""

    def __init__(
        self, client: Elastic, index: str, installation: Installation, *, source: EventSource = UNNAMED
    ) -> None:
        """Runners of other sources have notes of their own: who leads a rule here does not search it there."""
        self._prefix = f"lease-{source.digest}:" if source.kind else "lease:"
        self._client = client
        self._index = index
        self._installation = installation
        self._warned = False

    async def read(self) -> Mapping[str, Posted]:
        """Every note by key. What was posted before is visible, since `post` waits for that."""
        await self._installation.ensure()
        # Neither ledgers nor groups of suppression and excepted events, of which there may be more than are read.
        query = {"bool": {"must_not": [{"exists": {"field": name}} for name in ("rule.id", "runner.status")]}}
        body = {"size": _MOST, "query": query, "seq_no_primary_term": True}
        with store_errors():
            answer = await self._client.search((self._index,), body, params={"allow_partial_search_results": False})
        hits = answer["hits"]["hits"]
        return dict(found for hit in hits if (found := _read_posted(hit, self._prefix)) is not None)

    async def post(self, changes: Sequence[Change]) -> frozenset[str]:
        """Write what can be written; returns the keys that were. One request, and one for deletions."""
        await self._installation.ensure()
        written = [change for change in changes if change.note is not None]
        keys = await self._write(written) if written else set[str]()
        gone = [change for change in changes if change.note is None]
        return frozenset(keys | (await self._delete(gone) if gone else set()))

    async def _write(self, changes: Sequence[Change]) -> set[str]:
        actions = [
            Action(orjson.dumps(_header(change, self._prefix)), orjson.dumps(_document(change))) for change in changes
        ]
        with store_errors():
            outcomes = await write_bulk(self._client, actions, index=self._index, refresh=True)
        for outcome in outcomes:
            if not outcome.stored and not outcome.conflict:
                raise StoreError(f"{self._index} can not be written: {outcome.reason} (HTTP {outcome.status})")
        return {change.key for change, outcome in zip(changes, outcomes, strict=True) if outcome.stored}

    async def _delete(self, changes: Sequence[Change]) -> set[str]:
        """Sent once: a note that is left behind does no harm, and the next runner that reads it deletes it.

        One that may not be deleted stays; the first is logged.
        """
        headers = [orjson.dumps(_header(change, self._prefix)) for change in changes]
        with store_errors():
            answer = await self._client.bulk(headers, index=self._index, refresh="true")
        results = [item["delete"] for item in answer["items"]]
        refused = [result for result in results if result["status"] == _FORBIDDEN]
        if refused and not self._warned:
            self._warned = True
            reason = reason_of({"error": refused[0].get("error", {})})[1]
            _LOG.warning("%s: what runners that have ended left there stays there: %s", self._index, reason)
        return {change.key for change, result in zip(changes, results, strict=True) if result["status"] < 300}


def _header(change: Change, prefix: str) -> dict[str, Any]:
    header: dict[str, Any] = {"_id": prefix + change.key}
    if change.after is not None and not change.always:
        number, term = change.after.version
        header |= {"if_seq_no": number, "if_primary_term": term}
    if change.note is None:
        return {"delete": header}
    return {"index" if change.always or change.after is not None else "create": header}


def _document(change: Change) -> dict[str, Any]:
    assert change.note is not None
    note = change.note
    return {"lease": {"owner": note.owner, "groups": list(note.groups), "beat": note.beat}}


def _read_posted(hit: Mapping[str, Any], prefix: str) -> tuple[str, Posted] | None:
    """The note in a document; None for one that is none."""
    id_, source = str(hit["_id"]), hit.get("_source") or {}
    if not id_.startswith(prefix) or not isinstance(lease := source.get("lease"), Mapping):
        return None
    note = Note(str(lease.get("owner", "")), tuple(lease.get("groups", ())), int(lease.get("beat", 0)))
    return id_.removeprefix(prefix), Posted(note, (hit["_seq_no"], hit["_primary_term"]))
