"""Timestamps of a whole batch at once: ISO text and epoch milliseconds to nanoseconds since 1970."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from runner.dates.dates import read_date
from runner.events.fields.schema import DataType, Field
from runner.events.fields.values import Canonical

NO_TIME: int = int(np.iinfo(np.int64).min)
"""Stands for "no timestamp" in a column of nanoseconds."""

_USUAL = b"0000-00-00T00:00:00", b"9999-19-39T29:59:59"
"""The least and the greatest character in every place of a usual text, up to its seconds."""
_SECONDS = len(_USUAL[0])
_DECIMALS = 9
_WIDTH = _SECONDS + len(".") + _DECIMALS + len("Z")
_YEARS = 1700, 2250
"""Those of which all moments have nanoseconds in 64 bits; the end is not among them."""


def read_timestamps(values: Sequence[Canonical], field: Field) -> tuple[NDArray[np.int64], int]:
    """Nanoseconds of each value, `NO_TIME` where there is none, and how many values no format could read.

    A `date` is cut to milliseconds, as Elasticsearch stores it; a `date_nanos` is not. Of several values the first
    counts.
    """
    nanos = field.type is DataType.DATE_NANOS
    column = np.full(len(values), NO_TIME, dtype=np.int64)
    rest: Sequence[int] = range(len(values))
    if values and not field.formats:
        rest = _read_common(values, column, nanos=nanos)
    unreadable = 0
    for position in rest:
        value = values[position]
        if isinstance(value, tuple):
            value = value[0] if value else None
        if value is None:
            continue
        try:
            column[position] = read_date(value, field.formats, nanos=nanos)
        except (ValueError, OverflowError, TypeError):
            unreadable += 1
    return column, unreadable


def _read_common(values: Sequence[Canonical], column: NDArray[np.int64], *, nanos: bool) -> list[int]:
    """Fill in all values of the form `YYYY-MM-DDThh:mm:ss[.f{1,9}]Z`; returns the positions of the others."""
    chars, length, last = _characters(values)
    least, greatest = (np.frombuffer(text, dtype=np.uint8)[:, np.newaxis] for text in _USUAL)
    digits = chars[:_SECONDS] - least  # what is less becomes a large number, because bytes have no sign
    usual = (digits <= greatest - least).all(axis=0)
    fraction, count = _fraction(chars[_SECONDS + 1 :], kept=_DECIMALS if nanos else 3)
    with_decimals = (chars[_SECONDS] == ord(".")) & (count > 0) & (length == _SECONDS + 2 + count)
    usual &= (last == ord("Z")) & (with_decimals | (length == _SECONDS + 1))
    month, day, hour, minute, second = (_number(digits, start) for start in (5, 8, 11, 14, 17))
    year = _number(digits, 0).astype(np.int16) * 100 + _number(digits, 2)
    usual &= (year >= _YEARS[0]) & (year < _YEARS[1]) & (month >= 1) & (month <= 12) & (hour < 24)
    months = _months()
    place = np.where(usual, (year - _YEARS[0]) * 12 + month - 1, 0)
    days = months[place] + day - 1
    usual &= (day >= 1) & (days < months[place + 1])
    seconds = days * 86_400 + (hour * np.int32(3600) + minute * np.int32(60) + second)
    column[usual] = (seconds * 1_000_000_000 + fraction)[usual]
    return np.flatnonzero(~usual).tolist()


def _characters(values: Sequence[Canonical]) -> tuple[NDArray[np.uint8], NDArray[np.intp], NDArray[np.uint8]]:
    """The first characters of every value, those of one place in a row; its length, and its last character.

    Behind a short value stands what may be anything. What is no usual text may be taken for an empty one.
    """
    try:
        flat = _joined(values)  # type: ignore[arg-type]
    except TypeError:  # some are missing, several or numbers
        flat = _joined([value if isinstance(value, str) else "" for value in values])
    # The values are scattered in memory: looking at each of them again, for its length, takes longer than to find it
    # in the text that they make together.
    ends = np.flatnonzero(flat == ord("\n"))
    if len(ends) != len(values):
        texts = [value if isinstance(value, str) and value.isascii() and "\n" not in value else "" for value in values]
        flat = _joined(texts)
        ends = np.flatnonzero(flat == ord("\n"))
    starts = np.concatenate(([0], ends[:-1] + 1))
    # Rows of places, not of values, so that every operation runs over neighbours, which takes a fraction of the time.
    chars = np.ascontiguousarray(sliding_window_view(flat, _WIDTH)[starts].T)
    return chars, ends - starts, flat[ends - 1]


def _joined(texts: Iterable[str]) -> NDArray[np.uint8]:
    """The characters of the texts, each with a line break, and some more; none if they are not all ASCII."""
    text = "\n".join(texts)
    return np.frombuffer(f"{text}\n{' ' * _WIDTH}".encode() if text.isascii() else b"", dtype=np.uint8)


def _fraction(chars: NDArray[np.uint8], *, kept: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The nanoseconds of the first `kept` decimals, and how many decimals there are."""
    digits = chars[:_DECIMALS] - np.uint8(ord("0"))
    inside = digits <= 9
    for place in range(1, _DECIMALS):  # twenty times as fast as `logical_and.accumulate`
        inside[place] &= inside[place - 1]
    fraction = np.zeros(chars.shape[1], dtype=np.int32)
    for digit in (digits * inside)[:kept]:
        fraction = fraction * 10 + digit
    return fraction * np.int64(10 ** (_DECIMALS - kept)), inside.sum(axis=0, dtype=np.uint8)


def _number(digits: NDArray[np.uint8], start: int) -> NDArray[np.uint8]:
    """The number of two digits."""
    number: NDArray[np.uint8] = digits[start] * np.uint8(10) + digits[start + 1]
    return number


@cache
def _months() -> NDArray[np.int64]:
    """The days since 1970 on which the months of the usual years begin, and the one after them."""
    first, end = (np.datetime64(f"{year}-01", "M") for year in _YEARS)
    return np.arange(first, end + 1).astype("datetime64[D]").astype(np.int64)
