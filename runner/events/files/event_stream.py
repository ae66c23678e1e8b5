"""`EventStream`: the events of one file in any format, and the watermark of their times."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO

import numpy as np
from numpy.typing import NDArray

from runner.events.columns.batch import Columns, EventBatch
from runner.events.columns.row_decoder import Line
from runner.events.fields.schema import Field
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.compression import DAMAGE, OpenText
from runner.events.files.discovery import FileKey, key_of
from runner.events.files.kept_lines import LineSource
from runner.events.files.line_blocks import Block, ReadProgress, blocks_of
from runner.events.files.read_report import Counts, SkippedLine
from runner.events.files.shapes.unwrapped import Unwrapped, needs_unwrapping, unwrapped
from runner.events.files.time_index import FileReading, LineSpan, TimeIndex, times_by
from runner.file_formats.inner_events import InnerEvents, told
from runner.file_formats.kinds import refusal
from runner.json_text import is_blank

_START = 1 << 16
_ALLOWANCE_NS = 600 * 10**9
"""Usual lateness of events: agents buffer, clocks differ. Chosen, not measured."""
FILE_BITS = 40
"""Bits of an event's number for its index in its file; the higher bits are the file's index."""


@dataclass(frozen=True, slots=True)
class TimeWanted:
    """The events that a pass needs: those with one of the time fields in one of the spans (nanoseconds, inclusive).

    No spans: all events.
    """

    names: tuple[str, ...] = ("@timestamp",)
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class Spools:
    """Copies on disk that replace files: of pipes, and of files without an event per line."""

    streams: dict[str, IO[bytes]] = field(default_factory=dict)
    unwrapped: dict[str, Unwrapped] = field(default_factory=dict)
    inner: InnerEvents = field(default_factory=InnerEvents)
    """Where documents hold the events, if they are not events themselves."""

    def of(self, path: str) -> IO[bytes] | None:
        """The copy with the lines of the file; None: the file has them."""
        made = self.unwrapped.get(path)
        return made.lines if made is not None else self.streams.get(path)

    def close(self) -> None:
        for spool in (*self.streams.values(), *(made.lines for made in self.unwrapped.values())):
            spool.close()


@dataclass(slots=True)
class TimeProgress:
    """The newest time of a stream and its disorder, in nanoseconds."""

    newest: int = NO_TIME
    """Before the first batch the time of about the first event."""
    disorder: int = 0
    """The most by which an event was earlier than one before it."""
    _latest: int = NO_TIME

    def add(self, times: NDArray[np.int64]) -> None:
        """Add the times of a batch, one or more."""
        latest = np.maximum(np.maximum.accumulate(times), self._latest)
        self.disorder = max(self.disorder, int((latest - times).max()))
        self.newest = self._latest = int(latest[-1])

    def watermark(self, *, tight: bool) -> int:
        """The time before which no event is expected: twice the disorder so far, and unless `tight` the usual lateness,
        before the newest time."""
        if self.newest == NO_TIME:
            return NO_TIME
        return self.newest - max(0 if tight else _ALLOWANCE_NS, 2 * self.disorder)


class EventStream:
    """One file being read, in blocks of lines. `blocks` opens it when its first block is requested."""

    def __init__(
        self,
        file_index: int,
        path: str,
        spools: Spools,
        *,
        identity: FileKey | None = None,
        size: int = 0,
        span: LineSpan | None = None,
        is_written: bool = False,
    ) -> None:
        """`identity` is the device and inode that the file must have, `size` the stored bytes that it must have at
        least; `span` is the part of a plain file to read.

        `is_written`: somebody writes to the file now, so that the rest of an incomplete last line is still to come.
        """
        self.file_index = file_index
        self.path = path
        self.progress = TimeProgress()
        # Events of a split are numbered from its offset: more than the splits before it can have.
        self.events = span.start if span is not None else 0
        self.lines = 0
        """The lines read so far."""
        self.counts = Counts()
        self._source = LineSource()
        self._spools = spools
        self._identity = identity
        self._size = size
        self._span = span
        self._is_written = is_written
        self._reading: FileReading | None = None

    @property
    def is_unwrapped(self) -> bool:
        """Whether the lines are in a copy, made of a file without an event per line."""
        return self.path in self._spools.unwrapped

    def peek(self, time: Field) -> None:
        """Set the newest time to that of the first event with one; errors are left for the pass."""
        try:
            with OpenText(self.path, self._spools.of(self.path)) as text:
                start = text.start(_START)
        except DAMAGE:
            return
        if not needs_unwrapping(start):
            times = _times_in(start.split(b"\n")[:-1] or [start], time, self._spools.inner)
            self.progress.newest = int(times[0]) if len(times) else NO_TIME

    def source(self, *, is_shared: bool = False) -> LineSource:
        """Where the lines of the last block can be read again; `is_shared`: by another process."""
        if not is_shared:
            return self._source
        return replace(self._source, descriptor=None) if self._source.file is not None else LineSource()

    def last(self) -> int:
        """The number of the last event read."""
        return (self.file_index << FILE_BITS) + self.events - 1

    def blocks(
        self, wanted: TimeWanted, index: TimeIndex | None, *, chunk: Callable[[], int], progress: ReadProgress
    ) -> Generator[Block]:
        """The blocks that the pass needs, in order; damage of the file is added to `counts`."""
        try:
            copy = self._spools.of(self.path)
            with OpenText(self.path, copy) as text:
                yield from self._blocks_of(text, wanted, index, chunk=chunk, progress=progress)
                if copy is None and os.fstat(text.file.fileno()).st_size < max(self._size, text.reached):
                    self._moved("was truncated while it was being read")
        except DAMAGE as error:
            self.counts.moved += isinstance(error, FileNotFoundError)
            if isinstance(error, OSError) and error.errno is not None:
                self._unread((error.strerror or str(error)).lower())
            else:
                self.counts.failures.append(f"{self.path}: could not be read to its end: {error}")

    def batch(self, columns: Columns, block: Block, wanted: TimeWanted) -> EventBatch:
        """The events of a block."""
        skipped: list[SkippedLine] = []
        self.lines = block.first_line + len(block.lines) - 1

        made = self._spools.unwrapped.get(self.path)

        awaited = len(block.lines) - 1 if self._is_written and not block.is_whole and not self.is_unwrapped else None

        def broken(position: int, reason: str) -> None:
            if position == awaited:
                return
            number = block.first_line + position
            place = made.place(number) if made is not None else ""
            skipped.append(SkippedLine(self.file_index, number, block.offset, place + reason))

        base = (self.file_index << FILE_BITS) + self.events
        batch = EventBatch.of_lines(columns, self.event_lines(block), base=base, broken=broken)
        self.events += len(batch)
        self.counts.events += len(batch)
        for line in skipped:
            self.counts.skip(line)
        self._add_times(batch, wanted.names)
        if self._reading is not None:
            self._reading.add(batch, block, skipped)
        return batch

    def event_lines(self, block: Block) -> Sequence[Line]:
        """The lines of a block; where documents hold the events, those in their place."""
        if not self._spools.inner:
            return block.lines
        found: list[Line] = []
        for line in map(bytes, block.lines):
            inner = self._spools.inner.event(line)
            self.counts.outer += inner is None and not is_blank(line)
            found.append(line if inner is None else inner)
        return found

    def _add_times(self, batch: EventBatch, names: Sequence[str]) -> None:
        """Add the times by the first field, which orders the files; of events without it those by the others count."""
        times = batch.timestamps(names[0])
        timed = times[times != NO_TIME]
        if len(timed):
            self.progress.add(timed)
        if len(timed) < len(times) and len(names) > 1:
            times = times_by(batch, names)
            timed = times[times != NO_TIME]
        self.counts.untimed += len(times) - len(timed)
        if len(timed):
            self.counts.newest = max(self.counts.newest, int(timed.max()))
            self.counts.oldest = min(self.counts.oldest, int(timed.min()))

    def _blocks_of(
        self,
        text: OpenText,
        wanted: TimeWanted,
        index: TimeIndex | None,
        *,
        chunk: Callable[[], int],
        progress: ReadProgress,
    ) -> Iterator[Block]:
        spool = self._spools.of(self.path)
        if spool is None and self._identity not in (None, key_of(os.fstat(text.file.fileno()))):
            self._moved("was replaced while the files were looked up")
            return
        start = b"" if self.is_unwrapped else text.start(_START)
        if (said := refusal(start)) is not None:
            self._unread(said)
            return
        if needs_unwrapping(start):
            self._spools.unwrapped[self.path] = unwrapped(text, start, lambda: progress(text.advanced()))
            text.file.seek(0, os.SEEK_END)
            progress(text.advanced())
        if self.is_unwrapped:
            made = self._spools.unwrapped[self.path]
            self.counts.failures += [f"{self.path}: could not be read to its end: {damage}" for damage in made.damage]
            self.counts.notes += [f"{self.path}: {note}" for note in made.notes]
            self.counts.left_out += [f"{self.path}: {name}" for name in made.left_out]
            if made.barren:
                self.counts.barren[self.path] = made.barren
            self._source = LineSource(self.path)
            with OpenText(self.path, made.lines) as lines:
                self._tell_inner(lines.start(_START))
                yield from blocks_of(lines, self._skip, chunk=chunk, progress=lambda count: progress(0))
            return
        self._tell_inner(start)
        if not text.packing:
            descriptor = text.file.fileno()
            key = key_of(os.fstat(descriptor))
            self._source = LineSource(self.path, key, descriptor) if spool is None else LineSource(self.path)
        read = partial(blocks_of, text, self._skip, chunk=chunk, progress=progress)
        if self._span is not None:
            text.go_to(self._span.start, self._span.end)
            yield from read(offset=self._span.start, passed=self._pass)
        elif index is None or spool is not None or text.packing:
            yield from read()
        else:
            yield from self._indexed(text, wanted, index, read=read)
            progress(text.advanced())

    def _indexed(
        self, text: OpenText, wanted: TimeWanted, index: TimeIndex, *, read: Callable[..., Iterator[Block]]
    ) -> Iterator[Block]:
        """The blocks of the spans with events that the pass needs, and of those not indexed yet."""
        windows = wanted.spans or ((NO_TIME, np.iinfo(np.int64).max),)
        spans, unread = index.spans(text.file, wanted.names, windows, file_index=self.file_index)
        self.counts.add(unread)
        try:
            for span in spans:
                self._reading = index.reading(text.file) if span.end is None else None
                text.go_to(span.start, span.end)
                yield from read(first_line=span.line, offset=span.start)
            text.go_to(text.file.seek(0, 2), None)
        finally:
            if self._reading is not None:
                index.add(text.file, self._reading)

    def _tell_inner(self, start: bytes) -> None:
        """Note that the documents of a text with this start hold the events, unless they are read from there."""
        if not self._spools.inner and (said := told(start)):
            self.counts.notes.append(f"{self.path}: its {said}")

    def _skip(self, line: int, offset: int) -> None:
        self.lines = line
        skipped = SkippedLine(self.file_index, line, offset, "")
        self.counts.skip(skipped)
        if self._reading is not None:
            self._reading.add_oversized(skipped)

    def _pass(self, line: int) -> None:
        self.lines = line

    def _moved(self, reason: str) -> None:
        self.counts.moved += 1
        self._unread(reason)

    def _unread(self, reason: str) -> None:
        self.counts.unread.append(f"{self.path}: cannot be read: {reason}")


def latest_at_the_ends(path: str, time: Field, inner: InnerEvents) -> int:
    """The latest time (nanoseconds since 1970) in the first and the last lines of a file, `NO_TIME` if there is none.

    Of a compressed file only the first lines are read. What cannot be read counts as late: the reading will report it.
    """
    try:
        with OpenText(path) as text:
            start = text.start(_START)
            end = b""
            if not text.packing:
                size = text.file.seek(0, os.SEEK_END)
                text.file.seek(max(0, size - _START))
                end = text.file.read(_START)
    except DAMAGE:
        return int(np.iinfo(np.int64).max)
    if needs_unwrapping(start):
        return int(np.iinfo(np.int64).max)
    lines = [*start.split(b"\n")[:-1], *end.split(b"\n")[1:], *(() if b"\n" in start else (start,))]
    return int(_times_in(lines, time, inner).max(initial=NO_TIME))


def _times_in(lines: Sequence[bytes], time: Field, inner: InnerEvents) -> NDArray[np.int64]:
    if inner:
        lines = [inner.event(line) or line for line in lines]
    batch = EventBatch.of_lines(Columns([time]), lines, base=0, broken=lambda place, reason: None)
    times = batch.timestamps(time.name)
    timed: NDArray[np.int64] = times[times != NO_TIME]
    return timed
