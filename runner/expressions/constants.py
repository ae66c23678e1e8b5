"""Constants of a query: what an operation over constants gives, and whether a field's type can read a constant."""

from __future__ import annotations

import re

from runner.dates.dates import date_range
from runner.events.fields.schema import DATES, NUMBERS, DataType, Field
from runner.events.fields.values import read_cidr, read_ip
from runner.expressions import nodes
from runner.expressions.functions import FUNCTIONS, arithmetic, compare, equals_ignoring_case, negative, text_of
from runner.expressions.patterns import lucene_regex, wildcard

_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
_SOME_TIME = 1_767_225_600_000_000_000
"""2026, as the time that `now` is where date math is only checked, in nanoseconds since 1970."""


def evaluate(expression: nodes.Expression) -> nodes.Value:
    """The value of an operation whose parts are all literals, three-valued. Raises ValueError in Elasticsearch's words.

    As Elasticsearch folds them, `==` and `!=` with null are tests for null; other operations with null give null.
    """
    values = [part.value for part in nodes.children(expression) if isinstance(part, nodes.Constant)]
    if isinstance(expression, nodes.Comparison):
        return _comparison(expression.operator, values[0], values[1])
    if isinstance(expression, nodes.Not):
        return None if values[0] is None else not values[0]
    if isinstance(expression, nodes.And):
        return False if False in values else (None if None in values else True)
    if isinstance(expression, nodes.Or):
        return True if True in values else (None if None in values else False)
    if isinstance(expression, nodes.Arithmetic):
        return arithmetic(expression.operator, values[0], values[1])
    if isinstance(expression, nodes.Negative):
        return negative(values[0])
    if isinstance(expression, nodes.Call):
        return FUNCTIONS[expression.name].evaluate(values, expression.insensitive)
    if isinstance(expression, nodes.Membership):
        return _membership(values[0], values[1:], insensitive=expression.insensitive)
    if isinstance(expression, nodes.Pattern):
        return _pattern(expression.operator, values[0], values[1:])
    raise TypeError(f"not an operation: {type(expression).__name__}")


def _comparison(operator: str, left: nodes.Value, right: nodes.Value) -> bool | None:
    if left is None or right is None:
        if operator in ("==", "!="):
            return (left is right) is (operator == "==")
        return None
    if operator == "!=":
        equal = compare("==", left, right)
        return None if equal is None else not equal
    return compare(operator, left, right)  # type: ignore[arg-type]


def _membership(value: nodes.Value, items: list[nodes.Value], *, insensitive: bool) -> bool | None:
    if value is None:
        return None
    if insensitive:
        return any(equals_ignoring_case(value, item) for item in items)
    return any(item is not None and compare("==", value, item) is True for item in items)


def _pattern(operator: str, value: nodes.Value, patterns: list[nodes.Value]) -> bool | None:
    texts = [text_of(pattern) for pattern in patterns if pattern is not None]
    if not isinstance(value, str) or not texts:
        return None
    insensitive = operator == ":" or operator.endswith("~")
    if operator.startswith("regex"):
        return lucene_regex.java_matcher(texts, insensitive)(value)
    return any(wildcard.java_matcher(text, insensitive)(value) for text in texts)


def check_readable(value: nodes.Value, field: Field, *, ordered: bool = False) -> None:
    """Raise ValueError, saying what was expected, where a constant cannot be read as a value of the field.

    `ordered`: for `<` and the like, where a block of addresses means nothing.
    """
    kind = field.type
    if value is None or kind is DataType.NULL:
        return
    if kind is DataType.BINARY:
        raise ValueError("Binary fields do not support searching")
    readable = True
    if kind in NUMBERS:
        readable = not isinstance(value, bool) and (not isinstance(value, str) or bool(_NUMBER.fullmatch(value)))
    elif kind is DataType.BOOLEAN:
        readable = isinstance(value, bool) or value in ("true", "false")
    elif kind in DATES or kind is DataType.IP:
        try:
            _read(value, field, ordered)
        except (ValueError, OverflowError):
            readable = False
    if not readable:
        shown = f'"{value}"' if isinstance(value, str) else text_of(value)
        raise ValueError(f"cannot read [{shown}] as a value of field [{field.name}] of type [{kind.value}]")


def _read(value: nodes.Value, field: Field, ordered: bool) -> None:
    if field.type is DataType.IP:
        if not isinstance(value, str):
            raise ValueError
        if ordered:
            read_ip(value)
        else:
            read_cidr(value)
        return
    if isinstance(value, bool) or value is None:
        raise ValueError
    date_range(value, field.formats, _SOME_TIME, nanos=field.type is DataType.DATE_NANOS)
