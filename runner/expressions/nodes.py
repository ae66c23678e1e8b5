"""Expression nodes: typed conditions over one event, the same for every query language.

Nodes are data: a parser builds them, a checker types them, passes rewrite them. A parser leaves `Name` nodes; the
checker of its language puts a `FieldRef` (or a null `Constant`, for a field that may be absent) in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import is_not
from typing import Any, Literal, TypeAlias

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
    """`value : patterns`, `like`, `regex` and their tilde forms; true if any pattern matches the whole value, or a word
    of an analysed field."""

    span: Span
    operator: Literal[":", "like", "like~", "regex", "regex~"]
    value: Expression
    patterns: tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class Phrase:
    """A value that is the text, or in which its words stand in a row if the field is analysed; both lower-cased if the
    field is normalised. No word: no value.

    `slop` is by how many places in all the words of an analysed field may be moved to stand in a row.
    """

    span: Span
    value: FieldRef
    text: str
    slop: int = 0


@dataclass(frozen=True, slots=True)
class Wildcard:
    r"""A whole value, or a word of an analysed field, that fits a pattern of Lucene's wildcard query: `*`, `?`, `\`
    before a literal character. The pattern is lower-cased only for a normalised field."""

    span: Span
    value: FieldRef
    pattern: str
    insensitive: bool = False
    """Ignores the case of ASCII letters."""


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """A whole value, or a word of an analysed field, that a few edits make the text: characters put in, taken out,
    replaced, or two neighbours swapped."""

    span: Span
    value: FieldRef
    text: str
    edits: int


@dataclass(frozen=True, slots=True)
class Between:
    """One value that lies between two constants; two comparisons may be met by different values of a field."""

    span: Span
    value: FieldRef
    above: Literal[">", ">="]
    low: Constant
    below: Literal["<", "<="]
    high: Constant


@dataclass(frozen=True, eq=False, slots=True)
class ValueSet:
    """Many values of one field's type, of which membership costs one look-up; equal only to itself.

    Dates and addresses are spans, ascending and apart from each other, both ends included.
    """

    texts: tuple[str, ...]
    """The values as they are written."""
    members: frozenset[bool | int | float | str] = frozenset()
    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"<{len(self.texts)} values>"


@dataclass(frozen=True, slots=True)
class Listed:
    """A value, or a word of an analysed field, that is in the set."""

    span: Span
    value: FieldRef
    listed: ValueSet


@dataclass(frozen=True, slots=True)
class Nested:
    """One object of a nested field meets the whole condition, whose fields lie below that field.

    The condition is about another document, in a way: its parts are none of the children of this node.
    """

    span: Span
    value: FieldRef
    condition: Expression


@dataclass(frozen=True, eq=False, slots=True)
class AnyOf:
    """A disjunction of many, decided for those events only that meet all else, and over an index of its operands.

    An operand with a script that fails on a value is false. Equal only to itself, since comparing thousands of operands
    takes too long.
    """

    span: Span
    operands: tuple[Expression, ...]

    def __repr__(self) -> str:
        return f"<any of {len(self.operands)}>"


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
    Constant
    | Name
    | FieldRef
    | Call
    | Negative
    | Arithmetic
    | Comparison
    | Membership
    | Pattern
    | Phrase
    | Wildcard
    | Fuzzy
    | Between
    | Listed
    | Nested
    | AnyOf
    | Not
    | And
    | Or
)


_PARTS: dict[type, Callable[[Any], tuple[Expression, ...]]] = {
    Arithmetic: lambda node: (node.left, node.right),
    Comparison: lambda node: (node.left, node.right),
    And: lambda node: node.operands,
    Or: lambda node: node.operands,
    Not: lambda node: (node.operand,),
    Negative: lambda node: (node.operand,),
    Membership: lambda node: (node.value, *node.items),
    Pattern: lambda node: (node.value, *node.patterns),
    Call: lambda node: node.arguments,
    Phrase: lambda node: (node.value,),
    Wildcard: lambda node: (node.value,),
    Fuzzy: lambda node: (node.value,),
    Between: lambda node: (node.value, node.low, node.high),
    Listed: lambda node: (node.value,),
    Nested: lambda node: (node.value,),
    AnyOf: lambda node: node.operands,
}
_REBUILT: dict[type, Callable[[Any, tuple[Any, ...]], Expression]] = {
    Arithmetic: lambda node, parts: Arithmetic(node.span, node.operator, *parts),
    Comparison: lambda node, parts: Comparison(node.span, node.operator, *parts),
    And: lambda node, parts: And(node.span, parts),
    Or: lambda node, parts: Or(node.span, parts),
    Not: lambda node, parts: Not(node.span, *parts),
    Negative: lambda node, parts: Negative(node.span, *parts),
    Membership: lambda node, parts: Membership(node.span, parts[0], parts[1:], node.insensitive),
    Pattern: lambda node, parts: Pattern(node.span, node.operator, parts[0], parts[1:]),
    Call: lambda node, parts: Call(node.span, node.name, parts, node.insensitive, node.written),
    Phrase: lambda node, parts: Phrase(node.span, parts[0], node.text, node.slop),
    Wildcard: lambda node, parts: Wildcard(node.span, parts[0], node.pattern, node.insensitive),
    Fuzzy: lambda node, parts: Fuzzy(node.span, parts[0], node.text, node.edits),
    Between: lambda node, parts: Between(node.span, parts[0], node.above, parts[1], node.below, parts[2]),
    Listed: lambda node, parts: Listed(node.span, parts[0], node.listed),
    Nested: lambda node, parts: Nested(node.span, parts[0], node.condition),
    AnyOf: lambda node, parts: AnyOf(node.span, parts),
}


def children(expression: Expression) -> tuple[Expression, ...]:
    """The expressions that stand directly inside this one, in the order of the text."""
    parts = _PARTS.get(type(expression))
    return parts(expression) if parts is not None else ()


def with_children(expression: Expression, parts: tuple[Expression, ...]) -> Expression:
    """The same node over other parts, which stand for those that `children` gives."""
    rebuilt = _REBUILT.get(type(expression))
    return rebuilt(expression, parts) if rebuilt is not None else expression


def rewrite(expression: Expression, rule: Callable[[Expression], Expression]) -> Expression:
    """The expression after `rule` was applied to every node, leaves first; unchanged parts are kept, not copied.

    Constants inside of it stay as they are, because no rule has anything to do with one alone.
    """
    parts = children(expression)
    if parts:
        rewritten = [part if type(part) is Constant else rewrite(part, rule) for part in parts]
        if any(map(is_not, rewritten, parts)):
            expression = with_children(expression, tuple(rewritten))
    return rule(expression)


def walk(expression: Expression) -> Iterator[Expression]:
    """Every node, parents before children, in the order of the text. Works without recursion."""
    todo = [expression]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(reversed(children(node)))


def depth_of(expression: Expression, most: int) -> int:
    """How many nodes stand above each other, counted up to `most` + 1. Works without recursion."""
    depth = 0
    level: Sequence[Expression] = (expression,)
    while level and depth <= most:
        depth += 1
        level = [part for node in level for part in children(node)]
    return depth
