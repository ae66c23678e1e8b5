"""Fields of queries that are no EQL: what a name is in a schema, and whether values can be read as the field's.

As in a search: a name that nothing maps, an object, or a field below a nested one has no value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from runner.events.fields.schema import KEYWORDS, NUMBERS, STRINGS, DataType, Field, Schema
from runner.expressions.constants import check_readable

_MULTI_FIELDS = {"caseless": DataType.KEYWORD, "keyword": DataType.KEYWORD, "text": DataType.TEXT}
"""Sub-fields of Elastic's index templates, which read their parent's value."""
_UNREADABLE = frozenset({DataType.UNSUPPORTED, DataType.BINARY})
_PATTERNED = STRINGS | {DataType.FLATTENED, DataType.VERSION, DataType.NULL}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def field_for(name: str, schema: Schema, nested: str = "") -> Field | None:
    """The field that a query for the name asks, inside of the nested path if one is given; None: no document has any.

    Raises ValueError for a field of a type that cannot be judged.
    """
    if nested_above(name, schema) != nested:
        return None
    found = schema.find(name)
    if found is None:
        return _unmapped(name, schema)
    if found.type in _UNREADABLE:
        kind = found.original_type if found.ambiguous else f"of type [{found.original_type or found.type.value}]"
        raise ValueError(f"field `{name}` is {kind}, which no query can be about")
    if is_flattened_key(name, schema):
        return Field(name, DataType.KEYWORD, path=found.source_path, ignore_above=_flattened(name, schema).ignore_above)
    if found.type in KEYWORDS and name.endswith(".caseless"):
        return replace(found, normalized=True)
    return found


def _unmapped(name: str, schema: Schema) -> Field | None:
    """Over files, a multi-field of a text, or a field whose values have the types that they have in the events."""
    if not schema.lenient:
        return None
    stem, _, last = name.rpartition(".")
    parent = schema.find(stem) if last in _MULTI_FIELDS else None
    if parent is not None and parent.type in STRINGS:
        return Field(name, _MULTI_FIELDS[last], path=parent.source_path, normalized=last == "caseless")
    return Field(name, DataType.NULL)


def is_flattened_key(name: str, schema: Schema) -> bool:
    """Whether the name is a key within a flattened field."""
    found = schema.find(name)
    return found is not None and found.type is DataType.FLATTENED and name not in schema.fields


def _flattened(name: str, schema: Schema) -> Field:
    while name not in schema.fields:
        name = name.rpartition(".")[0]
    return schema.fields[name]


def nested_above(name: str, schema: Schema) -> str:
    """The nearest nested field that the name lies below; "" if there is none."""
    end = name.rfind(".")
    while end > 0:
        parent = schema.fields.get(name[:end])
        if parent is not None and parent.type is DataType.NESTED:
            return parent.name
        end = name.rfind(".", 0, end)
    return ""


def leaves_below(name: str, schema: Schema) -> list[Field]:
    """The fields of an object that can have a value, all the way down; those of nested fields cannot."""
    prefix = f"{name}."
    containers = (DataType.OBJECT, DataType.NESTED)
    below = (field for other, field in schema.fields.items() if other.startswith(prefix))
    return [one for one in below if one.type not in containers and not nested_above(one.name, schema)]


def check_values(values: Iterable[str], field: Field) -> None:
    """Raise ValueError, naming it, if a query for one of the values would fail on the field's type."""
    for value in values:
        if field.type in NUMBERS and not _NUMBER.fullmatch(value):
            raise ValueError(f'cannot read ["{value}"] as a value of field [{field.name}] of type [{field.type.value}]')
        check_readable(value, field)


def check_pattern(field: Field, *, is_key: bool) -> None:
    """Raise ValueError if a pattern means nothing for the field's type. `is_key`: within a flattened field."""
    if is_key:
        raise ValueError(f"`{field.name}` is a key of a flattened field, which patterns cannot be about")
    if field.type not in _PATTERNED:
        raise ValueError(f"field `{field.name}` is of type [{field.type.value}], which patterns cannot be about")


def within(found: Field, nested: str, schema: Schema) -> Field:
    """The field as the objects of a nested field have it: its path begins there, a multi-field's is its parent's."""
    if not nested:
        return found
    name = found.name
    parent = schema.fields.get(name.rpartition(".")[0])
    if parent is not None and parent.type not in (DataType.OBJECT, DataType.NESTED, DataType.FLATTENED):
        name = parent.name
    return replace(found, path=name.removeprefix(f"{nested}."))
