"""`EventStream`: the lines of one file, whatever its form, and how far in time it has come."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import IO

import numpy as np

from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import Field
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.compression import DAMAGE, OpenText
from runner.events.files.json_documents import is_csv, is_wrapped, unwrapped
from runner.events.files.line_blocks import Block, ReadProgress, blocks_of
from runner.events.files.read_report import Counts, SkippedLine
from runner.events.files.time_index import FileReading, LineSpan, TimeIndex

_START = 1 << 16
_ALLOWANCE_NS = 600 * 10**9
"""Events that are late by this much are nothing unusual: agents buffer, clocks differ."""
FILE_BITS = 40
"""An event's number is that of its file, and in these bits the count of events that were read of it before."""


@dataclass(frozen=True, slots=True)
class TimeWanted:
    """What of the files a pass is about: time fields, and spans of time that any of them must be in, in nanoseconds.

    No spans: everything.
    """

    names: tuple[str, ...] = ("@timestamp",)
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class Spools:
    """Copies on disk that are read in the place of files: of streams, and of files that are no lines of events."""

    streams: dict[str, IO[bytes]] = field(default_factory=dict)
    unwrapped: dict[str, tuple[IO[bytes], str]] = field(default_factory=dict)
    """With what was wrong with the file that it is made of."""

    def of(self, path: str) -> IO[bytes] | None:
        """The copy that lines of the file are found in; None: in the file."""
        made = self.unwrapped.get(path)
        return made[0] if made is not None else self.streams.get(path)

    def close(self) -> None:
        for spool in (*self.streams.values(), *(spool for spool, _ in self.unwrapped.values())):
            spool.close()


