"""`EsqlSearch`: rules in ES|QL searched by Elasticsearch's ES|QL API.

The request follows Kibana's detection engine but for these differences: `NOW()` is the time at which the window's run
would have been punctual, so that a window which is searched late has the same answer; partial answers are refused; all
rows of a query without documents are taken, so that the cap carries over; and the wait is the runner's own.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from runner.cluster.elasticsearch import Elastic
from runner.cluster.esql import EsqlAnswer, EsqlApi
from runner.errors import ClusterError, Problem, RunnerError, SearchError
from runner.esql import EsqlQuery, SentText, sent_text
from runner.messages.quantities import counted
from runner.rules.date_math import REFERENCE, at_reference, is_relative
from runner.rules.rule import Rule
from runner.search.cluster.concurrent_units import Unit, UnitOutcome, concurrent_results, outcome_of
from runner.search.cluster.esql.excepted_rows import ExceptedRows, excepted_now
from runner.search.cluster.esql.rows import (
    AnswerRows,
    document_ids,
    document_matches,
    grouped_matches,
    read_rows,
    without_documents,
)
from runner.search.cluster.field_caps import FieldCapsCache
from runner.search.cluster.request_body import asked_fields, range_filter
from runner.search.cluster.search_failures import PLACE, left_out, no_index, query_error, subject_of
from runner.search.compiled_rule import CompiledRule, time_fields
from runner.search.protocol import Hit, SearchRequest, SearchResult

LARGEST_SIZE = 10_000
"""Most rows of one answer (`esql.query.result_truncation_max_size`), whatever a query's own LIMIT is."""
MOST_ROWS = 50_000
"""Rows of one window after which no further page is asked for."""
GRACE = 5.0
"""Seconds that an HTTP request may outlive the query's time, so that the server's "still running" arrives."""
MOST_STARTS = 3
"""Most starts of a query that the server forgets while it runs, as a restarted node does."""
_DOCUMENTS = 500
"""Documents fetched with one request."""
_SHOWN_WARNINGS = 3
_FLAGS: Mapping[str, Any] = {"allow_partial_results": False, "drop_null_columns": True}
"""Parameters of the request that not every server knows: a part of the rows is no answer."""
_UNKNOWN_INDEX = re.compile(r"Unknown index \[[^\]]*\]")
_QUERY_FAULTS = frozenset({"verification_exception", "parsing_exception", "planning_exception"})
_LOG = logging.getLogger("runner.search.esql_api")


