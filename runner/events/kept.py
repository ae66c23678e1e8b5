"""`KeptLines`: where the lines of events that may be part of a match can be had again."""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from runner.errors import EventsError
from runner.events.batch import Rows
from runner.events.decode import Line


@dataclass(frozen=True, slots=True)
class _Kept:
    """Kept lines of one batch: event numbers (ascending), and the offset and length of each line in its file."""

    numbers: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    source: int
    """Number of the file; -1 is the spool."""


class KeptLines:
    """Remembers lines as offsets into their file, or, where a file cannot be read by offset, copies them to a spool on
    disk.

    So a flood of matches costs 24 bytes of memory an event, not its document.
    """

    def __init__(self, paths: Sequence[str], spools: Mapping[str, IO[bytes]]) -> None:
        self._paths = paths
        self._spools = spools
        self._spool: IO[bytes] | None = None
        self._open: dict[int, IO[bytes]] = {}
        self._kept: list[_Kept] = []
        self._firsts: list[int] = []
        self._lines: Sequence[Line] = ()
        self._source, self._rereadable, self._offset = 0, True, 0

    def begin(self, source: int, rereadable: bool, lines: Sequence[Line], offset: int) -> None:
        """Say where the lines of the next batch are: file number, whether offsets into it work, and the first one's
        offset."""
        self._source, self._rereadable, self._lines, self._offset = source, rereadable, lines, offset

    def keep(self, numbers: NDArray[np.int64], positions: Rows) -> None:
        """Keep the lines at these positions of the batch under these event numbers."""
        lengths = np.fromiter(map(len, self._lines), dtype=np.int64, count=len(self._lines))
        if self._rereadable:
            starts = self._offset + np.concatenate(([0], np.cumsum(lengths[:-1] + 1)))
            source, offsets = self._source, starts[positions]
        else:
            if self._spool is None:
                self._spool = tempfile.TemporaryFile(prefix="rule-runner-")  # noqa: SIM115
            end = self._spool.seek(0, os.SEEK_END)
            self._spool.writelines(map(self._lines.__getitem__, positions.tolist()))
            source = -1
            offsets = end + np.concatenate(([0], np.cumsum(lengths[positions][:-1])))
        self._kept.append(_Kept(numbers, offsets, lengths[positions], source))
        self._firsts.append(int(numbers[0]))

    def fetch(self, number: int) -> tuple[str, bytes]:
        """The file and the line of a kept event. Raises EventsError if the file cannot be read any more."""
        kept = self._kept[bisect_right(self._firsts, number) - 1]
        place = int(np.searchsorted(kept.numbers, number))
        path = "spooled events" if kept.source < 0 else self._paths[kept.source]
        try:
            file = self._file(kept.source)
            file.seek(int(kept.offsets[place]))
            return path, file.read(int(kept.lengths[place]))
        except OSError as error:
            raise EventsError(f"{path}: cannot be read again: {error.strerror or error}", path=path) from None

    def _file(self, source: int) -> IO[bytes]:
        if source < 0:
            assert self._spool is not None
            return self._spool
        spool = self._spools.get(self._paths[source])
        if spool is not None:
            return spool
        if source not in self._open:
            for file in self._open.values():
                file.close()  # one at a time: a folder may have more files than a process may open
            self._open = {source: Path(self._paths[source]).open("rb")}  # noqa: SIM115
        return self._open[source]

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open = {}
        if self._spool is not None:
            self._spool.close()
            self._spool = None
