"""The lines of a text in blocks: views of one buffer that is used again for the next block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runner.events.files.compression import OpenText
from runner.events.files.read_report import MAX_LINE

_FIRST_CHUNK = 1 << 20
"""The first batch of a file is small: it shows which fields are worth reading at once."""
_GROWTH = 8
"""Each batch may be so many times as large as the one before."""
CHUNK = (32 << 20) - (1 << 16)
"""Of every later one: large enough that what a batch costs, however many rules there are, is little for each event.

A little less than 32 MiB: from there on glibc asks the system for a buffer each time, which has to clear all of it
(https://man7.org/linux/man-pages/man3/mallopt.3.html, M_MMAP_THRESHOLD).
"""
_BATCH = 32_768
_BREAK = b"\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

ReadProgress = Callable[[int], None]
"""Called with the number of bytes (of the files as they are stored) that were read since the last call."""


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of one file; `first_line` counts from 1."""

    lines: list[memoryview]
    first_line: int
    offsets: NDArray[np.int64]
    """Where each line starts in the uncompressed text, and at last where the block ends."""
    is_whole: bool = True
    """False for a last line without a line break: its writer may not be done with it."""

    @property
    def offset(self) -> int:
        """Where the first line starts in the uncompressed text."""
        return int(self.offsets[0])


def blocks_of(
    text: OpenText,
    skipped: Callable[[int, int], None],
    *,
    first_line: int = 1,
    offset: int = 0,
    chunk: Callable[[], int] = lambda: CHUNK,
    progress: ReadProgress | None = None,
) -> Iterator[Block]:
    """All lines of the text, block by block; a block is good until the next.

    Lines that are too long are told to `skipped`, with their number and where they begin. `chunk` says before each
    reading how large the buffer may be. Raises what the text was damaged with, after the lines before it.
    """
    buffer = bytearray(min(_FIRST_CHUNK, chunk()))
    held, line = 0, first_line
    skipping = False
    failure: Exception | None = None
    while failure is None:
        count, failure = text.read_into(memoryview(buffer)[held:])
        if progress is not None:
            progress(text.advanced())
        if not count:
            break
        end, start = held + count, 0
        while True:
            lines, start = _lines_of(buffer, start, end)
            if not lines:
                break
            offsets = _offsets(lines, offset)
            offset = int(offsets[-1])
            if skipping:
                skipping = False
                lines, offsets = lines[1:], offsets[1:]
                line += 1
            if lines:
                yield from _checked(lines, line, offsets, skipped)
                line += len(lines)
        held = end - start
        if held > MAX_LINE or (skipping and held):
            if not skipping:
                skipped(line, offset)
            offset += held
            held, skipping = 0, True
        buffer = _emptied(buffer, start, held, chunk())
    if held and not skipping:
        yield from _checked(
            [memoryview(buffer)[:held]], line, np.array((offset, offset + held)), skipped, is_whole=False
        )
    if failure is not None:
        raise failure


def _checked(
    lines: list[memoryview],
    line: int,
    offsets: NDArray[np.int64],
    skipped: Callable[[int, int], None],
    *,
    is_whole: bool = True,
) -> Iterator[Block]:
    """The lines as blocks of as many as a batch may have, without those that are too long."""
    if offsets[0] == 0 and bytes(lines[0][:3]) == _BYTE_ORDER_MARK:
        lines[0][:3] = b"   "  # a byte order mark is no JSON; blanks keep the offsets
    first = 0
    for place in [*np.flatnonzero(np.diff(offsets) > MAX_LINE + len(_BREAK)).tolist(), len(lines)]:
        if place > first:
            yield Block(lines[first:place], line + first, offsets[first : place + 1], is_whole)
        if place < len(lines):
            skipped(line + place, int(offsets[place]))
            first = place + 1


def _offsets(lines: list[memoryview], offset: int) -> NDArray[np.int64]:
    """Where each of the lines starts if the first one starts at `offset`, and where the last one's break ends."""
    offsets = np.empty(len(lines) + 1, dtype=np.int64)
    offsets[0] = offset
    offsets[1:] = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)) + len(_BREAK)
    return offsets.cumsum()


def _lines_of(buffer: bytearray, start: int, end: int) -> tuple[list[memoryview], int]:
    """The whole lines between `start` and `end`, as many as a batch may have, without a copy, and where they end."""
    view, find, line_break = memoryview(buffer), buffer.find, ord(_BREAK)
    lines: list[memoryview] = []
    for _ in range(_BATCH):
        stop = find(line_break, start, end)
        if stop < 0:
            break
        lines.append(view[start:stop])
        start = stop + 1
    return lines, start


def _emptied(buffer: bytearray, start: int, held: int, chunk: int) -> bytearray:
    """A buffer that begins with the `held` bytes from `start` and has room behind them; the same one if its size is
    right."""
    size = min(len(buffer) * _GROWTH, chunk)
    while size < 2 * held:
        size *= 2
    if size == len(buffer):
        buffer[:held] = buffer[start : start + held]
        return buffer
    return buffer[start : start + held].ljust(size, b"\0")
