"""`ElasticsearchFileRecord`: what was read of event files, a document per source in the state index."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping

import orjson

from runner.cluster.elasticsearch import Elastic
from runner.errors import StoreError
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.bulk import Action, write_bulk
from runner.store.elasticsearch.installation import Installation, store_errors
from runner.store.source import UNNAMED, EventSource


class ElasticsearchFileRecord:
    """The record of the files of one source. Implements `FileRecord`.

    What is kept is kept for the machine, too: a source without a record begins with that. Of several runners on a
    machine the last one that writes counts: what it has not read and another one has is read again, and finds alerts
    that are there already.
    """

    def __init__(
        self, client: Elastic, names: StoreNames, installation: Installation, place: str, source: EventSource = UNNAMED
    ) -> None:
        self._client = client
        self._names = names
        self._installation = installation
        of_machine = f"files:{hashlib.sha256(place.encode()).hexdigest()[:16]}"
        self._ids = (of_machine, f"files:{source.digest}") if source.kind else (of_machine,)

    async def read_files(self) -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}
        for id_ in self._ids:
            found |= await self._read(id_)
        return found

    async def _read(self, id_: str) -> Mapping[str, bytes]:
        with store_errors():
            document = await self._client.read_document(self._names.state, id_)
        if document is None:
            return {}
        try:
            files = document["_source"]["runner"]["files"]
            return {path: zlib.decompress(base64.b64decode(text)) for path, text in files.items()}
        except (KeyError, TypeError, AttributeError, ValueError, zlib.error):
            return {}  # the paths count as new ones

    async def keep_files(self, texts: Mapping[str, bytes]) -> None:
        await self._installation.ensure()
        actions = []
        for id_ in self._ids:
            kept = {**await self._read(id_), **texts}
            files = {path: base64.b64encode(zlib.compress(text)).decode() for path, text in kept.items()}
            header = {"index": {"_index": self._names.state, "_id": id_}}
            actions.append(Action(orjson.dumps(header), orjson.dumps({"runner": {"files": files}})))
        with store_errors():
            outcomes = await write_bulk(self._client, actions, index=self._names.state)
        for outcome in outcomes:
            if not outcome.stored:
                raise StoreError(f"{self._names.state} can not be written: {outcome.explained}")
