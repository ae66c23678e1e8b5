"""Exception items in Elasticsearch's Query DSL: the clauses that Kibana makes of them.

Two differ: `ignore_unmapped` of nested queries, so that an index without that field is no error, and several exact
values are one `terms` query, which counts as a single clause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from runner.events.fields.schema import KEYWORDS, NUMBERS, DataType, Field, Schema
from runner.exceptions.item import OS_FIELDS, ExceptionEntry, ExceptionItem
from runner.expressions.mapped_fields import field_for

QueryClause: TypeAlias = dict[str, Any]

_MOST_TERMS = 65_536
"""Values of one `terms` query (`index.max_terms_count`)."""


def item_clause(item: ExceptionItem, schema: Schema) -> QueryClause:
    """The documents that an item with entries hits. Its values must fit the schema's types."""
    clauses = [_entry(entry, schema) for entry in item.entries]
    if item.os:
        clauses.append(any_clause({"match_phrase": {name: one}} for name in OS_FIELDS for one in item.os))
    return _all(clauses)


def any_clause(clauses: Iterable[QueryClause]) -> QueryClause:
    """The documents of any of the clauses, of which there is at least one."""
    given = list(clauses)
    return given[0] if len(given) == 1 else {"bool": {"should": given, "minimum_should_match": 1}}


def _all(clauses: Sequence[QueryClause]) -> QueryClause:
    return clauses[0] if len(clauses) == 1 else {"bool": {"filter": list(clauses)}}


def _entry(entry: ExceptionEntry, schema: Schema, nested: str = "") -> QueryClause:
    clause = _included(entry, schema, nested)
    return clause if entry.included else {"bool": {"must_not": [clause]}}


def _included(entry: ExceptionEntry, schema: Schema, nested: str) -> QueryClause:
    name = entry.field
    field = field_for(name, schema, nested) if entry.type != "nested" else None
    match entry.type:
        case "exists":
            return {"exists": {"field": name}}
        case "wildcard":
            return any_clause({"wildcard": {name: _asked(value, entry)}} for value in entry.values)
        case "match" | "match_any":
            return _equal(entry, field)
        case "list":
            assert entry.value_list is not None
            addresses = field is not None and field.type is DataType.IP
            clauses = list(listed_queries(name, entry.value_list.values, addresses=addresses))
            return any_clause(clauses) if clauses else {"match_none": {}}
        case "nested":
            inner = _all([_entry(one, schema, name) for one in entry.entries])
            return {"nested": {"path": name, "query": inner, "score_mode": "none", "ignore_unmapped": True}}


def _equal(entry: ExceptionEntry, field: Field | None) -> QueryClause:
    name, values = entry.field, entry.values
    if entry.any_case and field is not None and field.type in KEYWORDS and not field.normalized:
        return any_clause({"term": {name: _asked(value, entry)}} for value in values)
    exact = field is not None and (field.type in KEYWORDS or field.type in NUMBERS)
    if exact and len(values) > 1:
        return any_clause(listed_queries(name, values, addresses=False))
    return any_clause({"match_phrase": {name: value}} for value in values)


def _asked(value: str, entry: ExceptionEntry) -> dict[str, Any] | str:
    if not entry.any_case:
        return value if entry.type != "wildcard" else {"value": value}
    return {"value": value, "case_insensitive": True}


def listed_queries(name: str, values: Sequence[str], *, addresses: bool) -> Iterator[QueryClause]:
    """The queries whose union is the documents with one of the values.

    Of `addresses`, `a-b` is all between the two, and blocks stand apart: a `terms` query with one of them becomes as
    many queries as it has values.
    """
    spans = [value for value in values if addresses and "-" in value]
    blocks = [value for value in values if addresses and "/" in value]
    others = {*spans, *blocks}
    for terms in ([value for value in values if value not in others] if others else list(values), blocks):
        for start in range(0, len(terms), _MOST_TERMS):
            yield {"terms": {name: terms[start : start + _MOST_TERMS]}}
    for span in spans:
        low, _, high = span.partition("-")
        yield {"range": {name: {"gte": low.strip(), "lte": high.strip()}}}
