"""`ExceptedRows`: what exceptions leave out of a query in ES|QL, before it in the request's filter, and after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from runner.engine.exclusions import KEPT_EVENTS
from runner.esql import EsqlQuery
from runner.events.fields.schema import Schema, shipped_schema
from runner.exceptions.conditions import ResolvedItems, resolve_items
from runner.exceptions.item import ExceptionItem
from runner.exceptions.item_query import any_clause, item_clause
from runner.search.cluster.esql.rows import time_of
from runner.search.protocol import ExceptedEvents, Hit, Match, SearchRequest, SearchResult
from runner.windows import from_nanoseconds


@dataclass(frozen=True, slots=True)
class ExceptedRows:
    """The exceptions of one request.

    Those whose entries name fields of the indices act on the documents, before the query. Those that name columns which
    the query computes, and, of queries whose rows are documents, conditions in EQL act on the rows.
    """

    request: SearchRequest
    before: ResolvedItems
    after: tuple[ExceptionItem, ...]
    warnings: tuple[str, ...]

    @property
    def only(self) -> Mapping[str, Any] | None:
        """The documents that the exceptions before the query hit; None if there are none such."""
        clauses = [item_clause(item, self.before.schema) for item in self.before.items]
        return any_clause(clauses) if clauses else None

    @property
    def filters(self) -> list[Mapping[str, Any]]:
        """What the request's filter needs so that these documents are not searched."""
        return [] if self.only is None else [{"bool": {"must_not": [self.only]}}]

    def left(self, result: SearchResult) -> SearchResult:
        """The result without the rows that an exception after the query hits, with these counted."""
        resolved = resolve_items(self.after, _form())
        if not resolved.items:
            return result
        kept: list[Match] = []
        found: dict[ExceptionItem, list[Hit]] = {}
        for match in result.matches:
            item = resolved.item_for(match.hits[0].source, self.request.window.end_ns)
            if item is None:
                kept.append(match)
            elif self._counts(match.hits[0]):
                found.setdefault(item, []).append(match.hits[0])
        return replace(result, matches=tuple(kept), excepted=tuple(self._events(found)))

    def _counts(self, hit: Hit) -> bool:
        """Whether the row is of a time that was not searched before; one without a time counts with any."""
        counted, time = self.request.counted, time_of(hit, self.request)
        if counted is None or time is None:
            return counted is None or bool(counted)
        return any(span.start_ns <= time <= span.end_ns for span in counted)

    def _events(self, found: Mapping[ExceptionItem, Sequence[Hit]]) -> Iterator[ExceptedEvents]:
        for item, hits in found.items():
            newest = max((time for hit in hits if (time := time_of(hit, self.request)) is not None), default=None)
            moment = None if newest is None else from_nanoseconds(newest)
            yield ExceptedEvents(item, len(hits), moment, tuple(hits[:KEPT_EVENTS]))

    def counted(self, hits: Sequence[Hit]) -> tuple[ExceptedEvents, ...]:
        """The events that the exceptions before the query have left out, by exception."""
        found: dict[ExceptionItem, list[Hit]] = {}
        resolved = resolve_items(self.before.items, _form())
        for hit in hits:
            for item in resolved.items_for(hit.source, self.request.window.end_ns):
                found.setdefault(item, []).append(hit)
        return tuple(self._events(found))


def excepted_now(request: SearchRequest, schema: Schema) -> ExceptedRows:
    """The exceptions of scope event that count in a request, over the fields of its indices."""
    query = request.compiled.query
    assert isinstance(query, EsqlQuery)
    items = [item for item in request.compiled.exceptions if item.scope == "event"]
    after = [item for item in items if _is_after(item, query, schema)]
    lost = [item for item in items if item.where is not None and item not in after]
    before = resolve_items([item for item in items if item not in after and item not in lost], schema)
    warnings = [one.problem().text for one in before.refused]
    warnings += [
        f"exception `{item.name}` removes nothing: its condition in EQL cannot be applied before the query aggregates; "
        "write it as entries"
        for item in lost
    ]
    return ExceptedRows(request, before, tuple(after), tuple(warnings))


def _is_after(item: ExceptionItem, query: EsqlQuery, schema: Schema) -> bool:
    """Whether the item acts on rows: it names what no index has, or is a condition in EQL on a row with a document."""
    if item.where is not None and query.makes_documents:
        return True
    return any(schema.find(name) is None and query.computes(name) for name in item.names())


@cache
def _form() -> Schema:
    """The types that the fields of rows are read by: those of the field table, of others as they stand."""
    return Schema(shipped_schema().fields, lenient=True)
