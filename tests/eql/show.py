"""Syntax trees on one line, as the specs write them."""

from __future__ import annotations

import json

from runner.eql.syntax.ast import EventQuery, KeyExpression, SampleQuery, SequenceQuery, Statement, Term
from runner.expressions.nodes import (
    Arithmetic,
    Call,
    Comparison,
    Constant,
    Expression,
    FieldRef,
    Membership,
    Name,
    Negative,
    Pattern,
    children,
)


def show(node: Expression | Statement | EventQuery | Term) -> str:
    """A node on one line, operators first: `(and (== a 1) (not (: b "x*")))`."""
    if isinstance(node, Constant):
        return json.dumps(node.value, ensure_ascii=False)
    if isinstance(node, Name):
        return f"?{node.name}" if node.optional else node.name
    if isinstance(node, FieldRef):
        return f"?{node.field.name}" if node.optional else node.field.name
    if isinstance(node, Statement):
        pipes = [f"| {pipe.name} {pipe.count}" for pipe in node.pipes]
        return " ".join([_show_body(node.body), *pipes])
    if isinstance(node, EventQuery):
        category = "any" if node.category is None else json.dumps(node.category, ensure_ascii=False)
        return f"(event {category} {show(node.condition)})"
    if isinstance(node, Term):
        runs = f" runs {node.runs}" if node.runs != 1 else ""
        return f"{'!' if node.missing else ''}[{show(node.query)}{_show_keys(node.keys)}{runs}]"
    parts = " ".join([_head(node), *(show(part) for part in children(node))])
    return f"({parts})"


def _head(node: Expression) -> str:
    if isinstance(node, (Arithmetic, Comparison, Pattern)):
        return node.operator
    if isinstance(node, Membership):
        return "in~" if node.insensitive else "in"
    if isinstance(node, Call):
        return f"{node.name}~" if node.insensitive else node.name
    return "-" if isinstance(node, Negative) else type(node).__name__.lower()


def _show_body(body: EventQuery | SequenceQuery | SampleQuery) -> str:
    if isinstance(body, EventQuery):
        return show(body)
    terms = " ".join(show(term) for term in body.terms)
    if isinstance(body, SampleQuery):
        return f"(sample{_show_keys(body.keys)} {terms})"
    maxspan = "" if body.maxspan is None else f" maxspan {body.maxspan}"
    until = "" if body.until is None else f" until {show(body.until)}"
    return f"(sequence{_show_keys(body.keys)}{maxspan} {terms}{until})"


def _show_keys(keys: tuple[KeyExpression, ...]) -> str:
    return "".join([" by ", ",".join(show(key) for key in keys)]) if keys else ""
