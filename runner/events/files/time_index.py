"""`TimeIndex`: a sparse index of the times in files, so that a pass reads only what its windows may need.

A plain file that is only appended to is read in full once; later passes read its new end, and the stretches with events
of their windows. A file is recognised by inode, length, and hashes of its first bytes and of those before the end of
the index: rotated files keep their index, truncated or replaced ones are read again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import IO

import numpy as np
from numpy.typing import NDArray

from runner.events.columns.batch import EventBatch
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.discovery import FileKey, key_of
from runner.events.files.line_blocks import Block
from runner.events.files.read_report import MOST_EXAMPLES, Counts, SkippedLine

_STRETCH = 1024
"""Lines per row of the index, which has their earliest and latest times."""
_MOST_STRETCHES = 1_000_000
"""Most stretches indexed in all files: about a billion lines, in about 80 MB."""
_HASHED = 4096
"""Bytes hashed at the start of a file and before the end of its index."""
_NEVER: int = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class LineSpan:
    """A span of a file, in bytes: from `start`, the offset of line `line`, to `end`."""

    start: int = 0
    line: int = 1
    end: int | None = None
    """None: the end of the file; the index does not have the span yet."""


@dataclass(slots=True)
class FileReading:
    """The additions to a file's index while it is read: a row per stretch, and the first lines without an event."""

    names: tuple[str, ...]
    rows: list[tuple[int, ...]] = field(default_factory=list)
    skipped: list[SkippedLine] = field(default_factory=list)
    end: int = 0
    """The offset of the end of the last stretch."""
    lines: int = 0
    """The lines up to there."""

    def add(self, batch: EventBatch, block: Block, broken: Sequence[SkippedLine]) -> None:
        """Add the events of a block, and its broken lines."""
        if not block.is_whole:
            return
        columns = [*(batch.timestamps(name) for name in self.names), times_by(batch, self.names)]
        bad = np.array([line.line - block.first_line for line in broken], dtype=np.int64)
        for first in range(0, len(block.lines), _STRETCH):
            last = min(first + _STRETCH, len(block.lines))
            start, end = np.searchsorted(batch.positions, (first, last)).tolist()
            parts = [column[start:end] for column in columns]
            timed = [part[part != NO_TIME] for part in parts]
            times = [int(time) for part in timed for time in (part.min(initial=_NEVER), part.max(initial=NO_TIME))]
            untimed = end - start - len(timed[-1])
            count = int(np.count_nonzero((bad >= first) & (bad < last)))
            begin = int(block.offsets[first]), block.first_line + first
            self.rows.append((*begin, end - start, count, 0, untimed, *times))
        examples = broken[: max(0, MOST_EXAMPLES - sum(bool(line.reason) for line in self.skipped))]
        self.skipped.extend(replace(line, offset=int(block.offsets[line.line - block.first_line])) for line in examples)
        self.end, self.lines = int(block.offsets[-1]), block.first_line + len(block.lines) - 1

    def add_oversized(self, line: SkippedLine) -> None:
        """Add an oversized line as a stretch of its own."""
        self.rows.append((line.offset, line.line, 0, 0, 1, 0, *[_NEVER, NO_TIME] * (len(self.names) + 1)))
        if sum(not line.reason for line in self.skipped) < MOST_EXAMPLES:
            self.skipped.append(line)


@dataclass(slots=True)
class _IndexedFile:
    """The index of one file from its start to `end`."""

    state: os.stat_result
    names: tuple[str, ...]
    end: int = 0
    lines: int = 0
    hashes: tuple[bytes, bytes] = (b"", b"")
    table: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    """A row per stretch: offset, first line, counts of events, broken lines, oversized lines and untimed events, then
    the earliest and the latest time of each time field, and of the events by the first field that they have."""
    skipped: list[SkippedLine] = field(default_factory=list)


_EVENTS, _BROKEN, _OVERSIZED, _UNTIMED, _TIMES = 2, 3, 4, 5, 6


