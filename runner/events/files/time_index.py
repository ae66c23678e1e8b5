"""`TimeIndex`: where in files events of which time stand, so that the next pass reads what may matter to it.

A file of NDJSON that is only appended to is read once; after that only its new end, and those stretches of it that have
events of the wanted time. Whether it is still the file that was read is seen from its inode, its length, its first
bytes and those before the place up to which it was read: rotated files are known by their new name, and truncated or
replaced ones are read anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import IO

import numpy as np
from numpy.typing import NDArray

from runner.events.columns.batch import EventBatch
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.line_blocks import Block
from runner.events.files.read_report import MOST_EXAMPLES, Counts, SkippedLine

_STRETCH = 1024
"""Lines of which the index knows the earliest and the latest time."""
_MARK = 4096
_NEVER: int = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class LineSpan:
    """Bytes of a file that are read together: from `start`, which is the beginning of line `line`, to `end`.

    None: to the end of the file, whatever is there; that part is not in the index yet.
    """

    start: int = 0
    line: int = 1
    end: int | None = None


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells a file from others, whatever its name is."""

    device: int
    inode: int
    size: int
    modified_ns: int


@dataclass(slots=True)
class FileReading:
    """What is learnt of a file while it is read on: a row for every stretch, and the first lines without an event."""

    names: tuple[str, ...]
    rows: list[tuple[int, ...]] = field(default_factory=list)
    skipped: list[SkippedLine] = field(default_factory=list)
    end: int = 0
    """Where the last stretch ends, and the number of lines up to there."""
    lines: int = 0

    def note(self, batch: EventBatch, block: Block, broken: Sequence[SkippedLine]) -> None:
        """Take note of the events of a block, and of its broken lines."""
        if not block.is_whole:
            return
        columns = [batch.timestamps(name) for name in self.names]
        bad = np.array([line.line - block.first_line for line in broken], dtype=np.int64)
        for first in range(0, len(block.lines), _STRETCH):
            last = min(first + _STRETCH, len(block.lines))
            start, end = np.searchsorted(batch.positions, (first, last)).tolist()
            parts = [column[start:end] for column in columns]
            timed = [part[part != NO_TIME] for part in parts]
            times = [int(time) for part in timed for time in (part.min(initial=_NEVER), part.max(initial=NO_TIME))]
            untimed = end - start - len(timed[0])
            count = int(np.count_nonzero((bad >= first) & (bad < last)))
            place = int(block.offsets[first]), block.first_line + first
            self.rows.append((*place, end - start, count, 0, untimed, *times))
        told = broken[: max(0, MOST_EXAMPLES - sum(bool(line.reason) for line in self.skipped))]
        self.skipped.extend(replace(line, offset=int(block.offsets[line.line - block.first_line])) for line in told)
        self.end, self.lines = int(block.offsets[-1]), block.first_line + len(block.lines) - 1

    def note_oversized(self, line: SkippedLine) -> None:
        """Take note of a line that is too long; where it ends, the next stretch begins."""
        self.rows.append((line.offset, line.line, 0, 0, 1, 0, *[_NEVER, NO_TIME] * len(self.names)))
        if sum(not line.reason for line in self.skipped) < MOST_EXAMPLES:
            self.skipped.append(line)


@dataclass(slots=True)
class _KnownFile:
    """What is known of one file from its beginning to `end`."""

    identity: FileIdentity
    names: tuple[str, ...]
    end: int = 0
    lines: int = 0
    marks: tuple[bytes, bytes] = (b"", b"")
    table: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    """A row for each stretch: where it begins, its first line, how many events, broken and too long lines and events
    without a time it has, and of each time field the earliest and the latest."""
    skipped: list[SkippedLine] = field(default_factory=list)


_EVENTS, _BROKEN, _OVERSIZED, _UNTIMED, _TIMES = 2, 3, 4, 5, 6


