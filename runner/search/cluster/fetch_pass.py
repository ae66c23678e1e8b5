"""`FetchPass`: one reading of the candidates of some rules in a point in time, and the documents of the matches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from runner import eql
from runner.cluster.answer_shapes import STAGES, hits
from runner.cluster.elasticsearch import Elastic
from runner.dates.dates import MILLI
from runner.engine.matcher import Watermark
from runner.engine.sequence.sequence_matcher import FoundSequence
from runner.errors import SearchError
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import DATES, DataType, Field
from runner.search.cluster.pages import Page, read_answer, read_page
from runner.search.cluster.point_in_time import PassOptions, Point
from runner.search.cluster.request_body import asked_fields, documents_query, has_filters, range_filter, rule_filter
from runner.search.cluster.search_failures import subject_of
from runner.search.cluster.stage_query import Filters, any_of
from runner.search.compiled_rule import RuleProgram, time_fields
from runner.search.protocol import Hit, Match, SearchRequest, SearchResult

_DATE_FORMAT = "strict_date_optional_time_nanos"
_DOCUMENTS = hits(source=False, sort=False, versions=False)
_PART = 500
"""Documents fetched with one request."""
_ROOM = 100_000
"""Document keys kept before those that no open match needs are dropped."""
_LAST_MILLISECOND = (2**63 - 1) // MILLI


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request with its program and the filters of its candidates."""

    request: SearchRequest
    program: RuleProgram
    filters: Filters


@dataclass(frozen=True, slots=True)
class DocumentKey:
    """What identifies a document in the cluster."""

    index: str
    id: str


