"""`ClusterSearch`: rules searched in a cluster, those in EQL and ES|QL by its APIs, those of machine learning by the
results of its jobs, the others, and where it has no EQL those too, by fetch and match."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from runner.cluster.elasticsearch import Elastic
from runner.errors import Problem
from runner.rules.rule import RuleType
from runner.search.cluster.anomaly_search import AnomalySearch
from runner.search.cluster.eql_api import EqlApiSearch, NoEql
from runner.search.cluster.esql import EsqlSearch
from runner.search.cluster.fetch_and_match import FetchSearch
from runner.search.cluster.new_terms.new_terms_search import NewTermsSearch
from runner.search.cluster.threat_match.threat_match_search import ThreatMatchSearch
from runner.search.compiled_rule import CompiledRule
from runner.search.protocol import SearchRequest, SearchResult, Unreachable

_OwnWay: TypeAlias = EsqlSearch | AnomalySearch | NewTermsSearch | ThreatMatchSearch
_LOG = logging.getLogger("runner.search.cluster")


class ClusterSearch:
    """Rules searched in a cluster. Implements `Search`.

    The answer to the first EQL search shows whether the cluster has EQL: neither its version nor its licence decides
    it, and a refusal for want of a licence or a privilege is that rule's error. On a cluster without EQL the API is
    tried again after it was away, and every `look_again_after` seconds: it may have been upgraded.
    """

    def __init__(
        self,
        client: Elastic,
        *,
        concurrency: int = 4,
        timeout: float = 120.0,
        runtime_mappings: Mapping[str, Any] | None = None,
        look_again_after: float = 3_600.0,
        shown_excepted: int = 0,
        learn_terms: timedelta = timedelta(0),
    ) -> None:
        limits: Any = {
            "concurrency": concurrency, "timeout": timeout, "runtime_mappings": runtime_mappings,
            "shown_excepted": shown_excepted,
        }  # fmt: skip
        self._eql_api, self._fetch = EqlApiSearch(client, **limits), FetchSearch(client, **limits)
        self._esql = EsqlSearch(client, concurrency=concurrency, timeout=timeout)
        self._own_ways: tuple[tuple[_OwnWay, RuleType], ...] = (
            (self._esql, "esql"),
            (AnomalySearch(client, concurrency=concurrency, timeout=timeout), "machine_learning"),
            (NewTermsSearch(client, **limits, learn=learn_terms), "new_terms"),
            (ThreatMatchSearch(client, **limits), "threat_match"),
        )
        self._look_again_after = look_again_after
        self._way: Literal["eql", "fetch"] | None = None
        self._look_again_at = 0.0

    @property
    def has_eql(self) -> bool | None:
        """Whether the cluster has the EQL search API; None before the first search."""
        return None if self._way is None else self._way == "eql"

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        """No problems: what a cluster finds in a query is known when it is searched."""
        local = [rule for rule in rules if rule.is_local]
        for way, kind in self._own_ways:
            await way.prepare([rule for rule in rules if rule.rule.type == kind])
        return (*await self._eql_api.prepare(local), *await self._fetch.prepare(local))

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncGenerator[SearchResult, None]:
        """One result per request, as they are done."""
        local = [request for request in requests if request.compiled.is_local]
        kinds = {kind for _, kind in self._own_ways}
        waiting = [request for request in local if request.rule.language == "eql"]
        others = [one for one in local if one.rule.language != "eql" and one.rule.type not in kinds]
        if self._way == "fetch" and waiting and self._now() >= self._look_again_at:
            first = await self._retried_with_eql(waiting[0])
            if first is not None:
                yield first
                del waiting[0]
        if self._way != "fetch" and waiting:
            answered: set[int] = set()
            async with aclosing(self._eql_api.run(waiting)) as results:
                async for result in results:
                    if isinstance(result, NoEql):
                        break
                    if self._way is None and result.error is None:
                        self._decide("eql")
                    self._retry_soon_if_away(result)
                    answered.add(id(result.request))
                    yield result
                else:
                    waiting = []
            if waiting:
                self._decide("fetch")
            waiting = [request for request in waiting if id(request) not in answered]
        async with aclosing(self._fetch.run([*waiting, *others])) as found:
            async for result in found:
                self._retry_soon_if_away(result)
                yield result

        for way, kind in self._own_ways:
            asked = [request for request in requests if request.rule.type == kind]
            async with aclosing(way.run(asked)) as found:
                async for result in found:
                    self._retry_soon_if_away(result)
                    yield result

    async def close(self) -> None:
        """Nothing to close: the caller closes the client."""

    async def _retried_with_eql(self, request: SearchRequest) -> SearchResult | None:
        """The result of the EQL API of a cluster that had none; None if it still has none."""
        self._look_again_at = self._now() + self._look_again_after
        async with aclosing(self._eql_api.run([request])) as results:
            async for result in results:
                if result.error is None:
                    self._decide("eql")
                    return result
        return None

    def _retry_soon_if_away(self, result: SearchResult) -> None:
        if isinstance(result, Unreachable):
            self._look_again_at = 0.0
            self._eql_api.forget()
            self._esql.forget()

    def _decide(self, way: Literal["eql", "fetch"]) -> None:
        self._way = way
        if way == "eql":
            _LOG.info("the cluster has EQL: rules are asked through its EQL search API")
        else:
            self._look_again_at = self._now() + self._look_again_after
            _LOG.info("the cluster has no EQL: candidates are fetched from it and matched here")

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