class TimeIndex:
    """What earlier passes have learnt of files."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], _KnownFile] = {}

    def __len__(self) -> int:
        """How many files something is known of."""
        return sum(known.end > 0 for known in self._known.values())

    def spans(
        self, file: IO[bytes], names: Sequence[str], wanted: Sequence[tuple[int, int]], *, number: int
    ) -> tuple[list[LineSpan], Counts]:
        """What of an open plain file must be read, and what was counted in the rest of it.

        `names` are the time fields, `wanted` spans of time (nanoseconds, inclusive): an event matters if any of its
        fields is in any of them. `number` is that of the file in this pass.
        """
        identity = identity_of(file)
        known = self._known.get((identity.device, identity.inode))
        if known is None or set(names) != set(known.names) or not _is_same(known, identity, file):
            self._known[identity.device, identity.inode] = _KnownFile(identity, tuple(names))
            return [LineSpan()], Counts()
        table = known.table
        needed = np.zeros(len(table), dtype=np.bool_)
        for place in (_TIMES + 2 * known.names.index(name) for name in names) if len(table) else ():
            for start, end in united(wanted):
                needed |= (table[:, place + 1] >= start) & (table[:, place] <= end)
        spans: list[LineSpan] = []
        ends = [*table[1:, 0].tolist(), known.end] if len(table) else []
        for row in np.flatnonzero(needed).tolist():
            start, line = table[row, :2].tolist()
            if spans and spans[-1].end == start:
                spans[-1] = replace(spans[-1], end=ends[row])
            else:
                spans.append(LineSpan(start, line, ends[row]))
        if identity.size > known.end:
            spans.append(LineSpan(known.end, known.lines + 1))
        return spans, _counts(known, ~needed, spans, number)

    def reading(self, file: IO[bytes]) -> FileReading:
        """What to note in while the file is read on from the end that is known."""
        identity = identity_of(file)
        known = self._known[identity.device, identity.inode]
        return FileReading(known.names, end=known.end, lines=known.lines)

    def note(self, file: IO[bytes], reading: FileReading) -> None:
        """Add what was learnt of a file."""
        identity = identity_of(file)
        known = self._known.get((identity.device, identity.inode))
        # A stretch ends where the next one begins; of what is after the last whole line nothing is known yet.
        rows = [row for row in reading.rows if row[0] < reading.end]
        if known is None or not rows:
            return
        added = np.array(rows, dtype=np.int64)
        known.table = np.concatenate((known.table, added)) if len(known.table) else added
        known.skipped.extend(line for line in reading.skipped if line.offset < reading.end)
        known.end, known.lines, known.identity = reading.end, reading.lines, identity
        known.marks = _marks(file, known.end)

    def forget_but(self, identities: Iterable[tuple[int, int]]) -> None:
        """Forget all files but those of these devices and inodes."""
        kept = set(identities)
        self._known = {key: known for key, known in self._known.items() if key in kept}


def identity_of(file: IO[bytes]) -> FileIdentity:
    """What an open file is told by."""
    found = os.fstat(file.fileno())
    return FileIdentity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def united(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same time in as few spans as possible, ascending.

    >>> united([(5, 9), (1, 2), (7, 12)])
    [(1, 2), (5, 12)]
    """
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def _counts(known: _KnownFile, rest: NDArray[np.bool_], spans: Sequence[LineSpan], number: int) -> Counts:
    """What was counted in those stretches that are not read again."""
    if not len(known.table):
        return Counts()
    table = known.table[rest]
    totals = table.sum(axis=0).tolist()
    counts = Counts(
        events=totals[_EVENTS], broken=totals[_BROKEN], oversized=totals[_OVERSIZED], untimed=totals[_UNTIMED]
    )
    counts.oldest = int(table[:, _TIMES].min(initial=_NEVER))
    counts.newest = int(table[:, _TIMES + 1].max(initial=NO_TIME))
    again = [(span.start, _NEVER if span.end is None else span.end) for span in spans]
    counts.skipped = [
        replace(line, file=number)
        for line in known.skipped
        if not any(start <= line.offset < end for start, end in again)
    ]
    return counts


def _is_same(known: _KnownFile, identity: FileIdentity, file: IO[bytes]) -> bool:
    """Whether the file still begins with what was read of it."""
    before = known.identity
    if identity.size < known.end or (identity.size == before.size and identity.modified_ns != before.modified_ns):
        return False
    return _marks(file, known.end) == known.marks


def _marks(file: IO[bytes], end: int) -> tuple[bytes, bytes]:
    """What the first bytes of a file and the last ones before a place are known by again."""
    marks = []
    for start in (0, max(0, end - _MARK)):
        file.seek(start)
        marks.append(hashlib.blake2b(file.read(min(_MARK, end - start)), digest_size=16).digest())
    return marks[0], marks[1]
