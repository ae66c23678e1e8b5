"""`AnomalySearch`: rules of type machine_learning, by the anomaly records that the jobs of the cluster have written.

A record bears the start of its bucket as its time and is written after the bucket's end and the datafeed's delay. So
the search reaches back before the window by twice the bucket and the delay; the ids of alerts make that safe.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from runner.cluster import answer_shapes
from runner.cluster.elasticsearch import Elastic
from runner.cluster.transport import ApiCall, path_part
from runner.dates.dates import date_text, read_date
from runner.errors import AccessError, ClusterError, Problem, SearchError
from runner.exceptions.item import ExceptionItem
from runner.exceptions.item_query import any_clause, item_clause
from runner.rules.rule import ANOMALIES
from runner.search.cluster.concurrent_units import Unit, UnitOutcome, concurrent_results, outcome_of
from runner.search.cluster.field_caps import FieldCapsCache
from runner.search.cluster.request_body import range_filter
from runner.search.cluster.search_failures import left_out, no_index, subject_of
from runner.search.compiled_rule import AnomalyQuery, CompiledRule
from runner.search.protocol import ExceptedEvents, Hit, Match, SearchRequest, SearchResult
from runner.windows import Window

LARGEST_SIZE = 10_000
_USUAL_SPAN, _USUAL_DELAY = timedelta(minutes=15), timedelta(minutes=2)
"""Those of a job that cannot be read: of Elastic's jobs nearly all have them."""
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class _Jobs:
    """What is known of the jobs of a rule: how far their records lie behind, and what is wrong with them."""

    behind: timedelta = 2 * _USUAL_SPAN + _USUAL_DELAY
    warnings: tuple[str, ...] = field(default=())


