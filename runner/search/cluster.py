"""`ClusterSearch`: rules searched in a cluster, in the way that it has: its EQL search API, or fetch and match."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Literal

from runner.elastic import Elastic
from runner.errors import Problem
from runner.rules.rule import Rule
from runner.search.eql_api import EqlApiSearch, NoEql
from runner.search.fetch import FetchSearch
from runner.search.search import SearchRequest, SearchResult

_LOG = logging.getLogger("runner.search.cluster")


class ClusterSearch:
    """Rules asked of a cluster. Implements `Search`.

    Whether the cluster has EQL is learnt once, from its answer to the first EQL search: what it says of its version or
    of its licence does not decide it.
    """

    def __init__(self, client: Elastic, *, concurrency: int = 4, timeout: float = 120.0) -> None:
        self._eql_api = EqlApiSearch(client, concurrency=concurrency, timeout=timeout)
        self._fetch = FetchSearch(client, concurrency=concurrency, timeout=timeout)
        self._way: Literal["eql", "fetch"] | None = None

    @property
    def has_eql(self) -> bool | None:
        """Whether the cluster has the EQL search API; None before it was asked."""
        return None if self._way is None else self._way == "eql"

    async def prepare(self, rules: Sequence[Rule]) -> Sequence[Problem]:
        """Problems of the way that is used; before one is, neither has any."""
        return [*await self._eql_api.prepare(rules), *await self._fetch.prepare(rules)]

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        """One result per request, as they get done."""
        if self._way != "fetch":
            answered: set[int] = set()
            async with aclosing(self._eql_api.run(requests)) as results:
                async for result in results:
                    if isinstance(result, NoEql):
                        break
                    if self._way is None and result.error is None:
                        self._decide("eql")
                    answered.add(id(result.request))
                    yield result
                else:
                    return
            self._decide("fetch")
            requests = [request for request in requests if id(request) not in answered]
        async with aclosing(self._fetch.run(requests)) as found:
            async for result in found:
                yield result

    async def close(self) -> None:
        """Close both ways; the client belongs to whoever opened it."""
        await self._eql_api.close()
        await self._fetch.close()

    def _decide(self, way: Literal["eql", "fetch"]) -> None:
        self._way = way
        if way == "eql":
            _LOG.info("the cluster has EQL: rules are asked through its EQL search API")
        else:
            _LOG.info("the cluster has no EQL: candidates are fetched from it and matched here")