class EsqlSearch:
    """Rules searched by `_query/async`. Implements `Search`.

    `timeout`: seconds that one query may take; a longer one is stopped on the server and its window stays owed. `wait`:
    seconds that one HTTP request waits for it. `keep_alive`: how long the server keeps an abandoned query.
    `concurrency`: most queries at a time.
    """

    def __init__(
        self,
        client: Elastic,
        *,
        concurrency: int = 4,
        timeout: float = 120.0,
        wait: float = 5.0,
        keep_alive: str = "5m",
    ) -> None:
        self._client, self._api = client, EsqlApi(client)
        self._concurrency = max(1, concurrency)
        self._timeout = timeout
        # An HTTP request that waits longer than it may take would be cut off by our own side.
        self._wait = min(wait, client.connection.request_timeout / 2)
        self._keep_alive = keep_alive
        self._types = FieldCapsCache(client)
        # What older servers do not know their answer shows; they always refuse partial answers.
        self._flags: Mapping[str, Any] = _FLAGS

    def forget(self) -> None:
        """Forget what the server's answers have shown: it may have been upgraded."""
        self._flags = _FLAGS

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        """No problems: the cluster compiles a query when it is searched, and its findings are that result's error."""
        self._types.want_excepted(rules)
        return ()

    def run(self, requests: Sequence[SearchRequest]) -> AsyncGenerator[SearchResult, None]:
        """One result per request, as they get done; closing the iterator stops the queries, on the server too."""
        self._types.want_excepted(request.compiled for request in requests)
        units = (Unit((request,)) for request in requests)
        return concurrent_results(units, self._outcome, concurrency=self._concurrency, answers=self._client.answers)

    async def close(self) -> None:
        """Nothing to close: the caller closes the client."""

    async def _outcome(self, unit: Unit) -> UnitOutcome:
        (request,) = unit.requests
        deadline = asyncio.get_running_loop().time() + self._timeout
        return await outcome_of(request, self._search(request, deadline=deadline))

    async def _search(self, request: SearchRequest, *, deadline: float) -> SearchResult:
        """The result of one query; raises RunnerError if it failed or is partial."""
        query, rule = _query_of(request.compiled), request.rule
        limit = min(request.size, LARGEST_SIZE) if query.makes_documents else LARGEST_SIZE
        items = await self._excepted(request, deadline)
        text = sent_text(query.text, now=nominal_now(request), limit=limit)
        asked = _Asked(request, text, [] if items is None else items.filters)
        try:
            answer = await self._answer(asked, deadline=deadline)
        except ClusterError as error:
            if is_no_index(error):
                return SearchResult(request, warnings=(await no_index(self._client, rule.index),), blind=True)
            raise search_error(error, rule, text) from None
        rows = read_rows(answer.body)
        is_full = len(rows.rows) >= limit
        if is_full and limit == LARGEST_SIZE and query.is_pageable:
            rows, is_full = await self._further(asked, rows, deadline=deadline)
        if query.makes_documents:
            documents = await self._documents(rule, document_ids(rows))
            matches = document_matches(query, rows, documents, request)
        else:
            matches = grouped_matches(query, rows, request)
        warnings = _warnings(answer, rule, text)
        if is_full and not query.makes_documents:
            warnings += (f"{limit:,} rows, the most that ES|QL returns: there may be more, which cannot be reached",)
        result = SearchResult(request, tuple(matches), exhausted=not (is_full and query.makes_documents))
        if items is not None:
            result = replace(items.left(result), warnings=items.warnings)
            result = await self._with_counts(result, items, deadline=deadline)
        return replace(result, warnings=(*warnings, *result.warnings))

    async def _further(self, asked: _Asked, rows: AnswerRows, *, deadline: float) -> tuple[AnswerRows, bool]:
        """The rows with those of further pages, each without the documents before it, and whether there are more."""
        while len(rows.rows) < MOST_ROWS:
            filters = [*asked.filters, *without_documents(rows)]
            page = read_rows((await self._answer(replace(asked, filters=filters), deadline=deadline)).body)
            rows = rows.with_more(page)
            if len(page.rows) < LARGEST_SIZE:
                return rows, False
        return rows, True

    async def _excepted(self, request: SearchRequest, deadline: float) -> ExceptedRows | None:
        """What is excepted, by the types that the fields have in the rule's indices; None without exceptions."""
        if not request.compiled.exceptions:
            return None
        types = await self._types.types(request.rule.index, deadline=deadline)
        return excepted_now(request, types.schema)

    async def _with_counts(self, result: SearchResult, items: ExceptedRows, *, deadline: float) -> SearchResult:
        """The result with the events that the exceptions' filter has left out, counted by a query over these alone."""
        request = result.request
        if items.only is None:
            return result
        query = _query_of(request.compiled)
        text = sent_text(query.events_text, now=nominal_now(request), limit=_DOCUMENTS)
        spans = (request.window,) if request.counted is None else request.counted
        if not spans:
            return result
        try:
            ranges = [range_filter(span, time_fields(request.rule)) for span in spans]
            inside = {"bool": {"should": ranges, "minimum_should_match": 1}}
            answer = await self._answer(_Asked(request, text, [items.only, inside]), deadline=deadline)
            found = await self._documents(request.rule, document_ids(read_rows(answer.body)))
        except RunnerError as error:
            text_ = f"{subject_of(request.rule)}: what exceptions left out could not be counted: {error}"
            return replace(result, warnings=(*result.warnings, text_))
        hits = [hit for same in found.values() for hit in same]
        return replace(result, excepted=(*result.excepted, *items.counted(hits)))

    async def _documents(self, rule: Rule, ids: Sequence[str]) -> Mapping[str, Sequence[Hit]]:
        """The documents of these ids in the rule's indices, by id; several indices may have the same one."""
        found: dict[str, list[Hit]] = {}
        params = {"ignore_unavailable": True, "allow_no_indices": True, "allow_partial_search_results": False}
        for start in range(0, len(ids), _DOCUMENTS):
            part = list(ids[start : start + _DOCUMENTS])
            body = {"query": {"ids": {"values": part}}, "size": LARGEST_SIZE, "fields": asked_fields(rule)}
            answer = await self._client.search(rule.index, body, params=params)
            if trouble := left_out(answer):
                raise SearchError(f"{subject_of(rule)}: {trouble}", rule_id=rule.rule_id)
            for hit in answer["hits"]["hits"]:
                made = Hit(hit["_index"], hit["_id"], hit.get("_source") or {}, hit.get("fields") or {})
                found.setdefault(hit["_id"], []).append(made)
        return found

    async def _answer(self, asked: _Asked, *, deadline: float) -> EsqlAnswer:
        """The whole answer, polled while the query runs; one that the server has forgotten is started again.

        Raises SearchError for a partial one, and where the time is over.
        """
        rule = asked.request.rule
        subject = subject_of(rule)
        for start in range(1, MOST_STARTS + 1):
            answer = await self._submitted(asked, deadline=deadline)
            try:
                answer = await self._completed(answer, rule, deadline=deadline)
                break
            except ClusterError as error:
                if error.status != 404 or error.no_such_api or start == MOST_STARTS:
                    raise
                _LOG.info("%s: the server has lost the query, it is begun anew", subject)
        if trouble := left_out(answer.body):
            raise SearchError(f"{subject}: {trouble}", rule_id=rule.rule_id)
        return answer

    async def _completed(self, answer: EsqlAnswer, rule: Rule, *, deadline: float) -> EsqlAnswer:
        query_id = answer.id
        try:
            while answer.is_running and query_id is not None:
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    late = f"{subject_of(rule)}: the search took longer than {self._timeout:g} s and was stopped"
                    raise SearchError(late, rule_id=rule.rule_id)
                params = {"wait_for_completion_timeout": self._patience(left), "keep_alive": self._keep_alive}
                answer = await self._api.get(query_id, params=params, deadline=deadline + GRACE)
            return answer
        finally:
            if query_id is not None:
                await asyncio.shield(self._delete(query_id))

    async def _submitted(self, asked: _Asked, *, deadline: float) -> EsqlAnswer:
        """The first answer. If cancelled meanwhile, awaits it all the same, to learn the id and delete it."""
        task = asyncio.create_task(self._submit(asked, deadline=deadline))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait((task,), timeout=self._wait + 1)
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None and (query_id := task.result().id):
                await self._delete(query_id)
            raise

    async def _submit(self, asked: _Asked, *, deadline: float) -> EsqlAnswer:
        while True:
            flags = self._flags
            left = deadline - asyncio.get_running_loop().time()
            body = asked.body | {
                "wait_for_completion_timeout": self._patience(left),
                "keep_alive": self._keep_alive,
            }
            try:
                end, id_ = deadline + GRACE, f"rule-runner:{asked.request.rule.rule_id}"
                return await self._api.submit(body, params=flags, deadline=end, opaque_id=id_)
            except ClusterError as error:
                known = {name: no for name, no in flags.items() if name not in error.reason}
                if error.status != 400 or known == flags:
                    raise
                self._flags = known

    def _patience(self, left: float) -> str:
        """How long the server waits before it answers "still running"."""
        return f"{max(1, int(min(self._wait, left) * 1_000))}ms"

    async def _delete(self, query_id: str) -> None:
        try:
            await self._api.delete(query_id, now=asyncio.get_running_loop().time())
        except RunnerError as error:
            # The server drops it by itself when `keep_alive` has passed.
            _LOG.warning("an ES|QL query could not be deleted: %s", error)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query that is sent for a request, with filters on the documents beside the window."""

    request: SearchRequest
    text: SentText
    filters: Sequence[Mapping[str, Any]]

    @property
    def body(self) -> dict[str, Any]:
        within = range_filter(self.request.window, time_fields(self.request.rule))
        return {"query": self.text.text, "filter": {"bool": {"filter": [within, *self.filters]}}}


def nominal_now(request: SearchRequest) -> datetime:
    """The time of the run whose window this is: its end, or as much later as the rule's `to` lies before now."""
    to = request.rule.to
    behind = REFERENCE - at_reference(to) if is_relative(to) and "/" not in to else None
    return request.window.end if behind is None else request.window.end + max(behind, timedelta(0))