class AnomalySearch:
    """Rules searched in the results of the cluster's jobs. Implements `Search`.

    `timeout`: seconds that one rule may take. `concurrency`: most searches at a time.
    """

    def __init__(self, client: Elastic, *, concurrency: int = 4, timeout: float = 120.0) -> None:
        self._client = client
        self._concurrency = max(1, concurrency)
        self._timeout = timeout
        self._types = FieldCapsCache(client)

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        """No problems: the state of the jobs is known when they are searched."""
        self._types.want_excepted(rules)
        return ()

    def run(self, requests: Sequence[SearchRequest]) -> AsyncGenerator[SearchResult, None]:
        """One result per request, as they get done."""
        self._types.want_excepted(request.compiled for request in requests)
        units = (Unit((request,)) for request in requests)
        return concurrent_results(units, self._outcome, concurrency=self._concurrency, answers=self._client.answers)

    async def close(self) -> None:
        """Nothing to close: the caller closes the client."""

    async def _outcome(self, unit: Unit) -> UnitOutcome:
        (request,) = unit.requests
        return await outcome_of(request, self._in_time(request))

    async def _in_time(self, request: SearchRequest) -> SearchResult:
        subject = subject_of(request.rule)
        try:
            async with asyncio.timeout(self._timeout):
                return await self._search(request)
        except TimeoutError:
            return SearchResult(
                request, error=f"{subject}: the search took longer than {self._timeout:g} s and was stopped"
            )
        except SearchError as error:
            return SearchResult(request, error=f"{subject}: {error}")

    async def _search(self, request: SearchRequest) -> SearchResult:
        query = request.compiled.query
        assert isinstance(query, AnomalyQuery)
        jobs = await self._jobs(query.jobs)
        size = min(request.size, LARGEST_SIZE)
        behind = Window(request.window.start - jobs.behind, request.window.end)
        excluded, lost = await self._excluded(request)
        warnings = (*jobs.warnings, *lost)
        clauses = [clause for _, clause in excluded]
        answer = await self._client.search(
            ANOMALIES, _body(query, behind, clauses=clauses, size=size), params=_PARAMS
        )  # fmt: skip
        if trouble := left_out(answer):
            raise SearchError(trouble, rule_id=request.rule.rule_id)
        if not (answer.get("_shards") or {}).get("total", 1):
            none = await no_index(self._client, ANOMALIES)
            return SearchResult(request, warnings=(*warnings, f"{none}: no job has written results"), blind=True)
        hits = answer["hits"]["hits"]
        matches = tuple(Match((_hit(hit),), is_sequence=False) for hit in hits)
        excepted = await self._counted(query, request, excluded)
        return SearchResult(request, matches, len(hits) < size, warnings, excepted=excepted)

    async def _excluded(
        self, request: SearchRequest
    ) -> tuple[list[tuple[ExceptionItem, dict[str, Any]]], tuple[str, ...]]:
        """The exceptions of scope event with the records that each of them hits, and which of them remove nothing."""
        if not request.compiled.exceptions:
            return [], ()
        types = await self._types.types(ANOMALIES)
        resolved = request.compiled.excepted(types.schema)
        said = [
            f"exception `{item.name}` removes nothing: a condition in EQL cannot be applied to anomaly records; write "
            "it as entries"
            for item in resolved.items
            if item.where is not None
        ]
        said += [one.problem().text for one in resolved.refused]
        return [(item, item_clause(item, types.schema)) for item in resolved.items if item.where is None], tuple(said)

    async def _counted(
        self, query: AnomalyQuery, request: SearchRequest, excluded: Sequence[tuple[ExceptionItem, dict[str, Any]]]
    ) -> tuple[ExceptedEvents, ...]:
        """How many records each exception has left out of the times that count."""
        found = []
        spans = (request.window,) if request.counted is None else request.counted
        for item, clause in excluded:
            count = 0
            for span in spans:
                body = _body(query, span, clauses=[], size=0)
                body["query"]["bool"]["filter"].append(clause)
                answer = await self._client.search(ANOMALIES, body | {"track_total_hits": True}, params=_PARAMS)
                total = answer["hits"].get("total")
                if not isinstance(total, Mapping) or not isinstance(total.get("value"), int):
                    raise SearchError("an answer does not say how many records an exception has left out")
                count += total["value"]
            if count:
                found.append(ExceptedEvents(item, count))
        return tuple(found)

    async def _jobs(self, wanted: Sequence[str]) -> _Jobs:
        """The jobs as the cluster has them; where they cannot be read, what is usual, with a warning."""
        names, path = ", ".join(wanted), ",".join(map(path_part, wanted))
        ml = "/_ml/anomaly_detectors"
        try:
            jobs = await self._read(f"{ml}/{path}", "jobs", answer_shapes.JOBS)
            states = await self._read(f"{ml}/{path}/_stats", "jobs", answer_shapes.JOBS)
            feeds = await self._read(f"/_ml/datafeeds/{path}/_stats", "datafeeds", answer_shapes.DATAFEEDS, by="job_id")
        except AccessError as error:
            if "license" in str(error):
                text = f"this cluster has no licence for machine learning ({error}): only results that are there count"
                return _Jobs(warnings=(text,))
            text = f"whether {names} is started may not be read (privilege `monitor_ml`): {error}"
            return _Jobs(warnings=(text,))
        except ClusterError as error:
            if not error.no_such_api and error.status not in (400, 404, 405):
                raise
            text = f"this cluster has no machine learning: only results that are there already count ({error.reason})"
            return _Jobs(warnings=(text,))
        spans = [_job_delay(job) for job in jobs]
        return _Jobs(max(spans, default=_Jobs().behind), tuple(_faults(wanted, jobs, states, feeds)))

    async def _read(self, path: str, key: str, expected: Any, *, by: str = "") -> Sequence[Mapping[str, Any]]:
        if by:  # datafeeds have ids of their own
            path = "/_ml/datafeeds/_stats"
        params = {"allow_no_match": True}
        call = ApiCall("GET", path, "read the jobs of machine learning", params=params, ignore=(404,), expects=expected)
        answer = await self._client.transport.send(call)
        found = answer.get(key) if isinstance(answer, Mapping) else None
        if found is None and isinstance(answer, Mapping) and "no handler" in str(answer.get("error")):
            raise ClusterError("no machine learning", status=404, reason=str(answer["error"]))
        return found or ()


