"""How the query of a rule is read: its stages and conditions, without any event."""

from __future__ import annotations

from dataclasses import replace

from runner.engine.plan import EventProgram
from runner.eql.explain.query_reading import QueryReading, explain, origin_in
from runner.eql.program import Program, compile_query
from runner.errors import RunnerError
from runner.events.fields.schema import shipped_schema
from runner.kql.search_api import parse_text, resolve_text
from runner.messages.query_errors import QueryError
from runner.rules.rule import Rule


def rule_reading(rule: Rule) -> QueryReading | None:
    """The reading of a rule's query in EQL, KQL or Lucene's syntax; None of any other, and of one that cannot be read.

    Fields that the shipped table does not have count as unknown, as no event is looked at.
    """
    schema = shipped_schema()
    program: Program | EventProgram
    try:
        if rule.language == "eql":
            program = compile_query(rule.query, replace(schema, lenient=True))
        elif rule.language != "esql" and rule.query.strip():
            program = resolve_text(parse_text(rule.query, rule.language), replace(schema, lenient=True))
        else:
            return None
    except (QueryError, RunnerError, ValueError):  # the problems of the rule files say why
        return None
    return explain(program, origin_in(schema, "the shipped table"))
