"""The syntax tree of a query. Nodes are data: the parser builds them, the checker types them, the passes rewrite them.

The same classes serve every stage. What changes along the way:
- the parser leaves `Name` nodes; the checker puts a `FieldRef` (or, for an unmapped optional field, a null `Constant`)
  in their place;
- after `simplify` no constant sub-expression is left, constants stand on the right of comparisons and `!=` is
  `Not(Comparison("=="))`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, TypeAlias

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
from runner.messages.text_positions import Span

KeyExpression: TypeAlias = Name | FieldRef | Constant
"""A join key: a `Name` from the parser, then a `FieldRef`, or a null `Constant` for an unmapped optional key."""


@dataclass(frozen=True, slots=True)
class EventQuery:
    """`category where condition`; category None is `any`."""

    span: Span
    category: str | None
    condition: Expression


@dataclass(frozen=True, slots=True)
class Term:
    """One bracket of a sequence or sample. `keys` are its own, after those of the whole statement."""

    span: Span
    query: EventQuery
    keys: tuple[KeyExpression, ...] = ()
    missing: bool = False
    """Written `![ ... ]`."""
    runs: int = 1


@dataclass(frozen=True, slots=True)
class SequenceQuery:
    """`sequence by ... with maxspan=... [..] [..] until [..]`; `maxspan` in milliseconds."""

    span: Span
    terms: tuple[Term, ...]
    keys: tuple[KeyExpression, ...] = ()
    maxspan: int | None = None
    until: Term | None = None


@dataclass(frozen=True, slots=True)
class SampleQuery:
    span: Span
    terms: tuple[Term, ...]
    keys: tuple[KeyExpression, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipe:
    """`| head N` or `| tail N`."""

    span: Span
    name: Literal["head", "tail"]
    count: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A whole query."""

    span: Span
    body: EventQuery | SequenceQuery | SampleQuery
    pipes: tuple[Pipe, ...] = ()


def event_queries(statement: Statement) -> tuple[EventQuery, ...]:
    """The event queries of a statement in the order of the text, that of `until` included."""
    body = statement.body
    if isinstance(body, EventQuery):
        return (body,)
    terms = tuple(term.query for term in body.terms)
    return (*terms, body.until.query) if isinstance(body, SequenceQuery) and body.until else terms


def show(node: Expression | Statement | EventQuery | Term) -> str:
    """A node on one line, operators first: `(and (== a 1) (not (: b "x*")))`. For tests and for looking at a query."""
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
