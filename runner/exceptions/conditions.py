"""Exception items as conditions over the fields of a schema: `resolve_items`.

Logic is two-valued: an entry of a field without a value is false, an excluded one is then true.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from runner import eql
from runner.engine.exclusions import Excluded
from runner.engine.filter.value_tests import OperandIndex
from runner.engine.plan import Plan, Stage
from runner.eql.syntax.errors import EqlError
from runner.errors import Problem
from runner.events.columns.row_decoder import RowDecoder
from runner.events.fields.schema import KEYWORDS, DataType, Field, Schema
from runner.exceptions.item import NO_SPAN, OS_FIELDS, ExceptionEntry, ExceptionItem, FilePlace
from runner.exceptions.item_query import QueryClause, any_clause, item_clause
from runner.exceptions.value_sets import value_set
from runner.expressions import nodes
from runner.expressions.mapped_fields import (
    check_pattern,
    check_values,
    field_for,
    is_flattened_key,
    leaves_below,
    within,
)
from runner.expressions.truths import Truth, all_of, any_of, field_ref, has_value, negation_of

_SETS, _GROUPS, _ITEMS = 2_048, 1 << 14, 1 << 15
"""Most sets of items, groups of them for the same rules, and items remembered with what they are in a schema."""
_TIMESTAMP = "@timestamp"
WHERE = "any where "
"""What stands before a condition to make an EQL query of it."""


class ItemRefusedError(ValueError):
    """An item that means nothing for the fields of a schema; `place` is that of the entry at fault."""

    def __init__(self, message: str, place: FilePlace) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True, slots=True)
class RefusedItem:
    """An item that removes nothing, and why."""

    item: ExceptionItem
    message: str
    place: FilePlace

    def problem(self, rule_id: str | None = None) -> Problem:
        text = f"exception `{self.item.name}` removes nothing: {self.message}"
        return replace(self.place.problem("warning", text, "exception-refused"), rule_id=rule_id)


@dataclass(frozen=True)
class ResolvedItems:
    """Items over the fields of a schema: those that can be judged, and the `refused` others."""

    items: tuple[ExceptionItem, ...]
    conditions: tuple[nodes.Expression, ...]
    """Of each item; a constant for one that depends on no field."""
    refused: tuple[RefusedItem, ...]
    schema: Schema = field(repr=False)

    @property
    def hits_all(self) -> tuple[ExceptionItem, ...]:
        """The items that hit every event, whatever it has."""
        both = zip(self.items, self.conditions, strict=True)
        return tuple(item for item, condition in both if condition == nodes.Constant(NO_SPAN, True))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of each item that removes nothing, and of each that removes everything, a sentence."""
        all_of_it = (f"exception `{item.name}` hits every event: nothing is found" for item in self.hits_all)
        return (*(one.problem().text for one in self.refused), *all_of_it)

    @cached_property
    def condition(self) -> nodes.Expression | None:
        """True for events that any of the items hits; None if none can hit any."""
        if nodes.Constant(NO_SPAN, True) in self.conditions:
            return nodes.Constant(NO_SPAN, True)
        # Rules that share some of their items share those parts, and what the engine makes of them.
        parts = tuple(_any_of_many(_ById([self.conditions[number] for number in group])) for group in self._groups)
        return (parts[0] if len(parts) == 1 else nodes.Or(NO_SPAN, parts)) if parts else None

    def item_of(self, excluded: Excluded) -> ExceptionItem:
        """The item that has excluded events from a plan with the `condition`."""
        return self.items[self._groups[excluded.group][excluded.operand]]

    @cached_property
    def _groups(self) -> list[list[int]]:
        """The items for the same rules, by number; without those that depend on no field."""
        groups: dict[object, list[int]] = {}
        for number, (item, one) in enumerate(zip(self.items, self.conditions, strict=True)):
            if not isinstance(one, nodes.Constant):
                groups.setdefault((item.all_rules, item.rules, item.tags, item.lists), []).append(number)
        return list(groups.values())

    @cached_property
    def query(self) -> QueryClause | None:
        """The documents that the items with entries hit, in Query DSL; None if there are none such.

        Those with `where` are in `wheres`.
        """
        clauses = [item_clause(item, self.schema) for item in self.items if item.where is None]
        return any_clause(clauses) if clauses else None

    @cached_property
    def wheres(self) -> tuple[nodes.Expression, ...]:
        """The conditions that only EQL can say, simplified, with no null in them."""
        pairs = zip(self.items, self.conditions, strict=True)
        return tuple(one for item, one in pairs if item.where is not None and one != nodes.Constant(NO_SPAN, False))

    def item_for(self, document: Mapping[str, Any], now_ns: int = 0) -> ExceptionItem | None:
        """The first item that hits a document (the content of `_source`); None if none does."""
        return next(iter(self.items_for(document, now_ns)), None)

    def items_for(self, document: Mapping[str, Any], now_ns: int = 0) -> tuple[ExceptionItem, ...]:
        """All items that hit a document. `now_ns` is what `now` in date math means."""
        index, decoder = self._index(now_ns)
        row = decoder.row(document)
        values = {name: decoder.gatherer(name)(row) for name in decoder.fields}
        return tuple(self.items[number] for number in index.holding(values))

    def _index(self, now_ns: int) -> tuple[OperandIndex, RowDecoder]:
        known = self._indices.get(now_ns)
        if known is None:
            self._indices.clear()
            index = OperandIndex(self.conditions, now_ns)
            known = self._indices[now_ns] = index, RowDecoder(index.fields)
        return known

    @cached_property
    def _indices(self) -> dict[int, tuple[OperandIndex, RowDecoder]]:
        return {}


