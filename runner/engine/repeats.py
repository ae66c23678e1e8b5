"""`Repeats`: documents of an index that come more than once, as from two exports that overlap. Each is one event."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from runner.events.columns.batch import EventBatch, Rows
from runner.events.fields.index_patterns import data_stream_of

ROOM = 1 << 17
"""Documents of a generation; two are remembered, in some 30 MB."""


NO_DOCUMENTS = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)


class Repeats:
    """The documents of a pass by data stream and `_id`, as far as they met a stage: the latest `room` at least.

    Events that no index names are not looked at: a batch without hits costs nothing.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._stream_of = lru_cache(1024)(data_stream_of)

    def first(self, batch: EventBatch, rows: Rows) -> Rows:
        """Those of the rows that are not a document which another event of the pass was already."""
        origins = batch.origins
        if origins is None or not len(rows):
            return rows
        repeated = np.zeros(len(rows), dtype=np.bool_)
        for place, row in enumerate(rows.tolist()):
            index, id_ = origins.indices[row], origins.ids[row]
            if index and id_:
                text = f"{self._stream_of(index)}\0{id_}".encode("utf-8", "surrogatepass")
                repeated[place] = self._is_other(xxh3_64_intdigest(text), batch.base + row)
        return rows[~repeated] if repeated.any() else rows

    def hand_over(self) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The numbers and the digests of the documents since the last call, for `take_over` in another process."""
        known = list(chain(self._old.items(), self._young.items()))
        self._old, self._young = {}, {}
        numbers = np.array([number for _, number in known], dtype=np.int64)
        return numbers, np.array([digest for digest, _ in known], dtype=np.uint64)

    def take_over(self, numbers: NDArray[np.int64], digests: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Those of the events whose document another event was already."""
        pairs: Iterable[tuple[int, int]] = zip(numbers.tolist(), digests.tolist(), strict=True)
        return np.array([number for number, digest in pairs if self._is_other(digest, number)], dtype=np.int64)

    def _is_other(self, digest: int, number: int) -> bool:
        """Whether the document was another event; else it is this one from now on."""
        found = self._young.get(digest)
        if found is None:
            found = self._old.get(digest, number)
            if len(self._young) >= self._room:
                self._old, self._young = self._young, {}
            self._young[digest] = found
        return found != number
