"""What a field holds in a document: every value that stands at its path, in the field's type."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from runner.dates.dates import date_text, read_date
from runner.events.fields.schema import DataType, Field, Schema
from runner.events.fields.values import ip_text

WHOLE = {
    DataType.BYTE: (-128, 127),
    DataType.SHORT: (-32768, 32767),
    DataType.INTEGER: (-(2**31), 2**31 - 1),
    DataType.LONG: (-(2**63), 2**63 - 1),
    DataType.UNSIGNED_LONG: (0, 2**64 - 1),
}
REAL = (DataType.DOUBLE, DataType.FLOAT, DataType.HALF_FLOAT, DataType.SCALED_FLOAT)
TEXTS = (DataType.KEYWORD, DataType.CONSTANT_KEYWORD, DataType.WILDCARD, DataType.TEXT, DataType.VERSION)
DATES = (DataType.DATE, DataType.DATE_NANOS)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class UnreadableError(Exception):
    """A value that the field's type cannot read; it counts as missing."""


def leaves_at(value: Any, path: str) -> Iterator[Any]:
    """Everything that stands at a dotted path, however the document spells it; arrays are looked through."""
    if isinstance(value, list):
        for item in value:
            yield from leaves_at(item, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            if key == path:
                yield from leaves_at(child, "")
            elif path.startswith(f"{key}."):
                yield from leaves_at(child, path[len(key) + 1 :])


def exact_field(field: Field, schema: Schema) -> Field:
    """The field that exact operations read: the keyword sub-field of a text field."""
    if field.type is not DataType.TEXT or field.exact is None:
        return field
    return schema.find(field.exact) or field


def values_of(source: Mapping[str, Any], field: Field) -> list[Any]:
    """The values of a field: str, int, float, bool; dates in nanoseconds since 1970, addresses and versions as text."""
    if field.constant is not None:
        return [field.constant]
    found = []
    for leaf in leaves_at(source, field.source_path):
        try:
            value = _read(field.null_value if leaf is None else leaf, field)
        except (UnreadableError, ValueError, OverflowError):
            continue
        if value is not None:
            found.append(value)
    return found


def script_values(source: Mapping[str, Any], field: Field) -> list[Any]:
    """The values as a script sees them: dates as ISO text; None stands for no value."""
    values = values_of(source, field)
    if field.type in DATES:
        values = [date_text(value, nanos=field.type is DataType.DATE_NANOS) for value in values]
    return values or [None]


def stored(number: float, field: Field) -> float:
    """A number in the precision of a field's type."""
    if field.type is DataType.SCALED_FLOAT:
        factor = field.scaling_factor or 1.0
        return math.floor(number * factor + 0.5) / factor
    if field.type in (DataType.FLOAT, DataType.HALF_FLOAT):
        code = "<f" if field.type is DataType.FLOAT else "<e"  # with an order, what does not fit is an error
        return float(struct.unpack(code, struct.pack(code, number))[0])
    return number


def _read(value: Any, field: Field) -> Any:
    if value is None:
        return None
    if field.type in TEXTS:
        return _text(value, field)
    if isinstance(value, Mapping):
        raise UnreadableError
    if field.type in WHOLE or field.type in REAL:
        return _number(value, field)
    if field.type is DataType.BOOLEAN:
        if isinstance(value, bool):
            return value
        return {"true": True, "false": False, "": False}[_string(value, ("true", "false", ""))]
    if field.type in DATES:
        if isinstance(value, bool):
            raise UnreadableError
        return read_date(value, field.formats, nanos=field.type is DataType.DATE_NANOS)
    if field.type is DataType.IP:
        if not isinstance(value, str):
            raise UnreadableError
        return ip_text(value)
    return None


def _string(value: Any, among: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in among:
        raise UnreadableError
    return value


def _text(value: Any, field: Field) -> str | None:
    if isinstance(value, Mapping):
        raise UnreadableError
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if field.ignore_above is not None and len(text.encode("utf-16-le")) // 2 > field.ignore_above:
        return None
    return text


def _number(value: Any, field: Field) -> int | float | None:
    if value == "":
        return None
    if isinstance(value, bool):
        raise UnreadableError
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise UnreadableError
        value = float(value) if re.search("[.eE]", value) else int(value)
    if field.type in REAL:
        return stored(float(value), field)
    if field.type is DataType.UNSIGNED_LONG and value != int(value):
        raise UnreadableError
    whole = int(value)
    low, high = WHOLE[field.type]
    if not low <= whole <= high:
        raise UnreadableError
    return whole
