"""The lines of a text in blocks: views of one buffer that is reused for the next block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runner.events.files.compression import OpenText
from runner.events.files.read_report import MAX_LINE

_FIRST_CHUNK = 1 << 20
"""Bytes of a file's first block, small because its values decide the fields of the first projection."""
_GROWTH = 8
"""Most growth from a block to the next."""
CHUNK = (32 << 20) - (1 << 16)
"""Most bytes of a block: large enough that the costs per batch, which grow with the rules, are small per event.

A little less than 32 MiB, from which on glibc allocates a buffer with mmap, which clears all of it every time
(https://man7.org/linux/man-pages/man3/mallopt.3.html, M_MMAP_THRESHOLD).
"""
_BATCH = 32_768
"""Most lines of a block."""
_BREAK = b"\n"
_SAMPLE = 2048
_BLANK_RUN = 4 * _SAMPLE
"""Least bytes of a run of blank lines, or of NUL bytes that copytruncate leaves, that is skipped as a whole."""
_PIECE = 1 << 20
_IS_BLANK = np.isin(np.arange(256), list(b"\0 \t\r\n"))
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

ReadProgress = Callable[[int], None]
"""Called with the stored bytes read since the last call, also with 0. What it raises ends the reading."""


def unreported(count: int) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of one file; `first_line` counts from 1."""

    lines: list[memoryview]
    first_line: int
    offsets: NDArray[np.int64]
    """The offset of each line in the uncompressed text, then that of the end of the block."""
    is_whole: bool = True
    """False for a last line without a line break, which may be incomplete."""

    @property
    def offset(self) -> int:
        """The offset of the first line in the uncompressed text."""
        return int(self.offsets[0])


def blocks_of(
    text: OpenText,
    skipped: Callable[[int, int], None],
    *,
    first_line: int = 1,
    offset: int = 0,
    chunk: Callable[[], int] = lambda: CHUNK,
    progress: ReadProgress = unreported,
    passed: Callable[[int], None] = lambda line: None,
) -> Iterator[Block]:
    """The lines of a text, block by block; a block is valid until the next.

    `skipped` is called with the line (from 1) and offset of each oversized line, `passed` with the last line of a long
    run of blank ones, which is in no block; `chunk` returns the most bytes of the next buffer. Raises the error of a
    damaged text after the lines before it.
    """
    buffer = bytearray(min(_FIRST_CHUNK, chunk()))
    held, line = 0, first_line
    skipping = False
    failure: Exception | None = None
    while failure is None:
        count, failure = text.read_into(memoryview(buffer)[held:])
        progress(text.advanced())
        if not count:
            break
        end, start = held + count, 0
        runs, run = _blank_runs(buffer, 0, end), (0, 0)
        while True:
            while run[0] <= start and not (skipping and run[1] > start):
                if run[1] > start:
                    line += buffer.count(_BREAK, start, run[1])
                    offset += run[1] - start
                    start = run[1]
                    passed(line - 1)
                run = next(runs, (end + 1, end + 1))
            # Lines up to the run, with the break that ends the last of them.
            limit = buffer.find(_BREAK, run[0], run[1]) + 1 if run[0] > start else 0
            lines, start = _lines_of(buffer, start, limit or end)
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


def _blank_runs(buffer: bytearray, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The begin and end of each run of at least `_BLANK_RUN` blank bytes, in order; a few shorter ones, too.

    Samples find them, so that a text without any costs next to nothing.
    """
    text = np.frombuffer(buffer, np.uint8)[start:end]
    samples = _IS_BLANK[text[::_SAMPLE]]
    begin = stop = 0
    for sample in np.flatnonzero(samples[:-2] & samples[1:-1] & samples[2:]).tolist():
        if sample * _SAMPLE < stop or not _IS_BLANK[text[sample * _SAMPLE : (sample + 2) * _SAMPLE]].all():
            continue
        before = _IS_BLANK[text[stop : sample * _SAMPLE][-_SAMPLE:]][::-1]
        begin = sample * _SAMPLE - (len(before) if before.all() else int(before.argmin()))
        stop = (sample + 2) * _SAMPLE
        while stop < len(text) and _IS_BLANK[text[stop]]:
            piece = _IS_BLANK[text[stop : min(2 * stop - sample * _SAMPLE, stop + _PIECE)]]  # as much again as so far
            stop += len(piece) if piece.all() else int(piece.argmin())
        yield start + begin, start + stop


def _checked(
    lines: list[memoryview],
    line: int,
    offsets: NDArray[np.int64],
    skipped: Callable[[int, int], None],
    *,
    is_whole: bool = True,
) -> Iterator[Block]:
    """The lines as blocks without the oversized ones."""
    if offsets[0] == 0 and bytes(lines[0][:3]) == _BYTE_ORDER_MARK:
        lines[0][:3] = b"   "  # not JSON; blanks keep the offsets
    first = 0
    for index in [*np.flatnonzero(np.diff(offsets) > MAX_LINE + len(_BREAK)).tolist(), len(lines)]:
        if index > first:
            yield Block(lines[first:index], line + first, offsets[first : index + 1], is_whole)
        if index < len(lines):
            skipped(line + index, int(offsets[index]))
            first = index + 1


def _offsets(lines: list[memoryview], offset: int) -> NDArray[np.int64]:
    """The offsets of the lines, the first one at `offset`, then that of the end of the last line's break."""
    lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines))
    return np.concatenate(([offset], lengths + len(_BREAK))).cumsum()


def _lines_of(buffer: bytearray, start: int, end: int) -> tuple[list[memoryview], int]:
    """Views of the whole lines between `start` and `end`, at most `_BATCH`, and the offset of their end."""
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
    """A buffer for the next block that starts with the `held` bytes from `start`; the same one if its size fits."""
    size = min(len(buffer) * _GROWTH, chunk)
    while size < 2 * held:
        size *= 2
    if size == len(buffer):
        buffer[:held] = buffer[start : start + held]
        return buffer
    return buffer[start : start + held].ljust(size, b"\0")