class _ById:
    """Expressions as a key: the very same ones, not equal ones."""

    def __init__(self, parts: Sequence[nodes.Expression]) -> None:
        self.parts = tuple(parts)
        self._ids = tuple(map(id, self.parts))

    def __hash__(self) -> int:
        return hash(self._ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self._ids == other._ids


@lru_cache(maxsize=_GROUPS)
def _any_of_many(key: _ById) -> nodes.AnyOf:
    return nodes.AnyOf(NO_SPAN, key.parts)


class _SchemaKey:
    """The fields of a schema as a key: the very same fields, not equal ones."""

    def __init__(self, schema: Schema) -> None:
        self.schema = Schema(schema.fields, schema.lenient)

    def __hash__(self) -> int:
        return hash((id(self.schema.fields), self.schema.lenient))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _SchemaKey):
            return NotImplemented
        return self.schema.fields is other.schema.fields and self.schema.lenient is other.schema.lenient


def resolve_items(items: Sequence[ExceptionItem], schema: Schema) -> ResolvedItems:
    """The items over the fields of a schema. Equal calls give the same object, so that rules share it."""
    return _resolved(tuple(items), _SchemaKey(schema))


@lru_cache(maxsize=_SETS)
def _resolved(items: tuple[ExceptionItem, ...], key: _SchemaKey) -> ResolvedItems:
    sound: list[ExceptionItem] = []
    conditions: list[nodes.Expression] = []
    refused: list[RefusedItem] = []
    for item in items:
        found = _item(item, key)
        if isinstance(found, RefusedItem):
            refused.append(found)
        else:
            sound.append(item)
            conditions.append(found)
    return ResolvedItems(tuple(sound), tuple(conditions), tuple(refused), key.schema)


@lru_cache(maxsize=_ITEMS)
def _item(item: ExceptionItem, key: _SchemaKey) -> nodes.Expression | RefusedItem:
    try:
        found = item_condition(item, key.schema)
    except ItemRefusedError as error:
        return RefusedItem(item, str(error), error.place)
    return nodes.Constant(NO_SPAN, found) if isinstance(found, bool) else found


def excepting(plan: Plan, condition: nodes.Expression | None) -> Plan:
    """The plan without the events that meet the condition: no stage sees them, also none of a missing event."""
    if condition is None:
        return plan
    stages = tuple(_excepting(stage, condition) for stage in plan.stages)
    return replace(plan, stages=stages, until=None if plan.until is None else _excepting(plan.until, condition))


def _excepting(stage: Stage, condition: nodes.Expression) -> Stage:
    if isinstance(condition, nodes.Constant):
        return replace(stage, empty=stage.empty or condition.value is True)
    return replace(stage, conjuncts=(*stage.conjuncts, nodes.Not(NO_SPAN, condition)))


def item_condition(item: ExceptionItem, schema: Schema) -> Truth:
    """What an event must meet to be excepted by the item. Raises ItemRefusedError."""
    return all_of(item_parts(item, schema), NO_SPAN)


def item_parts(item: ExceptionItem, schema: Schema) -> list[Truth]:
    """The conditions that must all hold: of each entry, then of the operating system; or those of `where`."""
    if item.where is not None:
        return _where(item, item.where, schema)
    parts = [_entry(entry, schema) for entry in item.entries]
    if item.os:
        parts.append(any_of([_os(name, item.os, schema) for name in OS_FIELDS], NO_SPAN))
    return parts


