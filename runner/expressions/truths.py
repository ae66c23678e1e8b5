"""Two-valued conditions, some of them decided: `Truth`, an expression or what it always is; and how they are joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from runner.events.fields.schema import Field
from runner.expressions import nodes
from runner.messages.text_positions import Span

Truth: TypeAlias = nodes.Expression | bool


def field_ref(found: Field, span: Span) -> nodes.FieldRef:
    """The field as a query reads it that asks no other in its place."""
    return nodes.FieldRef(span, found, found)


def has_value(ref: nodes.FieldRef) -> nodes.Expression:
    """The field has a value that its type can read."""
    return nodes.Not(ref.span, nodes.Comparison(ref.span, "==", ref, nodes.Constant(ref.span, None)))


def negation_of(truth: Truth, span: Span) -> Truth:
    """The opposite."""
    return not truth if isinstance(truth, bool) else nodes.Not(span, truth)


def all_of(parts: Sequence[Truth], span: Span) -> Truth:
    """The conjunction; true without parts."""
    if False in [part for part in parts if isinstance(part, bool)]:
        return False
    left = tuple(part for part in parts if not isinstance(part, bool))
    return (left[0] if len(left) == 1 else nodes.And(span, left)) if left else True


def any_of(parts: Sequence[Truth], span: Span) -> Truth:
    """The disjunction; false without parts."""
    if True in [part for part in parts if isinstance(part, bool)]:
        return True
    left = tuple(part for part in parts if not isinstance(part, bool))
    return (left[0] if len(left) == 1 else nodes.Or(span, left)) if left else False
