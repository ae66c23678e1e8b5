"""Field types for a checker: their names in messages, the type of a constant, and which types are compatible."""

from __future__ import annotations

from runner.events.fields.schema import DATES, KEYWORDS, NUMBERS, STRINGS, DataType
from runner.expressions.nodes import Value

_WIDTHS = {
    DataType.BYTE: 1, DataType.SHORT: 2, DataType.INTEGER: 3, DataType.LONG: 4, DataType.UNSIGNED_LONG: 5,
    DataType.HALF_FLOAT: 6, DataType.FLOAT: 7, DataType.SCALED_FLOAT: 8, DataType.DOUBLE: 9,
}  # fmt: skip
_ORDINALS = ("first", "second", "third", "fourth", "fifth")


def type_name(data_type: DataType) -> str:
    """The name of a type in Elasticsearch's messages: the keyword family is `keyword`, dates are `datetime`."""
    if data_type in KEYWORDS:
        return DataType.KEYWORD.value
    return "datetime" if data_type in DATES else data_type.value


def key_type_name(data_type: DataType) -> str:
    """The name of a type in messages about join keys, where dates are `date`."""
    return DataType.DATE.value if data_type in DATES else type_name(data_type)


def type_of_value(value: Value) -> DataType:
    """The type of a constant; of integers the narrowest from 32 bits on that holds it."""
    if value is None:
        return DataType.NULL
    if isinstance(value, bool):
        return DataType.BOOLEAN
    if isinstance(value, str):
        return DataType.KEYWORD
    if isinstance(value, float):
        return DataType.DOUBLE
    if -(2**31) <= value < 2**31:
        return DataType.INTEGER
    return DataType.LONG if value < 2**63 else DataType.UNSIGNED_LONG


def wider(left: DataType, right: DataType) -> DataType:
    """The numeric type that holds the values of both; null gives way."""
    if _WIDTHS.get(left, 0) >= _WIDTHS.get(right, 0):
        return left
    return right


def compatible(left: DataType, right: DataType) -> bool:
    """Whether values of both types can be equal: one family, or one of them null."""
    if left is right or DataType.NULL in (left, right):
        return True
    return any(left in family and right in family for family in (STRINGS, NUMBERS, DATES))


def ordinal(index: int) -> str:
    """An argument's place, counted from 0, in words with a space after it; empty beyond the fifth, as Elasticsearch."""
    return f"{_ORDINALS[index]} " if index < len(_ORDINALS) else ""


def numbered(number: int) -> str:
    """A place as `1st`, `2nd`, `11th`, counted from 1."""
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
