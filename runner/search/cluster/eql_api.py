"""`EqlApiSearch`: rules searched by Elasticsearch's EQL search API.

The request follows Kibana's detection engine but for five deliberate differences: the earliest matches come first
(`result_position` is `head`), partial answers are refused, the search is asynchronous so that it can be stopped, `size`
is the caller's, and `fetch_size` is named.
API: https://www.elastic.co/guide/en/elasticsearch/reference/8.19/eql-search-api.html
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from runner.cluster.elasticsearch import Elastic
from runner.eql.excepting import excepting_text
from runner.errors import ClusterError, Problem, RunnerError, SearchError
from runner.exceptions.conditions import ResolvedItems
from runner.rules.rule import Rule
from runner.search.cluster.concurrent_units import Unit, UnitOutcome, concurrent_results, outcome_of
from runner.search.cluster.excepted_counts import ExceptedCounter
from runner.search.cluster.field_caps import FieldCapsCache
from runner.search.cluster.request_body import asked_fields, range_filter, rule_filter
from runner.search.cluster.search_failures import (
    PLACE,
    is_remote,
    left_out,
    no_index,
    query_error,
    subject_of,
    unreadable_indices,
)
from runner.search.compiled_rule import CompiledRule, time_fields
from runner.search.protocol import Hit, Match, SearchRequest, SearchResult

LARGEST_SIZE = 10_000
"""Most matches of one EQL search (`index.max_result_window`)."""

_LOG = logging.getLogger("runner.search.eql_api")
GRACE = 5.0
"""Seconds that an HTTP request may outlive the search's time, so that the server's "still running" arrives."""
MOST_STARTS = 3
"""Most starts of a search that the server forgets while it runs, as a restarted node does."""
_PARTIAL_FLAGS = ("allow_partial_search_results", "allow_partial_sequence_results")
"""False in every request: a part of the matches is no answer."""
_UNKNOWN_INDEX = re.compile(r"Unknown index \[[^\]]*\]")
_QUERY_FAULTS = frozenset({"verification_exception", "parsing_exception", "planning_exception", "folding_exception"})
"""Error types that lie in the query or the mapping, not in the moment: the same request fails the same way."""


class EqlApiSearch:
    """Rules searched by `_eql/search`. Implements `Search`.

    `timeout`: seconds that one search may take; a longer one is stopped on the server and its window stays owed.
    `wait`: seconds that one HTTP request waits for it. `keep_alive`: how long the server keeps an abandoned search.
    `concurrency`: most searches at a time. `fetch_size`: events of a stage that the server reads at once.
    `runtime_mappings`: fields that every search has beside those of the indices. `shown_excepted`: how many of the
    events that an exception leaves out are fetched.
    """

    def __init__(
        self,
        client: Elastic,
        *,
        concurrency: int = 4,
        timeout: float = 120.0,
        wait: float = 5.0,
        keep_alive: str = "5m",
        fetch_size: int = 1_000,
        runtime_mappings: Mapping[str, Any] | None = None,
        shown_excepted: int = 0,
    ) -> None:
        self._client = client
        self._concurrency = max(1, concurrency)
        self._timeout = timeout
        # An HTTP request that waits longer than it may take would be cut off by our own side.
        self._wait = min(wait, client.connection.request_timeout / 2)
        self._keep_alive = keep_alive
        self._fetch_size = fetch_size
        self._runtime_mappings = dict(runtime_mappings or {})
        self._types = FieldCapsCache(client, runtime_mappings=runtime_mappings)
        self._counter = ExceptedCounter(client, self._types, runtime_mappings=runtime_mappings, shown=shown_excepted)
        # Servers before 8.18 do not know the flags, and always refuse partial answers. Their answer shows it.
        self._partial_flags = dict.fromkeys(_PARTIAL_FLAGS, False)

    def forget(self) -> None:
        """Forget what the server's answers have shown: it may have been upgraded."""
        self._partial_flags = dict.fromkeys(_PARTIAL_FLAGS, False)

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        """No problems: the cluster compiles a query when it is searched, and its findings are that result's error."""
        self._types.want_excepted(rules)
        return ()

    def run(self, requests: Sequence[SearchRequest]) -> AsyncGenerator[SearchResult, None]:
        """One result per request, as they get done; closing the iterator stops the searches, on the server too."""
        self._types.want_excepted(request.compiled for request in requests)
        units = (Unit((request,)) for request in requests)
        return concurrent_results(units, self._outcome, concurrency=self._concurrency, answers=self._client.answers)

    async def close(self) -> None:
        """Nothing to close: the caller closes the client."""

    async def _outcome(self, unit: Unit) -> UnitOutcome:
        (request,) = unit.requests
        return await outcome_of(request, self._searched(request))

    async def _searched(self, request: SearchRequest) -> SearchResult:
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            return await self._counter.counted(await self._ask(request, deadline=deadline))
        except _NoSuchApiError as error:
            return NoEql(request, error=str(error), retryable=False)

    async def _ask(self, request: SearchRequest, *, deadline: float) -> SearchResult:
        """The result of one search; raises RunnerError if it failed or is partial."""
        size = max(1, min(request.size, LARGEST_SIZE))
        excepted = await self._excepted(request, deadline)
        body = build_body(request, size=size, excepted=excepted) | {"fetch_size": self._fetch_size}
        if self._runtime_mappings:
            body["runtime_mappings"] = self._runtime_mappings
        try:
            answer = await self._answer(request, body, deadline=deadline)
        except ClusterError as error:
            if _no_index(error):
                return SearchResult(request, warnings=(await no_index(self._client, request.rule.index),), blind=True)
            raise _search_error(error, request.rule) from None
        if trouble := left_out(answer) or await self._away(request.rule, deadline):
            raise SearchError(f"{subject_of(request.rule)}: {trouble}", rule_id=request.rule.rule_id)
        matches = read_matches(answer)
        if matches is None:
            trouble = "the answer has neither `hits.events` nor `hits.sequences`"
            raise SearchError(f"{subject_of(request.rule)}: {trouble}", rule_id=request.rule.rule_id)
        warnings: tuple[str, ...] = ()
        if len(matches) >= size < request.size:
            warnings = (f"more than {size:,} matches in the window, the most that one EQL search returns",)
        return SearchResult(request, matches=matches, exhausted=len(matches) < size, warnings=warnings)

    async def _excepted(self, request: SearchRequest, deadline: float) -> ResolvedItems | None:
        """What is excepted, by the types that the fields have in the rule's indices; None without exceptions."""
        if not request.compiled.exceptions:
            return None
        types = await self._types.types(request.rule.index, deadline=deadline)
        return request.compiled.excepted(types.schema)

    async def _answer(self, request: SearchRequest, body: Mapping[str, Any], *, deadline: float) -> Mapping[str, Any]:
        """The completed answer, polled while the search runs; one that the server has forgotten is started again."""
        subject = subject_of(request.rule)
        text = f"{subject}: the search took longer than {self._timeout:g} s and was stopped"
        late = SearchError(text, rule_id=request.rule.rule_id)
        for start in range(1, MOST_STARTS + 1):
            answer = await self._submitted(request, body, deadline=deadline)
            try:
                return await completed(self._client, answer, deadline=deadline, patience=self._patience, late=late)
            except ClusterError as error:
                if error.status != 404 or error.no_such_api or start == MOST_STARTS:
                    raise
                _LOG.info("%s: the server has lost the search, it is begun anew", subject)
        raise AssertionError("unreachable: the last start returns or raises")

    async def _away(self, rule: Rule, deadline: float) -> str | None:
        """Which of the rule's remote clusters are away: with `skip_unavailable`, an EQL answer does not name them."""
        remote = [pattern for pattern in rule.index if is_remote(pattern)]
        if not remote:
            return None
        fields = [rule.timestamp_field or "@timestamp"]
        return unreadable_indices(await self._client.field_caps(remote, fields, deadline=deadline + GRACE))

    async def _submitted(
        self, request: SearchRequest, body: Mapping[str, Any], *, deadline: float
    ) -> Mapping[str, Any]:
        """The first answer. If cancelled meanwhile, awaits it all the same, to learn the id and delete it."""
        task = asyncio.create_task(self._submit(request.rule, body, deadline=deadline))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait((task,), timeout=self._wait + 1)
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None and (search_id := task.result().get("id")):
                await _delete(self._client, search_id)
            raise

    async def _submit(self, rule: Rule, body: Mapping[str, Any], *, deadline: float) -> Mapping[str, Any]:
        while True:
            flags = self._partial_flags
            left = deadline - asyncio.get_running_loop().time()
            params = {"allow_no_indices": True, "ignore_unavailable": True, **self._patience(left)}
            try:
                end, id_ = deadline + GRACE, f"rule-runner:{rule.rule_id}"
                return await self._client.eql_submit(
                    rule.index, {**body, **flags}, params=params, deadline=end, opaque_id=id_
                )
            except ClusterError as error:
                known = {name: no for name, no in flags.items() if name not in error.reason}
                if error.status != 400 or known == flags:
                    raise
                self._partial_flags = known

    def _patience(self, left: float) -> dict[str, str]:
        """Request parameters: how long the server waits before it answers "still running", and keeps the search."""
        wait_ms = max(1, int(min(self._wait, left) * 1_000))
        return {"wait_for_completion_timeout": f"{wait_ms}ms", "keep_alive": self._keep_alive}


