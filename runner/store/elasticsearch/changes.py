"""Changes of the alerts in a cluster, each in the index that has the alert.

A condition holds up to the write: a document that was written to after it was read is read once more.
API: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/optimistic-concurrency-control.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import orjson

from runner.alerts.event_fields import value_at
from runner.errors import StoreError
from runner.store.changes import AlertChange, Tally, block_changes, is_as_expected, partial_document, rounds, set_fields
from runner.store.elasticsearch.bulk import Action, ActionOutcome

_IDS = 500
"""How many alerts are read at a time."""
_GROUPS = 50
_BLOCKS = 10_000
"""How many hits one search may have, and so building blocks `_GROUPS` sequences."""
_TRIES = 8
"""How often a document is read and written again that others write to at the same time."""

Search = Callable[[Mapping[str, Any]], Awaitable[list[dict[str, Any]]]]
Write = Callable[[Sequence[Action]], Awaitable[list[ActionOutcome]]]


class AlertUpdate:
    """One update of alerts: reads, compares and writes through the functions of their store.

    `name_of` turns a field's name into the one that the documents have.
    """

    def __init__(
        self,
        search: Search,
        write: Write,
        refresh: Callable[[], Awaitable[None]],
        *,
        name_of: Callable[[str], str],
    ) -> None:
        self._search, self._write, self._refresh, self._name_of = search, write, refresh, name_of
        self.tally = Tally()

    async def apply(self, changes: Sequence[AlertChange]) -> None:
        """Apply the changes. Raises StoreError if one could not be written for a reason that is not of its alert."""
        for part in rounds(changes):
            for start in range(0, len(part), _IDS):
                await self._apply(part[start : start + _IDS], self.tally)
            stopped = self.tally.conflicts | self.tally.missing | self.tally.rejected.keys()
            shells = [change for change in part if change.with_blocks and change.id not in stopped]
            for start in range(0, len(shells), _GROUPS):
                await self._apply_to_blocks(shells[start : start + _GROUPS])

    async def _apply_to_blocks(self, shells: Sequence[AlertChange]) -> None:
        group, position = self._name_of("kibana.alert.group.id"), self._name_of("kibana.alert.group.index")
        of_groups = [{"terms": {group: [change.id for change in shells]}}, {"exists": {"field": position}}]
        query = {"bool": {"filter": of_groups}}
        hits = await self._search({"size": _BLOCKS, "_source": [group], "query": query})
        blocks = block_changes(shells, [(str(value_at(hit["_source"], group)), hit["_id"]) for hit in hits])
        tally = Tally()
        for start in range(0, len(blocks), _IDS):
            await self._apply(blocks[start : start + _IDS], tally)
        self.tally.rejected.update(tally.rejected)
        self.tally.rejected.update(dict.fromkeys(tally.conflicts, "others kept writing to it"))

    async def _apply(self, changes: Sequence[AlertChange], tally: Tally) -> None:
        """Apply changes of different alerts, again and again where others write to them, too."""
        pending = {change.id: change for change in changes}
        for attempt in range(_TRIES):
            if attempt:
                await self._refresh()
            found = await self._read(pending.values())
            tally.missing |= pending.keys() - {hit["_id"] for hit in found}
            work = list(self._actions(found, pending, tally))
            outcomes = await self._write([action for _, action in work]) if work else []
            overtaken = self._sort([id_ for id_, _ in work], outcomes, tally)
            pending = {id_: pending[id_] for id_ in overtaken}
            if not pending:
                return
        tally.conflicts |= pending.keys()

    async def _read(self, changes: Collection[AlertChange]) -> list[dict[str, Any]]:
        names = {self._name_of(name) for change in changes for name in (*change.fields, *change.expected)}
        ids = [change.id for change in changes]
        body = {
            "size": 2 * len(ids),  # room for second copies, written around a rollover
            "_source": sorted(names),
            "seq_no_primary_term": True,
            "query": {"ids": {"values": ids}},
        }
        return await self._search(body)

    def _actions(
        self, found: Sequence[Mapping[str, Any]], pending: Mapping[str, AlertChange], tally: Tally
    ) -> Iterator[tuple[str, Action]]:
        for hit in found:
            id_, document = hit["_id"], hit["_source"]
            fields = self._renamed(pending[id_].fields)
            if not is_as_expected(document, self._renamed(pending[id_].expected)):
                tally.conflicts.add(id_)
                continue
            part = partial_document(document, fields)
            if not set_fields(dict(document), fields):
                tally.unchanged.add(id_)
                continue
            header = {
                "_index": hit["_index"],
                "_id": id_,
                "if_seq_no": hit["_seq_no"],
                "if_primary_term": hit["_primary_term"],
            }
            yield id_, Action(orjson.dumps({"update": header}), orjson.dumps({"doc": part}))

    def _sort(self, ids: Sequence[str], outcomes: Sequence[ActionOutcome], tally: Tally) -> list[str]:
        """Sort the alerts by what became of them; those that others have written to since they were read."""
        overtaken: list[str] = []
        failed: list[ActionOutcome] = []
        for id_, outcome in zip(ids, outcomes, strict=True):
            if outcome.stored:
                tally.changed.add(id_)
            elif outcome.conflict:
                overtaken.append(id_)
            elif outcome.status == 404 and outcome.type == "document_missing_exception":
                tally.missing.add(id_)
            elif outcome.refused:
                tally.rejected[id_] = outcome.reason
            else:
                failed.append(outcome)
        if failed:
            raise StoreError(f"{len(failed)} of {len(ids)} alerts could not be changed: {failed[0].explained}")
        return overtaken

    def _renamed(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {self._name_of(name): value for name, value in fields.items()}
