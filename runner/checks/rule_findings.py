"""`rule_doubts`: what is doubtful in a rule whose query is sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from runner import eql
from runner.checks.categories import category_findings, key_findings
from runner.checks.conditions import condition_findings, implies
from runner.engine.plan import Plan
from runner.eql.syntax import ast
from runner.errors import Problem
from runner.esql import EsqlQuery
from runner.events.fields.schema import Schema
from runner.exceptions.conditions import ItemRefusedError, item_parts
from runner.exceptions.item import ExceptionItem
from runner.expressions import nodes
from runner.messages.quantities import in_whole_units
from runner.messages.query_errors import QueryError, QueryFinding
from runner.messages.text_positions import Span
from runner.rules.model_errors import shortened
from runner.search.compiled_rule import AnomalyQuery, CompiledRule, query_problem


def rule_doubts(compiled: CompiledRule, schema: Schema) -> list[Problem]:
    """Every warning about the conditions of a rule, its categories and its sequence; and about exceptions that leave
    nothing of it."""
    if isinstance(compiled.query, EsqlQuery | AnomalyQuery):
        return []
    plan = _plan(compiled, schema)
    if plan is None:
        return []
    found = dict.fromkeys(_of_query(compiled, plan))
    return [
        *(query_problem(compiled.rule, compiled.query.source, finding) for finding in found),
        *_emptied(compiled, plan, schema),
    ]


def _plan(compiled: CompiledRule, schema: Schema) -> Plan | None:
    """The plan without exceptions; None for a query that has errors, which are told."""
    try:
        return compiled.bare_program(schema).plan
    except QueryError:
        return None


def _of_query(compiled: CompiledRule, plan: Plan) -> Iterator[QueryFinding]:
    query, rule = compiled.query, compiled.rule
    if isinstance(query, EsqlQuery | AnomalyQuery):
        return
    if not isinstance(query, eql.ParsedQuery):
        for stage in plan.stages:
            yield from condition_findings(_joined(stage.conjuncts, len(query.source.text)), query.source, quoted=True)
        return
    of_ecs = rule.event_category_override in (None, "event.category")
    for one in ast.event_queries(query.statement):
        yield from condition_findings(one.condition, query.source)
        yield from category_findings(one, query.source, rule.index, of_ecs=of_ecs)
    body = query.statement.body
    if isinstance(body, ast.EventQuery):
        yield from _decided(body.condition, is_empty=plan.stages[0].empty)
        return
    for term in body.terms:
        yield from key_findings(term, body.keys, rule.index)
    if isinstance(body, ast.SequenceQuery):
        yield from _span(compiled, body)


def _decided(condition: nodes.Expression, *, is_empty: bool) -> Iterator[QueryFinding]:
    """A condition without fields that comes to false; one that is written as false is meant so."""
    has_fields = any(isinstance(node, nodes.Name) for node in nodes.walk(condition))
    if is_empty and not has_fields and not isinstance(condition, nodes.Constant):
        yield QueryFinding(
            condition.span, "this can never hold: it comes to false whatever the event", "", "never-true"
        )


def _span(compiled: CompiledRule, body: ast.SequenceQuery) -> Iterator[QueryFinding]:
    """What is doubtful in the time that a sequence may take."""
    start = Span(body.span.start, body.span.start + len("sequence"))
    look_back = compiled.rule.look_back
    if body.maxspan is None:
        text = (
            f"a sequence without `maxspan`: events up to {_words(look_back)} apart are one match, and each first event "
            "is kept as long"
        )
        yield QueryFinding(start, text, "; `sequence by KEY with maxspan=1m`", "sequence-without-maxspan")
    elif timedelta(milliseconds=body.maxspan) > look_back:
        text = (
            f"`maxspan` ({in_whole_units(body.maxspan)}) is longer than the look-back of {_words(look_back)}: Kibana "
            "never finds what takes longer; here each run reads as much more"
        )
        yield QueryFinding(start, text, "; begin `from` earlier", "maxspan-beyond-look-back")


def _words(length: timedelta) -> str:
    return in_whole_units(length // timedelta(milliseconds=1))


def _joined(conjuncts: tuple[nodes.Expression, ...], end: int = 0) -> nodes.Expression:
    """The conjunction; `end` is the length of the text that it stands in."""
    return conjuncts[0] if len(conjuncts) == 1 else nodes.And(Span(0, end), conjuncts)


# Exceptions.


def _emptied(compiled: CompiledRule, plan: Plan, schema: Schema) -> Iterator[Problem]:
    """A warning for each exception that every match of the rule has an event for."""
    for item in compiled.exceptions:
        if item.scope != "event":
            continue
        if any(implies(_joined(stage.conjuncts), _tests(item, schema)) for stage in plan.stages if not stage.missing):
            rule = compiled.rule
            message = (
                f"exception `{shortened(item.name)}`: hits every event that rule `{shortened(rule.name)}` can match: "
                "the rule never has an alert; switch it off instead, or say more in the exception"
            )
            yield replace(item.place.problem("warning", message, "exception-removes-all"), rule_id=rule.rule_id)


def _tests(item: ExceptionItem, schema: Schema) -> list[nodes.Expression]:
    """The conditions of an exception that must all hold; none if one of them is not a plain test."""
    try:
        parts = item_parts(item, schema)
    except ItemRefusedError:
        return []
    tests = [part for part in parts if not isinstance(part, bool)]
    return tests if len(tests) == len(parts) else []
