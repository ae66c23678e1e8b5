"""`ExceptedCounter`: how many events of a cluster the exceptions of a rule have left out, by exception.

An exception acts in the search itself, whose answer does not show what it left out. So the events that may be one of
the rule's are counted once more, those that an exception hits alone: by the candidates' filter of fetch and match.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runner.cluster.elasticsearch import Elastic
from runner.errors import RunnerError
from runner.exceptions.conditions import ResolvedItems
from runner.exceptions.item_query import QueryClause, any_clause, item_clause
from runner.messages.query_errors import QueryError
from runner.search.cluster.field_caps import FieldCaps, FieldCapsCache
from runner.search.cluster.request_body import range_filter, rule_filter
from runner.search.cluster.search_failures import left_out, subject_of
from runner.search.cluster.stage_query import Translation, condition_query, filters_for
from runner.search.cluster.text_query import text_query
from runner.search.compiled_rule import time_fields
from runner.search.protocol import ExceptedEvents, Hit, SearchRequest, SearchResult
from runner.windows import from_nanoseconds

_LOG = logging.getLogger("runner.search.cluster")
_AT_ONCE = 500
"""Exceptions counted with one request."""


class ExceptedCounter:
    """Counts for the results of searches. `runtime_mappings` are fields beside those of the indices; `shown`: how many
    of the events are fetched."""

    def __init__(
        self,
        client: Elastic,
        types: FieldCapsCache,
        *,
        runtime_mappings: Mapping[str, Any] | None = None,
        shown: int = 0,
    ) -> None:
        self._client, self._types = client, types
        self._runtime_mappings = dict(runtime_mappings or {})
        self._shown = shown

    async def counted(self, result: SearchResult) -> SearchResult:
        """The result with what exceptions left out; with warnings of those that remove nothing, and if that cannot be
        counted."""
        request = result.request
        if result.error is not None or not request.compiled.exceptions:
            return result
        try:
            types = await self._types.types(request.rule.index)
            resolved = request.compiled.excepted(types.schema)
            result = replace(result, warnings=(*result.warnings, *resolved.warnings))
            if not types.indices or not resolved.items:
                return result
            return replace(result, excepted=await self._count(request, resolved, types))
        except (QueryError, RunnerError) as error:
            reason = str(error)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"an answer has another shape than expected: {error!r}"
        warning = f"{subject_of(request.rule)}: what exceptions left out could not be counted: {reason}"
        return replace(result, warnings=(*result.warnings, warning))

    async def _count(
        self, request: SearchRequest, resolved: ResolvedItems, types: FieldCaps
    ) -> tuple[ExceptedEvents, ...]:
        clauses = dict(_clauses(resolved, types, now_ns=request.window.end_ns))
        asked = text_query(request.compiled, types.schema, now_ns=request.window.end_ns)
        if asked is None:
            plan = request.compiled.bare_program(types.schema).plan
            candidates = filters_for(plan, now_ns=request.window.end_ns, unsearchable=types.unsearchable).whole
        else:
            candidates = Translation(asked)
        if candidates.is_nothing or not clauses:
            return ()
        query = [_in_time(request), rule_filter(request.rule), candidates.query]
        found: list[ExceptedEvents] = []
        numbers = list(clauses)
        for start in range(0, len(numbers), _AT_ONCE):
            part = {number: clauses[number] for number in numbers[start : start + _AT_ONCE]}
            answer = await self._search(request, [*query, any_clause(part.values())], size=0)
            if answer["hits"]["total"]["value"]:
                found += await self._by_item(request, resolved, query, part)
        return tuple(found)

    async def _by_item(
        self, request: SearchRequest, resolved: ResolvedItems, query: Sequence[QueryClause], part: Mapping[int, Any]
    ) -> list[ExceptedEvents]:
        """The counts of some exceptions, of which at least one has left out an event."""
        newest = {"newest": {"max": {"field": time_fields(request.rule)[0]}}}
        by_item = {"filters": {"filters": {str(number): clause for number, clause in part.items()}}, "aggs": newest}
        wanted = [*query, any_clause(part.values())]
        answer = await self._search(request, wanted, size=0, aggs={"items": by_item})
        found: list[ExceptedEvents] = []
        for name, bucket in answer["aggregations"]["items"]["buckets"].items():
            if not bucket["doc_count"]:
                continue
            item, time = resolved.items[int(name)], bucket["newest"]["value"]
            hits = await self._hits(request, [*query, part[int(name)]])
            moment = None if time is None else from_nanoseconds(int(time) * 1_000_000)
            found.append(ExceptedEvents(item, bucket["doc_count"], moment, hits))
        return found

    async def _hits(self, request: SearchRequest, query: Sequence[QueryClause]) -> tuple[Hit, ...]:
        """Some of the events that meet the query, the newest ones."""
        if not self._shown:
            return ()
        name = time_fields(request.rule)[0]
        sort = [{name: {"order": "desc", "unmapped_type": "date"}}]
        answer = await self._search(request, query, size=self._shown, sort=sort)
        return tuple(Hit(hit["_index"], hit["_id"], hit.get("_source") or {}) for hit in answer["hits"]["hits"])

    async def _search(self, request: SearchRequest, query: Sequence[QueryClause], **more: Any) -> Mapping[str, Any]:
        body: dict[str, Any] = {"query": {"bool": {"filter": list(query)}}, "track_total_hits": True} | more
        if self._runtime_mappings:
            body["runtime_mappings"] = self._runtime_mappings
        params = {"allow_no_indices": True, "ignore_unavailable": True}
        answer = await self._client.search(request.rule.index, body, params=params)
        if trouble := left_out(answer):
            _LOG.warning("%s: counts of excepted events are of a part of the shards: %s", request.rule.name, trouble)
        return answer


def _clauses(resolved: ResolvedItems, types: FieldCaps, *, now_ns: int) -> Iterator[tuple[int, QueryClause]]:
    """The documents that each item hits, by its number; those that can hit none are left out."""
    for number, (item, condition) in enumerate(zip(resolved.items, resolved.conditions, strict=True)):
        translated = condition_query(condition, now_ns=now_ns, unsearchable=types.unsearchable)
        if not translated.is_nothing:
            yield number, translated.query if item.where is not None else item_clause(item, types.schema)


def _in_time(request: SearchRequest) -> QueryClause:
    """Events of the times that count."""
    windows = (request.window,) if request.counted is None else request.counted
    ranges = [range_filter(window, time_fields(request.rule)) for window in windows]
    return any_clause(ranges) if ranges else {"match_none": {}}