def _query_of(compiled: CompiledRule) -> EsqlQuery:
    assert isinstance(compiled.query, EsqlQuery)
    return compiled.query


def _warnings(answer: EsqlAnswer, rule: Rule, text: SentText) -> tuple[str, ...]:
    """What the server warns of, with places in the rule's file: the first of it, and how much more there is."""
    shown = tuple(_placed(one, rule, text) for one in answer.warnings[:_SHOWN_WARNINGS])
    more = len(answer.warnings) - len(shown)
    return (*shown, f"{counted(more, 'more warning')} of the cluster about the query") if more > 0 else shown


_WARNED = re.compile(r"Line (?P<line>\d+):(?P<column>\d+): ")


def _placed(warning: str, rule: Rule, text: SentText) -> str:
    found = _WARNED.match(warning)
    if found is None:
        return warning
    line, column = text.place(int(found["line"]), int(found["column"]))
    shift = rule.query_column - 1 if line == 1 else 0
    place = f"{rule.path}:{rule.query_line + line - 1}:{column + shift}: " if rule.path.name else ""
    return f"{place}{warning[found.end() :]}"


def is_no_index(error: ClusterError) -> bool:
    """Whether the only fault is that no index matches."""
    if error.type == "index_not_found_exception":
        return True
    problems = [found["text"] for found in PLACE.finditer(error.reason)] or [error.reason]
    return error.type == "verification_exception" and all(_UNKNOWN_INDEX.search(one) for one in problems)


def search_error(error: ClusterError, rule: Rule, text: SentText) -> SearchError:
    """The error of a query that was sent, with places in the rule's file."""
    if error.no_such_api or (error.status in (400, 405) and "_query" in error.reason and "handler" in error.reason):
        said = f"{subject_of(rule)}: this cluster has no ES|QL ({error.reason}); it needs Elasticsearch 8.13 or later"
        return SearchError(said, rule_id=rule.rule_id, retryable=False)
    if error.type in _QUERY_FAULTS or (error.status == 400 and PLACE.search(error.reason)):
        return query_error(PLACE.sub(lambda found: _told_back(found, text), error.reason), rule)
    return SearchError(f"{subject_of(rule)}: {error}", rule_id=rule.rule_id, retryable=error.status != 400)


def _told_back(found: re.Match[str], text: SentText) -> str:
    if int(found["line"]) < 1:
        return found[0]
    line, column = text.place(int(found["line"]), int(found["column"]))
    return f"line {line}:{column}: {found['text']}"
