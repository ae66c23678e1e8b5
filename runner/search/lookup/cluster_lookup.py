"""`ClusterLookup`: events looked up in a cluster, by its search API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from runner import kql as kql_language
from runner.cluster.elasticsearch import Elastic
from runner.errors import RunnerError
from runner.events.fields.schema import schema_from_field_caps
from runner.messages.query_errors import QueryError
from runner.search.lookup.event_lookup import LookedUp


class ClusterLookup:
    """Events of the indices of a cluster. Implements `EventLookup`."""

    def __init__(self, client: Elastic, indices: Sequence[str]) -> None:
        self._client = client
        self._indices = tuple(indices)

    async def newest(self, kql: str, *, size: int, seconds: float) -> LookedUp:
        try:
            async with asyncio.timeout(seconds):
                return await self._newest(kql, size)
        except TimeoutError:
            return LookedUp(incomplete="the time for it was over")
        except (RunnerError, QueryError) as error:
            return LookedUp(incomplete=str(error))

    async def _newest(self, kql: str, size: int) -> LookedUp:
        parsed = kql_language.parse(kql)
        schema = schema_from_field_caps(await self._client.field_caps(self._indices, sorted(set(parsed.names()))))
        body = {
            "query": kql_language.query_dsl(parsed, schema),
            "size": size,
            "sort": [{"@timestamp": {"order": "desc", "unmapped_type": "date"}}],
        }
        params = {"ignore_unavailable": True, "allow_no_indices": True, "allow_partial_search_results": True}
        answer = await self._client.search(self._indices, body, params=params)
        hits = answer.get("hits")
        found = hits.get("hits") if isinstance(hits, Mapping) else None
        sources: list[Mapping[str, Any]] = [
            source
            for hit in (found if isinstance(found, list) else ())
            if isinstance(hit, Mapping) and isinstance(source := hit.get("_source"), Mapping)
        ]
        shards = answer.get("_shards")
        failed = shards.get("failed") if isinstance(shards, Mapping) else 0
        return LookedUp(tuple(sources), f"{failed} shards failed" if failed else "")
