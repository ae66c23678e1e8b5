"""Fields of queries that are no EQL: what a name is in a schema, and whether values can be read as the field's.

As in a search: a name that nothing maps, an object, or a field below a nested one has no value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

from runner.events.fields.schema import KEYWORDS, NUMBERS, STRINGS, DataType, Field, Schema
from runner.expressions.constants import check_readable

_MULTI_FIELDS = {"caseless": DataType.KEYWORD, "keyword": DataType.KEYWORD, "text": DataType.TEXT}
"""Sub-fields of Elastic's index templates, which read their parent's value."""
_UNREADABLE = frozenset({DataType.UNSUPPORTED, DataType.BINARY})
_PATTERNED = STRINGS | {DataType.FLATTENED, DataType.VERSION, DataType.NULL}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


METADATA = ("_id", "_index")
"""Fields that are no part of a document."""


def field_for(name: str, schema: Schema, nested: str = "", *, existence: bool = False) -> Field | None:
    """The field that a query for the name asks, inside of the nested path if one is given; None: no document has any.

    Raises ValueError for a field of a type that cannot be judged. `existence`: only whether it has a value is asked,
    which of most types is known.
    """
    if nested_above(name, schema) != nested:
        return None
    found = schema.find(name)
    if found is None and name in METADATA:
        raise ValueError(f"`{name}` is no part of an event, and is not searched here")
    if found is None:
        return _unmapped(name, schema)
    if existence and found.type is DataType.UNSUPPORTED and not found.ambiguous:
        return replace(found, type=DataType.FLATTENED)  # any leaf of it is a value
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


def is_mapped(name: str, schema: Schema) -> bool:
    """Whether the schema has the name: a field, an object around fields, or a multi-field of Elastic's templates."""
    if schema.find(name) is not None or any(other.startswith(f"{name}.") for other in schema.fields):
        return True
    found = _unmapped(name, schema)
    return found is not None and found.type is not DataType.NULL


def is_flattened_key(name: str, schema: Schema) -> bool:
    """Whether the name is a key within a flattened field."""
    found = schema.find(name)
    return found is not None and found.type is DataType.FLATTENED and name not in schema.fields


def check_range_of_key(name: str, schema: Schema, *, ends: int) -> None:
    """Raise ValueError for a range with fewer than two ends, if the name is a key within a flattened field."""
    if ends < 2 and is_flattened_key(name, schema):
        raise ValueError(f"`{name}` is a key of a flattened field, of which a range must have both ends")


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
    below = (field for other, field in schema.fields.items() if other.startswith(prefix))
    return [one for one in below if one.type not in _CONTAINERS and not nested_above(one.name, schema)]


MOST_FIELDS = 1_024
"""Fields that one condition may be about: Elasticsearch takes that many clauses at least."""
_CONTAINERS = (DataType.OBJECT, DataType.NESTED)
_WITHOUT_TERMS = frozenset({DataType.OBJECT, DataType.NESTED, DataType.UNSUPPORTED, DataType.BINARY})


def fields_matching(pattern: Sequence[str], schema: Schema, nested: str | None = "") -> list[Field]:
    """The fields of the schema whose whole names fit a pattern, given as the texts between its stars.

    Those of objects of a nested field lie there only, but for None, with which nested fields count as all others.
    Raises ValueError if they are too many.
    """
    fits = re.compile(".*".join(map(re.escape, pattern)), re.DOTALL).fullmatch
    found = (field for name, field in schema.fields.items() if fits(name) and field.type not in _CONTAINERS)
    return _few(one for one in found if nested is None or nested_above(one.name, schema) == nested)


def default_fields(schema: Schema, nested: str = "") -> list[Field]:
    """The fields that a text without a field is searched in. Raises ValueError if they are too many."""
    found = (field for field in schema.fields.values() if field.type not in _WITHOUT_TERMS)
    return _few(one for one in found if nested_above(one.name, schema) == nested)


def _few(found: Iterable[Field]) -> list[Field]:
    fields = list(islice(found, MOST_FIELDS + 1))
    if len(fields) > MOST_FIELDS:
        raise ValueError(f"this is about more than {MOST_FIELDS:,} fields: name the fields that are meant")
    return fields


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
