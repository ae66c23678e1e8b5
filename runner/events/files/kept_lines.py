"""`KeptLines`: the places of lines that a match may need, for late materialisation of their documents."""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from runner.errors import EventsError
from runner.events.columns.batch import Rows
from runner.events.columns.row_decoder import Line
from runner.events.files.read_report import MAX_LINE

_STEP = 32
"""Lines per stored offset; the others are found by reading from there. Chosen, not measured."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The lines of one batch, consecutive in a file or in the spool."""

    first: int
    """The event number of the batch's first row."""
    source: str
    """The file's path; empty for the spool of this process."""
    is_spool: bool
    offsets: NDArray[np.int64]
    """The offset of every 32nd line."""
    rows: int
    mask: NDArray[np.uint8] | None
    """Bits of the lines of the file that are events, or of the batch's rows in the spool; None: all."""

    def place(self, number: int) -> int | None:
        """The index of the event's line; None if it was not kept."""
        row = number - self.first
        if self.mask is None:
            return row if row < self.rows else None
        bits = np.unpackbits(self.mask)
        if not self.is_spool:
            lines = np.flatnonzero(bits)
            return int(lines[row]) if row < len(lines) else None
        return int(np.count_nonzero(bits[:row])) if row < len(bits) and bits[row] else None


class KeptLines:
    """The places of kept lines: offsets in their file, or in a spool on disk if that cannot be read by offset.

    A flood of matches costs half a byte of memory per event, not its document.
    """

    def __init__(self, spool_of: Callable[[str], IO[bytes] | None], *, spool: Path | None = None) -> None:
        """`spool_of` returns the copy on disk that replaces a path, if any. `spool` is the path of a spool that another
        process reads; it is not deleted."""
        self._spool_of = spool_of
        self._spool_path = spool
        self._spool: IO[bytes] | None = None
        self._open: tuple[str, IO[bytes]] | None = None
        self._kept: dict[int, Kept] = {}
        self._firsts: list[int] | None = None
        self._run: list[bytes] = []
        """Cached lines from a stored offset on, since events are often fetched in sequence."""
        self._run_key, self._run_end = (-1, -1), 0

    def keep(
        self, numbers: range, rows: Rows, *, lines: Sequence[Line], positions: Rows, path: str, offset: int
    ) -> None:
        """Keep some rows of a batch whose events have these numbers.

        `positions` are the indices of the rows' lines; `path` is empty if lines cannot be read by offset; `offset` is
        that of the first line.
        """
        is_spool = False
        if path:
            lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)) + 1
            mask = None
            if len(positions) < len(lines):
                bits = np.zeros(len(lines), dtype=np.bool_)
                bits[positions] = True
                mask = np.packbits(bits)
        else:
            if self._spool is None:
                named = self._spool_path
                self._spool = tempfile.TemporaryFile(prefix="rule-runner-") if named is None else named.open("w+b")  # noqa: SIM115
            offset = self._spool.seek(0, os.SEEK_END)
            path = "" if self._spool_path is None else str(self._spool_path)
            is_spool = True
            bits = np.zeros(len(numbers), dtype=np.bool_)
            bits[rows] = True
            mask = np.packbits(bits)
            copied = [lines[position] for position in positions[bits].tolist()]
            lengths = np.fromiter(map(len, copied), dtype=np.int64, count=len(copied)) + 1
            self._spool.writelines(text for line in copied for text in (line, b"\n"))
        starts = offset + np.concatenate(([0], np.cumsum(lengths[:-1])))
        self._kept[numbers.start] = Kept(numbers.start, path, is_spool, starts[::_STEP].copy(), len(numbers), mask)
        self._firsts = None

    def hand_over(self) -> list[Kept]:
        """The lines kept since the last call, for `take_over` in another process."""
        kept, self._kept = list(self._kept.values()), {}
        if self._spool is not None:
            self._spool.flush()
        return kept

    def take_over(self, kept: Iterable[Kept]) -> None:
        """Add the lines that another process kept."""
        self._kept.update((one.first, one) for one in kept)
        self._firsts = None

    def fetch(self, number: int) -> tuple[str, bytes]:
        """The path and the line of a kept event. Raises EventsError if the file cannot be read any more."""
        if self._firsts is None:
            self._firsts = sorted(self._kept)
        at = bisect_right(self._firsts, number) - 1
        kept = self._kept[self._firsts[at]] if at >= 0 else None
        place = kept.place(number) if kept is not None else None
        if kept is None or place is None:
            raise KeyError(f"event {number} was not kept")
        path = kept.source or "spooled events"
        step, within = divmod(place, _STEP)
        try:
            if self._run_key != (kept.first, step):
                self._run_key, self._run, self._run_end = (kept.first, step), [], int(kept.offsets[step])
            if within >= len(self._run):
                file = self._file(kept.source)
                file.seek(self._run_end)
                while within >= len(self._run):
                    self._run.append(file.readline(MAX_LINE + 1))
                    self._run_end += len(self._run[-1])
            return path, self._run[within].removesuffix(b"\n")
        except OSError as error:
            raise EventsError(f"{path}: cannot be read again: {error.strerror or error}", path=path) from None

    def _file(self, path: str) -> IO[bytes]:
        if not path:
            assert self._spool is not None
            return self._spool
        spool = self._spool_of(path)
        if spool is not None:
            return spool
        if self._open is None or self._open[0] != path:
            if self._open is not None:
                self._open[1].close()  # one open file: a folder may have more than a process may open
            self._open = path, Path(path).open("rb")  # noqa: SIM115
        return self._open[1]

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None
