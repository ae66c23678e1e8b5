"""`search`: one query over events, answered in the shape of Elasticsearch's `_eql/search`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from runner.engine.matcher import Ask, Found, Matcher, Scope
from runner.engine.plan import EventProgram, Limit
from runner.eql.program import ParsedQuery, Program, parse_query, resolve_query
from runner.eql.syntax.errors import DataError, QueryFinding, RequestError
from runner.events.columns.batch import Columns, EventBatch
from runner.events.columns.row_decoder import Origins
from runner.events.fields.schema import Field, Schema, schema_from_mapping, shipped_schema, with_inferred
from runner.messages.text_positions import Span

_BATCH = 4096
_SENT_IF_SET = (
    "allow_partial_search_results",
    "allow_partial_sequence_results",
    "tiebreaker_field",
    "max_samples_per_key",
)
"""Options that a request names only with another value than the default: older servers refuse some of them."""
_MISSING_EVENT = {"_index": "", "_id": "", "_source": {}, "missing": True}


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The parameters of one search, in the names and with the defaults of the EQL search API."""

    size: int = 10
    fetch_size: int = 1000
    result_position: str = "tail"
    event_category_field: str = "event.category"
    timestamp_field: str = "@timestamp"
    tiebreaker_field: str | None = None
    max_samples_per_key: int = 1
    allow_partial_search_results: bool = False
    """For clusters, like `fetch_size`: the local engine answers as a whole or not at all. Likewise for sequences."""
    allow_partial_sequence_results: bool = False

    def validated(self) -> SearchOptions:
        """The options themselves. Raises RequestError with every one that the API would refuse."""
        problems = []
        if self.size < 0:
            problems.append("size must be greater than or equal to 0")
        if self.fetch_size < 2:
            problems.append("fetch size must be greater than 1")
        if self.result_position not in ("head", "tail"):
            problems.append(f"result position needs to be 'head' or 'tail', received '{self.result_position}'")
        if self.max_samples_per_key < 1:
            problems.append("max_samples_per_key must be greater than 0")
        if not self.event_category_field:
            problems.append("event category field is null or empty")
        if not self.timestamp_field:
            problems.append("@timestamp field is null or empty")
        if problems:
            raise RequestError(problems)
        return self

    def body(self, query: str) -> dict[str, Any]:
        """The body of the API's request for a query."""
        usual = SearchOptions()
        given = {name: value for name, value in asdict(self).items() if name not in _SENT_IF_SET}
        more = {name: getattr(self, name) for name in _SENT_IF_SET if getattr(self, name) != getattr(usual, name)}
        return {"query": query, **given, **more}

    def parsed(self, query: str) -> ParsedQuery:
        """The query's syntax tree. Raises EqlError."""
        if not query.strip():
            raise RequestError(["query is null or empty"])
        return parse_query(query)

    def program(self, query: ParsedQuery, schema: Schema) -> Program:
        """The query resolved with these options. Raises EqlError."""
        return resolve_query(
            query,
            schema,
            event_category_field=self.event_category_field,
            timestamp_field=self.timestamp_field,
            tiebreaker_field=self.tiebreaker_field,
        )

    def ask(self, program: Program | EventProgram, *, now_ns: int | None = None) -> Ask:
        """What to ask of a matcher: the plan with `size`, `result_position` and the query's pipes as limits."""
        limits = program.plan.limits
        # Samples have no order in time: the search stops at `size` of them, whatever the result position.
        is_head = self.result_position == "head" or program.plan.kind == "sample"
        side: Literal["head", "tail"] = "head" if is_head else "tail"
        first = limits[0] if limits else Limit(side, self.size)
        within = (Limit(first.side, min(first.count, self.size)), *limits[1:])
        return Ask(
            program.plan,
            Scope(),
            within,
            max_samples_per_key=self.max_samples_per_key,
            now_ns=time.time_ns() if now_ns is None else now_ns,
        )


