"""Join keys: the values by which events are joined, how they order, and how the API prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.dates import dates
from runner.events.columns.batch import EventBatch, Rows
from runner.events.fields import values
from runner.events.fields.schema import DATES, KEYWORDS, DataType, Field
from runner.events.fields.values import Canonical, Scalar, typed
from runner.expressions.functions import text_of

Order: TypeAlias = object


@dataclass(frozen=True, slots=True)
class KeyReader:
    """How the join keys of one field are read: `read` gives the distinct values of an event, ascending.

    `show` prints a value as the API does; its second argument is true for samples, whose dates are epoch milliseconds
    instead of ISO text.
    """

    read: Callable[[Canonical], tuple[object, ...]]
    order: Callable[[object], Order]
    show: Callable[[object, bool], object]


def key_reader(field: Field) -> KeyReader:
    """The reader of a join key field."""
    if field.type in DATES:
        nanos = field.type is DataType.DATE_NANOS
        return _reader(
            lambda value: dates.read_date(value, field.formats, nanos=nanos),
            show=lambda value, sample: _show_date(value, nanos=nanos, sample=sample),
        )
    if field.type is DataType.IP:
        return _reader(lambda value: values.ip_text(text_of(value)), order=lambda value: values.read_ip(str(value)))
    if field.type is DataType.VERSION:
        return _reader(lambda value: value, order=lambda value: values.version_key(str(value)))
    if field.type is DataType.NULL:
        return _reader(lambda value: value, order=lambda value: (type(value).__name__, value))
    return _reader(lambda value: value)


def _reader(
    convert: Callable[[Scalar], object],
    *,
    order: Callable[[object], Order] = lambda value: value,
    show: Callable[[object, bool], object] = lambda value, sample: value,
) -> KeyReader:
    def read(value: Canonical) -> tuple[object, ...]:
        if value is None:
            return ()
        found = set()
        for item in value if isinstance(value, tuple) else (value,):
            try:
                found.add(convert(item))
            except (ValueError, OverflowError):
                continue  # unreadable counts as missing
        return tuple(sorted(found, key=order))  # type: ignore[arg-type]

    return KeyReader(read, order, show)


def _show_date(value: object, *, nanos: bool, sample: bool) -> object:
    assert isinstance(value, int)
    return value // 1_000_000 if sample else dates.date_text(value, nanos=nanos)


MISSING_KEY = -1
SEVERAL_KEYS = -2
_NO_CODE = -3
_REMEMBERED = 200_000
"""Most values of one field whose codes are kept; beyond that its dictionary is emptied."""


class _KnownCodes(dict[Any, int]):
    """Dictionary encoding of one field: from a value as it is read to its code."""

    def __init__(self, field: Field, code: Callable[[object], int]) -> None:
        super().__init__()
        self._code, self._read = code, key_reader(field).read
        self._is_plain, self._is_typed = field.type in KEYWORDS, field.type is DataType.NULL
        self.several_codes: dict[Any, list[int]] = {}
        """For arrays: the codes of all their values, ascending by value."""

    def __missing__(self, key: Any) -> int:
        value: Canonical = key[1] if self._is_typed and key else key
        if self._is_plain and type(value) is str:
            found = self._code(value)
        else:
            codes = [self._code(one) for one in self._read(value)]
            found = SEVERAL_KEYS if len(codes) > 1 else codes[0] if codes else MISSING_KEY
            if found == SEVERAL_KEYS:
                self.several_codes[key] = codes
        self[key] = found
        return found


def _keys(batch: EventBatch, field: Field, rows: Rows) -> Iterable[Any]:
    values = batch.values(field.name, rows)
    return map(typed, values) if field.type is DataType.NULL else values


class KeyCodes:
    """Dictionary encoding of join keys: one int for each distinct value, the same in every field."""

    def __init__(self) -> None:
        self._codes: dict[object, int] = {}
        self._firsts: dict[object, int] = {}
        self._values: list[object] = []
        self._equal: list[int] = []
        self._equal_column: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._known: dict[str, _KnownCodes] = {}

    def __len__(self) -> int:
        return len(self._values)

    def codes_of(self, batch: EventBatch, field: Field, rows: Rows) -> NDArray[np.int32]:
        """For each row the code of the field's value, `MISSING_KEY` or `SEVERAL_KEYS`."""
        all_values = self._known.get(field.name)
        if all_values is None or len(all_values) > _REMEMBERED:
            all_values = self._known[field.name] = _KnownCodes(field, self._code)
        return np.fromiter(map(all_values.__getitem__, _keys(batch, field, rows)), dtype=np.int32, count=len(rows))

    def several_codes(self, batch: EventBatch, field: Field, rows: Rows) -> list[list[int]]:
        """For each row, all of which have `SEVERAL_KEYS`: the codes of the field's values, ascending by value."""
        return [self._known[field.name].several_codes[key] for key in _keys(batch, field, rows)]

    def values(self, codes: Iterable[int]) -> tuple[object, ...]:
        """The values of these codes; None for a missing one."""
        return tuple([None if code < 0 else self._values[code] for code in codes])

    def equal(self) -> NDArray[np.int64]:
        """By code, the smallest code of an equal value: 1 and 1.0 have two codes but join."""
        if len(self._equal_column) < len(self._equal):
            self._equal_column = np.array(self._equal, dtype=np.int64)
        return self._equal_column

    def forget_but(self, wanted: NDArray[np.int32]) -> NDArray[np.int32]:
        """Drop all values but those of the wanted codes (ascending); returns the new codes, indexed by the old ones.

        `MISSING_KEY` and `SEVERAL_KEYS` are negative, so they index the last two elements, which hold themselves.
        """
        new_codes = np.full(len(self._values) + 2, _NO_CODE, dtype=np.int32)
        new_codes[[MISSING_KEY, SEVERAL_KEYS]] = MISSING_KEY, SEVERAL_KEYS
        kept = [self._values[code] for code in wanted.tolist() if code >= 0]
        self._codes, self._firsts, self._values, self._equal = {}, {}, [], []
        self._equal_column, self._known = np.zeros(0, dtype=np.int64), {}
        new_codes[wanted[wanted >= 0]] = [self._code(key) for key in kept]
        return new_codes

    def all_values(self) -> list[object]:
        """All values, indexed by code."""
        return self._values

    def codes_for(self, values: Sequence[object]) -> NDArray[np.int32]:
        """The code of each value, then `SEVERAL_KEYS` and `MISSING_KEY`, which as indices find themselves there."""
        return np.array([*map(self._code, values), SEVERAL_KEYS, MISSING_KEY], dtype=np.int32)

    def _code(self, key: object) -> int:
        typed = key if type(key) is str else (type(key), key)
        code = self._codes.get(typed)
        if code is None:
            code = self._codes[typed] = len(self._values)
            self._values.append(key)
            # A text equals only itself; of numbers and booleans 1, 1.0 and true are equal.
            self._equal.append(code if type(key) is str else self._firsts.setdefault(key, code))
        return code
