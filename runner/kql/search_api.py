"""`search`: a query in KQL or Lucene's syntax over documents, answered in the shape of Elasticsearch's `_search`."""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from runner import lucene
from runner.engine.matcher import Ask, Found, Matcher
from runner.engine.plan import EventProgram, Limit
from runner.engine.scope import Scope
from runner.events.columns.batch import Columns, EventBatch
from runner.events.columns.row_decoder import Origins
from runner.events.fields.schema import DataType, Field, Schema, schema_from_mapping, shipped_schema, with_inferred
from runner.expressions.mapped_fields import METADATA
from runner.kql.errors import KqlError
from runner.kql.program import KqlQuery, parse_query, resolve_query
from runner.lucene import LuceneQuery
from runner.messages.query_errors import QueryFinding
from runner.messages.text_positions import Source, Span

SearchLanguage: TypeAlias = Literal["kuery", "lucene"]
ParsedText: TypeAlias = KqlQuery | LuceneQuery
_BATCH = 4_096


def parse_text(query: str, language: str) -> ParsedText:
    """The syntax tree of a query in one of the two languages. Raises KqlError or LuceneError."""
    match language:
        case "kuery":
            return parse_query(query)
        case "lucene":
            return lucene.parse(query)
    raise KqlError(Source(""), [QueryFinding(Span(0, 0), f"expected the language kuery or lucene, found {language!r}")])


def resolve_text(query: ParsedText, schema: Schema, *, timestamp_field: str = "@timestamp") -> EventProgram:
    """The program of a parsed query over events of the schema. Raises KqlError or LuceneError."""
    if isinstance(query, LuceneQuery):
        return lucene.resolve(query, schema, timestamp_field=timestamp_field)
    return resolve_query(query, schema, timestamp_field=timestamp_field)


def search(
    query: str,
    events: Iterable[Mapping[str, Any]],
    *,
    language: str = "kuery",
    mapping: Mapping[str, Any] | None = None,
    size: int = 10,
    result_position: Literal["head", "tail"] = "tail",
    timestamp_field: str = "@timestamp",
    now_ns: int | None = None,
) -> dict[str, Any]:
    """The answer to a query over documents or hits, as a dict in the shape of the `_search` response.

    `events` are documents or hits (`_index`, `_id`, `_source`). `mapping` is an Elasticsearch mapping (`{"properties":
    ...}`, or one per index name); without one, types come from the shipped field table and, for other fields, from the
    values. The hits are in the order of time, the first or the last `size` of them. `now_ns` is what `now` means in
    date math, by default the clock's time. Raises KqlError or LuceneError.

    >>> event = {"@timestamp": "2026-01-01T00:00:00Z", "process": {"name": "bash"}}
    >>> search("process.name: b*", [event])["hits"]["total"]
    {'value': 1, 'relation': 'eq'}
    """
    started = time.perf_counter()
    parsed = parse_text(query, language)
    given = list(events)
    sources = list(map(_source_of, given))
    known = schema_from_mapping(mapping) if mapping is not None else shipped_schema()
    schema = known if mapping is not None else schema_of_text(parsed, known, sources)
    if any(name in METADATA for name in parsed.names()):
        schema, sources = _with_metadata(schema, given, sources)
    program = resolve_text(parsed, schema, timestamp_field=timestamp_field)
    ask = ask_for(program, size=size, result_position=result_position, now_ns=now_ns)
    matcher = Matcher([ask])
    columns = Columns(matcher.fields())
    for start in range(0, len(given), _BATCH):
        matcher.feed(_batch(columns, given, sources, start))
    (found,) = matcher.found()
    return answer(found, given.__getitem__, size=size, took_ms=int((time.perf_counter() - started) * 1000))


def ask_for(program: EventProgram, *, size: int, result_position: str, now_ns: int | None = None) -> Ask:
    """What to ask of a matcher."""
    if size < 0 or result_position not in ("head", "tail"):
        problem = f"expected a size of 0 or more, and the position head or tail; found {size} and {result_position!r}"
        raise KqlError(Source(""), [QueryFinding(Span(0, 0), problem)])
    side: Literal["head", "tail"] = "head" if result_position == "head" else "tail"
    return Ask(program.plan, Scope(), (Limit(side, size),), now_ns=time.time_ns() if now_ns is None else now_ns)


def answer(found: Found, fetch: Callable[[int], Mapping[str, Any]], *, size: int, took_ms: int) -> dict[str, Any]:
    """The response for what a matcher found; `fetch` gives the document or hit of an event number.

    There are as many hits as `total` says, or more (`gte`) if `size` was reached.
    """
    numbers = [number for one in found.matches for number in one.events if number is not None]
    total = {"value": len(numbers), "relation": "eq" if len(numbers) < size else "gte"}
    hits = {"total": total, "hits": [_hit(fetch(number)) for number in numbers]}
    return {"took": took_ms, "timed_out": False, "hits": hits}


class SeenFields:
    """The names of the fields, and of the objects around them, that some document has."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def watched(self, sources: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The documents as they come; their names are taken in."""
        for source in sources:
            stack = [(str(name), value) for name, value in source.items()]
            while stack:
                name, value = stack.pop()
                self._names.add(name)
                if isinstance(value, Mapping):
                    stack.extend((f"{name}.{key}", inner) for key, inner in value.items())
                elif isinstance(value, (list, tuple)):
                    stack.extend((name, item) for item in value)
            yield source

    def of(self, schema: Schema) -> Schema:
        """The schema with these fields only: as a mapping that the documents have made."""
        kept = {name: one for name, one in schema.fields.items() if one.source_path in self._names}
        return replace(schema, fields=kept)


def schema_of_text(query: ParsedText, schema: Schema, sources: Iterable[Mapping[str, Any]]) -> Schema:
    """The schema with the fields that only the documents have, typed by their values; with no others than those of the
    documents if the query is about all fields."""
    seen = SeenFields()
    inferred = with_inferred(schema, seen.watched(sources) if query.needs_all_fields else sources)
    return seen.of(inferred) if query.needs_all_fields else inferred


def _with_metadata(
    schema: Schema, given: Sequence[Mapping[str, Any]], sources: Sequence[Mapping[str, Any]]
) -> tuple[Schema, list[Mapping[str, Any]]]:
    """The schema and the documents with the fields that stand beside the documents of hits."""
    added = {name: Field(name, DataType.KEYWORD) for name in METADATA}
    fields: Mapping[str, Field] = ChainMap(added, schema.fields)  # type: ignore[arg-type]
    whole: list[Mapping[str, Any]] = [
        {**source, **{name: event.get(name) for name in METADATA}} for event, source in zip(given, sources, strict=True)
    ]
    return replace(schema, fields=fields), whole


def _hit(event: Mapping[str, Any]) -> dict[str, Any]:
    index, id_ = event.get("_index", ""), event.get("_id", "")
    return {"_index": index, "_id": id_, "_source": _source_of(event)}


def _source_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    source = event.get("_source")
    return source if isinstance(source, Mapping) else event


def _batch(
    columns: Columns, events: Sequence[Mapping[str, Any]], sources: Sequence[Mapping[str, Any]], start: int
) -> EventBatch:
    part = events[start : start + _BATCH]
    rows = [columns.decoder.row(source) for source in sources[start : start + _BATCH]]
    origins = Origins(tuple(event.get("_index") for event in part), tuple(event.get("_id") for event in part))
    return EventBatch(columns, rows, base=start, origins=origins)
