"""Values of a list as a set that the engine looks up in, made once for each list and kind of field."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, TypeAlias

from runner.dates import dates
from runner.events.fields.schema import DATES, NUMBERS, DataType, Field
from runner.events.fields.values import as_stored, read_cidr, read_ip
from runner.events.fields.words import lower
from runner.exceptions.item import ValueList
from runner.expressions import nodes
from runner.expressions.mapped_fields import check_values

_Kind: TypeAlias = Literal["texts", "lower", "addresses"]
_KEPT = 256
"""Sets remembered; those that many exceptions share are the large ones."""


def value_set(values: ValueList, field: Field) -> nodes.ValueSet:
    """The values as those of a field. Raises ValueError, naming it, for one that the field's type cannot read."""
    if field.type is DataType.IP:
        return _known(values, "addresses")
    if field.type in DATES:
        check_values(values.values, field)
        nanos = field.type is DataType.DATE_NANOS
        return _of_spans(values.values, (dates.date_range(one, field.formats, 0, nanos=nanos) for one in values.values))
    if field.type in NUMBERS:
        check_values(values.values, field)
        return nodes.ValueSet(values.values, frozenset(_number(one, field) for one in values.values))
    if field.type is DataType.BOOLEAN:
        check_values(values.values, field)
        return nodes.ValueSet(values.values, frozenset(one == "true" for one in values.values))
    return _known(values, "lower" if field.normalized else "texts")


@lru_cache(maxsize=_KEPT)
def _known(values: ValueList, kind: _Kind) -> nodes.ValueSet:
    given = values.values
    if kind == "addresses":
        return _of_spans(given, map(read_span, given))
    return nodes.ValueSet(given, frozenset(map(lower, given) if kind == "lower" else given))


def _number(text: str, field: Field) -> int | float:
    try:
        return int(text)
    except ValueError:
        return as_stored(float(text), field)


def read_span(text: str) -> tuple[int, int]:
    """The first and the last address of `a-b`, a block or one address. Raises ValueError, naming what it is not."""
    low, dash, high = text.partition("-")
    try:
        span = (read_ip(low.strip()), read_ip(high.strip())) if dash else read_cidr(text)
    except ValueError:
        raise ValueError(f'cannot read ["{text}"] as an address, a block or `from-to`') from None
    if span[0] > span[1]:
        raise ValueError(f'["{text}"] ends before it begins')
    return span


def _of_spans(texts: tuple[str, ...], spans: Iterable[tuple[int, int]]) -> nodes.ValueSet:
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
