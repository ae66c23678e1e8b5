"""`FetchSearch`: rules searched in a cluster without EQL: candidates are fetched, the local engine matches them.

Rules over the same indices and window share one pass: the documents that may be an event of any of them are read once,
with the fields that the rules read (projection pushdown); whole documents are fetched for matches alone (late
materialisation).
Point in time: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/point-in-time-api.html
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runner.cluster.elasticsearch import Elastic
from runner.errors import ClusterError, Problem, RunnerError, SearchError, UnreachableError
from runner.messages.query_errors import QueryError
from runner.rules.model_errors import RuleKeyError
from runner.search.cluster.concurrent_units import Unit, UnitOutcome, concurrent_results
from runner.search.cluster.excepted_counts import ExceptedCounter
from runner.search.cluster.fetch_pass import FetchPass, PlannedRequest
from runner.search.cluster.field_caps import FieldCaps, FieldCapsCache
from runner.search.cluster.point_in_time import PassOptions, PassTimeoutError, PointLostError, RemoteLostError
from runner.search.cluster.request_body import has_filters
from runner.search.cluster.search_failures import no_index, query_error, subject_of
from runner.search.cluster.stage_query import filters_for
from runner.search.cluster.text_query import planned_text, text_query
from runner.search.cluster.threshold_pass import ThresholdPass
from runner.search.compiled_rule import CompiledRule, RuleProgram, time_fields
from runner.search.own_alerts import filters_of
from runner.search.protocol import SearchRequest, SearchResult, Unreachable
from runner.search.threshold_keys import threshold_of

_LOG = logging.getLogger("runner.search.fetch")
MOST_TOGETHER = 50
"""Most rules of one pass."""
_NO_FOLDING = "Match flags not yet implemented"
MOST_STARTS = 3
"""Most starts of a pass whose point in time the server forgets, as a restarted node does."""
MOST_CLAUSES = 700
"""Most single queries in the filter of a pass of several rules; servers accept at least 1,024."""


class FetchSearch:
    """Rules searched by queries for candidates and the local engine. Implements `Search`.

    `timeout`: seconds that one pass may take; the windows of a longer one stay owed. `concurrency`: most passes at a
    time. `page_size`: documents a page. `runtime_mappings`: fields that every search has beside those of the indices.
    `shown_excepted`: how many of the events that an exception leaves out are fetched.
    """

    def __init__(
        self,
        client: Elastic,
        *,
        concurrency: int = 4,
        timeout: float = 120.0,
        page_size: int = 5_000,
        types_fresh_for: float = 300.0,
        runtime_mappings: Mapping[str, Any] | None = None,
        shown_excepted: int = 0,
    ) -> None:
        self._client = client
        self._concurrency = max(1, concurrency)
        self._options = PassOptions(page_size, timeout, dict(runtime_mappings or {}))
        self._types = FieldCapsCache(client, fresh_for=types_fresh_for, runtime_mappings=runtime_mappings)
        self._counter = ExceptedCounter(client, self._types, runtime_mappings=runtime_mappings, shown=shown_excepted)
        self._programs: dict[CompiledRule, tuple[FieldCaps, RuleProgram | QueryError]] = {}
        # Rules that made a shared pass fail or be late: they are searched alone from then on.
        self._alone: set[CompiledRule] = set()
        # Rules with a regular expression that ignores case on a runtime field, which no server can do.
        self._case_bound: set[CompiledRule] = set()

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        """No problems: what a query finds in its indices is known when it is searched, and is that result's error."""
        for rule in rules:
            self._types.want(rule)
        self._alone.intersection_update(rules)
        self._case_bound.intersection_update(rules)
        self._programs = {rule: self._programs[rule] for rule in rules if rule in self._programs}
        return ()

    def run(self, requests: Sequence[SearchRequest]) -> AsyncGenerator[SearchResult, None]:
        """One result per request, as their passes get done; closing the iterator closes their points in time."""
        for request in requests:
            self._types.want(request.compiled)
        return concurrent_results(
            self._units(requests), self._outcome, concurrency=self._concurrency, answers=self._client.answers
        )

    async def close(self) -> None:
        """Nothing to close: the caller closes the client."""

    def _units(self, requests: Sequence[SearchRequest]) -> Iterator[Unit]:
        """The requests in groups that can share a pass; what made one fail before goes alone, after the others."""
        groups: dict[Hashable, list[SearchRequest]] = {}
        alone: list[SearchRequest] = []
        for request in requests:
            if request.compiled in self._alone:
                alone.append(request)
            else:
                groups.setdefault(_pass_key(request), []).append(request)
        for group in groups.values():
            for start in range(0, len(group), MOST_TOGETHER):
                yield Unit(tuple(group[start : start + MOST_TOGETHER]))
        yield from (Unit((request,)) for request in alone)

    async def _outcome(self, unit: Unit) -> UnitOutcome:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            outcome = await self._answer(unit)
        except UnreachableError as error:
            failed = tuple(Unreachable(request, error=str(error)) for request in unit.requests)
            outcome = UnitOutcome(failed, away=str(error))
        except RunnerError as error:
            outcome = self._failed(unit, error)
        took_ms = (loop.time() - started) * 1_000
        return replace(outcome, results=tuple(replace(result, took_ms=took_ms) for result in outcome.results))

    def _failed(self, unit: Unit, error: RunnerError) -> UnitOutcome:
        """Errors for all requests or, where one of several rules may be the cause, the same requests in two halves."""
        rules = {request.compiled for request in unit.requests}
        if isinstance(error, ClusterError) and _NO_FOLDING in error.reason and not rules <= self._case_bound:
            self._case_bound |= rules
            return UnitOutcome(again=(unit,))
        if len(unit.requests) > 1 and _may_be_of_one(error):
            middle = len(unit.requests) // 2
            halves = unit.requests[:middle], unit.requests[middle:]
            return UnitOutcome(again=tuple(Unit(half, rest=True) for half in halves))
        if unit.rest and len(unit.requests) == 1:
            self._alone.add(unit.requests[0].compiled)
        return UnitOutcome(tuple(_error_result(request, error) for request in unit.requests))

    async def _answer(self, unit: Unit) -> UnitOutcome:
        """The results of a unit. Raises RunnerError if its pass failed."""
        patterns = unit.requests[0].rule.index
        deadline = asyncio.get_running_loop().time() + self._options.timeout
        types = await self._types.types(patterns, deadline=deadline)
        if not types.indices:
            warning = await no_index(self._client, patterns)
            return UnitOutcome(
                tuple(SearchResult(request, warnings=(warning,), blind=True) for request in unit.requests)
            )
        planned: list[PlannedRequest] = []
        results: list[SearchResult] = []
        for request in unit.requests:
            try:
                planned.append(await self._compiled(request, types))
            except SearchError as error:
                results.append(_error_result(request, error))
        first, rest = _within_clauses(planned)
        again = (Unit(tuple(one.request for one in rest)),) if rest else ()
        if first:
            try:
                results += [await self._counter.counted(one) for one in await self._passed(first, types)]
            except UnreachableError as error:
                failed = [Unreachable(one.request, error=str(error)) for one in first]
                return UnitOutcome((*results, *failed), again, str(error))
            except RunnerError as error:
                failing = self._failed(replace(unit, requests=tuple(one.request for one in first)), error)
                return UnitOutcome((*results, *failing.results), (*failing.again, *again))
        return UnitOutcome(tuple(results), again)

    async def _passed(self, asked: Sequence[PlannedRequest], types: FieldCaps) -> list[SearchResult]:
        """The results of one pass, started again if the server forgets its point in time. Raises RunnerError."""
        for start in range(1, MOST_STARTS + 1):
            try:
                made = FetchPass if threshold_of(asked[0].request.rule) is None else ThresholdPass
                return await made(self._client, asked, self._options, remotes=types.remotes).results()
            except PointLostError:
                if start == MOST_STARTS:
                    raise
                subject = subject_of(asked[0].request.rule)
                _LOG.info("%s: the server has lost the point in time, the pass is begun anew", subject)
            except RemoteLostError:
                self._types.forget(asked[0].request.rule.index)
                raise
            except ClusterError as error:
                if error.status == 400:
                    _check_text(asked[0].request.compiled, types)
                raise
        raise AssertionError("unreachable: the last start returns or raises")

    async def _compiled(self, request: SearchRequest, types: FieldCaps) -> PlannedRequest:
        """The request with its program. Raises SearchError for a query that its indices cannot answer."""
        compiled = request.compiled
        now_ns = request.window.end_ns
        if (asked := text_query(compiled, types.schema, now_ns=now_ns)) is not None:
            try:
                return PlannedRequest(request, *planned_text(compiled, types, asked, now_ns=now_ns))
            except RuleKeyError as error:
                raise SearchError(error.finding.message, retryable=False) from None
        found = await asyncio.to_thread(self._program, compiled, types)
        if isinstance(found, QueryError) and any("Unknown column" in finding.message for finding in found.findings):
            # A field may be new; and a near name can be given only where all names are known.
            types = await self._types.types(compiled.rule.index, all_fields=True)
            found = await asyncio.to_thread(self._program, compiled, types)
        if isinstance(found, QueryError):
            raise query_error(str(found), compiled.rule)
        filters = filters_for(
            found.plan,
            now_ns=request.window.end_ns,
            unsearchable=types.unsearchable,
            fold_regexps=compiled not in self._case_bound,
        )
        return PlannedRequest(request, found, filters)

    def _program(self, compiled: CompiledRule, types: FieldCaps) -> RuleProgram | QueryError:
        known = self._programs.get(compiled)
        if known is not None and known[0] is types:
            return known[1]
        try:
            program: RuleProgram | QueryError = compiled.program(types.schema)
        except QueryError as error:
            program = error
        self._programs[compiled] = types, program
        return program


