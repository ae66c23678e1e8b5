"""Predicates: conditions on one event as trees of tests of field values.

Conditions that read the same single field are joined into one `Lookup`, whatever `and`, `or` and `not` stand between
them; it is worked out once per distinct value. Equal conditions of different rules, by `plan.identity`, are one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from runner.engine.filter.field_tests import TestFunction
from runner.engine.filter.prefilter import RequiredLiterals, joined, negated, required_literals_for
from runner.engine.filter.value_tests import OperandIndex, value_test_for
from runner.engine.plan import Identity, Plan, identity
from runner.events.fields.schema import DataType, Field
from runner.events.fields.values import Canonical
from runner.expressions import nodes

Predicate: TypeAlias = "Lookup | Combination | Junction | Negation"
_COST_OF_MANY = 1_000
"""The cost of a disjunction of many: more than that of any other condition."""
Part = TypeVar("Part", bound="Lookup | Combination | Junction | Negation")


@dataclass(frozen=True, slots=True)
class Lookup:
    """A condition on the value of one field."""

    identity: Identity
    field: str
    test: Callable[[Canonical], bool]
    cost: int
    scripted: bool = False
    """True for everything that holds a script: it may fail on a value."""
    required: RequiredLiterals | None = None
    index: int = -1
    """The bit of the condition in the truth table of a filter (`interned`)."""


@dataclass(frozen=True, slots=True)
class Combination:
    """A condition that needs several fields, or several occurrences of one, at once."""

    identity: Identity
    fields: tuple[str, ...]
    test: TestFunction
    cost: int
    scripted: bool = True
    """Evaluated last, for events that meet everything else."""
    fails: bool = True
    """It may fail on a value."""
    operands: OperandIndex | None = None
    """The index of a disjunction of many, which decides for many events at once."""


@dataclass(frozen=True, slots=True)
class Junction:
    """`and` (`decisive` False) or `or` (`decisive` True) of predicates, cheapest first."""

    identity: Identity
    parts: tuple[Predicate, ...]
    decisive: bool
    cost: int
    scripted: bool


@dataclass(frozen=True, slots=True)
class Negation:
    """No combination of values meets the condition."""

    identity: Identity
    part: Predicate
    cost: int
    scripted: bool


@dataclass(frozen=True, slots=True)
class _Leaf:
    """An indivisible condition, and all fields that its expression names."""

    predicate: Lookup | Combination
    fields: frozenset[Field]


class ConstantPredicateError(ValueError):
    """Raised for a constant among the conditions: `simplify` has left none."""


class _PredicateBuilder:
    """Builds the predicates of one stage, and collects the fields that they read."""

    def __init__(self, leaves: dict[Identity, _Leaf], now_ns: int) -> None:
        """`leaves` are the known indivisible conditions by identity and types; new ones are added."""
        self._leaves, self._now_ns = leaves, now_ns
        self.fields: set[Field] = set()
        self.reads_clock = False
        """Whether some condition depends on `now_ns`."""

    def joined(self, expressions: Iterable[nodes.Expression], *, decisive: bool = False) -> tuple[Predicate, ...]:
        """The predicates of the expressions, joined where they read the same field, cheapest first."""
        return _joined([self.predicate(expression) for expression in expressions], decisive=decisive)

    def predicate(self, expression: nodes.Expression) -> Predicate:
        """The predicate of a checked, simplified boolean expression."""
        match expression:
            case nodes.Not(_, operand):
                part = self.predicate(operand)
                name: Identity = ("Not", part.identity)
                if isinstance(part, Lookup):
                    return Lookup(
                        name, part.field, _negated(part.test), part.cost, part.scripted, negated(part.required)
                    )
                return Negation(name, part, part.cost, part.scripted)
            case nodes.And(_, operands) | nodes.Or(_, operands):
                decisive = isinstance(expression, nodes.Or)
                parts = self.joined(operands, decisive=decisive)
                if len(parts) == 1:
                    return parts[0]
                scripted = any(part.scripted for part in parts)
                name = ("Or" if decisive else "And", *(part.identity for part in parts))
                return Junction(name, parts, decisive, sum(part.cost for part in parts), scripted)
            case nodes.Constant(value=value):
                raise ConstantPredicateError(f"constant condition {value is True} was not simplified away")
        return self._leaf(expression)

    def _leaf(self, expression: nodes.Expression) -> Lookup | Combination:
        name = identity(expression)
        # One of many operands is equal only to itself: it need not be walked over again.
        key = name, () if isinstance(expression, nodes.AnyOf) else _types(expression)
        leaf = self._leaves.get(key)
        if leaf is None:
            parts = list(nodes.walk(expression))
            timed = any(map(_is_of_clock, parts))
            made = _made(expression, (*name, self._now_ns) if timed else name, self._now_ns)
            refs = [part for part in parts if isinstance(part, nodes.FieldRef)]
            leaf = _Leaf(made, frozenset(field for ref in refs for field in (ref.field, ref.exact)))
            if timed:
                self.reads_clock = True
            else:
                self._leaves[key] = leaf
        self.fields |= leaf.fields
        return leaf.predicate


def _made(expression: nodes.Expression, name: Identity, now_ns: int) -> Lookup | Combination:
    if isinstance(expression, nodes.AnyOf):
        index = OperandIndex(expression.operands, now_ns)
        names = tuple(field.name for field in index.fields)
        return Combination(name, names, index.test, _COST_OF_MANY, fails=False, operands=index)
    leaf = value_test_for(expression, now_ns)
    names = tuple(field.name for field in leaf.fields)
    if len(names) == 1:
        required = None if leaf.scripted else required_literals_for(expression)
        return Lookup(name, names[0], leaf.test, leaf.cost, leaf.scripted, required)
    return Combination(name, names, leaf.test, leaf.cost)


def _types(expression: nodes.Expression) -> tuple[DataType, ...]:
    """The types of the fields: two statements may take a field that no mapping names for different things."""
    found: list[DataType] = []
    todo = [expression]
    while todo:
        part = todo.pop()
        if isinstance(part, nodes.FieldRef):
            found += (part.field.type, part.exact.type)
        elif not isinstance(part, nodes.Constant):
            todo += nodes.children(part)
    return tuple(found)


def _is_of_clock(part: nodes.Expression) -> bool:
    """Whether it is date math that depends on `now`, or has such in it."""
    if isinstance(part, nodes.Nested):
        return any(map(_is_of_clock, nodes.walk(part.condition)))
    return isinstance(part, nodes.Constant) and isinstance(part.value, str) and part.value.startswith("now")


def join_conjuncts(expressions: Sequence[nodes.Expression], now_ns: int) -> tuple[Predicate, ...]:
    """Predicates that an event must all meet, cheapest first, equal for equal conditions in whatever order they
    stand."""
    return _PredicateBuilder({}, now_ns).joined(expressions)


class Conjuncts:
    """The predicates of stages for many passes, by the very tuple of their expressions.

    What reads the clock is worked out anew each time. Equal indivisible conditions of several stages are one predicate.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Sequence[nodes.Expression], tuple[Predicate, ...] | None, frozenset[Field]]] = {}
        """By id of the expressions: these, their predicates unless they read the clock, and the fields."""
        self._leaves: dict[Identity, _Leaf] = {}

    def of(self, expressions: Sequence[nodes.Expression], now_ns: int) -> tuple[Predicate, ...]:
        """What `join_conjuncts` gives."""
        known = self._known.get(id(expressions))
        if known is not None and known[0] is expressions and known[1] is not None:
            return known[1]
        builder = _PredicateBuilder(self._leaves, now_ns)
        joined = builder.joined(expressions)
        kept = None if builder.reads_clock else joined
        self._known[id(expressions)] = expressions, kept, frozenset(builder.fields)
        return joined

    def fields(self, plan: Plan) -> frozenset[Field]:
        """What `Plan.fields` gives."""
        found = {plan.timestamp}
        if plan.tiebreaker is not None:
            found.add(plan.tiebreaker)
        for stage in plan.all_stages():
            known = self._known.get(id(stage.conjuncts))
            if known is None or known[0] is not stage.conjuncts:
                return plan.fields()
            found |= known[2]
            found.update(key.exact for key in stage.keys if key is not None)
        return frozenset(found)