def search(
    query: str,
    events: Iterable[Mapping[str, Any]],
    *,
    size: int = 10,
    fetch_size: int = 1000,
    result_position: str = "tail",
    event_category_field: str = "event.category",
    timestamp_field: str = "@timestamp",
    tiebreaker_field: str | None = None,
    mapping: Mapping[str, Any] | None = None,
    max_samples_per_key: int = 1,
    allow_partial_search_results: bool = False,
    allow_partial_sequence_results: bool = False,
) -> dict[str, Any]:
    """The answer to an EQL query over documents or hits, as a dict in the shape of the `_eql/search` response.

    `events` are documents or hits (`_index`, `_id`, `_source`); their order is the order of the index. `mapping` is an
    Elasticsearch mapping (`{"properties": ...}`, or one per index name); without one, types come from the shipped field
    table and, for other fields, from the values. The options are those of the API. The two `allow_partial` options are
    accepted and change nothing: here a search is whole or an error. Raises EqlError; its `kind` and text are those of
    the API's error.

    >>> event = {"@timestamp": "2026-01-01T00:00:00Z", "event": {"category": "process"}, "process": {"pid": 1}}
    >>> answer = search("process where process.pid == 1", [event])
    >>> answer["hits"]["total"]
    {'value': 1, 'relation': 'eq'}
    """
    started = time.perf_counter()
    options = SearchOptions(
        size=size,
        fetch_size=fetch_size,
        result_position=result_position,
        event_category_field=event_category_field,
        timestamp_field=timestamp_field,
        tiebreaker_field=tiebreaker_field,
        max_samples_per_key=max_samples_per_key,
        allow_partial_search_results=allow_partial_search_results,
        allow_partial_sequence_results=allow_partial_sequence_results,
    ).validated()
    given = list(events)
    schema = schema_from_mapping(mapping) if mapping is not None else shipped_schema()
    program = options.program(options.parsed(query), with_inferred(schema, [_source_of(event) for event in given]))
    matcher = Matcher([options.ask(program)])
    for batch in _batches(given, matcher.fields()):
        matcher.feed(batch)
    (found,) = matcher.found()
    return answer(program, found, lambda number: given[number], took_ms=int((time.perf_counter() - started) * 1000))


def answer(
    program: Program, found: Found, fetch: Callable[[int], Mapping[str, Any]], *, took_ms: int
) -> dict[str, Any]:
    """The API's response for what a matcher found; `fetch` gives the document or hit of an event number.

    Raises DataError if the query failed on a value.
    """
    if found.error is not None:
        raise DataError(program.source, [QueryFinding(Span(0, len(program.source.text)), found.error)])
    hits: dict[str, Any] = {"total": {"value": len(found.matches), "relation": "eq"}}
    if program.plan.kind == "event":
        hits["events"] = [
            _hit(fetch(number)) for match in found.matches for number in match.events if number is not None
        ]
    else:
        hits["sequences"] = sequences = []
        for match in found.matches:
            sequence: dict[str, Any] = {"join_keys": list(match.key)} if match.key else {}
            sequence["events"] = [
                dict(_MISSING_EVENT) if number is None else _hit(fetch(number)) for number in match.events
            ]
            sequences.append(sequence)
    return {"is_partial": False, "is_running": False, "took": took_ms, "timed_out": False, "hits": hits}


def _hit(event: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(event.get("_source"), Mapping):
        return {"_index": event.get("_index", ""), "_id": event.get("_id", ""), "_source": event["_source"]}
    return {"_index": "", "_id": "", "_source": event}


def _source_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    source = event.get("_source")
    return source if isinstance(source, Mapping) else event


def _batches(events: Sequence[Mapping[str, Any]], fields: Iterable[Field]) -> Iterable[EventBatch]:
    columns = Columns(fields)
    for start in range(0, len(events), _BATCH):
        part = events[start : start + _BATCH]
        rows = [columns.decoder.row(_source_of(event)) for event in part]
        origins = Origins(tuple(event.get("_index") for event in part), tuple(event.get("_id") for event in part))
        yield EventBatch(columns, rows, base=start, origins=origins)
