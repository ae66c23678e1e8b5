"""KQL as Elasticsearch's Query DSL, to the letter as Kibana makes it for a detection rule.

https://github.com/elastic/kibana, kbn-es-query, kuery/functions
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from runner.events.fields.schema import DATES, KEYWORDS, Field, Schema
from runner.expressions.mapped_fields import fields_matching, nested_above
from runner.kql.ast import (
    KqlAnd,
    KqlIs,
    KqlNested,
    KqlNode,
    KqlNot,
    KqlOr,
    KqlPattern,
    KqlRange,
    KqlText,
    KqlValue,
    full_name,
)
from runner.kql.query_strings import escaped_query

KqlClause: TypeAlias = dict[str, Any]

_TIME_ZONE = "Zulu"
_RANGE_NAMES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_MATCH_ALL: KqlClause = {"match_all": {}}


def filter_clause(node: KqlNode, schema: Schema | None) -> KqlClause:
    """The clause of a query. Fields have the types of the schema; without one, all are of unknown type."""
    return _Translator(schema).clause(node, "")


@dataclass(frozen=True, slots=True)
class _Translator:
    schema: Schema | None

    def clause(self, node: KqlNode, path: str) -> KqlClause:
        match node:
            case KqlAnd(operands=operands):
                return {"bool": {"filter": [self.clause(operand, path) for operand in operands]}}
            case KqlOr(operands=operands):
                return _any(self.clause(operand, path) for operand in operands)
            case KqlNot(operand=operand):
                return {"bool": {"must_not": self.clause(operand, path)}}
            case KqlNested():
                inner = full_name(node.path, path)
                return _nested(inner, self.clause(node.condition, inner))
            case KqlRange():
                return _any(
                    self._wrapped(found, path, node.field, _range(node, name, found))
                    for name, found in self._fields(node.field, path)
                )
            case KqlIs(field=None, value=value):
                return _free(value)
            case KqlIs(field=field, value=value):
                assert field is not None
                star = isinstance(value, KqlPattern) and value.is_star
                if star and not path and isinstance(field, KqlPattern) and field.is_star:
                    return _MATCH_ALL
                return _any(
                    self._wrapped(found, path, field, _is(value, name, found))
                    for name, found in self._fields(field, path)
                )

    def _fields(self, name: KqlValue, path: str) -> Iterator[tuple[str, Field | None]]:
        """The fields that a name is about; one of unknown type if none is known, and in nested groups."""
        full = full_name(name, path)
        if self.schema is None or path:
            yield full, None
        elif isinstance(name, KqlPattern):
            found = fields_matching(full.split("*"), self.schema, None)
            yield from ((one.name, one) for one in found)
            if not found:
                yield full, None
        else:
            yield full, self.schema.fields.get(full)

    def _wrapped(self, found: Field | None, path: str, name: KqlValue, clause: KqlClause) -> KqlClause:
        """The clause, within the nested field if a pattern has found a field of nested objects."""
        if found is None or self.schema is None or path or not isinstance(name, KqlPattern):
            return clause
        above = nested_above(found.name, self.schema)
        return _nested(above, clause) if above else clause


def _any(clauses: Iterator[KqlClause]) -> KqlClause:
    return {"bool": {"should": list(clauses), "minimum_should_match": 1}}


def _nested(path: str, clause: KqlClause) -> KqlClause:
    return {"nested": {"path": path, "query": clause, "score_mode": "none"}}


def _free(value: KqlValue) -> KqlClause:
    if isinstance(value, KqlPattern):
        return {"query_string": {"query": escaped_query(value)}}
    kind = "phrase" if value.quoted else "best_fields"
    return {"multi_match": {"type": kind, "query": value.value, "lenient": True}}


def _is(value: KqlValue, name: str, found: Field | None) -> KqlClause:
    is_keyword = found is not None and found.type in KEYWORDS
    if isinstance(value, KqlPattern):
        if value.is_star:
            return {"exists": {"field": name}}
        if is_keyword:
            return {"wildcard": {name: {"value": escaped_query(value)}}}
        return {"query_string": {"fields": [name], "query": escaped_query(value)}}
    if found is not None and found.type in DATES:
        return {"range": {name: {"gte": value.value, "lte": value.value, **_zone(value)}}}
    if is_keyword:
        return {"term": {name: {"value": value.value}}}
    return {"match_phrase" if value.quoted else "match": {name: value.value}}


def _range(node: KqlRange, name: str, found: Field | None) -> KqlClause:
    value = node.value.value if isinstance(node.value, KqlText) else node.value.text
    zone = _zone(node.value) if found is not None and found.type in DATES else {}
    return {"range": {name: {_RANGE_NAMES[node.operator]: value, **zone}}}


def _zone(value: KqlValue) -> KqlClause:
    """The time zone of a date; a count of milliseconds has none."""
    return {} if value.text.isascii() and value.text.isdigit() else {"time_zone": _TIME_ZONE}
