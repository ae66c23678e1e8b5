"""Join keys: the values by which events are joined, how they order, and how the API prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.events.columns.batch import EventBatch, Rows
from runner.events.fields import values
from runner.events.fields.schema import DataType, Field
from runner.events.fields.values import Canonical, Scalar, typed
from runner.expressions.functions import text_of

Order: TypeAlias = object


@dataclass(frozen=True, slots=True)
class KeyReader:
    """How the keys of one field are read: `read` gives the distinct values of an event, ascending (none: no value).

    `show` prints a value, given whether it is for a sample, where dates are epoch milliseconds instead of ISO text.
    """

    read: Callable[[Canonical], tuple[object, ...]]
    order: Callable[[object], Order]
    show: Callable[[object, bool], object]


def key_reader(field: Field) -> KeyReader:
    """The reader of a join key field."""
    if field.type in (DataType.DATE, DataType.DATE_NANOS):
        nanos = field.type is DataType.DATE_NANOS
        return _reader(
            lambda value: values.read_date(value, field.formats, nanos=nanos),
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
    return value // 1_000_000 if sample else values.date_text(value, nanos=nanos)


_PLAIN_TEXTS = frozenset({DataType.KEYWORD, DataType.CONSTANT_KEYWORD, DataType.WILDCARD})
"""Types of which a single value is the key as it is."""
MISSING_KEY = -1
SEVERAL_KEYS = -2
_UNNUMBERED = -3
_REMEMBERED = 200_000
"""So many values of a field are remembered with their numbers."""


class _Known(dict[Any, int]):
    """The numbers of the values of one field that stages were met with."""

    def __init__(self, field: Field, number: Callable[[object], int]) -> None:
        super().__init__()
        self._number, self._read = number, key_reader(field).read
        self._is_plain, self._is_typed = field.type in _PLAIN_TEXTS, field.type is DataType.NULL
        self.several: dict[Any, list[int]] = {}
        """Of values with several keys the numbers of all of them, ascending by key."""

    def __missing__(self, key: Any) -> int:
        value: Canonical = key[1] if self._is_typed and key else key
        if self._is_plain and type(value) is str:
            found = self._number(value)
        else:
            numbers = [self._number(one) for one in self._read(value)]
            found = SEVERAL_KEYS if len(numbers) > 1 else numbers[0] if numbers else MISSING_KEY
            if found == SEVERAL_KEYS:
                self.several[key] = numbers
        self[key] = found
        return found


def _keys(batch: EventBatch, field: Field, rows: Rows) -> Iterable[Any]:
    values = batch.values(field.name, rows)
    return map(typed, values) if field.type is DataType.NULL else values


class KeyNumbers:
    """Numbers for the values of join keys, the same for the same value of whatever field; read once per distinct
    value."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._firsts: dict[object, int] = {}
        self._values: list[object] = []
        self._equal: list[int] = []
        self._equal_column: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._known: dict[str, _Known] = {}

    def __len__(self) -> int:
        return len(self._values)

    def of(self, batch: EventBatch, field: Field, rows: Rows) -> NDArray[np.int32]:
        """Of each row the number of the field's value, `MISSING_KEY` or `SEVERAL_KEYS`."""
        known = self._known.get(field.name)
        if known is None or len(known) > _REMEMBERED:
            known = self._known[field.name] = _Known(field, self._number)
        return np.fromiter(map(known.__getitem__, _keys(batch, field, rows)), dtype=np.int32, count=len(rows))

    def several(self, batch: EventBatch, field: Field, rows: Rows) -> list[list[int]]:
        """Of each row, for which there are `SEVERAL_KEYS`, the numbers of all values of the field, ascending by
        value."""
        return [self._known[field.name].several[key] for key in _keys(batch, field, rows)]

    def values(self, numbers: Iterable[int]) -> tuple[object, ...]:
        """The values that have these numbers; None for a missing one."""
        return tuple([None if number < 0 else self._values[number] for number in numbers])

    def equal(self) -> NDArray[np.int64]:
        """By number, the smallest number of an equal value: 1 and 1.0 have two numbers but join."""
        if len(self._equal_column) < len(self._equal):
            self._equal_column = np.array(self._equal, dtype=np.int64)
        return self._equal_column

    def forget_but(self, wanted: NDArray[np.int32]) -> NDArray[np.int32]:
        """Forget all values but those with the wanted numbers (ascending); returns the new number by the old one.

        The numbers below 0 stand at the end of what comes back, so that they are found there as they were.
        """
        renumbered = np.full(len(self._values) + 2, _UNNUMBERED, dtype=np.int32)
        renumbered[[MISSING_KEY, SEVERAL_KEYS]] = MISSING_KEY, SEVERAL_KEYS
        kept = [self._values[number] for number in wanted.tolist() if number >= 0]
        self._numbers, self._firsts, self._values, self._equal = {}, {}, [], []
        self._equal_column, self._known = np.zeros(0, dtype=np.int64), {}
        renumbered[wanted[wanted >= 0]] = [self._number(key) for key in kept]
        return renumbered

    def known(self) -> list[object]:
        """All values by their numbers."""
        return self._values

    def numbered(self, values: Sequence[object]) -> NDArray[np.int32]:
        """The number of each value; those below 0 stand at the end, so that they are found there as they are."""
        return np.array([*map(self._number, values), SEVERAL_KEYS, MISSING_KEY], dtype=np.int32)

    def _number(self, key: object) -> int:
        typed = key if type(key) is str else (type(key), key)
        number = self._numbers.get(typed)
        if number is None:
            number = self._numbers[typed] = len(self._values)
            self._values.append(key)
            # A text equals nothing but itself; of numbers and truth values 1, 1.0 and true are equal.
            self._equal.append(number if type(key) is str else self._firsts.setdefault(key, number))
        return number
