"""One walk over the candidates of some rules in a point in time of the cluster, and the documents of what it found."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from runner import eql
from runner.elastic import Elastic
from runner.eql.sequence import FoundSequence
from runner.errors import RunnerError, SearchError
from runner.events.batch import Columns, EventBatch
from runner.events.schema import DataType, Field
from runner.search.candidates import Translation, any_of
from runner.search.findings import failed_shards, subject_of
from runner.search.request_body import asked_fields, range_filter, rule_filter, timestamps_of
from runner.search.search import Hit, Match, SearchRequest, SearchResult

_LOG = logging.getLogger("runner.search.candidate_pass")
_KEEP_ALIVE = "2m"
"""How long the server keeps a point in time after each use: longer than one page may take."""
_DATE_FORMAT = "strict_date_optional_time_nanos"
_DATES = (DataType.DATE, DataType.DATE_NANOS)
_PART = 500
"""Documents that are fetched with one request."""
_LAST_GRACE = 2.0
"""Seconds that a cancelled pass awaits the answer to the opening of its point in time, so as to close it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, ready to be answered: its compiled query and the filter of its candidates."""

    request: SearchRequest
    program: eql.Program
    candidates: Translation


@dataclass(frozen=True, slots=True)
class PassLimits:
    """How a pass is done: documents per page, and seconds that all of it may take."""

    page_size: int = 5_000
    timeout: float = 120.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a document is."""

    index: str
    id: str


