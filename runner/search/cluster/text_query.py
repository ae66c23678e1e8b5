"""Rules in KQL and in Lucene's syntax, as a cluster searches them: as Kibana does, so that the hits are the matches."""

from __future__ import annotations

from typing import Any

from runner import kql, lucene
from runner.dates.dates import MILLI, date_range, date_text
from runner.engine.plan import EventProgram, event_plan
from runner.events.fields.schema import DataType, Field, Schema
from runner.exceptions.conditions import excepting
from runner.expressions import nodes
from runner.expressions.truths import any_of
from runner.kql import KqlQuery
from runner.lucene import LuceneQuery
from runner.messages.text_positions import Span
from runner.search.cluster.field_caps import FieldCaps
from runner.search.cluster.stage_query import Filters, Translation
from runner.search.compiled_rule import CompiledRule
from runner.search.threshold_keys import keyed_program, threshold_of

_NOWHERE = Span(0, 0)


def text_query(compiled: CompiledRule, schema: Schema, *, now_ns: int) -> dict[str, Any] | None:
    """The Query DSL of a rule's query over fields of the schema; None for a rule in EQL.

    `now_ns` stands for `now` in its ranges: a window that is searched late finds what it would have found in time.
    """
    match compiled.query:
        case KqlQuery():
            found: dict[str, Any] = at_time(kql.query_dsl(compiled.query, schema), now_ns)
            return found
        case LuceneQuery():
            return {"bool": {"must": [lucene.query_dsl(compiled.query)]}}
    return None


def at_time(query: Any, now_ns: int) -> Any:
    """The query with the times in place of the date math of its ranges, which the server's clock would decide."""
    if isinstance(query, list):
        return [at_time(one, now_ns) for one in query]
    if not isinstance(query, dict):
        return query
    if set(query) == {"range"}:
        ranges = query["range"].items()
        return {"range": {name: {key: _moment(key, end, now_ns) for key, end in ends.items()} for name, ends in ranges}}
    return {key: at_time(value, now_ns) for key, value in query.items()}


def _moment(key: str, given: Any, now_ns: int) -> Any:
    """The end of a range as a date in milliseconds, rounded as Elasticsearch rounds it; any other value as it is."""
    if key not in ("gt", "gte", "lt", "lte") or not isinstance(given, str) or not given.startswith("now"):
        return given
    try:
        first, last = date_range(given, (), now_ns)
    except ValueError:
        return given
    return date_text((first if key in ("gte", "lt") else last) // MILLI * MILLI)


def planned_text(
    compiled: CompiledRule, types: FieldCaps, asked: dict[str, Any], *, now_ns: int
) -> tuple[EventProgram, Filters]:
    """The program that takes every event that the filters let through, and these: the query without what is excepted.

    Exceptions that only EQL can say are left to the engine. Raises RuleKeyError.
    """
    rule, schema = compiled.rule, types.schema
    name = rule.timestamp_field or "@timestamp"
    tiebreaker = schema.find(rule.tiebreaker_field) if rule.tiebreaker_field else None
    plan = event_plan(True, timestamp=schema.find(name) or Field(name, DataType.DATE), tiebreaker=tiebreaker)
    excepted = compiled.excepted(schema)
    where = any_of(excepted.wheres, _NOWHERE)
    if where is not False:
        plan = excepting(plan, nodes.Constant(_NOWHERE, True) if where is True else where)
    unwanted = [] if excepted.query is None else [excepted.query]
    query = {"bool": {"filter": [asked], "must_not": unwanted}}
    assert isinstance(compiled.query, (KqlQuery, LuceneQuery))
    whole = Translation(query, clauses=_clauses(query), depth=1)
    program = EventProgram(compiled.query.source, plan)
    if (threshold := threshold_of(rule)) is not None:
        program = keyed_program(program, threshold, schema)
    return program, Filters(whole)


def _clauses(query: Any) -> int:
    """How many single queries there are in a query."""
    if isinstance(query, list):
        return sum(map(_clauses, query))
    if not isinstance(query, dict):
        return 0
    inner = query.get("bool") or query.get("nested")
    return sum(map(_clauses, inner.values())) if inner is not None else 1