async def completed(
    client: Elastic,
    answer: Mapping[str, Any],
    *,
    deadline: float,
    patience: Callable[[float], Mapping[str, str]],
    late: SearchError,
) -> Mapping[str, Any]:
    """The completed answer, polled while the search runs; the search is then deleted on the server.

    `patience` gives the parameters of a poll for the seconds that are left until `deadline` (the loop's time); a search
    that is not done by then raises `late`.
    """
    search_id = answer.get("id")
    if search_id is None:
        return answer
    try:
        while answer.get("is_running"):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise late
            answer = await client.eql_get(search_id, params=patience(left), deadline=deadline + GRACE)
        return answer
    finally:
        await asyncio.shield(_delete(client, search_id))


async def _delete(client: Elastic, search_id: str) -> None:
    try:
        await client.eql_delete(search_id)
    except RunnerError as error:
        # The server drops it by itself when `keep_alive` has passed.
        _LOG.warning("an EQL search could not be deleted: %s", error)


class NoEql(SearchResult):
    """A result that failed because the cluster has no EQL search API at all."""


class _NoSuchApiError(SearchError):
    """The cluster has no EQL search API."""


def build_body(request: SearchRequest, *, size: int, excepted: ResolvedItems | None = None) -> dict[str, Any]:
    """The body of the EQL search request for one rule over one window, without the events that are excepted."""
    rule, text = request.rule, request.rule.query
    filters = [range_filter(request.window, time_fields(rule)), rule_filter(rule)]
    if excepted is not None:
        text = excepting_text(request.compiled.eql_query, excepted.wheres) if excepted.wheres else text
        filters += [] if excepted.query is None else [{"bool": {"must_not": [excepted.query]}}]
    body: dict[str, Any] = {
        "query": text,
        "size": size,
        "result_position": "head",
        "filter": {"bool": {"filter": filters}},
        "fields": asked_fields(rule),
    }
    optional = {
        "timestamp_field": rule.timestamp_field,
        "event_category_field": rule.event_category_override,
        "tiebreaker_field": rule.tiebreaker_field,
    }
    return body | {name: value for name, value in optional.items() if value}