class CandidatePass:
    """Answers requests over the same indices, window, timestamp fields and rule filters with one walk.

    What is kept of a candidate that may be part of a match is where it is and what the engine keeps, so memory is
    bounded by those, not by documents. Documents are fetched from the same point in time: what was deleted meanwhile is
    still there.
    """

    def __init__(self, client: Elastic, asked: Sequence[Asked], limits: PassLimits) -> None:
        # Rules of single events first: how many matches they have is looked up along the way.
        self._asked = sorted(asked, key=lambda one: one.program.plan.kind != "event")
        self._singles = sum(one.program.plan.kind == "event" for one in asked)
        self._client = client
        self._limits = limits
        self._rule = asked[0].request.rule
        more = f"+{len(asked) - 1}" if len(asked) > 1 else ""
        self._opaque_id = f"rule-runner:{self._rule.rule_id}{more}"
        end = asked[0].request.window.end_ns
        self._matcher = eql.Matcher([eql.Ask(one.program.plan, now_ns=end) for one in self._asked])
        wanted = self._matcher.fields()
        self._columns = Columns(wanted)
        # In the columns, as these know some fields better than the plans do.
        self._fields = {field.name: self._columns.fields[field.name] for field in wanted}
        self._seen = 0
        self._kept: dict[int, Origin] = {}
        self._satisfied: set[int] = set()
        self._point: str | None = None
        self._deadline = 0.0

    async def results(self) -> list[SearchResult]:
        """One result per request. Raises RunnerError if any part of the answer is not there: then nothing is known."""
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + self._limits.timeout
        if all(one.candidates.is_nothing for one in self._asked):
            return [SearchResult(one.request) for one in self._asked]
        try:
            await self._open()
            await self._read_pages()
            found = await asyncio.to_thread(lambda: list(self._matcher.found()))
            wanted = [self._wanted(number, answer) for number, answer in enumerate(found)]
            documents = await self._documents(sorted({event for matches in wanted for event in _events(matches)}))
        finally:
            await asyncio.shield(self._close())
        return [
            self._result(number, found[number], matches, documents=documents) for number, matches in enumerate(wanted)
        ]

    # The point in time.

    async def _open(self) -> None:
        """Open the point in time. If cancelled meanwhile, awaits the answer for a moment, to learn what to close."""
        opening = self._client.open_point(self._rule.index, keep_alive=_KEEP_ALIVE, deadline=self._deadline)
        task = asyncio.create_task(opening)
        try:
            self._point = await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait((task,), timeout=_LAST_GRACE)
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
                self._point = task.result()
            raise

    async def _close(self) -> None:
        if self._point is None:
            return
        try:
            await self._client.close_point(self._point)
        except RunnerError as error:
            # The server drops it by itself when its time has passed.
            _LOG.warning("a point in time could not be closed: %s", error)

    async def _search(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The hits of one request in the point in time. Raises RunnerError if it is late or a shard did not answer."""
        if asyncio.get_running_loop().time() >= self._deadline:
            raise PassTimeoutError(f"the search took longer than {self._limits.timeout:g} s and was stopped")
        given = {"pit": {"id": self._point, "keep_alive": _KEEP_ALIVE}, "track_total_hits": False, **body}
        try:
            answer = await self._client.search_point(given, deadline=self._deadline, opaque_id=self._opaque_id)
        except RunnerError:
            if asyncio.get_running_loop().time() >= self._deadline:
                raise PassTimeoutError(
                    f"the search took longer than {self._limits.timeout:g} s and was stopped"
                ) from None
            raise
        shards = answer.get("_shards") or {}
        if failures := shards.get("failures"):
            raise SearchError(failed_shards(failures))
        if shards.get("failed"):
            raise SearchError(f"failed shards: {shards['failed']}")
        if answer.get("timed_out"):
            raise SearchError("the search timed out on the server")
        self._point = answer.get("pit_id") or self._point
        return list((answer.get("hits") or {}).get("hits") or ())

    # Pages.

    async def _read_pages(self) -> None:
        """Give every candidate to the matcher, page by page."""
        body: dict[str, Any] = {"size": self._limits.page_size, "_source": False, "sort": self._sort()}
        body["fields"] = [_asked_field(field) for _, field in sorted(self._fields.items())]
        while True:
            body["query"] = self._query()
            hits = await self._search(body)
            await asyncio.to_thread(self._feed, hits)
            if len(hits) < self._limits.page_size or self._is_satisfied():
                return
            body["search_after"] = hits[-1]["sort"]

    def _sort(self) -> list[Any]:
        if not self._is_in_time_order:
            return ["_shard_doc"]
        name = self._rule.timestamp_field or "@timestamp"
        # In milliseconds, also if some of the indices have nanoseconds. The matcher orders by the exact time.
        return [{name: {"order": "asc", "unmapped_type": "date", "numeric_type": "date"}}, "_shard_doc"]

    @property
    def _is_in_time_order(self) -> bool:
        """Whether the pages come in the order of time: if every event has one, as the window asks for the same field.

        Events of the same time come in the order of shard and index position in both orders, as in the EQL search API.
        """
        timestamp = self._fields[self._asked[0].program.plan.timestamp.name]
        return timestamps_of(self._rule) == (timestamp.name, None) and timestamp.type in _DATES

    def _query(self) -> dict[str, Any]:
        """The window, the rules' own filter, and the candidates of the rules that still want some."""
        primary, secondary = timestamps_of(self._rule)
        candidates = any_of(one.candidates for number, one in enumerate(self._asked) if number not in self._satisfied)
        clauses = [range_filter(self._asked[0].request.window, primary, secondary=secondary), candidates.query]
        if self._rule.filters:
            clauses.append(rule_filter(self._rule))
        return {"bool": {"filter": clauses}}

    def _feed(self, hits: Sequence[Mapping[str, Any]]) -> None:
        lines = [orjson.dumps(self._document(hit.get("fields") or {})) for hit in hits]
        batch = EventBatch.of_lines(self._columns, lines, base=self._seen, broken=_refuse)
        for row in self._matcher.feed(batch).tolist():
            self._kept[self._seen + row] = Origin(sys.intern(hits[row]["_index"]), hits[row]["_id"])
        self._seen += len(hits)
        self._columns.trim(len(hits))

    def _document(self, found: Mapping[str, list[Any]]) -> dict[str, Any]:
        """The values of a hit as a document that has each where the engine looks for it."""
        document: dict[str, Any] = {}
        for name, values in found.items():
            if (field := self._fields.get(name)) is None:
                continue
            parent, _, key = field.source_path.rpartition(".")
            level = document.setdefault(parent, {}) if parent else document
            level[key] = values[0] if len(values) == 1 else values
        return document

    def _is_satisfied(self) -> bool:
        """Whether no rule wants more candidates: each asks for single events and has as many as were asked for.

        The pages come in time order then, so what it has is the earliest.
        """
        if not self._is_in_time_order or not self._singles:
            return False
        for number, found in enumerate(islice(self._matcher.found(), self._singles)):
            asked = self._asked[number]
            if not asked.program.plan.limits and len(found.matches) >= asked.request.size:
                self._satisfied.add(number)
        return len(self._satisfied) == len(self._asked)

    # What was found.

    def _wanted(self, number: int, found: eql.Found) -> tuple[FoundSequence, ...]:
        return found.matches[: max(1, self._asked[number].request.size)]

    async def _documents(self, numbers: Sequence[int]) -> dict[int, Mapping[str, Any]]:
        """The hits of these events, with all that an alert is made of."""
        documents: dict[int, Mapping[str, Any]] = {}
        for start in range(0, len(numbers), _PART):
            part = {self._kept[number]: number for number in numbers[start : start + _PART]}
            ids: dict[str, list[str]] = {}
            for origin in part:
                ids.setdefault(origin.index, []).append(origin.id)
            named = [
                {"bool": {"filter": [{"term": {"_index": index}}, {"ids": {"values": values}}]}}
                for index, values in ids.items()
            ]
            body = {
                "size": len(part),
                "query": {"bool": {"should": named, "minimum_should_match": 1}},
                "fields": asked_fields(self._rule),
                "sort": ["_shard_doc"],
            }
            for hit in await self._search(body):
                number = part.get(Origin(hit["_index"], hit["_id"]))
                if number is not None:
                    documents[number] = hit
        if gone := [self._kept[number] for number in numbers if number not in documents]:
            # An answer without them would drop their alerts for good; the window stays owed instead.
            raise SearchError(
                f"{len(gone):,} of the {len(numbers):,} documents of matches could not be read, "
                f"the first is {gone[0].id} of {gone[0].index}"
            )
        return documents

    def _result(
        self,
        number: int,
        found: eql.Found,
        matches: Sequence[FoundSequence],
        *,
        documents: Mapping[int, Mapping[str, Any]],
    ) -> SearchResult:
        asked = self._asked[number]
        if found.error is not None:
            return SearchResult(asked.request, error=f"{subject_of(asked.request.rule)}: {found.error}")
        is_sequence = asked.program.plan.kind != "event"
        made = tuple(
            Match(tuple(_hit(event, documents) for event in match.events), is_sequence, match.key) for match in matches
        )
        exhausted = number not in self._satisfied and len(matches) == len(found.matches)
        return SearchResult(asked.request, made, exhausted)


def _refuse(position: int, reason: str) -> None:
    raise SearchError(f"the values of a document could not be read: {reason}")


class PassTimeoutError(SearchError):
    """A pass took longer than it may."""


def _asked_field(field: Field) -> Any:
    return {"field": field.name, "format": _DATE_FORMAT} if field.type in _DATES else field.name


def _events(matches: Iterable[FoundSequence]) -> Iterable[int]:
    return (event for match in matches for event in match.events if event is not None)


def _hit(number: int | None, documents: Mapping[int, Mapping[str, Any]]) -> Hit:
    if number is None:
        return Hit("", "", {}, missing=True)
    found = documents[number]
    return Hit(found["_index"], found["_id"], found.get("_source") or {}, found.get("fields") or {})
