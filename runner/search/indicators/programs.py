"""What is asked of the documents of a rule's indicators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runner import kql, lucene
from runner.dates.dates import date_range
from runner.engine.plan import EventProgram, Plan
from runner.events.fields.schema import DataType, Field, Schema
from runner.exceptions.conditions import excepting
from runner.expressions import nodes
from runner.kql import KqlQuery
from runner.lucene import LuceneQuery
from runner.messages.query_errors import QueryError
from runner.messages.text_positions import Source
from runner.rules.model_errors import FieldFinding, RuleKeyError
from runner.rules.threat_match import threat_match_of
from runner.search.compiled_rule import CompiledRule
from runner.search.filter_conditions import FilterRefusedError, filtered, filters_condition

TIME = "@timestamp"
"""The time of an indicator, which decides nothing but what its query says of it."""


def indicator_program(compiled: CompiledRule, schema: Schema) -> EventProgram:
    """The program for the indicators of a rule of type threat_match: its query and its filters for them, without the
    documents that an exception of the rule hits, as in Kibana. Raises RuleKeyError with the place."""
    condition, query = threat_match_of(compiled.rule), compiled.indicator_query
    assert condition is not None and query is not None
    try:
        program = _resolved(query, schema)
        filters = filters_condition(condition.filters, schema)
    except FilterRefusedError as error:
        message = f"a filter cannot be applied, so that over files the rule is not run: {error}"
        finding = FieldFinding(("rule", "threat_filters", error.number), message)
        raise RuleKeyError(Source(condition.query), finding) from None
    except QueryError as error:
        raise RuleKeyError(error.source, FieldFinding(("rule", "threat_query"), f"`threat_query`: {error}")) from None
    plan = filtered(program.plan, filters)
    return replace(program, plan=excepting(plan, compiled.excepted(schema).condition))


def _resolved(query: KqlQuery | LuceneQuery, schema: Schema) -> EventProgram:
    if isinstance(query, KqlQuery):
        return kql.resolve(query, schema, timestamp_field=TIME)
    return lucene.resolve(query, schema, timestamp_field=TIME)


def indicator_query(compiled: CompiledRule, schema: Schema) -> dict[str, Any]:
    """The same in Query DSL, without the filters, for a search in a cluster."""
    query = compiled.indicator_query
    assert query is not None
    asked = kql.query_dsl(query, schema) if isinstance(query, KqlQuery) else lucene.query_dsl(query)
    excepted = compiled.excepted(schema).query
    unwanted: list[Mapping[str, Any]] = [] if excepted is None else [excepted]
    return {"bool": {"filter": [asked], "must_not": unwanted}}


def clock_of(plan: Plan, now_ns: int) -> tuple[object, ...]:
    """What the date math of a plan comes to at a time: equal for times at which the plan finds the same."""
    found: list[object] = []
    for conjunct in (one for stage in plan.stages for one in stage.conjuncts):
        for node in nodes.walk(conjunct):
            if isinstance(node, nodes.Nested | nodes.AnyOf):
                found.append(now_ns)  # what is in it is not looked at
            elif isinstance(node, nodes.Constant) and isinstance(node.value, str) and node.value.startswith("now"):
                try:
                    found.append(date_range(node.value, (), now_ns))
                except ValueError:
                    continue  # a text that begins so
    return tuple(found)


def date_field(schema: Schema) -> Field:
    """The field of the time of an indicator."""
    return schema.find(TIME) or Field(TIME, DataType.DATE)
