"""The syntax tree of a query. Nodes are data: the parser builds them, the checker types them, the passes rewrite them.

The same classes serve every stage. What changes along the way:
- the parser leaves `Name` nodes; the checker puts a `FieldRef` (or, for an unmapped optional field, a null `Literal`)
  in their place;
- after `simplify` no constant sub-expression is left, constants stand on the right of comparisons and `!=` is
  `Not(Comparison("=="))`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal as OneOf
from typing import TypeAlias

from runner.eql.source import Span
from runner.events.schema import DataType, Field

Value: TypeAlias = bool | int | float | str | None
"""A runtime value. Dates are int nanoseconds since 1970, ip and version values their text; the type says which."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant of the query, or one that a pass computed."""

    span: Span
    value: Value


@dataclass(frozen=True, slots=True)
class Name:
    """A field as the query writes it: dotted, without backquotes."""

    span: Span
    name: str
    optional: bool = False
    """Written with `?` before it."""


@dataclass(frozen=True, slots=True)
class FieldRef:
    """A field that the checker found. `exact` is what exact operations read: the keyword sub-field of a text field."""

    span: Span
    field: Field
    exact: Field
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; `name` in lower case without the tilde."""

    span: Span
    name: str
    arguments: tuple[Expression, ...]
    insensitive: bool = False
    """Written with a tilde: `endsWith~(...)`."""
    written: str = ""
    """The name as the query writes it, for messages."""


@dataclass(frozen=True, slots=True)
class Negative:
    """Unary minus."""

    span: Span
    operand: Expression


@dataclass(frozen=True, slots=True)
class Arithmetic:
    span: Span
    operator: OneOf["+", "-", "*", "/", "%"]
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Comparison:
    span: Span
    operator: OneOf["==", "!=", "<", "<=", ">", ">="]
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Membership:
    """`value in (items)` and `value in~ (items)`; `not in` is `Not(Membership)`."""

    span: Span
    value: Expression
    items: tuple[Expression, ...]
    insensitive: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """`value : patterns`, `like`, `regex` and their tilde forms; true if any pattern matches the whole value."""

    span: Span
    operator: OneOf[":", "like", "like~", "regex", "regex~"]
    value: Expression
    patterns: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Not:
    span: Span
    operand: Expression


@dataclass(frozen=True, slots=True)
class And:
    """A flat conjunction of two or more."""

    span: Span
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """A flat disjunction of two or more."""

    span: Span
    operands: tuple[Expression, ...]


Expression: TypeAlias = (
    Literal | Name | FieldRef | Call | Negative | Arithmetic | Comparison | Membership | Pattern | Not | And | Or
)
Key: TypeAlias = Name | FieldRef | Literal
"""A join key: a `Name` from the parser, then a `FieldRef`, or a null `Literal` for an unmapped optional key."""


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
    keys: tuple[Key, ...] = ()
    missing: bool = False
    """Written `![ ... ]`."""
    runs: int = 1


@dataclass(frozen=True, slots=True)
class Sequence:
    """`sequence by ... with maxspan=... [..] [..] until [..]`; `maxspan` in milliseconds."""

    span: Span
    terms: tuple[Term, ...]
    keys: tuple[Key, ...] = ()
    maxspan: int | None = None
    until: Term | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    span: Span
    terms: tuple[Term, ...]
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipe:
    """`| head N` or `| tail N`."""

    span: Span
    name: OneOf["head", "tail"]
    count: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A whole query."""

    span: Span
    body: EventQuery | Sequence | Sample
    pipes: tuple[Pipe, ...] = ()


def children(expression: Expression) -> tuple[Expression, ...]:
    """The expressions that stand directly inside this one, in the order of the text."""
    if isinstance(expression, (Arithmetic, Comparison)):
        return (expression.left, expression.right)
    if isinstance(expression, (And, Or)):
        return expression.operands
    if isinstance(expression, (Not, Negative)):
        return (expression.operand,)
    if isinstance(expression, Membership):
        return (expression.value, *expression.items)
    if isinstance(expression, Pattern):
        return (expression.value, *expression.patterns)
    return expression.arguments if isinstance(expression, Call) else ()


def with_children(expression: Expression, parts: tuple[Expression, ...]) -> Expression:
    """The same node over other parts, which stand for those that `children` gives."""
    if isinstance(expression, (Arithmetic, Comparison)):
        return replace(expression, left=parts[0], right=parts[1])
    if isinstance(expression, (And, Or)):
        return replace(expression, operands=parts)
    if isinstance(expression, (Not, Negative)):
        return replace(expression, operand=parts[0])
    if isinstance(expression, Membership):
        return replace(expression, value=parts[0], items=parts[1:])
    if isinstance(expression, Pattern):
        patterns = tuple(part for part in parts[1:] if isinstance(part, Literal))
        return replace(expression, value=parts[0], patterns=patterns)
    return replace(expression, arguments=parts) if isinstance(expression, Call) else expression


def rewrite(expression: Expression, rule: Callable[[Expression], Expression]) -> Expression:
    """The expression after `rule` was applied to every node, leaves first; unchanged parts are kept, not copied.

    Works without recursion.
    """
    done: list[Expression] = []
    todo: list[tuple[Expression, int]] = [(expression, -1)]
    while todo:
        node, count = todo.pop()
        if count < 0:
            parts = children(node)
            if not parts:
                done.append(rule(node))
                continue
            todo.append((node, len(parts)))
            todo.extend((part, -1) for part in reversed(parts))
            continue
        parts = tuple(done[-count:])
        del done[-count:]
        same = all(new is old for new, old in zip(parts, children(node), strict=True))
        done.append(rule(node if same else with_children(node, parts)))
    return done[0]


def walk(expression: Expression) -> Iterator[tuple[Expression, int]]:
    """Every node with its depth, the expression itself at 1, parents before children. Works without recursion."""
    todo = [(expression, 1)]
    while todo:
        node, depth = todo.pop()
        yield node, depth
        todo.extend((part, depth + 1) for part in reversed(children(node)))


def event_queries(statement: Statement) -> tuple[EventQuery, ...]:
    """The event queries of a statement in the order of the text, that of `until` included."""
    body = statement.body
    if isinstance(body, EventQuery):
        return (body,)
    terms = tuple(term.query for term in body.terms)
    return (*terms, body.until.query) if isinstance(body, Sequence) and body.until else terms


def show(node: Expression | Statement | EventQuery | Term) -> str:
    """A node on one line, operators first: `(and (== a 1) (not (: b "x*")))`. For tests and for looking at a query."""
    if isinstance(node, Literal):
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


def _show_body(body: EventQuery | Sequence | Sample) -> str:
    if isinstance(body, EventQuery):
        return show(body)
    terms = " ".join(show(term) for term in body.terms)
    if isinstance(body, Sample):
        return f"(sample{_show_keys(body.keys)} {terms})"
    maxspan = "" if body.maxspan is None else f" maxspan {body.maxspan}"
    until = "" if body.until is None else f" until {show(body.until)}"
    return f"(sequence{_show_keys(body.keys)}{maxspan} {terms}{until})"


def _show_keys(keys: tuple[Key, ...]) -> str:
    return "".join([" by ", ",".join(show(key) for key in keys)]) if keys else ""


__all__ = [
    "And", "Arithmetic", "Call", "Comparison", "DataType", "EventQuery", "Expression", "FieldRef", "Key", "Literal",
    "Membership", "Name", "Negative", "Not", "Or", "Pattern", "Pipe", "Sample", "Sequence", "Statement", "Term",
    "Value", "children", "event_queries", "rewrite", "show", "walk", "with_children",
]  # fmt: skip
