"""`ThreatMatchSearch`: rules of type threat_match, whose events are matched with indicators here.

A hash join: the compared values of all indicators are read, then the events that may have one of them; which indicator
each event matches is decided here. Few values are asked for by name; of many, all events that have the fields are read.
Kibana pages through the smaller side and asks for the other, https://github.com/elastic/kibana, indicator_match.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runner.cluster.elasticsearch import Elastic
from runner.errors import ClusterError, Problem
from runner.events.fields.schema import Field, Schema
from runner.expressions.truths import Truth
from runner.messages.query_errors import QueryError
from runner.rules.threat_match import ThreatMatchCondition, threat_match_of
from runner.search.cluster.concurrent_units import Unit, UnitOutcome, concurrent_results, outcome_of
from runner.search.cluster.excepted_counts import ExceptedCounter
from runner.search.cluster.fetch_pass import FetchPass, PlannedRequest
from runner.search.cluster.field_caps import FieldCaps, FieldCapsCache
from runner.search.cluster.point_in_time import PassOptions
from runner.search.cluster.search_failures import no_index, query_error
from runner.search.cluster.stage_query import Filters, Translation, condition_query
from runner.search.cluster.text_query import planned_text, text_query
from runner.search.cluster.threat_match.cluster_indicators import ClusterIndicators
from runner.search.compiled_rule import CompiledRule
from runner.search.filter_conditions import filtered
from runner.search.indicators.pairs import pair_groups
from runner.search.indicators.table import IndicatorMatch, IndicatorTable
from runner.search.protocol import Match, MatchedIndicator, SearchRequest, SearchResult

_MOST_VALUES = 20_000
"""Different values of indicators that a search asks for by name."""
_ALL = 10_000
"""Events that may match, of which fewer do: as many as one search of a window gives."""


class ThreatMatchSearch:
    """Rules of type threat_match in a cluster. Implements `Search`.

    `timeout`: seconds that the reading of the indicators, and that of the events, of one window may take; a longer one
    stays owed.
    """

    def __init__(
        self,
        client: Elastic,
        *,
        concurrency: int = 4,
        timeout: float = 120.0,
        runtime_mappings: Mapping[str, Any] | None = None,
        shown_excepted: int = 0,
        page_size: int = 5_000,
        most_values: int = _MOST_VALUES,
    ) -> None:
        self._client = client
        self._concurrency = max(1, concurrency)
        self._options = PassOptions(page_size, timeout, dict(runtime_mappings or {}))
        self._types = FieldCapsCache(client, runtime_mappings=runtime_mappings)
        self._indicator_types = FieldCapsCache(client, runtime_mappings=runtime_mappings)
        self._counter = ExceptedCounter(client, self._types, runtime_mappings=runtime_mappings, shown=shown_excepted)
        self._most_values = most_values

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        """No problems: what a cluster finds in a query is known when it is searched."""
        for rule in rules:
            self._want(rule)
        return ()

    def run(self, requests: Sequence[SearchRequest]) -> AsyncGenerator[SearchResult, None]:
        """One result per request, as they get done."""
        for request in requests:
            self._want(request.compiled)
        units = [Unit((request,)) for request in requests]
        return concurrent_results(units, self._outcome, concurrency=self._concurrency, answers=self._client.answers)

    async def close(self) -> None:
        """Nothing to close: the caller closes the client."""

    def _want(self, compiled: CompiledRule) -> None:
        condition = threat_match_of(compiled.rule)
        if condition is not None:
            self._types.want(compiled)
            asked = () if compiled.indicator_query is None else compiled.indicator_query.names()
            excepted = (name for item in compiled.exceptions for name in item.names())
            names = frozenset((*condition.indicator_fields, *asked, *excepted))
            self._indicator_types.want_names(condition.index, names)

    async def _outcome(self, unit: Unit) -> UnitOutcome:
        (request,) = unit.requests
        return await outcome_of(request, self._answer(request))

    async def _answer(self, request: SearchRequest) -> SearchResult:
        rule, condition = request.rule, threat_match_of(request.rule)
        assert condition is not None
        types = await self._types.types(rule.index)
        if not types.indices:
            return SearchResult(request, warnings=(await no_index(self._client, rule.index),), blind=True)
        known = await self._indicator_types.types(condition.index)
        if not known.indices:
            none = await no_index(self._client, condition.index)
            return SearchResult(request, warnings=(f"indicators: {none}",))
        try:
            groups = pair_groups(condition, types.schema, known.schema)
        except QueryError as error:
            raise query_error(str(error), rule) from None
        table = IndicatorTable(groups)
        now_ns = request.window.end_ns
        indicators = ClusterIndicators(
            self._client, request.compiled, condition, known, options=self._options, now_ns=now_ns
        )
        if groups:
            await indicators.read_into(table)
        if not table.count:
            return SearchResult(request, warnings=(_no_indicators(condition, groups=bool(groups)),))
        found = await self._events(request, table, types)
        matches = await self._matched(found, table, indicators)
        result = replace(found, request=request, matches=matches)
        return await self._counter.counted(result)

    async def _events(self, request: SearchRequest, table: IndicatorTable, types: FieldCaps) -> SearchResult:
        """The events that an indicator may match, at least as many as the request wants; all of them where fewer match
        than may."""
        compiled, now_ns = request.compiled, request.window.end_ns
        asked = text_query(compiled, types.schema, now_ns=now_ns)
        assert asked is not None
        program, filters = planned_text(compiled, types, asked, now_ns=now_ns)
        condition = table.condition()
        program = replace(program, plan=filtered(program.plan, condition))
        narrow = self._narrowed(table, condition, types, now_ns=now_ns)
        query = {"bool": {"filter": [filters.whole.query, narrow.query]}}
        whole = Translation(query, clauses=filters.whole.clauses + narrow.clauses, depth=2)
        wanted = request if table.is_exact else replace(request, size=max(request.size, _ALL))
        planned = PlannedRequest(wanted, program, Filters(whole))
        try:
            (result,) = await FetchPass(self._client, [planned], self._options, remotes=types.remotes).results()
        except ClusterError as error:
            if error.status == 400:
                _check_text(compiled, types.schema)
            raise
        return result

    def _narrowed(self, table: IndicatorTable, condition: Truth, types: FieldCaps, *, now_ns: int) -> Translation:
        """The events that may have a value of an indicator: by the values, or of very many by the fields."""
        asked = condition if table.values <= self._most_values else table.presence()
        if isinstance(asked, bool):
            return Translation({"match_all" if asked else "match_none": {}})
        return condition_query(asked, now_ns=now_ns, unsearchable=types.unsearchable)

    async def _matched(
        self, found: SearchResult, table: IndicatorTable, indicators: ClusterIndicators
    ) -> tuple[Match, ...]:
        """The events that an indicator matches, with these."""
        fields = table.event_fields()
        pairs: list[tuple[Match, list[IndicatorMatch]]] = []
        for match in found.matches:
            (hit,) = match.hits
            document = _document(hit.fields, fields)
            if equal := await asyncio.to_thread(table.matches, document):
                pairs.append((match, equal))
        documents = await indicators.documents({one.number for _, equal in pairs for one in equal})
        return tuple(
            replace(
                match,
                indicators=tuple(MatchedIndicator(one.field, one.value, documents.get(one.number)) for one in equal),
            )
            for match, equal in pairs
        )


def _document(values: Mapping[str, Sequence[Any]], fields: Sequence[Field]) -> dict[str, Any]:
    """The values of fields, of the `fields` of a hit, in the places where they are looked for."""
    return {field.source_path: list(values[field.name]) for field in fields if field.name in values}


def _no_indicators(condition: ThreatMatchCondition, *, groups: bool) -> str:
    where = ", ".join(condition.index)
    if groups:
        return f"no document of {where} is an indicator of the rule, so that it finds nothing"
    fields = ", ".join((*condition.event_fields, *condition.indicator_fields))
    return f"no document has the fields that the rule compares ({fields}), so that it finds nothing"


def _check_text(compiled: CompiledRule, schema: Schema) -> None:
    """Raise SearchError, with the place, where the query that the cluster refuses does not fit its fields."""
    try:
        compiled.bare_program(schema)
    except QueryError as fault:
        raise query_error(str(fault), compiled.rule) from None
