"""A checked query as a plan: stages with their conditions split into conjuncts, keys, limits. The plan is what is
run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from runner.eql import ast
from runner.events.schema import Field

Identity: TypeAlias = tuple[object, ...]
"""What an expression means, without where it stands: equal for equal conditions of different queries."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One event query of the plan: an event must meet all `conjuncts`. No conjunct: any event; `empty`: none."""

    conjuncts: tuple[ast.Expression, ...]
    keys: tuple[ast.FieldRef | None, ...] = ()
    """The join keys, those of the whole query first; None is the null key of an unmapped optional field."""
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
        """Every stage whose events are looked for, the `until` stage last."""
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


def build_plan(statement: ast.Statement, *, category: Field | None, timestamp: Field, tiebreaker: Field | None) -> Plan:
    """The plan of a checked, simplified statement; `category` is the event category field (None if only `any` is
    used)."""
    body = statement.body
    limits = tuple(Limit(pipe.name, pipe.count) for pipe in statement.pipes)
    until: Stage | None = None
    maxspan: int | None = None
    kind: Literal["event", "sequence", "sample"]
    if isinstance(body, ast.EventQuery):
        kind = "event"
        stages: tuple[Stage, ...] = (_stage(body, category),)
    else:
        kind = "sequence" if isinstance(body, ast.Sequence) else "sample"
        stages = tuple(_term(term, body.keys, category) for term in body.terms for _ in range(term.runs))
        if isinstance(body, ast.Sequence):
            until = _term(body.until, body.keys, category) if body.until is not None else None
            maxspan = body.maxspan * 1_000_000 if body.maxspan is not None else None
    return Plan(kind, stages, until, maxspan, limits, timestamp, tiebreaker)


def _term(term: ast.Term, shared: tuple[ast.Key, ...], category: Field | None) -> Stage:
    keys = tuple(key if isinstance(key, ast.FieldRef) else None for key in (*shared, *term.keys))
    return _stage(term.query, category, keys=keys, missing=term.missing)


def _stage(
    query: ast.EventQuery, category: Field | None, *, keys: tuple[ast.FieldRef | None, ...] = (), missing: bool = False
) -> Stage:
    conjuncts: list[ast.Expression] = []
    if query.category is not None:
        assert category is not None
        ref = ast.FieldRef(query.span, category, category)
        conjuncts.append(ast.Comparison(query.span, "==", ref, ast.Literal(query.span, query.category)))
    conjuncts.extend(query.condition.operands if isinstance(query.condition, ast.And) else (query.condition,))
    truths = [conjunct.value for conjunct in conjuncts if isinstance(conjunct, ast.Literal)]
    kept = tuple(conjunct for conjunct in conjuncts if not isinstance(conjunct, ast.Literal))
    return Stage(kept, keys, missing, empty=any(truth is not True for truth in truths))


def field_refs(expression: ast.Expression) -> Iterator[ast.FieldRef]:
    """Every occurrence of a field in an expression, from left to right."""
    return (node for node, _ in ast.walk(expression) if isinstance(node, ast.FieldRef))


def identity(expression: ast.Expression) -> Identity:
    """What the expression means: equal for the same condition wherever it stands."""
    match expression:
        case ast.Literal(value=value):
            return "literal", type(value).__name__, value
        case ast.FieldRef(field=field, exact=exact):
            return "field", field.name, exact.name
        case ast.Call(name=name, insensitive=insensitive):
            head: Identity = ("call", name, insensitive)
        case ast.Membership(insensitive=insensitive):
            head = ("in", insensitive)
        case ast.Arithmetic(operator=operator) | ast.Comparison(operator=operator) | ast.Pattern(operator=operator):
            head = (type(expression).__name__, operator)
        case _:
            head = (type(expression).__name__,)
    return (*head, *map(identity, ast.children(expression)))