def _check_text(compiled: CompiledRule, types: FieldCaps) -> None:
    """Raise SearchError, with the place, where a text that the cluster refuses does not fit the types of the fields."""
    if compiled.rule.language != "eql":
        try:
            compiled.bare_program(types.schema)
        except QueryError as fault:
            raise query_error(str(fault), compiled.rule) from None


def _pass_key(request: SearchRequest) -> Hashable:
    """Equal for requests whose events can be read in one pass: the hits for a rule that is not EQL are its matches."""
    rule = request.rule
    if rule.language != "eql":
        return request.compiled, request.window
    filters = json.dumps(filters_of(rule), sort_keys=True, default=str) if has_filters(rule) else ""
    return rule.index, request.window, time_fields(rule), rule.timestamp_field, filters


def _within_clauses(asked: Sequence[PlannedRequest]) -> tuple[list[PlannedRequest], list[PlannedRequest]]:
    """The first ones whose filters together stay within the limit, at least one, and the others."""
    total = 0
    for number, one in enumerate(asked):
        total += one.filters.whole.clauses
        if number and total > MOST_CLAUSES:
            return list(asked[:number]), list(asked[number:])
    return list(asked), []


def _may_be_of_one(error: RunnerError) -> bool:
    """Whether the query of one rule may be the cause: the others are then searched without it."""
    fails = isinstance(error, ClusterError) and error.status in (400, 413, 500)
    return fails or isinstance(error, PassTimeoutError)


def _error_result(request: SearchRequest, error: RunnerError) -> SearchResult:
    subject = subject_of(request.rule)
    text = str(error) if str(error).startswith(subject) else f"{subject}: {error}"
    retryable = error.retryable if isinstance(error, SearchError) else True
    if isinstance(error, ClusterError):
        retryable = error.status != 400
    return SearchResult(request, error=text, retryable=retryable)
