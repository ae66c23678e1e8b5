"""`KeptLines`: late materialisation. Lines of events that may be part of a match are read again when they are needed.

A line of a plain file is kept as its place in the file, and is checked when it is read again: the file is held open, so
that it is the same one however it was renamed, compressed or deleted since; and a digest shows whether its bytes are
those that were matched, which a truncation changes. Lines of other files are copied to a spool on disk. A flood of
matches costs about a byte of memory an event, not its document.
"""

from __future__ import annotations

import os
import resource
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from runner.errors import EventsError
from runner.events.columns.batch import EventBatch, Rows
from runner.events.columns.row_decoder import Line
from runner.events.files.discovery import FileKey, key_of
from runner.events.files.line_blocks import Block
from runner.events.files.spools import temporary_file

_STRETCH_LINES = 32
"""Lines between two places that are noted; those between are found by their line breaks."""
_STRETCH_BYTES = 4 << 20
"""A batch with a longer stretch notes the place of every line, so that little is read for one of them."""
_MOST_HELD = 256
"""Files held open at most, and an eighth of those that the process may open; others are opened by name and checked."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class LineSource:
    """Where the lines of a batch can be read again: a plain file, the copy that stands for a path, or nowhere ("")."""

    path: str = ""
    file: FileKey | None = None
    """None where a copy is read in the file's place."""
    descriptor: int | None = None
    """The open file, to be held; None: the file is opened by name."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The lines of one batch, one after the other in a file or a spool."""

    first: int
    """The id of the batch's first event."""
    source: str
    """The path of the file or spool; "" is the spool of this process."""
    file: FileKey | None
    offsets: NDArray[np.int64]
    """Where each stretch of lines begins, and where the last one ends."""
    step: int
    """Lines of a stretch."""
    rows: int
    """Events of the batch."""
    kept: NDArray[np.uint8]
    """Bits: which events of the batch may be read again."""
    events: NDArray[np.uint8] | None
    """Bits: which lines are events; None: the lines are the kept events, as in a spool, or all lines are events."""
    is_spool: bool
    digests: NDArray[np.uint64]
    """A digest for each stretch, over its kept lines."""

    def lines(self) -> NDArray[np.intp]:
        """The index of the line of each kept event, ascending."""
        kept = np.flatnonzero(np.unpackbits(self.kept, count=self.rows))
        if self.is_spool:
            return np.arange(len(kept))
        return kept if self.events is None else np.flatnonzero(np.unpackbits(self.events))[kept]

    def line_of(self, number: int) -> int | None:
        """The index of the line of an event; None if it was not kept."""
        row = number - self.first
        bits = np.unpackbits(self.kept, count=self.rows)
        if not 0 <= row < self.rows or not bits[row]:
            return None
        return int(self.lines()[np.count_nonzero(bits[:row])])