def read_matches(answer: Mapping[str, Any]) -> tuple[Match, ...] | None:
    """The matches of an EQL search answer in the order of the answer; None if it has no place for any."""
    hits = answer.get("hits") or {}
    if (events := hits.get("events")) is not None:
        return tuple(Match((_hit(event),), is_sequence=False) for event in events)
    if (sequences := hits.get("sequences")) is not None:
        return tuple(
            Match(tuple(map(_hit, one.get("events", ()))), is_sequence=True, join_keys=tuple(one.get("join_keys", ())))
            for one in sequences
        )
    return None


def _hit(event: Mapping[str, Any]) -> Hit:
    return Hit(
        index=event.get("_index", ""),
        id=event.get("_id", ""),
        source=event.get("_source") or {},
        fields=event.get("fields") or {},
        missing=bool(event.get("missing", False)),
    )


def _no_index(error: ClusterError) -> bool:
    """Whether the only fault is that no index matches."""
    if error.type == "index_not_found_exception":
        return True
    problems = [found["text"] for found in PLACE.finditer(error.reason)] or [error.reason]
    return error.type == "verification_exception" and all(_UNKNOWN_INDEX.search(text) for text in problems)


def _search_error(error: ClusterError, rule: Rule) -> SearchError:
    if error.no_such_api:
        text = f"{subject_of(rule)}: this cluster has no EQL ({error.reason}); search files instead (--events), "
        text += "or use a cluster with the EQL plugin"
        return _NoSuchApiError(text, rule_id=rule.rule_id, retryable=False)
    if error.type in _QUERY_FAULTS:
        return query_error(error.reason, rule)
    return SearchError(f"{subject_of(rule)}: {error}", rule_id=rule.rule_id, retryable=error.status != 400)
