"""The text of a query that leaves out some events: for a server that is to do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runner.eql.explain.unparse import unparse
from runner.eql.program import ParsedQuery
from runner.eql.syntax import ast
from runner.expressions import nodes


def excepting_text(query: ParsedQuery, conditions: Sequence[nodes.Expression]) -> str:
    """The query with `and not (...)` of the conditions in each of its terms, missing ones and `until` among them.

    The conditions are simplified ones: no null is left in them, which would make the whole null.

    >>> from runner.eql.program import parse_query
    >>> from runner.expressions.nodes import Comparison, Constant, Name
    >>> from runner.messages.text_positions import Span
    >>> nowhere = Span(0, 0)
    >>> lab = Comparison(nowhere, "==", Name(nowhere, "host.name"), Constant(nowhere, "lab"))
    >>> excepting_text(parse_query("process where pid == 1 or pid == 2"), [lab, lab])
    'process where (pid == 1 or pid == 2) and not (host.name == "lab" or host.name == "lab")'
    """
    if not conditions:
        return query.source.text
    span = query.statement.span
    unwanted = conditions[0] if len(conditions) == 1 else nodes.Or(span, tuple(conditions))
    body = query.statement.body
    if isinstance(body, ast.EventQuery):
        return unparse(replace(query.statement, body=_without(body, unwanted)))
    terms = tuple(replace(term, query=_without(term.query, unwanted)) for term in body.terms)
    if isinstance(body, ast.SampleQuery):
        return unparse(replace(query.statement, body=replace(body, terms=terms)))
    until = None if body.until is None else replace(body.until, query=_without(body.until.query, unwanted))
    return unparse(replace(query.statement, body=replace(body, terms=terms, until=until)))


def _without(query: ast.EventQuery, unwanted: nodes.Expression) -> ast.EventQuery:
    return replace(query, condition=nodes.And(query.span, (query.condition, nodes.Not(query.span, unwanted))))