class TimeIndex:
    """The indices of files by device and inode, the most recently extended last."""

    def __init__(self, *, most_stretches: int = _MOST_STRETCHES) -> None:
        """Beyond `most_stretches` rows in all, the indices of the files extended longest ago are dropped."""
        self._files: dict[FileKey, _IndexedFile] = {}
        self._stretches, self._most_stretches = 0, most_stretches
        self.peeked: dict[tuple[int, int, int, int], int] = {}
        """The latest time at the ends of a file, by its device, inode, size and time of modification."""

    def __len__(self) -> int:
        """The count of files with an index."""
        return sum(known.end > 0 for known in self._files.values())

    def spans(
        self, file: IO[bytes], names: Sequence[str], windows: Sequence[tuple[int, int]], *, file_index: int
    ) -> tuple[list[LineSpan], Counts]:
        """The spans of an open plain file to read, and the counts of the others.

        `names` are the time fields, `windows` spans of time (nanoseconds, inclusive): an event is needed if any of its
        time fields is in any of them. `file_index` is that of the file in this pass.
        """
        state = os.fstat(file.fileno())
        known = self._files.get(key_of(state))
        if known is None or set(names) != set(known.names) or not _is_same(known, state, file):
            self._stretches -= 0 if known is None else len(known.table)
            self._files[key_of(state)] = _IndexedFile(state, tuple(names))
            # Its text is in a copy by now, which the files that were looked up may be without.
            return [LineSpan()], Counts(moved=_was_truncated(known, file))
        table = known.table
        needed = np.zeros(len(table), dtype=np.bool_)
        for column in (_TIMES + 2 * known.names.index(name) for name in names) if len(table) else ():
            for start, end in united(windows):
                needed |= (table[:, column + 1] >= start) & (table[:, column] <= end)
        spans: list[LineSpan] = []
        ends = [*table[1:, 0].tolist(), known.end] if len(table) else []
        for row in np.flatnonzero(needed).tolist():
            start, line = table[row, :2].tolist()
            if spans and spans[-1].end == start:
                spans[-1] = replace(spans[-1], end=ends[row])
            else:
                spans.append(LineSpan(start, line, ends[row]))
        if state.st_size > known.end:
            spans.append(LineSpan(known.end, known.lines + 1))
        return spans, _counts(known, ~needed, spans, file_index)

    def reading(self, file: IO[bytes]) -> FileReading | None:
        """The record to fill while the file is read from the end of its index; None if that was dropped meanwhile."""
        known = self._files.get(key_of(os.fstat(file.fileno())))
        return None if known is None else FileReading(known.names, end=known.end, lines=known.lines)

    def add(self, file: IO[bytes], reading: FileReading) -> None:
        """Add the record of a reading to the index of its file."""
        state = os.fstat(file.fileno())
        key = key_of(state)
        # A stretch ends at the start of the next; the text after the last whole line is not indexed.
        rows = [row for row in reading.rows if row[0] < reading.end]
        if key not in self._files or not rows:
            return
        known = self._files[key] = self._files.pop(key)
        added = np.array(rows, dtype=np.int64)
        known.table = np.concatenate((known.table, added)) if len(known.table) else added
        known.skipped.extend(line for line in reading.skipped if line.offset < reading.end)
        known.end, known.lines, known.state = reading.end, reading.lines, state
        known.hashes = _hashes(file, known.end)
        self._stretches += len(rows)
        while self._stretches > self._most_stretches and len(self._files) > 1:
            self._stretches -= len(self._files.pop(next(iter(self._files))).table)

    def keep_only(self, files: Collection[FileKey]) -> None:
        """Drop what is known of all files but those of these devices and inodes."""
        for key in self._files.keys() - files:
            self._stretches -= len(self._files.pop(key).table)
        self.peeked = {state: latest for state, latest in self.peeked.items() if state[:2] in files}


def times_by(batch: EventBatch, names: Sequence[str]) -> NDArray[np.int64]:
    """The time of each event by the first field that it has; `NO_TIME` without one."""
    times = batch.timestamps(names[0])
    for fallback in names[1:]:
        times = np.where(times == NO_TIME, batch.timestamps(fallback), times)
    return times


def united(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The union of spans, ascending and disjoint.

    >>> united([(5, 9), (1, 2), (7, 12)])
    [(1, 2), (5, 12)]
    """
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _counts(known: _IndexedFile, unread: NDArray[np.bool_], spans: Sequence[LineSpan], file_index: int) -> Counts:
    """The counts of the stretches that are not read again."""
    if not len(known.table):
        return Counts()
    table = known.table[unread]
    totals = table.sum(axis=0).tolist()
    counts = Counts(
        events=totals[_EVENTS], broken=totals[_BROKEN], oversized=totals[_OVERSIZED], untimed=totals[_UNTIMED]
    )
    counts.oldest = int(table[:, -2].min(initial=_NEVER))
    counts.newest = int(table[:, -1].max(initial=NO_TIME))
    again = [(span.start, _NEVER if span.end is None else span.end) for span in spans]
    counts.skipped = [
        replace(line, file=file_index)
        for line in known.skipped
        if not any(start <= line.offset < end for start, end in again)
    ]
    return counts


def _is_same(known: _IndexedFile, state: os.stat_result, file: IO[bytes]) -> bool:
    """Whether the file still starts with the indexed text."""
    before = known.state
    if state.st_size < known.end or (state.st_size == before.st_size and state.st_mtime_ns != before.st_mtime_ns):
        return False
    return _hashes(file, known.end) == known.hashes


def _was_truncated(known: _IndexedFile | None, file: IO[bytes]) -> bool:
    """Whether a file was truncated since it was read, or at an unknown time, as a hole at its start shows."""
    if known is not None:
        return known.end > 0 and _hashes(file, known.end) != known.hashes
    file.seek(0)
    return file.read(1) == b"\0"


def _hashes(file: IO[bytes], end: int) -> tuple[bytes, bytes]:
    """Hashes of the first bytes of a file, and of the last ones before `end`."""
    hashes = []
    for start in (0, max(0, end - _HASHED)):
        file.seek(start)
        hashes.append(hashlib.blake2b(file.read(min(_HASHED, end - start)), digest_size=16).digest())
    return hashes[0], hashes[1]
