"""The mapping of a rule of type threat_match over the fields of its events and of its indicators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.events.fields.schema import DataType, Field, Schema
from runner.expressions.mapped_fields import field_for, nested_above
from runner.messages.text_positions import Source
from runner.rules.model_errors import FieldFinding, RuleKeyError
from runner.rules.rule_tables import ThreatMapEntry
from runner.rules.threat_match import ThreatMatchCondition

_WITHOUT_VALUES = frozenset({DataType.OBJECT, DataType.NESTED})
_WHOLE = ".keyword"
"""What is put behind the name of a text field for all of its text as one value."""


@dataclass(frozen=True, slots=True)
class FieldPair:
    """An entry of the mapping with the two fields whose values it compares, as those of the event's field."""

    entry: ThreatMapEntry
    event: Field
    indicator: Field


@dataclass(frozen=True, slots=True)
class PairGroup:
    """Entries that must hold together, of one indicator."""

    matching: tuple[FieldPair, ...]
    """Of each, some value of the event is a value of the indicator."""
    differing: tuple[FieldPair, ...]
    """Of each both have values, and none of the event's is one of the indicator's."""

    @property
    def pairs(self) -> tuple[FieldPair, ...]:
        return (*self.matching, *self.differing)


def pair_groups(condition: ThreatMatchCondition, events: Schema, indicators: Schema) -> tuple[PairGroup, ...]:
    """The groups of the mapping that some event can meet: those with a field that no document has are left out.

    Raises RuleKeyError for a field whose values cannot be compared.
    """
    made: list[PairGroup] = []
    for number, group in enumerate(condition.groups):
        pairs: list[FieldPair] = []
        for place, entry in enumerate(group):
            at = ("rule", "threat_mapping", number, "entries", place)
            event = _compared(entry.field, events, (*at, "field"))
            indicator = _compared(entry.value, indicators, (*at, "value"))
            if event is not None and indicator is not None:
                pairs.append(FieldPair(entry, event, indicator))
        if len(pairs) == len(group):
            matching = tuple(pair for pair in pairs if not pair.entry.negate)
            made.append(PairGroup(matching, tuple(pair for pair in pairs if pair.entry.negate)))
    return tuple(made)


def compares_whole_text(name: str, schema: Schema) -> bool:
    """Whether the field is compared as one value although it is searched by words: Kibana finds each of its words."""
    found = schema.find(name)
    return found is not None and found.type is DataType.TEXT


def _compared(name: str, schema: Schema, place: Sequence[str | int]) -> Field | None:
    """The field whose values are compared; None if no document has a value of it."""
    try:
        found = field_for(name, schema)
    except ValueError as error:
        raise _refused(name, place, str(error)) from None
    if parent := nested_above(name, schema):
        raise _refused(name, place, f"field `{name}` lies in the nested field `{parent}`: no document has a value")
    if found is None:
        return None
    if found.type in _WITHOUT_VALUES:
        kind = found.type.value
        raise _refused(name, place, f"field `{name}` is of type [{kind}], which has no value: name a field below it")
    if found.type is not DataType.TEXT:
        return found
    exact = None if found.exact is None else schema.find(found.exact)
    # Over files the field itself is read, too, by words; of a cluster's field all text comes under its own name.
    return exact or Field(f"{name}{_WHOLE}" if schema.lenient else name, DataType.KEYWORD, path=found.source_path)


def _refused(name: str, place: Sequence[str | int], message: str) -> RuleKeyError:
    return RuleKeyError(Source(name), FieldFinding(tuple(place), message))
