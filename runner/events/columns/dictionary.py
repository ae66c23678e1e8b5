"""`FieldDictionary`: the distinct values of a field, numbered as they are first seen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.events.fields.schema import DataType, Field
from runner.events.fields.values import Canonical, typed

MISSING = 0
"""The code of "no value" in every dictionary."""


class _Numbering(dict[Any, int]):
    """Gives each key the next number when it is first asked for, and remembers the keys by number."""

    def __init__(self) -> None:
        super().__init__({None: MISSING, (): MISSING})
        self.keys_by_number: list[Any] = [None]

    def __missing__(self, key: Any) -> int:
        self[key] = number = len(self.keys_by_number)
        self.keys_by_number.append(key)
        return number


class FieldDictionary:
    """The distinct values of one field, by code, over all batches of a run; code 0 is "no value"."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._typed = field.type is DataType.NULL
        self.generation = 0
        self._numbering = _Numbering()

    def encode(self, values: Iterable[Canonical]) -> NDArray[np.int32]:
        """The code of each value."""
        keys: Iterable[Any] = map(typed, values) if self._typed else values
        return np.fromiter(map(self._numbering.__getitem__, keys), dtype=np.int32)

    def __len__(self) -> int:
        return len(self._numbering.keys_by_number)

    def value(self, code: int) -> Canonical:
        """The value that has this code."""
        key = self._numbering.keys_by_number[code]
        value: Canonical = key[1] if self._typed and key is not None else key
        return value

    def forget(self) -> None:
        """Start anew: all codes given so far lose their meaning."""
        self.generation += 1
        self._numbering = _Numbering()
