"""`NewTermsSearch`: new-terms rules searched in a cluster, by aggregations as Kibana sends them.

Which terms the window has, with the first time of each; when those were last seen in the history before it; and the
first documents of the new ones. The terms are chosen here, over whole pages: where a document has lists of values it
brings other combinations than those asked for, and none that is wanted may be cut off with them. The cluster holds the
history, so no table is kept.
Composite: https://www.elastic.co/docs/reference/aggregations/search-aggregations-bucket-composite-aggregation
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Literal

from runner.cluster.answer_shapes import COMPOSITE, FIRST_HITS, hits
from runner.cluster.elasticsearch import Elastic
from runner.errors import ClusterError, Problem, RunnerError, SearchError, UnreachableError
from runner.messages.query_errors import QueryError
from runner.rules.new_terms import new_terms_of
from runner.search.cluster.concurrent_units import Unit, UnitOutcome, concurrent_results
from runner.search.cluster.excepted_counts import ExceptedCounter
from runner.search.cluster.field_caps import FieldCaps, FieldCapsCache
from runner.search.cluster.pages import read_answer
from runner.search.cluster.point_in_time import PassOptions, Point
from runner.search.cluster.request_body import asked_fields, range_filter, rule_filter
from runner.search.cluster.search_failures import no_index, query_error, subject_of
from runner.search.cluster.stage_query import condition_query
from runner.search.cluster.text_query import text_query
from runner.search.compiled_rule import CompiledRule, time_fields
from runner.search.protocol import Hit, Match, SearchRequest, SearchResult, Unreachable
from runner.search.term_windows import KnownHistory, TermWindows, first_match
from runner.windows import Window, from_nanoseconds

Term = tuple[Any, ...]
_PAGE: Final = 10_000
"""Terms of one answer, as in Kibana."""
_VALUES: Final = 5_000
"""Values of a single field that one search asks for."""
_COMBINATIONS: Final = 200
"""Terms of several fields that one search asks for: each is a clause of its query."""
_DOCUMENTS: Final = 20
"""New terms whose documents one search fetches."""
_OTHERS: Final = 10
"""Most events of a new term that are looked at, to find which of them was alerted."""
_MILLI: Final = 1_000_000
_MILLISECOND: Final = timedelta(milliseconds=1)
_OLDEST = hits(source=False, sort=True, versions=False)


class NewTermsSearch:
    """New-terms rules searched by aggregations. Implements `Search`.

    `timeout`: seconds that the searches of one window may take; a longer one stays owed. `learn`: see `KnownHistory`.
    """

    def __init__(
        self,
        client: Elastic,
        *,
        concurrency: int = 4,
        timeout: float = 120.0,
        runtime_mappings: Mapping[str, Any] | None = None,
        shown_excepted: int = 0,
        learn: timedelta = timedelta(0),
        page: int = _PAGE,
    ) -> None:
        self._client = client
        self._concurrency = max(1, concurrency)
        self._options = PassOptions(page, timeout, dict(runtime_mappings or {}))
        self._types = FieldCapsCache(client, runtime_mappings=runtime_mappings)
        self._counter = ExceptedCounter(client, self._types, runtime_mappings=runtime_mappings, shown=shown_excepted)
        self._learn = learn

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        """No problems: what a cluster finds in a query is known when it is searched."""
        for rule in rules:
            if rule.rule.type == "new_terms":
                self._types.want(rule)
        return ()

    def run(self, requests: Sequence[SearchRequest]) -> AsyncGenerator[SearchResult, None]:
        """One result per request, as they get done."""
        for request in requests:
            self._types.want(request.compiled)
        units = [Unit((request,)) for request in requests]
        return concurrent_results(units, self._outcome, concurrency=self._concurrency, answers=self._client.answers)

    async def close(self) -> None:
        """Nothing to close: the caller closes the client."""

    async def _outcome(self, unit: Unit) -> UnitOutcome:
        (request,) = unit.requests
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            result = await self._counter.counted(await self._answer(request))
        except UnreachableError as error:
            return UnitOutcome((Unreachable(request, error=str(error)),), away=str(error))
        except RunnerError as error:
            subject, text = subject_of(request.rule), str(error)
            retryable = error.retryable if isinstance(error, SearchError) else True
            if isinstance(error, ClusterError):
                retryable = error.status != 400
            text = text if text.startswith(subject) else f"{subject}: {text}"
            result = SearchResult(request, error=text, retryable=retryable)
        return UnitOutcome((replace(result, took_ms=(loop.time() - started) * 1_000),))

    async def _answer(self, request: SearchRequest) -> SearchResult:
        rule = request.rule
        types = await self._types.types(rule.index)
        if not types.indices:
            return SearchResult(request, warnings=(await no_index(self._client, rule.index),), blind=True)
        try:
            windows = TermWindows(new_terms_of(rule), rule, request.window)
        except ValueError as error:
            raise SearchError(str(error), retryable=False) from None
        point = Point(
            self._client, rule.index, options=self._options, opaque_id=f"rule-runner:{rule.rule_id}",
            remotes=types.remotes,
        )  # fmt: skip
        try:
            await point.open()
            query = _query(request.compiled, types, now_ns=request.window.end_ns)
            return await _TermAsker(point, request, windows, query, self._options).result(self._learn)
        except ClusterError as error:
            if error.status == 400:
                _check_text(request.compiled, types)
            raise
        finally:
            await asyncio.shield(point.close())


@dataclass(frozen=True, slots=True)
class _Seen:
    """A term and its first time in a window, in nanoseconds since 1970."""

    term: Term
    time: int


class _TermAsker:
    """The searches for one window in a point in time."""

    def __init__(
        self, point: Point, request: SearchRequest, windows: TermWindows, query: Sequence[Any], options: PassOptions
    ) -> None:
        self._point, self._request, self._windows = point, request, windows
        self._query, self._page = query, options.page_size
        self._condition = new_terms_of(request.rule)
        self._fields = self._condition.fields
        self._times = time_fields(request.rule)

    async def result(self, learn: timedelta) -> SearchResult:
        """What is new in the window, at most as much as the request wants, earliest first."""
        found: list[_Seen] = []
        for part in self._parts():
            found += [one async for one in self._new_in(part)]
        if not found:
            return SearchResult(self._request)
        known = KnownHistory(self._windows, await self._oldest(), learn)
        # Kibana has no order among terms of one time; ours is that of their values.
        alerted = sorted((one for one in found if known.is_known(one.time)), key=lambda one: (one.time, str(one.term)))
        taken = alerted[: max(1, self._request.size)]
        matches = [match for start in range(0, len(taken), _DOCUMENTS) async for match in self._matches(taken, start)]
        return SearchResult(
            self._request, tuple(matches), len(taken) == len(alerted), known.warnings(), notes=known.notes()
        )

    def _parts(self) -> Iterator[Window]:
        """The window in parts in which no term can be new twice: shorter than any history."""
        window, longest = self._request.window, self._condition.least_gap(self._request.rule)
        start = window.start
        while longest and window.end - start > longest:
            yield Window(start, start + longest)
            start += longest
        yield Window(start, window.end)

    async def _new_in(self, part: Window) -> AsyncIterator[_Seen]:
        """The new terms whose first time in a part of the window makes them so."""
        pages = self._terms(range_filter(part, self._times), "min")
        async for page in pages:
            fit = [_Seen(term, time) for term, time in page if self._windows.is_new(time, None)]
            size = _VALUES if len(self._fields) == 1 else _COMBINATIONS
            for first in range(0, len(fit), size):
                batch = fit[first : first + size]
                starts = [history.start for one in batch if (history := self._windows.history_of(one.time))]
                before = await self._last_seen(batch, Window(from_nanoseconds(min(starts)), part.start - _MILLISECOND))
                for one in batch:
                    if self._windows.is_new(one.time, before.get(one.term)):
                        yield one

    async def _last_seen(self, batch: Sequence[_Seen], history: Window) -> dict[Term, int]:
        """When terms of the batch were last seen in the history."""
        wanted = {one.term for one in batch}
        found: dict[Term, int] = {}
        async for page in self._terms(range_filter(history, self._times), "max", self._one_of(wanted)):
            found.update((term, time) for term, time in page if term in wanted)
        return found

    def _one_of(self, terms: Collection[Term]) -> dict[str, Any]:
        """The documents that have one of the terms."""
        if len(self._fields) == 1:
            return {"terms": {self._fields[0]: [term[0] for term in terms]}}
        clauses = [{"bool": {"filter": self._has(term)}} for term in terms]
        return {"bool": {"should": clauses, "minimum_should_match": 1}}

    def _has(self, term: Term) -> list[dict[str, Any]]:
        return [{"term": {name: {"value": value}}} for name, value in zip(self._fields, term, strict=True)]

    async def _terms(
        self, within: Mapping[str, Any], kind: Literal["min", "max"], *more: Mapping[str, Any]
    ) -> AsyncIterator[list[tuple[Term, int]]]:
        """Pages of all terms of the documents that the filters let through, with the first or last time of each."""
        sources = [{str(place): {"terms": {"field": name}}} for place, name in enumerate(self._fields)]
        composite: dict[str, Any] = {"size": self._page, "sources": sources}
        primary, *secondary = self._times
        moments: dict[str, Any] = {"primary": {kind: {"field": primary}}}
        if secondary:
            absent = {"bool": {"must_not": {"exists": {"field": primary}}}}
            moments["fallback"] = {"filter": absent, "aggs": {"time": {kind: {"field": secondary[0]}}}}
        query = {"bool": {"filter": [within, *self._query, *more]}}
        choose = min if kind == "min" else max
        while True:
            body = {"size": 0, "query": query, "aggs": {"terms": {"composite": composite, "aggs": moments}}}
            answer = await asyncio.to_thread(read_answer, await self._point.search(body), COMPOSITE)
            self._point.check(answer)
            found = answer["aggregations"]["terms"]
            page: list[tuple[Term, int]] = []
            for bucket in found["buckets"]:
                term = tuple(bucket["key"].get(str(place)) for place in range(len(self._fields)))
                given = (bucket.get("primary"), (bucket.get("fallback") or {}).get("time"))
                known = [one["value"] for one in given if one and one.get("value") is not None]
                if not known:
                    raise SearchError(f"the answer says no time of the term {list(term)}")
                page.append((term, int(choose(known) * _MILLI)))
            yield page
            if not found.get("after_key"):
                return
            composite["after"] = found["after_key"]

    async def _matches(self, taken: Sequence[_Seen], start: int) -> AsyncIterator[Match]:
        """The matches of some of the new terms, with their documents."""
        part = taken[start : start + _DOCUMENTS]
        spans = [self._judged(one.time) for one in part]
        wanted = [
            [range_filter(span, self._times), *self._has(one.term)] for one, span in zip(part, spans, strict=True)
        ]
        named = {str(number): {"bool": {"filter": clauses}} for number, clauses in enumerate(wanted)}
        date = {"order": "asc", "unmapped_type": "date", "numeric_type": "date"}
        first = {
            "size": _OTHERS,
            "sort": [{name: date} for name in self._times],
            "fields": asked_fields(self._request.rule),
        }
        aggregation = {"filters": {"filters": named}, "aggs": {"first": {"top_hits": first}}}
        within = range_filter(Window(min(one.start for one in spans), max(one.end for one in spans)), self._times)
        query = {"bool": {"filter": [within, *self._query]}}
        body = {"size": 0, "query": query, "aggs": {"terms": aggregation}}
        answer = await asyncio.to_thread(read_answer, await self._point.search(body), FIRST_HITS)
        self._point.check(answer)
        buckets = answer["aggregations"]["terms"]["buckets"]
        for number, one in enumerate(part):
            found = buckets[str(number)]["first"]["hits"]["hits"]
            if not found:
                raise SearchError(f"no document of the new term {list(one.term)} could be read")
            timed = sorted(((_time_of(hit), _hit_of(hit)) for hit in found), key=lambda pair: pair[0])
            yield first_match([hit for _, hit in timed], [time for time, _ in timed], one.term)

    def _judged(self, time: int) -> Window:
        """From the first event of a new term, as long as an alert of another one is the alert of the term."""
        return Window(from_nanoseconds(time), from_nanoseconds(time + max(0, self._windows.reach - _MILLI)))

    async def _oldest(self) -> int | None:
        """The oldest time of any event in the indices, in nanoseconds since 1970."""
        found: list[int] = []
        everything = Window(from_nanoseconds(0), self._request.window.end)
        for name in self._times:
            others = [{"exists": {"field": one}} for one in self._times[: self._times.index(name)]]
            body = {
                "size": 1,
                "_source": False,
                "query": {"bool": {"filter": [range_filter(everything, (name,))], "must_not": others}},
                "sort": [{name: {"order": "asc", "unmapped_type": "date", "numeric_type": "date"}}],
            }
            answer = await asyncio.to_thread(read_answer, await self._point.search(body), _OLDEST)
            self._point.check(answer)
            found += [int(hit["sort"][0]) * _MILLI for hit in answer["hits"]["hits"]]
        return min(found, default=None)


def _query(compiled: CompiledRule, types: FieldCaps, *, now_ns: int) -> list[Any]:
    """The rule's query and filters, without what is excepted. Raises SearchError for an exception that is no query."""
    excepted = compiled.excepted(types.schema)
    unwanted: list[Any] = [] if excepted.query is None else [excepted.query]
    for where in excepted.wheres:
        translated = condition_query(where, now_ns=now_ns, unsearchable=types.unsearchable)
        if not translated.exact:
            names = ", ".join(item.id for item in excepted.items if item.where is not None)
            text = f"of the exceptions in EQL ({names}) one cannot be asked of the cluster: write it as entries"
            raise SearchError(text, retryable=False)
        if not translated.is_nothing:
            unwanted.append(translated.query)
    asked = text_query(compiled, types.schema, now_ns=now_ns)
    return [rule_filter(compiled.rule), {"bool": {"filter": [asked], "must_not": unwanted}}]


def _check_text(compiled: CompiledRule, types: FieldCaps) -> None:
    """Raise SearchError, with the place, where a text that the cluster refuses does not fit the types of the fields."""
    try:
        compiled.bare_program(types.schema)
    except QueryError as fault:
        raise query_error(str(fault), compiled.rule) from None


def _time_of(hit: Mapping[str, Any]) -> int:
    """The time of a hit by the first of its sort values that is one: a missing one is the largest number."""
    return next((int(value) for value in hit["sort"] if value is not None and abs(int(value)) < 2**62), 0)


def _hit_of(hit: Mapping[str, Any]) -> Hit:
    return Hit(hit["_index"], hit["_id"], hit.get("_source") or {}, hit.get("fields") or {})