_PARAMS = {"ignore_unavailable": True, "allow_no_indices": True, "allow_partial_search_results": False}


def _body(query: AnomalyQuery, window: Window, *, clauses: Sequence[dict[str, Any]], size: int) -> dict[str, Any]:
    """The search for the records of the jobs from the score on, the earliest first."""
    wanted: list[Any] = [
        range_filter(window, ("timestamp",)),
        {"term": {"result_type": "record"}},
        {"terms": {"job_id": list(query.jobs)}},
        {"range": {"record_score": {"gte": query.score}}},
    ]
    unwanted: list[Any] = [{"term": {"is_interim": True}}]
    unwanted += [any_clause(clauses)] if clauses else []
    return {
        "query": {"bool": {"filter": wanted, "must_not": unwanted}},
        "sort": [{"timestamp": {"order": "asc", "unmapped_type": "date"}}],
        "size": size,
    }


def _hit(hit: Mapping[str, Any]) -> Hit:
    """A record as an event: `@timestamp`, and the fields of its influencers and its by-field in their places."""
    source = dict(hit.get("_source") or {})
    try:
        source["@timestamp"] = date_text(read_date(source["timestamp"]))
    except (KeyError, ValueError, TypeError, OverflowError):
        source["@timestamp"] = source.get("timestamp")
    for name, values in _influences(source):
        _put(source, name, list(values))
    return Hit(hit["_index"], hit["_id"], source)


def _influences(record: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    for one in record.get("influencers") or ():
        if isinstance(one, Mapping) and isinstance(one.get("influencer_field_name"), str):
            yield one["influencer_field_name"], one.get("influencer_field_values") or ()
    name, value = record.get("by_field_name"), record.get("by_field_value")
    if isinstance(name, str) and value is not None:
        yield name, [value]


def _put(source: dict[str, Any], name: str, values: list[Any]) -> None:
    *parents, last = name.split(".")
    place = source
    for parent in parents:
        inner = place.get(parent)
        place[parent] = inner = dict(inner) if isinstance(inner, Mapping) else {}
        place = inner
    place[last] = values


def _job_delay(job: Mapping[str, Any]) -> timedelta:
    """How far before a window the search has to reach for the records of a job."""
    span = _length((job.get("analysis_config") or {}).get("bucket_span"), _USUAL_SPAN)
    feed = job.get("datafeed_config")
    delay = _length((feed or {}).get("query_delay"), _USUAL_DELAY)
    return 2 * span + delay


def _length(text: Any, usual: timedelta) -> timedelta:
    found = _DURATION.fullmatch(str(text))
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]]) if found else usual


def _faults(
    wanted: Sequence[str],
    jobs: Sequence[Mapping[str, Any]],
    states: Sequence[Mapping[str, Any]],
    feeds: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """What keeps jobs from writing records."""
    there = {str(job.get("job_id")) for job in jobs}
    opened = {str(one.get("job_id")): str(one.get("state")) for one in states}
    for name in wanted:
        groups = {name for job in jobs if name in (job.get("groups") or ())}
        own = [job for job in there if job == name] or [str(one.get("job_id")) for one in jobs if groups]
        if not own:
            yield f"the job {name} is not there: the rule finds nothing until it is set up and started"
        for job in own:
            if (state := opened.get(job, "unknown")) != "opened":
                yield f"the job {job} is not started (its state is {state}): it finds no new anomalies"
                continue
            feed = next((one for one in feeds if (one.get("timing_stats") or {}).get("job_id") == job), None)
            if feed is not None and feed.get("state") != "started":
                yield f"the datafeed of the job {job} is not started ({feed.get('state')}): it finds no new anomalies"