class EventStream:
    """One file being read, in blocks of lines. `blocks` opens it when its first block is asked for."""

    def __init__(
        self,
        number: int,
        path: str,
        spools: Spools,
        *,
        identity: tuple[int, int] | None = None,
        part: LineSpan | None = None,
    ) -> None:
        """`identity` is the device and inode that the file must still have; `part` is all of a plain file to read."""
        self.number = number
        self.path = path
        self.newest = NO_TIME
        """The latest time so far; before anything was read, about that of the first event."""
        self._latest = NO_TIME
        self.disorder = 0
        """By how much an event was earlier than one before it, at most, in nanoseconds."""
        self.events = part.start if part is not None else 0  # a part counts on from more than those before it can have
        self.lines = 0
        """How many lines were read."""
        self.counts = Counts()
        self.rereadable = True
        """Whether the lines of the last block can be read again by their offset."""
        self.is_open = False
        self.is_unwrapped = False
        """Whether the lines are those of a copy that was made of a file that is no lines of events."""
        self._spools = spools
        self._identity = identity
        self._part = part
        self._broken: list[SkippedLine] = []
        self._reading: FileReading | None = None

    def peek(self, time: Field) -> None:
        """Look up the time of the first event that has one; errors are left for the reading."""
        try:
            with OpenText(self.path, self._spools.of(self.path)) as text:
                start = text.start(_START)
        except DAMAGE:
            return
        lines = start.split(b"\n")[:-1] or [start]
        if not is_wrapped(start):
            batch = EventBatch.of_lines(Columns([time]), lines, base=0, broken=lambda place, reason: None)
            times = batch.timestamps(time.name)
            times = times[times != NO_TIME]
            self.newest = int(times[0]) if len(times) else NO_TIME

    def last(self) -> int:
        """The number of the last event that was read."""
        return (self.number << FILE_BITS) + self.events - 1

    def horizon(self, *, tight: bool) -> int:
        """The time before which no event is expected any more, allowing for twice the disorder that there was so far,
        and if it is not `tight` for events that are late."""
        if self.newest == NO_TIME:
            return NO_TIME
        return self.newest - max(0 if tight else _ALLOWANCE_NS, 2 * self.disorder)

    def blocks(
        self, wanted: TimeWanted, index: TimeIndex | None, *, chunk: Callable[[], int], progress: ReadProgress | None
    ) -> Generator[Block]:
        """The blocks that matter, in order. What is wrong with the file goes to `counts`."""
        self.is_open = True
        try:
            with OpenText(self.path, self._spools.of(self.path)) as text:
                yield from self._blocks_of(text, wanted, index, chunk=chunk, progress=progress)
        except DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                self._unread((error.strerror or str(error)).lower())
            else:
                self.counts.failures.append(f"{self.path}: could not be read to its end: {error}")
        finally:
            self.is_open = False

    def batch(self, columns: Columns, block: Block, wanted: TimeWanted) -> EventBatch:
        """The events of a block."""
        self._broken = []
        self.lines = block.first_line + len(block.lines) - 1

        def broken(position: int, reason: str) -> None:
            self._broken.append(SkippedLine(self.number, block.first_line + position, block.offset, reason))

        batch = EventBatch.of_lines(columns, block.lines, base=(self.number << FILE_BITS) + self.events, broken=broken)
        self.events += len(batch)
        self.counts.events += len(batch)
        for line in self._broken:
            self.counts.skip(line)
        self._note_times(batch, wanted.names[0])
        if self._reading is not None:
            self._reading.note(batch, block, self._broken)
        return batch

    def _note_times(self, batch: EventBatch, name: str) -> None:
        times = batch.timestamps(name)
        timed = times[times != NO_TIME]
        self.counts.untimed += len(times) - len(timed)
        if len(timed):
            self.counts.newest = max(self.counts.newest, int(timed.max()))
            self.counts.oldest = min(self.counts.oldest, int(timed.min()))
            latest = np.maximum(np.maximum.accumulate(timed), self._latest)
            self.disorder = max(self.disorder, int((latest - timed).max()))
            self.newest = self._latest = int(latest[-1])

    def _blocks_of(
        self,
        text: OpenText,
        wanted: TimeWanted,
        index: TimeIndex | None,
        *,
        chunk: Callable[[], int],
        progress: ReadProgress | None,
    ) -> Iterator[Block]:
        spool = self._spools.of(self.path)
        if spool is None and self._identity is not None and not self._is_same(text):
            self._unread("was replaced while the files were looked up")
            return
        start = text.start(_START) if self.path not in self._spools.unwrapped else b""
        if is_csv(start):
            self._unread("it is CSV; expected NDJSON, a JSON array or a saved search answer")
            return
        if is_wrapped(start):
            self._spools.unwrapped[self.path] = unwrapped(text)
            if progress is not None:
                progress(text.advanced())
            progress = None
        if (made := self._spools.unwrapped.get(self.path)) is not None:
            copy, problem = made
            self.is_unwrapped = True
            if problem:
                self.counts.failures.append(f"{self.path}: could not be read to its end: {problem}")
            with OpenText(self.path, copy) as lines:
                yield from blocks_of(lines, self._skip, chunk=chunk)
            return
        self.rereadable = text.packing == ""
        if self._part is not None:
            text.go_to(self._part.start, self._part.end)
            yield from blocks_of(text, self._skip, offset=self._part.start, chunk=chunk, progress=progress)
            return
        if index is None or spool is not None or text.packing:
            yield from blocks_of(text, self._skip, chunk=chunk, progress=progress)
        else:
            yield from self._indexed(text, wanted, index, chunk=chunk, progress=progress)

    def _indexed(
        self,
        text: OpenText,
        wanted: TimeWanted,
        index: TimeIndex,
        *,
        chunk: Callable[[], int],
        progress: ReadProgress | None,
    ) -> Iterator[Block]:
        """The stretches that have events of the wanted time, and what nothing is known of yet."""
        every = wanted.spans or ((NO_TIME, np.iinfo(np.int64).max),)
        spans, rest = index.spans(text.file, wanted.names, every, number=self.number)
        self.counts.add(rest)
        try:
            for span in spans:
                self._reading = index.reading(text.file) if span.end is None else None
                text.go_to(span.start, span.end)
                yield from blocks_of(
                    text, self._skip, first_line=span.line, offset=span.start, chunk=chunk, progress=progress
                )
            text.go_to(text.file.seek(0, 2), None)
            if progress is not None:
                progress(text.advanced())
        finally:
            if self._reading is not None:
                index.note(text.file, self._reading)

    def _skip(self, line: int, offset: int) -> None:
        self.lines = line
        skipped = SkippedLine(self.number, line, offset, "")
        self.counts.skip(skipped)
        if self._reading is not None:
            self._reading.note_oversized(skipped)

    def _is_same(self, text: OpenText) -> bool:
        found = os.fstat(text.file.fileno())
        return (found.st_dev, found.st_ino) == self._identity

    def _unread(self, reason: str) -> None:
        self.counts.unread.append(f"{self.path}: cannot be read: {reason}")
