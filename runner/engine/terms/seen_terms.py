"""`SeenTerms`: the terms of the single events that one pass has found, in which events and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from runner.engine.sequence.open_matches import FoundRows
from runner.engine.sequence.sequence_matcher import FoundSequence
from runner.engine.terms.term_table import NO_STRETCHES, Stretches, stretches_of, term_digest

Term = tuple[object, ...]
_WIDTH: Final = 16


class SeenTerms:
    """The terms of the events of a query with keys: a term is the key of an event."""

    def __init__(self, found: Sequence[FoundSequence]) -> None:
        self._values: list[Term] = []
        self._numbers: dict[bytes, int] = {}
        if not isinstance(found, FoundRows) or not len(found):
            self.sightings: Stretches = NO_STRETCHES
            """When each term was seen, once for each event."""
            return
        times, events, codes = found.columns()
        distinct, places = np.unique(codes, axis=0, return_inverse=True)
        numbers: list[int] = []
        for row in distinct.tolist():
            value = found.shown(row)
            numbers.append(self._numbers.setdefault(term_digest(value), len(self._values)))
            if numbers[-1] == len(self._values):
                self._values.append(value)
        own = np.array(numbers, dtype=np.int64)[places.reshape(-1)]
        order = np.lexsort((events, times, own))
        own, self._times, self._events = own[order], times[order], events[order]
        self._starts = np.searchsorted(own, np.arange(len(self._values) + 1))
        known = np.frombuffer(b"".join(self._numbers), dtype=np.uint64).reshape(-1, 2)
        self.sightings = stretches_of(known[own], self._times)

    def value(self, term: bytes) -> Term | None:
        """The values of a term, by its digest; None if no event has it."""
        number = self._numbers.get(term)
        return None if number is None else self._values[number]

    def events(self, term: bytes, first: int, last: int, *, most: int) -> tuple[tuple[int, int], ...]:
        """The times and the numbers of the events with the term in a span of time, ascending, at most `most`."""
        number = self._numbers[term]
        start, end = self._starts[number : number + 2].tolist()
        times = self._times[start:end]
        low = start + int(np.searchsorted(times, first, "left"))
        high = start + int(np.searchsorted(times, last, "right"))
        rows = slice(low, min(high, low + most))
        return tuple(zip(self._times[rows].tolist(), self._events[rows].tolist(), strict=True))