def _negated(test: Callable[[Canonical], bool]) -> Callable[[Canonical], bool]:
    return lambda value: not test(value)


def _joined(parts: Sequence[Predicate], *, decisive: bool) -> tuple[Predicate, ...]:
    """The parts with lookups in the same field made one, cheapest first.

    This holds for several values, too: each lookup is a condition on the field's value as a whole.
    """
    by_field: dict[tuple[str, bool], list[Lookup]] = {}
    rest: list[Predicate] = []
    for part in parts:
        if isinstance(part, Lookup):
            by_field.setdefault((part.field, part.scripted), []).append(part)
        else:
            rest.append(part)
    rest.extend(
        lookups[0] if len(lookups) == 1 else _one_lookup(lookups, decisive=decisive) for lookups in by_field.values()
    )
    return tuple(_sorted(rest))


def _sorted(parts: Sequence[Part]) -> list[Part]:
    """The parts, cheapest first; those that cost the same in an order that is the same wherever they stand."""
    costs = [(part.scripted, part.cost) for part in parts]
    if len(set(costs)) == len(costs):
        return sorted(parts, key=lambda part: (part.scripted, part.cost))
    return sorted(parts, key=lambda part: (part.scripted, part.cost, repr(part.identity)))


def _one_lookup(lookups: Sequence[Lookup], *, decisive: bool) -> Lookup:
    ordered = _sorted(lookups)
    tests = tuple(lookup.test for lookup in ordered)
    either = any if decisive else all
    name = ("any of" if decisive else "all of", *(lookup.identity for lookup in ordered))
    cost, scripted = max(lookup.cost for lookup in ordered), ordered[0].scripted
    required = joined([lookup.required for lookup in ordered], decisive=decisive)
    return Lookup(name, ordered[0].field, lambda value: either(test(value) for test in tests), cost, scripted, required)


