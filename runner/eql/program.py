"""From text to plan: the stages of the engine in order."""

from __future__ import annotations

from dataclasses import dataclass

from runner.eql import ast
from runner.eql.check import check
from runner.eql.errors import Finding
from runner.eql.parser import parse
from runner.eql.plan import Plan, build_plan
from runner.eql.simplify import simplify
from runner.eql.source import Source
from runner.events.schema import DataType, Field, Schema


@dataclass(frozen=True, slots=True)
class Program:
    """A query that can be run, and what the checker remarked about it."""

    source: Source
    statement: ast.Statement
    plan: Plan
    warnings: tuple[Finding, ...]


def compile_query(
    text: str,
    schema: Schema,
    *,
    event_category_field: str = "event.category",
    timestamp_field: str = "@timestamp",
    tiebreaker_field: str | None = None,
) -> Program:
    """The program of a query over events of the schema. Raises EqlError with every finding of the stage that refused
    it.

    >>> from runner.events.schema import shipped_schema
    >>> compile_query('process where process.name : "bash"', shipped_schema()).plan.kind
    'event'
    """
    source = Source(text)
    checked = check(
        parse(text),
        source,
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
    return Program(source, statement, plan, checked.warnings)
