"""Values of a list as a set that the engine looks up in, made once for each list and kind of field."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

from runner.events.fields.schema import DATES, NUMBERS, DataType, Field
from runner.events.fields.words import lower
from runner.exceptions.item import ValueList
from runner.expressions import nodes
from runner.expressions.mapped_fields import check_values
from runner.expressions.value_sets import listed_key, listed_span, read_span, set_of_spans

_Kind: TypeAlias = Literal["texts", "lower", "addresses"]
_KEPT = 256
"""Sets remembered; those that many exceptions share are the large ones."""


def value_set(values: ValueList, field: Field) -> nodes.ValueSet:
    """The values as those of a field. Raises ValueError, naming it, for one that the field's type cannot read."""
    if field.type is DataType.IP:
        return _known(values, "addresses")
    if field.type in DATES:
        check_values(values.values, field)
        return set_of_spans(values.values, map(listed_span(field), values.values))
    if field.type in NUMBERS or field.type is DataType.BOOLEAN:
        return nodes.ValueSet(values.values, frozenset(map(listed_key(field), values.values)))
    return _known(values, "lower" if field.normalized else "texts")


@lru_cache(maxsize=_KEPT)
def _known(values: ValueList, kind: _Kind) -> nodes.ValueSet:
    given = values.values
    if kind == "addresses":
        return set_of_spans(given, map(read_span, given))
    return nodes.ValueSet(given, frozenset(map(lower, given) if kind == "lower" else given))
