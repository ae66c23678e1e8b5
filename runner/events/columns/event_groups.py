"""`EventGroups`: events with the same values of a few fields, such as category, action and process name (GROUP BY).

There are few groups even among many events, so whatever follows from these fields alone is worked out once per group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import repeat
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.events.columns.row_decoder import Row, RowDecoder
from runner.events.fields.index_patterns import stream_name
from runner.events.fields.schema import DataType, Field
from runner.events.fields.values import Canonical

STREAM_FIELDS = tuple(Field(f"data_stream.{part}", DataType.KEYWORD) for part in ("type", "dataset", "namespace"))
"""The fields that say which data stream a plain document belongs to."""
NAMESPACE = STREAM_FIELDS[-1]
_OF_STREAM = frozenset(field.name for field in STREAM_FIELDS)

GroupReader: TypeAlias = Callable[[Sequence[Row], Sequence[str | None] | None], NDArray[np.int32]]
"""Gives the group of each row, given the index of each where the rows are hits."""

_HIT = object()
_FAMILIAR = 1000
"""Most texts of a field that are declared in the structure of the scan's projection."""


class _Codes(dict[Hashable, int]):
    """Gives each new key the next number."""

    def __missing__(self, key: Hashable) -> int:
        self[key] = number = len(self)
        return number


class EventGroups:
    """The groups of the events of a run, numbered in the order in which they are first seen.

    Events of one group have the same values of all of the fields, and come from one index, too.
    """

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields = {field.name: field for field in fields}
        self._numbers = _Codes()
        self._values: dict[str, list[Canonical]] = {name: [] for name in self.fields}
        self._indices: list[str | None] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def values(self, name: str) -> Sequence[Canonical]:
        """The field's value by number of the group."""
        return self._values[name]

    def stream(self, group: int) -> str | None:
        """The index or data stream of the group's events; None where they name none.

        A plain document's is known if the stream's fields are among the group fields.
        """
        if self._indices[group] is not None:
            return self._indices[group]
        parts = [self._values[field.name][group] if field.name in self.fields else None for field in STREAM_FIELDS]
        return stream_name(*parts)

    def familiar(self) -> dict[str, set[str]]:
        """The texts that are known of each field; fields that have many are left out."""
        found: dict[str, set[str]] = {}
        for name, values in self._values.items():
            texts = {text for value in set(values) for text in (value if isinstance(value, tuple) else (value,))}
            known = {text for text in texts if isinstance(text, str)}
            if len(known) <= _FAMILIAR:
                found[name] = known
        return found

    def crowded(self, most_values: int, most_groups: int) -> set[str]:
        """The fields with more distinct values than `most_values`; if there are more than `most_groups` groups, the
        one with the most values. Those of the data stream always stay: the index patterns are about them."""
        if len(self) <= min(most_values, most_groups):
            return set()
        counts = {name: len(set(values)) for name, values in self._values.items() if name not in _OF_STREAM}
        found = {name for name, count in counts.items() if count > most_values}
        if len(self) > most_groups and counts and not found:
            found.add(max(counts, key=lambda name: counts[name]))
        return found

    def reader(self, decoder: RowDecoder, take: Callable[[str, Sequence[Row]], list[Canonical]]) -> GroupReader:
        """A function that gives the groups of the decoder's rows."""
        likeness = decoder.likeness(self.fields)

        def read(rows: Sequence[Row], indices: Sequence[str | None] | None) -> NDArray[np.int32]:
            keys: Iterable[Hashable] = likeness(rows)
            if indices is not None:
                keys = zip(repeat(_HIT), keys, indices, strict=False)
            known = len(self._numbers)
            numbers = np.fromiter(map(self._numbers.__getitem__, keys), dtype=np.int32, count=len(rows))
            if len(self._numbers) > known:
                firsts = np.unique(numbers, return_index=True)[1][known - len(self._numbers) :].tolist()
                examples = [rows[place] for place in firsts]
                for name, column in self._values.items():
                    column.extend(take(name, examples))
                self._indices.extend([None] * len(firsts) if indices is None else [indices[place] for place in firsts])
            return numbers

        return read


class GroupCounts:
    """How many events of each group there are."""

    def __init__(self, groups: EventGroups) -> None:
        self.groups = groups
        self._sizes = np.zeros(0, dtype=np.intp)

    def add(self, groups: NDArray[np.int32]) -> None:
        """Add events by their groups."""
        sizes = np.bincount(groups, minlength=len(self._sizes))
        sizes[: len(self._sizes)] += self._sizes
        self._sizes = sizes

    def by_stream(self) -> Counter[str | None]:
        """The count of events by the index or data stream that they name."""
        counts: Counter[str | None] = Counter()
        for group in np.flatnonzero(self._sizes).tolist():
            counts[self.groups.stream(group)] += int(self._sizes[group])
        return counts
