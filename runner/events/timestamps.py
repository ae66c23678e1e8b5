"""Timestamps of a whole batch at once: ISO text and epoch milliseconds to nanoseconds since 1970."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runner.events.decode import Canonical
from runner.events.schema import DataType, Field
from runner.events.values import read_date

NO_TIME: int = int(np.iinfo(np.int64).min)
"""Stands for "no timestamp" in a column of nanoseconds."""

_WIDTH = (
    35  # of the longest usual text, 2026-03-01T10:02:31.123456789+01:00, which ends in an offset and is read one by one
)
_FIXED = ((4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"))
_DIGITS = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18)


def read_timestamps(values: Sequence[Canonical], field: Field) -> tuple[NDArray[np.int64], int]:
    """Nanoseconds of each value, `NO_TIME` where there is none, and how many values no format could read.

    A `date` is cut to milliseconds, as Elasticsearch stores it; a `date_nanos` is not. Of several values the first
    counts.
    """
    nanos = field.type is DataType.DATE_NANOS
    column = np.full(len(values), NO_TIME, dtype=np.int64)
    rest: Sequence[int] = range(len(values))
    if not field.formats:
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
    if not values or set(map(type, values)) != {str} or not all(map(str.isascii, values)):  # type: ignore[arg-type]
        return list(range(len(values)))
    chars = np.array(values, dtype=f"S{_WIDTH}").view(np.uint8).reshape(len(values), _WIDTH)
    length = np.minimum(np.fromiter(map(len, values), dtype=np.int64, count=len(values)), _WIDTH)  # type: ignore[arg-type]
    usual = (length >= 20) & (length <= 30) & (length != 21)
    for position, char in _FIXED:
        usual &= chars[:, position] == ord(char)
    digits = chars[:, _DIGITS].astype(np.int64) - ord("0")
    usual &= ((digits >= 0) & (digits <= 9)).all(axis=1)
    rows = np.arange(len(values))
    usual &= chars[rows, np.maximum(length - 1, 0)] == ord("Z")
    usual &= (length == 20) | (chars[:, 19] == ord("."))
    fraction = np.zeros(len(values), dtype=np.int64)
    for place in range(20, 29):
        inside = place < length - 1
        digit = np.where(inside, chars[:, place].astype(np.int64) - ord("0"), 0)
        usual &= (digit >= 0) & (digit <= 9)
        fraction = fraction * 10 + digit
    year = digits[:, 0] * 1000 + digits[:, 1] * 100 + digits[:, 2] * 10 + digits[:, 3]
    month = digits[:, 4] * 10 + digits[:, 5]
    day = digits[:, 6] * 10 + digits[:, 7]
    hour = digits[:, 8] * 10 + digits[:, 9]
    minute = digits[:, 10] * 10 + digits[:, 11]
    second = digits[:, 12] * 10 + digits[:, 13]
    usual &= (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 60) & (year >= 1700) & (year < 2250)
    month = np.where(usual, month, 1)
    year = np.where(usual, year, 1970)
    # numpy counts months from 1970 and knows how long each one is, so a 31st of February is seen as out of its month.
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64)
    usual &= (day >= 1) & (day <= (months + 1).astype("datetime64[D]").astype(np.int64) - days)
    seconds = ((days + day - 1) * 24 + hour) * 3600 + minute * 60 + second
    if not nanos:
        fraction = fraction // 1_000_000 * 1_000_000
    column[usual] = (seconds * 1_000_000_000 + fraction)[usual]
    return [int(position) for position in np.flatnonzero(~usual)]
