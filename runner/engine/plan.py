"""Plan of a query, of whatever language: stages as lists of conjuncts, join keys, limits. The engine runs plans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from runner.events.fields.schema import Field
from runner.expressions import nodes
from runner.messages.query_errors import QueryFinding
from runner.messages.text_positions import Source, Span

Identity: TypeAlias = tuple[object, ...]
"""An expression without its position in the text: equal for equal conditions of different queries."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One event condition of a plan: all `conjuncts` must hold (none: any event meets it); `empty`: none does."""

    conjuncts: tuple[nodes.Expression, ...]
    keys: tuple[nodes.FieldRef | None, ...] = ()
    """Join keys, those of the whole query first; None is the null key of an unmapped optional field. Those of a query
    for single events are read with each event that meets it."""
    missing: bool = False
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """`head` or `tail` of the matches."""

    side: Literal["head", "tail"]
    count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One query, ready to run. `stages` holds one stage for an event query; runs are unrolled.

    `maxspan` is in nanoseconds. `limits` are applied one after the other to all matches in ascending order.
    """

    kind: Literal["event", "sequence", "sample"]
    stages: tuple[Stage, ...]
    until: Stage | None
    maxspan: int | None
    limits: tuple[Limit, ...]
    timestamp: Field
    tiebreaker: Field | None

    def all_stages(self) -> tuple[Stage, ...]:
        """All stages, the `until` stage last."""
        return self.stages if self.until is None else (*self.stages, self.until)

    def fields(self) -> frozenset[Field]:
        """Every field that must be read to run the plan."""
        found = {self.timestamp}
        if self.tiebreaker is not None:
            found.add(self.tiebreaker)
        for stage in self.all_stages():
            for conjunct in stage.conjuncts:
                found.update(field for ref in field_refs(conjunct) for field in (ref.field, ref.exact))
            found.update(key.exact for key in stage.keys if key is not None)
        return frozenset(found)


def exclusions(stage: Stage) -> Iterator[nodes.AnyOf]:
    """The disjunctions of many conditions of which none may hold: what is left out of the stage."""
    for conjunct in stage.conjuncts:
        if isinstance(conjunct, nodes.Not):
            operand = conjunct.operand
            parts = operand.operands if isinstance(operand, nodes.Or) else (operand,)
            yield from (part for part in parts if isinstance(part, nodes.AnyOf))


def field_refs(expression: nodes.Expression) -> Iterator[nodes.FieldRef]:
    """Every occurrence of a field in an expression, from left to right."""
    return (node for node in nodes.walk(expression) if isinstance(node, nodes.FieldRef))


def identity(expression: nodes.Expression) -> Identity:
    """Identity of an expression: equal for the same condition at any position."""
    match expression:
        case nodes.Constant(value=value):
            return "literal", type(value).__name__, value
        case nodes.FieldRef(field=field, exact=exact):
            return "field", field.name, exact.name, exact.type, exact.normalized
        case nodes.AnyOf():
            return "any of many", expression
        case nodes.Nested(value=value, condition=condition):
            types = tuple((ref.field.name, ref.field.type, ref.exact.type) for ref in field_refs(condition))
            return "nested", value.field.name, identity(condition), types
        case nodes.Call(name=name, insensitive=insensitive):
            head: Identity = ("call", name, insensitive)
        case nodes.Membership(insensitive=insensitive):
            head = ("in", insensitive)
        case nodes.Phrase(value=ref, text=text, slop=slop):
            head = ("phrase", text, slop, ref.exact.normalized)
        case nodes.Fuzzy(value=ref, text=text, edits=edits):
            head = ("fuzzy", text, edits, ref.exact.normalized)
        case nodes.Between(value=ref, above=above, below=below):
            head = ("between", above, below, ref.exact.normalized)
        case nodes.Wildcard(value=ref, pattern=pattern, insensitive=insensitive):
            head = ("wildcard", pattern, insensitive, ref.exact.normalized)
        case nodes.Listed(value=ref, listed=listed):
            head = ("listed", listed, ref.exact.normalized)
        case (
            nodes.Arithmetic(operator=operator) | nodes.Comparison(operator=operator) | nodes.Pattern(operator=operator)
        ):
            head = (type(expression).__name__, operator)
        case _:
            head = (type(expression).__name__,)
    return (*head, *map(identity, nodes.children(expression)))


@dataclass(frozen=True, slots=True)
class EventProgram:
    """A query for single events that can be run, of a language without sequences, and what was remarked about it."""

    source: Source
    plan: Plan
    warnings: tuple[QueryFinding, ...] = ()


def event_plan(condition: nodes.Expression | bool, *, timestamp: Field, tiebreaker: Field | None = None) -> Plan:
    """The plan of a query for the events that meet a condition."""
    conjuncts = condition.operands if isinstance(condition, nodes.And) else (condition,)
    kept = tuple(part for part in conjuncts if not isinstance(part, bool))
    return Plan("event", (Stage(kept, empty=condition is False),), None, None, (), timestamp, tiebreaker)


@dataclass(frozen=True, slots=True)
class KeyField:
    """A field whose values are read with each event. An event without a value counts only if it is `optional`."""

    field: Field
    optional: bool = False


def with_keys(plan: Plan, fields: Iterable[KeyField]) -> Plan:
    """The plan of a query for single events, with the keys of each: see `FoundRows.keyed`. Raises ValueError for any
    other plan."""
    if plan.kind != "event":
        raise ValueError(f"a plan of kind {plan.kind} has the join keys of its query")
    keys = tuple(nodes.FieldRef(Span(0, 0), one.field, one.field, one.optional) for one in fields)
    return replace(plan, stages=tuple(replace(stage, keys=keys) for stage in plan.stages))
