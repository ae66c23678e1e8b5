"""The syntax tree of a query. Nodes are data: the parser builds them, the checker types them, the passes rewrite them.

The same classes serve every stage. What changes along the way:
- the parser leaves `Name` nodes; the checker puts a `FieldRef` (or, for an unmapped optional field, a null `Constant`)
  in their place;
- after `simplify` no constant sub-expression is left, constants stand on the right of comparisons and `!=` is
  `Not(Comparison("=="))`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from runner.expressions.nodes import Constant, Expression, FieldRef, Name
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
