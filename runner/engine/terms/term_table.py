"""`TermTable`: which terms were seen when, as far as their times decide what is new.

A term is the tuple of values that an event has in some fields, kept as a digest. Sightings of a term that are not
further apart than the table's gap are one stretch, of which the first and the last time are kept. So the table can say
exactly whether a term was seen in any span that is longer than the gap.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

TimeSpan: TypeAlias = tuple[int, int]
"""A span of time in nanoseconds since 1970, both ends included."""
Digests: TypeAlias = NDArray[np.uint64]
"""Shape (terms, 2)."""
Times: TypeAlias = NDArray[np.int64]

MOST_STRETCHES: Final = 250_000
"""Most stretches that a stored table has: 8 MB."""
_FORMAT: Final = 1
_MILLI: Final = 1_000_000
_BITS: Final = 42
"""Of the milliseconds in a table: 139 years."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """Stretches ordered by term and time: digests and the times of the first and the last sighting."""

    terms: Digests
    firsts: Times
    lasts: Times

    def __len__(self) -> int:
        return len(self.firsts)

    def at(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Stretches:
        return Stretches(self.terms[rows], self.firsts[rows], self.lasts[rows])

    def is_same(self) -> NDArray[np.bool_]:
        """Whether each stretch is of the term of the one before it."""
        same = np.zeros(len(self), dtype=np.bool_)
        same[1:] = (self.terms[1:] == self.terms[:-1]).all(axis=1)
        return same

    def merged(self, gap: int) -> Stretches:
        """The stretches in order, those of a term that are at most about `gap` nanoseconds apart as one."""
        if not len(self):
            return self
        rows = self.at(np.lexsort((self.firsts, self.terms[:, 0], self.terms[:, 1])))
        begins = ~rows.is_same()
        # The latest time so far of each term: a running maximum over numbers that grow with each term.
        base = int(rows.firsts.min())
        firsts, lasts = (rows.firsts - base) // _MILLI, (rows.lasts - base) // _MILLI
        offsets = (np.cumsum(begins) - 1) << _BITS
        latest = np.maximum.accumulate(lasts + offsets) - offsets
        apart = np.ones(len(rows), dtype=np.bool_)
        apart[1:] = firsts[1:] > latest[:-1] + gap // _MILLI
        starts = np.flatnonzero(begins | apart)
        return Stretches(rows.terms[starts], rows.firsts[starts], np.maximum.reduceat(rows.lasts, starts))


def stretches_of(terms: Digests, times: Times) -> Stretches:
    """A stretch for each sighting."""
    return Stretches(terms, times, times)


NO_STRETCHES: Final = Stretches(
    np.zeros((0, 2), dtype=np.uint64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
)


@dataclass(frozen=True, slots=True)
class Appearance:
    """The beginning of a stretch: a term was seen at `time`, and before that last at `before` (None: never)."""

    term: bytes
    time: int
    before: int | None


@dataclass(frozen=True, slots=True, eq=False)
class TermTable:
    """All sightings of the terms in the `covered` spans, and perhaps others. Immutable.

    Two tables of one rule hold nothing but what is true of its events, so that they can always be merged.
    """

    gap: int
    """In nanoseconds."""
    stretches: Stretches = NO_STRETCHES
    covered: tuple[TimeSpan, ...] = ()
    """Merged, ascending: the spans of which every event was looked at."""
    oldest: int | None = None
    """The oldest time of any event where the rule looks, as far as known, in nanoseconds since 1970."""
    _order: list[NDArray[np.intp]] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.stretches)

    @property
    def terms(self) -> int:
        """How many terms it has."""
        return int((~self.stretches.is_same()).sum())

    def uncovered(self, span: TimeSpan) -> tuple[TimeSpan, ...]:
        """The parts of the span whose events were not all looked at, ascending."""
        parts: list[TimeSpan] = []
        start, end = span
        for first, last in self.covered:
            if last < start:
                continue
            if first > end:
                break
            if first > start:
                parts.append((start, first - 1))
            start = last + 1
        return (*parts, (start, end)) if start <= end else tuple(parts)

    def with_sightings(
        self, sightings: Stretches, covered: Iterable[TimeSpan] = (), oldest: int | None = None
    ) -> TermTable:
        """The table with these, in spans of which every event was looked at."""
        stretches = Stretches(
            np.concatenate((self.stretches.terms, sightings.terms)),
            np.concatenate((self.stretches.firsts, sightings.firsts)),
            np.concatenate((self.stretches.lasts, sightings.lasts)),
        )
        known = [time for time in (self.oldest, oldest) if time is not None]
        spans = _merged((*self.covered, *covered))
        return TermTable(self.gap, stretches.merged(self.gap), spans, min(known, default=None))

    def merged(self, other: TermTable) -> TermTable:
        """Both together."""
        return self.with_sightings(other.stretches, other.covered, other.oldest)

    def appearances(self, span: TimeSpan) -> Iterator[Appearance]:
        """The stretches that begin in the span, ascending in time."""
        rows = self.stretches
        if not self._order:
            self._order.append(np.argsort(rows.firsts, kind="stable"))
        order = self._order[0]
        firsts = rows.firsts[order]
        low, high = np.searchsorted(firsts, span[0], "left"), np.searchsorted(firsts, span[1], "right")
        places = order[low:high]
        same = (places > 0) & (rows.terms[places] == rows.terms[places - 1]).all(axis=1)
        befores = rows.lasts[places - 1].tolist()
        times = rows.firsts[places].tolist()
        terms = np.ascontiguousarray(rows.terms[places])
        for number, (time, before, is_same) in enumerate(zip(times, befores, same.tolist(), strict=True)):
            yield Appearance(terms[number].tobytes(), time, before if is_same else None)

    def kept(self, since: int, most: int = MOST_STRETCHES) -> TermTable:
        """The table without what was last seen before `since`, and without the oldest of over `most` stretches; what it
        covers begins behind them."""
        rows = self.stretches
        if len(rows) > most:
            lasts = np.sort(rows.lasts)
            since = max(since, int(lasts[len(rows) - most - 1]) + 1)
        covered = tuple((max(first, since), last) for first, last in self.covered if last >= since)
        return replace(self, stretches=rows.at(rows.lasts >= since), covered=covered, _order=[])

    def written(self) -> bytes:
        """The table as bytes, which `read_table` reads."""
        head = {"format": _FORMAT, "gap": self.gap, "covered": self.covered, "oldest": self.oldest, "rows": len(self)}
        rows = self.stretches
        parts = (rows.terms.astype("<u8"), rows.firsts.astype("<i8"), rows.lasts.astype("<i8"))
        body = b"".join(part.tobytes() for part in parts)
        return json.dumps(head).encode() + b"\n" + zlib.compress(body, 1)


def read_table(text: bytes) -> TermTable:
    """The table of `written`. Raises ValueError for anything else."""
    line, _, packed = text.partition(b"\n")
    try:
        head = json.loads(line)
        if head["format"] != _FORMAT:
            raise ValueError(f"a table of terms of format {head['format']}, expected {_FORMAT}")
        body, rows = zlib.decompress(packed), int(head["rows"])
        if len(body) != 32 * rows:
            raise ValueError(f"{len(body)} bytes of terms, expected {32 * rows}")
        numbers = np.frombuffer(body, dtype="<i8").astype(np.int64)
        terms = np.frombuffer(body, dtype="<u8", count=2 * rows).astype(np.uint64).reshape(-1, 2)
        stretches = Stretches(terms, numbers[2 * rows : 3 * rows], numbers[3 * rows :])
        covered = tuple((int(first), int(last)) for first, last in head["covered"])
        oldest = None if head["oldest"] is None else int(head["oldest"])
        return TermTable(int(head["gap"]), stretches, covered, oldest)
    except (KeyError, TypeError, zlib.error) as error:
        raise ValueError(f"no table of terms: {error!r}") from None


def term_digest(term: Sequence[object]) -> bytes:
    """The 16 bytes by which a term is known: equal for equal values, also for 1 and 1.0."""
    plain = [int(value) if isinstance(value, float) and value.is_integer() else value for value in term]
    return hashlib.blake2b(json.dumps(plain, default=str).encode(), digest_size=16).digest()


def _merged(spans: Iterable[TimeSpan]) -> tuple[TimeSpan, ...]:
    found: list[TimeSpan] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)
