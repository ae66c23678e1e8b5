"""Expression nodes: typed conditions over one event, the same for every query language.

Nodes are data: a parser builds them, a checker types them, passes rewrite them. A parser leaves `Name` nodes; the
checker of its language puts a `FieldRef` (or a null `Constant`, for a field that may be absent) in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from runner.events.fields.schema import Field
from runner.messages.text_positions import Span

Value: TypeAlias = bool | int | float | str | None
"""A runtime value. Dates are int nanoseconds since 1970, ip and version values their text; the type says which."""


@dataclass(frozen=True, slots=True)
class Constant:
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
    operator: Literal["+", "-", "*", "/", "%"]
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Comparison:
    span: Span
    operator: Literal["==", "!=", "<", "<=", ">", ">="]
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
    operator: Literal[":", "like", "like~", "regex", "regex~"]
    value: Expression
    patterns: tuple[Constant, ...]


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
    Constant | Name | FieldRef | Call | Negative | Arithmetic | Comparison | Membership | Pattern | Not | And | Or
)


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
        patterns = tuple(part for part in parts[1:] if isinstance(part, Constant))
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