def interned(stages: Sequence[Sequence[Predicate]]) -> list[tuple[Predicate, ...]]:
    """The predicates of some stages with equal ones made one object. Their lookups get indices, field by field."""
    lookups = {one.identity: one for stage in stages for part in stage for one in lookups_in(part)}
    ordered = sorted(lookups.values(), key=lambda one: one.field)
    known: dict[Identity, Predicate] = {one.identity: replace(one, index=n) for n, one in enumerate(ordered)}
    return [tuple(_interned(part, known) for part in stage) for stage in stages]


def _interned(predicate: Predicate, known: dict[Identity, Predicate]) -> Predicate:
    found = known.get(predicate.identity)
    if found is None:
        match predicate:
            case Junction(parts=parts):
                found = replace(predicate, parts=tuple(_interned(part, known) for part in parts))
            case Negation(part=part):
                found = replace(predicate, part=_interned(part, known))
            case _:
                found = predicate
        known[predicate.identity] = found
    return found


def reduced(predicate: Predicate, known: int, bits: int) -> Predicate | bool:
    """What is left of an interned predicate, given the truths (`bits`) of its `known` lookups: partial evaluation."""
    match predicate:
        case Lookup(index=index):
            return bool(bits >> index & 1) if known >> index & 1 else predicate
        case Negation(part=part):
            found = reduced(part, known, bits)
            if isinstance(found, bool):
                return not found
            return predicate if found is part else replace(predicate, part=found)
        case Junction(parts=parts, decisive=decisive):
            given = [reduced(part, known, bits) for part in parts]
            if decisive in given:
                return decisive
            left = tuple(part for part in given if not isinstance(part, bool))
            if len(left) < 2:
                return left[0] if left else not decisive
            return replace(predicate, parts=left, scripted=any(part.scripted for part in left))
        case _:
            return predicate


def shape(predicate: Predicate) -> Hashable:
    """A key of an interned or reduced predicate: equal for those of the same parts."""
    match predicate:
        case Lookup(index=index):
            return index
        case Negation(part=part):
            return "not", shape(part)
        case Junction(parts=parts, decisive=decisive):
            return decisive, *map(shape, parts)
        case _:
            return predicate.identity


def is_selective(predicate: Predicate) -> bool:
    """Whether few events can be expected to meet the predicate, by what it is made of: most meet `not name == "x"`."""
    match predicate:
        case Lookup(required=required):
            return required is None or not required.default
        case Negation():
            return False
        case Junction(parts=parts, decisive=decisive):
            return (all if decisive else any)(is_selective(part) for part in parts)
        case _:
            return True


def may_fail(predicate: Predicate) -> bool:
    """Whether the predicate may fail on a value: all with a script but `Combination`s that say they do not."""
    match predicate:
        case Lookup(scripted=scripted):
            return scripted
        case Combination(fails=fails):
            return fails
        case Negation(part=part):
            return may_fail(part)
        case Junction(parts=parts):
            return any(map(may_fail, parts))


def is_equality(lookup: Lookup) -> bool:
    """Whether only values that equal one of some constants meet the condition."""
    required = lookup.required
    if required is None or required.default:
        return False
    return all(literal.place == "whole" for group in required.groups for literal in group)


def lookups_in(predicate: Predicate) -> Iterator[Lookup]:
    """The lookups that the predicate is made of."""
    match predicate:
        case Lookup():
            yield predicate
        case Negation(part=part):
            yield from lookups_in(part)
        case Junction(parts=parts):
            for part in parts:
                yield from lookups_in(part)


def fields_of(predicate: Predicate) -> Iterator[str]:
    """The fields that a predicate reads."""
    match predicate:
        case Lookup(field=name):
            yield name
        case Combination(fields=names):
            yield from names
        case Negation(part=part):
            yield from fields_of(part)
        case Junction(parts=parts):
            for part in parts:
                yield from fields_of(part)