class KeptLines:
    """The kept lines of one pass. Close it: it holds files open."""

    def __init__(self, copy_of: Callable[[str], IO[bytes] | None], *, spool: Path | None = None) -> None:
        """`copy_of` gives the copy on disk that stands for a path, if there is one. `spool` names the file for copied
        lines if another process is to read them; it is left there."""
        self._copy_of = copy_of
        self._spool_path = spool
        self._spool: IO[bytes] | None = None
        self._most_held = min(_MOST_HELD, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)
        self._held: dict[str, tuple[int, FileKey | None]] = {}
        self._opened: tuple[str, int] | None = None
        self._kept: dict[int, Kept] = {}
        self._firsts: list[int] | None = None
        self._near: list[bytes] = []
        self._near_stretch = (-1, -1)

    def keep(self, batch: EventBatch, rows: Rows, *, block: Block, source: LineSource) -> None:
        """Keep some rows of the batch of a block."""
        lines: Sequence[Line] = block.lines
        positions, starts = batch.positions, block.offsets
        chosen = np.zeros(len(batch), dtype=np.bool_)
        chosen[rows] = True
        here = positions[chosen]
        events = None
        is_spool = not source.path
        path, file = source.path, source.file
        if is_spool:
            spool = self._own_spool()
            offset = spool.seek(0, os.SEEK_END)
            path = "" if self._spool_path is None else str(self._spool_path)
            lines = [lines[position] for position in here.tolist()]
            here = np.arange(len(lines))
            starts = offset + np.cumsum([0, *(len(line) + 1 for line in lines)])
            spool.writelines(text for line in lines for text in (line, b"\n"))
        else:
            if len(positions) < len(lines):
                bits = np.zeros(len(lines), dtype=np.bool_)
                bits[positions] = True
                events = np.packbits(bits)
            if path not in self._held and source.descriptor is not None and len(self._held) < self._most_held:
                self._held[path] = os.dup(source.descriptor), file
        step = _STRETCH_LINES
        if len(lines) > step and int((starts[step:] - starts[:-step]).max()) > _STRETCH_BYTES:
            step = 1
        digests = np.zeros(-(-len(lines) // step), dtype=np.uint64)
        for stretch, wanted in _by_stretch(here, step):
            digests[stretch] = _digest([lines[line] for line in wanted])
        offsets = np.append(starts[:-1:step], starts[-1])
        self._kept[batch.base] = Kept(
            batch.base, path, file, offsets, step, len(batch), np.packbits(chosen), events, is_spool, digests
        )
        self._firsts = None

    def hand_over(self) -> list[Kept]:
        """What was kept since the last call, for another process to `take_over`."""
        kept, self._kept = list(self._kept.values()), {}
        if self._spool is not None:
            self._spool.flush()
        return kept

    def take_over(self, kept: Iterable[Kept]) -> None:
        """Keep what another process has kept. Its files are opened by name now, while they are likely to be there."""
        for one in kept:
            self._kept[one.first] = one
            if one.file is not None and one.source not in self._held and len(self._held) < self._most_held:
                try:
                    self._held[one.source] = _opened(one.source, one.file), one.file
                except OSError:
                    continue  # whoever reads the line is told
        self._firsts = None

    def fetch(self, number: int) -> tuple[str, bytes]:
        """The file and the line of a kept event.

        Raises EventsError if the line cannot be read any more, or is not the one that was kept.
        """
        if self._firsts is None:
            self._firsts = sorted(self._kept)
        at = bisect_right(self._firsts, number) - 1
        kept = self._kept[self._firsts[at]] if at >= 0 else None
        line = kept.line_of(number) if kept is not None else None
        if kept is None or line is None:
            raise KeyError(f"event {number} was not kept")
        stretch, within = divmod(line, kept.step)
        if self._near_stretch != (kept.first, stretch):  # events are often read one after the other
            self._near, self._near_stretch = self._stretch(kept, stretch), (kept.first, stretch)
        return kept.source or "spooled events", self._near[within]

    def close(self) -> None:
        """Close all files and drop the spool."""
        for descriptor, _ in self._held.values():
            os.close(descriptor)
        self._held = {}
        if self._opened is not None:
            os.close(self._opened[1])
            self._opened = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _own_spool(self) -> IO[bytes]:
        if self._spool is None:
            self._spool = temporary_file(self._spool_path)
        return self._spool

    def _stretch(self, kept: Kept, stretch: int) -> list[bytes]:
        """The lines of a stretch. Raises EventsError if its kept ones have changed."""
        start, end = kept.offsets[stretch : stretch + 2].tolist()
        path = kept.source or "spooled events"
        try:
            text = self._read(kept, start, end - start)
        except OSError as error:
            raise EventsError(f"{path}: cannot be read again: {error.strerror or error}", path=path) from None
        if not start and text.startswith(_BYTE_ORDER_MARK):
            text = text.replace(_BYTE_ORDER_MARK, b"   ", 1)
        lines = text.split(b"\n")
        here = kept.lines()
        first = stretch * kept.step
        wanted = (here[slice(*np.searchsorted(here, (first, first + kept.step)))] - first).tolist()
        if wanted[-1] >= len(lines) or _digest([lines[line] for line in wanted]) != kept.digests[stretch]:
            raise EventsError(f"{path}: changed while it was being read", path=path)
        return lines

    def _read(self, kept: Kept, start: int, size: int) -> bytes:
        copy = self._spool if not kept.source else self._copy_of(kept.source)
        if copy is not None:
            copy.seek(start)
            return copy.read(size)
        held = self._held.get(kept.source)
        if held is not None and held[1] == kept.file:
            return _read_at(held[0], start, size)
        if self._opened is None or self._opened[0] != kept.source:
            if self._opened is not None:
                os.close(self._opened[1])  # one at a time: a folder may have more files than a process may open
                self._opened = None
            self._opened = kept.source, _opened(kept.source, kept.file)
        return _read_at(self._opened[1], start, size)


def _by_stretch(lines: NDArray[np.intp], step: int) -> list[tuple[int, list[int]]]:
    """Indices of lines by the stretch that they are in."""
    stretches, firsts = np.unique(lines // step, return_index=True)
    listed, bounds = lines.tolist(), pairwise([*firsts.tolist(), len(lines)])
    return [(stretch, listed[start:end]) for stretch, (start, end) in zip(stretches.tolist(), bounds, strict=True)]


def _digest(lines: Sequence[Line]) -> int:
    """XXH3 over lines, 64 bits: changes of a log are accidents, not attacks on a digest."""
    return xxh3_64_intdigest(b"\n".join(lines))


def _opened(path: str, file: FileKey | None) -> int:
    """A descriptor of the file. Raises OSError if it is not there or has been replaced."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if file is not None and key_of(os.fstat(descriptor)) != file:
        os.close(descriptor)
        raise OSError("it was replaced by another file while it was being read")
    return descriptor


def _read_at(descriptor: int, start: int, size: int) -> bytes:
    """Up to `size` bytes from an offset; fewer only at the end of the file."""
    parts = []
    while size and (part := os.pread(descriptor, size, start)):
        parts.append(part)
        start, size = start + len(part), size - len(part)
    return b"".join(parts)
