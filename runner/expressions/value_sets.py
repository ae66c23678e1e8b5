"""Values of lists, given as texts, as those of a field: what the engine looks up, and what events have of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from runner.dates import dates
from runner.events.fields.schema import DATES, NUMBERS, DataType, Field
from runner.events.fields.values import Scalar, as_stored, read_cidr, read_ip
from runner.events.fields.words import lower
from runner.expressions import nodes
from runner.expressions.functions import text_of
from runner.expressions.mapped_fields import check_values

AddressSpan: TypeAlias = tuple[int, int]
LookupKey: TypeAlias = bool | int | float | str
"""What a value of an event is looked up by."""


def has_spans(field: Field) -> bool:
    """Whether a listed value of the field may stand for many: an address for a block, a date for a day."""
    return field.type is DataType.IP or field.type in DATES


def listed_key(field: Field) -> Callable[[str], LookupKey]:
    """The reader of listed texts of a field without spans. It raises ValueError for one that the type cannot read."""
    if field.type in NUMBERS or field.type is DataType.BOOLEAN:

        def checked(text: str) -> LookupKey:
            check_values((text,), field)
            return text == "true" if field.type is DataType.BOOLEAN else number_of(text, field)

        return checked
    return lower if field.normalized else str


def listed_span(field: Field) -> Callable[[str], tuple[int, int]]:
    """The reader of listed texts of a field with spans. It raises ValueError for one that the type cannot read."""
    if field.type is DataType.IP:
        return read_span
    nanos = field.type is DataType.DATE_NANOS
    return lambda text: dates.date_range(text, field.formats, 0, nanos=nanos)


def key_of_value(field: Field) -> Callable[[Scalar], LookupKey]:
    """The reader of the values of events: what lists are looked up by, of a field with spans a number within them.

    It raises ValueError for a value that the type cannot read.
    """
    if field.type is DataType.IP:
        return lambda value: read_ip(text_of(value))
    if field.type in DATES:
        nanos = field.type is DataType.DATE_NANOS
        return lambda value: dates.read_date(value, field.formats, nanos=nanos)
    if field.type is DataType.BOOLEAN:
        return lambda value: value in (True, "true")
    if field.type in NUMBERS:
        return lambda value: value
    return (lambda value: lower(text_of(value))) if field.normalized else text_of


def number_of(text: str, field: Field) -> int | float:
    """A number as the field stores it."""
    try:
        return int(text)
    except ValueError:
        return as_stored(float(text), field)


def read_span(text: str) -> AddressSpan:
    """The first and the last address of `a-b`, a block or one address. Raises ValueError, naming what it is not."""
    low, dash, high = text.partition("-")
    try:
        span = (read_ip(low.strip()), read_ip(high.strip())) if dash else read_cidr(text)
    except ValueError:
        raise ValueError(f'cannot read ["{text}"] as an address, a block or `from-to`') from None
    if span[0] > span[1]:
        raise ValueError(f'["{text}"] ends before it begins')
    return span


def set_of_spans(texts: tuple[str, ...], spans: Iterable[tuple[int, int]]) -> nodes.ValueSet:
    """The set of sorted spans, those that touch each other as one."""
    starts: list[int] = []
    ends: list[int] = []
    for start, end in sorted(spans):
        if ends and start <= ends[-1] + 1:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
    return nodes.ValueSet(texts, starts=tuple(starts), ends=tuple(ends))