class FetchPass:
    """One pass for requests over the same indices, window, timestamp fields and rule filters.

    Of a candidate that may be part of a match, its key and the engine's rows are kept: memory is bounded by those, not
    by documents. Documents are fetched from the same point in time, which still holds what was deleted meanwhile.
    """

    def __init__(
        self, client: Elastic, asked: Sequence[PlannedRequest], options: PassOptions, *, remotes: Collection[str] = ()
    ) -> None:
        """`remotes` are the remote clusters that have some of the indices: none of them may be left out."""
        self._options = options
        self._rule = asked[0].request.rule
        opaque_id = f"rule-runner:{self._rule.rule_id}" + (f"+{len(asked) - 1}" if len(asked) > 1 else "")
        self._point = Point(client, self._rule.index, options=options, opaque_id=opaque_id, remotes=remotes)
        self._begin(asked)

    def _begin(self, asked: Sequence[PlannedRequest]) -> None:
        """Prepare the matcher for the candidates of these requests."""
        # Rules of single events first: their matches are counted along the way.
        self._asked = sorted(asked, key=lambda one: one.program.plan.kind != "event")
        self._matcher = eql.Matcher(
            [self._ask(one) for one in self._asked],
            field=self._asked[0].program.plan.timestamp.name,
        )
        wanted = self._matcher.fields() | self._more_fields()
        self._columns = Columns(wanted)
        # The columns' fields, as they have some types more precisely than the plans.
        self._fields = {field.name: self._columns.fields[field.name] for field in wanted}
        self._seen = 0
        self._kept: dict[int, DocumentKey] = {}
        self._room = _ROOM
        self._satisfied: set[int] = set()
        self._late: frozenset[int] = frozenset()

    def _ask(self, one: PlannedRequest) -> eql.Ask:
        return eql.Ask(one.program.plan, now_ns=one.request.window.end_ns)

    def _more_fields(self) -> frozenset[Field]:
        """Fields that are read beside those of the plans."""
        return frozenset()

    async def results(self) -> list[SearchResult]:
        """One result per request. Raises RunnerError if any part of an answer is missing: then nothing is known."""
        if all(one.filters.whole.is_nothing for one in self._asked):
            return [SearchResult(one.request) for one in self._asked]
        try:
            await self._point.open()
            able = await self._able()
            empty = [SearchResult(one.request) for one in self._asked if not any(one is other for other in able)]
            if not able:
                return empty
            if empty:
                self._begin(able)
            await self._read_pages()
            found = await asyncio.to_thread(lambda: list(self._matcher.found()))
            self._late = self._matcher.late()
            wanted = [one.matches[: max(1, asked.request.size)] for one, asked in zip(found, self._asked, strict=True)]
            documents = await self._documents(sorted({event for matches in wanted for event in _events(matches)}))
        finally:
            await asyncio.shield(self._point.close())
        return [
            *empty,
            *(self._result(number, found[number], one, documents=documents) for number, one in enumerate(wanted)),
        ]

    async def _able(self) -> list[PlannedRequest]:
        """The requests that can have a match: those whose every needed stage has some candidate.

        Most sequences have a rare stage and a common one, whose events then need not be read.
        """
        texts = [[json.dumps(stage.query) for stage in one.filters.needed] for one in self._asked]
        filters = {text: json.loads(text) for needed in texts for text in needed}
        if not filters:
            return self._asked
        names = {text: str(number) for number, text in enumerate(filters)}
        counted = {"filters": {"filters": {names[text]: query for text, query in filters.items()}}}
        body = {"size": 0, "query": self._query(), "aggs": {"stages": counted}}
        answer = await asyncio.to_thread(read_answer, await self._point.search(body), STAGES)
        self._point.check(answer)
        buckets = answer["aggregations"]["stages"]["buckets"]
        if buckets.keys() != set(names.values()):
            raise SearchError("the answer does not say how many candidates each stage has")
        found = {text for text, name in names.items() if buckets[name]["doc_count"]}
        return [one for one, needed in zip(self._asked, texts, strict=True) if found.issuperset(needed)]

    # Pages.

    async def _read_pages(self) -> None:
        """Feed every candidate to the matcher, page by page."""
        body: dict[str, Any] = {"size": self._options.page_size, "_source": False, "sort": self._sort()}
        # `fields` shows no empty objects of nested fields, and a condition on an absent value may be about those.
        nested = [name for name, field in sorted(self._fields.items()) if field.type is DataType.NESTED]
        body["_source"] = nested or False
        body["fields"] = [_asked_field(field) for name, field in sorted(self._fields.items()) if name not in nested]
        while True:
            body["query"] = self._query()
            page = await asyncio.to_thread(read_page, await self._point.search(body), self._fields)
            self._point.check(page.about)
            await asyncio.to_thread(self._feed, page)
            if len(page) < self._options.page_size or self._is_satisfied():
                return
            body["search_after"] = page.last

    def _sort(self) -> list[Any]:
        if not self._is_in_time_order:
            return ["_shard_doc"]
        name = self._rule.timestamp_field or "@timestamp"
        # In milliseconds, also if some of the indices have nanoseconds. The matcher orders by the exact time.
        return [{name: {"order": "asc", "unmapped_type": "date", "numeric_type": "date"}}, "_shard_doc"]

    @property
    def _is_in_time_order(self) -> bool:
        """Whether the pages come in the order of time, events without one last.

        Events of the same time come in the order of shard and index position in both orders, as in the EQL search API.
        """
        return self._fields[self._asked[0].program.plan.timestamp.name].type in DATES

    def _query(self) -> dict[str, Any]:
        """The window, the rules' own filter, and the candidates of the rules that still need some."""
        open_ones = (one for number, one in enumerate(self._asked) if number not in self._satisfied)
        candidates = any_of(one.filters.whole for one in open_ones)
        clauses = [range_filter(self._asked[0].request.window, time_fields(self._rule)), candidates.query]
        if has_filters(self._rule):
            clauses.append(rule_filter(self._rule))
        return {"bool": {"filter": clauses}}

    def _feed(self, page: Page) -> None:
        batch = EventBatch.of_lines(self._columns, page.lines, base=self._seen, broken=_refuse)
        for row in self._matcher.feed(batch).tolist():
            self._kept[self._seen + row] = DocumentKey(page.indices[row], page.ids[row])
        self._seen += len(page)
        if self._is_in_time_order and page.last:
            self._settle(page.last[0])

    def _settle(self, last: int) -> None:
        """Advance the watermark: all events before `last`, in milliseconds, have come. Keys that no match needs go.

        Events without a time come last, at the largest number.
        """
        self._matcher.advance((Watermark(min(last, _LAST_MILLISECOND) * MILLI),))
        if len(self._kept) > self._room:
            self._kept = {number: self._kept[number] for number in self._matcher.needed()}
            self._room = max(_ROOM, 2 * len(self._kept))

    def _is_satisfied(self) -> bool:
        """Whether no rule needs more candidates: each has single events only, and as many as its request's size.

        The pages come in time order then, so these are the earliest.
        """
        singles = sum(one.program.plan.kind == "event" for one in self._asked)
        if not self._is_in_time_order or not singles:
            return False
        for number, found in enumerate(islice(self._matcher.found(), singles)):
            asked = self._asked[number]
            if not asked.program.plan.limits and len(found.matches) >= asked.request.size:
                self._satisfied.add(number)
        return len(self._satisfied) == len(self._asked)

    # What was found.

    async def _documents(self, numbers: Sequence[int]) -> dict[int, Mapping[str, Any]]:
        """The hits of these events, with everything that an alert is made of."""
        documents: dict[int, Mapping[str, Any]] = {}
        for start in range(0, len(numbers), _PART):
            part = {self._kept[number]: number for number in numbers[start : start + _PART]}
            body = {
                "size": len(part),
                "query": documents_query((origin.index, origin.id) for origin in part),
                "fields": asked_fields(self._rule),
                "sort": ["_shard_doc"],
            }
            answer = await asyncio.to_thread(read_answer, await self._point.search(body), _DOCUMENTS)
            self._point.check(answer)
            for hit in answer["hits"]["hits"]:
                number = part.get(DocumentKey(hit["_index"], hit["_id"]))
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
        if number in self._late:
            # Matches of sequences that the watermark passed too early would be missing.
            error = f"{subject_of(asked.request.rule)}: the pages of the search did not come in the order of time"
            return SearchResult(asked.request, error=error)
        is_sequence = asked.program.plan.kind != "event"
        made = tuple(
            Match(tuple(_hit(event, documents) for event in match.events), is_sequence, match.key) for match in matches
        )
        exhausted = number not in self._satisfied and len(matches) == len(found.matches)
        return SearchResult(asked.request, made, exhausted)


def _refuse(position: int, reason: str) -> None:
    raise SearchError(f"the values of a document could not be read: {reason}")


def _asked_field(field: Field) -> Any:
    return {"field": field.name, "format": _DATE_FORMAT} if field.type in DATES else field.name


def _events(matches: Iterable[FoundSequence]) -> Iterable[int]:
    return (event for match in matches for event in match.events if event is not None)


def _hit(number: int | None, documents: Mapping[int, Mapping[str, Any]]) -> Hit:
    if number is None:
        return Hit("", "", {}, missing=True)
    found = documents[number]
    return Hit(found["_index"], found["_id"], found.get("_source") or {}, found.get("fields") or {})