def _os(name: str, wanted: tuple[str, ...], schema: Schema) -> Truth:
    return _entry(ExceptionEntry(name, "match_any", values=wanted), schema)


def _where(item: ExceptionItem, query: eql.ParsedQuery, schema: Schema) -> list[Truth]:
    if schema.find(_TIMESTAMP) is None:  # a rule may have its times in another field
        added = {_TIMESTAMP: Field(_TIMESTAMP, DataType.DATE)}
        schema = replace(schema, fields=ChainMap(added, schema.fields))  # type: ignore[arg-type]
    try:
        (stage,) = eql.resolve(query, schema).plan.stages
    except EqlError as error:
        said = "; ".join(f"{finding.message}{finding.hint}" for finding in error.findings)
        raise ItemRefusedError(said, item.place) from None
    return [False] if stage.empty else [*stage.conjuncts]


def _entry(entry: ExceptionEntry, schema: Schema, nested: str = "") -> Truth:
    try:
        found = _included(entry, schema, nested)
    except ItemRefusedError:
        raise
    except ValueError as error:
        raise ItemRefusedError(str(error), entry.place) from None
    return found if entry.included else negation_of(found, NO_SPAN)


def _included(entry: ExceptionEntry, schema: Schema, nested: str) -> Truth:
    found = schema.find(entry.field) if entry.type == "nested" else field_for(entry.field, schema, nested)
    if entry.type == "nested":
        return _nested(entry, found, schema)
    if found is None or found.type is DataType.NESTED:
        return False
    if found.type is DataType.OBJECT:
        below = leaves_below(found.name, schema) if entry.type == "exists" else []
        return any_of([has_value(field_ref(one, NO_SPAN)) for one in below], NO_SPAN)
    ref = field_ref(within(found, nested, schema), NO_SPAN)
    match entry.type:
        case "exists":
            return has_value(ref)
        case "wildcard":
            check_pattern(found, is_key=is_flattened_key(entry.field, schema))
            return any_of([nodes.Wildcard(NO_SPAN, ref, one, entry.any_case) for one in entry.values], NO_SPAN)
        case "list":
            return _listed(entry, ref)
        case _:
            return _equal(entry, ref)


def _nested(entry: ExceptionEntry, found: Field | None, schema: Schema) -> Truth:
    inner = all_of([_entry(one, schema, entry.field) for one in entry.entries], NO_SPAN)
    if found is None:
        return False
    if found.type is not DataType.NESTED:
        raise ValueError(f"field `{found.name}` is of type [{found.type.value}], not nested")
    if isinstance(inner, bool):
        return inner and has_value(field_ref(found, NO_SPAN))
    return nodes.Nested(NO_SPAN, field_ref(found, NO_SPAN), inner)


def _equal(entry: ExceptionEntry, ref: nodes.FieldRef) -> Truth:
    found = ref.field
    is_text = found.type in KEYWORDS and not found.normalized
    if entry.any_case and not (found.type in KEYWORDS or found.type in (DataType.TEXT, DataType.NULL)):
        raise ValueError(f"`any_case` is for texts, but field `{found.name}` is of type [{found.type.value}]")
    if entry.any_case and (is_text or found.type is DataType.NULL):
        return nodes.Membership(NO_SPAN, ref, _constants(entry.values), insensitive=True)
    if found.normalized or found.type in (DataType.TEXT, DataType.FLATTENED, DataType.NULL):
        return any_of([nodes.Phrase(NO_SPAN, ref, value) for value in entry.values], NO_SPAN)
    check_values(entry.values, found)
    if len(entry.values) == 1:
        return nodes.Comparison(NO_SPAN, "==", ref, *_constants(entry.values))
    return nodes.Membership(NO_SPAN, ref, _constants(entry.values))


def _constants(values: Sequence[str]) -> tuple[nodes.Constant, ...]:
    return tuple(nodes.Constant(NO_SPAN, value) for value in values)


def _listed(entry: ExceptionEntry, ref: nodes.FieldRef) -> Truth:
    assert entry.value_list is not None
    if entry.of_spans and ref.field.type is not DataType.IP:
        raise ValueError(f"blocks of addresses are for [ip], but field `{ref.field.name}` is [{ref.field.type.value}]")
    found = value_set(entry.value_list, ref.field)
    return nodes.Listed(NO_SPAN, ref, found) if found.texts else False
