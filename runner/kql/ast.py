"""The syntax tree of KQL. Nodes are data; nothing is known here of fields and their types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from runner.expressions.field_queries import RangeOperator
from runner.messages.text_positions import Span


@dataclass(frozen=True, slots=True)
class KqlText:
    """A field's name or a value without wildcards. Unquoted `true`, `false` and `null` are those of JSON."""

    span: Span
    value: str | bool | None
    quoted: bool = False

    @property
    def text(self) -> str:
        """The value as a query sends it."""
        return self.value if isinstance(self.value, str) else {True: "true", False: "false", None: "null"}[self.value]


@dataclass(frozen=True, slots=True)
class KqlPattern:
    """An unquoted text with wildcards: `parts` are the literal texts between the stars."""

    span: Span
    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """The pattern with its stars, literal ones like the others."""
        return "*".join(self.parts)

    @property
    def is_star(self) -> bool:
        """Whether it is `*` alone."""
        return self.parts == ("", "")


KqlValue: TypeAlias = KqlText | KqlPattern


@dataclass(frozen=True, slots=True)
class KqlIs:
    """`field: value`; without a field the value is searched in all fields."""

    span: Span
    field: KqlValue | None
    value: KqlValue

    @property
    def is_everything(self) -> bool:
        """Whether it is `*` or `*:*`, which every document meets."""
        fields = self.field is None or (isinstance(self.field, KqlPattern) and self.field.is_star)
        return fields and isinstance(self.value, KqlPattern) and self.value.is_star


@dataclass(frozen=True, slots=True)
class KqlRange:
    """`field > value` and the like."""

    span: Span
    field: KqlValue
    operator: RangeOperator
    value: KqlValue


@dataclass(frozen=True, slots=True)
class KqlNested:
    """`path:{ condition }`: one object of a nested field meets the condition, whose fields begin below the path."""

    span: Span
    path: KqlValue
    condition: KqlNode


@dataclass(frozen=True, slots=True)
class KqlNot:
    span: Span
    operand: KqlNode


@dataclass(frozen=True, slots=True)
class KqlAnd:
    span: Span
    operands: tuple[KqlNode, ...]


@dataclass(frozen=True, slots=True)
class KqlOr:
    span: Span
    operands: tuple[KqlNode, ...]


KqlNode: TypeAlias = KqlIs | KqlRange | KqlNested | KqlNot | KqlAnd | KqlOr


def leaves(node: KqlNode, path: str = "") -> Iterator[tuple[KqlIs | KqlRange | KqlNested, str]]:
    """Every leaf and every nested group, in the order of the text, each with the nested path that it lies in."""
    match node:
        case KqlAnd(operands=operands) | KqlOr(operands=operands):
            for operand in operands:
                yield from leaves(operand, path)
        case KqlNot(operand=operand):
            yield from leaves(operand, path)
        case KqlNested():
            yield node, path
            yield from leaves(node.condition, full_name(node.path, path))
        case KqlIs() | KqlRange():
            yield node, path


def full_name(name: KqlValue, path: str) -> str:
    """The name of a field, with its stars, below the nested path that it lies in."""
    return f"{path}.{name.text}" if path else name.text
