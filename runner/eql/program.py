"""From text to plan: the stages of the engine in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

from runner.engine.plan import Limit, Plan, Stage
from runner.eql.analysis.check import check
from runner.eql.analysis.simplify import simplify
from runner.eql.syntax import ast
from runner.eql.syntax.errors import QueryFinding
from runner.eql.syntax.parser import parse
from runner.events.fields.schema import DataType, Field, Schema
from runner.expressions import nodes
from runner.messages.text_positions import Source


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """A query's text and syntax tree, its names not yet resolved to the fields of a schema."""

    source: Source
    statement: ast.Statement

    def names(self) -> Iterator[nodes.Name]:
        """Every field name in the conditions, then those in the join keys."""
        for query in ast.event_queries(self.statement):
            yield from (node for node in nodes.walk(query.condition) if isinstance(node, nodes.Name))
        body = self.statement.body
        if isinstance(body, ast.EventQuery):
            return
        until = [body.until] if isinstance(body, ast.SequenceQuery) and body.until is not None else []
        keys = (*body.keys, *(key for term in (*body.terms, *until) for key in term.keys))
        yield from (key for key in keys if isinstance(key, nodes.Name))


@dataclass(frozen=True, slots=True)
class Program:
    """A query that can be run, and what the checker remarked about it."""

    source: Source
    statement: ast.Statement
    plan: Plan
    warnings: tuple[QueryFinding, ...]


class ImplicitFields(TypedDict, total=False):
    """The fields that a query reads without naming them."""

    event_category_field: str
    timestamp_field: str
    tiebreaker_field: str | None


def parse_query(text: str) -> ParsedQuery:
    """The syntax tree of a query. Raises ParsingError at the first thing that is not EQL."""
    return ParsedQuery(Source(text), parse(text))


def resolve_query(
    query: ParsedQuery,
    schema: Schema,
    *,
    event_category_field: str = "event.category",
    timestamp_field: str = "@timestamp",
    tiebreaker_field: str | None = None,
) -> Program:
    """The program of a parsed query over events of the schema. Raises VerificationError with every finding.

    >>> from runner.events.fields.schema import shipped_schema
    >>> resolve_query(parse_query('process where process.name : "bash"'), shipped_schema()).plan.kind
    'event'
    """
    checked = check(
        query.statement,
        query.source,
        schema,
        category_field=event_category_field,
        timestamp_field=timestamp_field,
        tiebreaker_field=tiebreaker_field,
    )
    statement = simplify(checked.statement)
    plan = build_plan(
        statement,
        category=schema.find(event_category_field) or Field(event_category_field, DataType.KEYWORD),
        timestamp=schema.find(timestamp_field) or Field(timestamp_field, DataType.DATE),
        tiebreaker=schema.find(tiebreaker_field) if tiebreaker_field else None,
    )
    return Program(query.source, statement, plan, checked.warnings)


def compile_query(text: str, schema: Schema, **fields: Unpack[ImplicitFields]) -> Program:
    """The program of a query's text: `resolve_query(parse_query(text))`. Raises EqlError."""
    return resolve_query(parse_query(text), schema, **fields)


def build_plan(statement: ast.Statement, *, category: Field | None, timestamp: Field, tiebreaker: Field | None) -> Plan:
    """The plan of a checked, simplified statement; `category` is the event category field (None if only `any` is
    used)."""
    body = statement.body
    limits = tuple(Limit(pipe.name, pipe.count) for pipe in statement.pipes)
    until: Stage | None = None
    maxspan: int | None = None
    kind: Literal["event", "sequence", "sample"]
    if isinstance(body, ast.EventQuery):
        kind = "event"
        stages: tuple[Stage, ...] = (_stage(body, category),)
    else:
        kind = "sequence" if isinstance(body, ast.SequenceQuery) else "sample"
        stages = tuple(_term(term, body.keys, category) for term in body.terms for _ in range(term.runs))
        if isinstance(body, ast.SequenceQuery):
            until = _term(body.until, body.keys, category) if body.until is not None else None
            maxspan = body.maxspan * 1_000_000 if body.maxspan is not None else None
    return Plan(kind, stages, until, maxspan, limits, timestamp, tiebreaker)


def _term(term: ast.Term, shared: tuple[ast.KeyExpression, ...], category: Field | None) -> Stage:
    keys = tuple(key if isinstance(key, nodes.FieldRef) else None for key in (*shared, *term.keys))
    return _stage(term.query, category, keys=keys, missing=term.missing)


def _stage(
    query: ast.EventQuery,
    category: Field | None,
    *,
    keys: tuple[nodes.FieldRef | None, ...] = (),
    missing: bool = False,
) -> Stage:
    conjuncts: list[nodes.Expression] = []
    if query.category is not None:
        assert category is not None
        ref = nodes.FieldRef(query.span, category, category)
        conjuncts.append(nodes.Comparison(query.span, "==", ref, nodes.Constant(query.span, query.category)))
    conjuncts.extend(query.condition.operands if isinstance(query.condition, nodes.And) else (query.condition,))
    truths = [conjunct.value for conjunct in conjuncts if isinstance(conjunct, nodes.Constant)]
    kept = tuple(conjunct for conjunct in conjuncts if not isinstance(conjunct, nodes.Constant))
    return Stage(kept, keys, missing, empty=any(truth is not True for truth in truths))
