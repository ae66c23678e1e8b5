"""Input splits for parallel workers, and the counts of reading one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from runner.events.files.compression import DAMAGE, OpenText
from runner.events.files.event_stream import EventStream, Spools
from runner.events.files.kept_lines import Kept
from runner.events.files.read_report import Counts
from runner.events.files.shapes.unwrapped import needs_unwrapping
from runner.events.files.time_index import LineSpan
from runner.file_formats.inner_events import InnerEvents

PART = 64 << 20
"""Bytes of a split of a plain file, about. Chosen, not measured."""
_START = 1 << 16
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Split:
    """The lines of a span of a file, or without a span the whole file in any format."""

    file_index: int
    path: str
    identity: tuple[int, int] | None
    span: LineSpan | None = None
    size: int = 0
    """Stored bytes."""
    inner: InnerEvents = field(default_factory=InnerEvents)

    def stream(self) -> EventStream:
        """A stream of its lines."""
        return EventStream(self.file_index, self.path, Spools(inner=self.inner), identity=self.identity, span=self.span)


@dataclass(frozen=True, slots=True)
class SplitRead:
    """The counts, kept lines and time progress of a split, or of a piece of it."""

    counts: Counts
    lines: int
    newest: int
    disorder: int
    kept: Sequence[Kept]


def splits_of(file_index: int, path: str, identity: tuple[int, int] | None, *, size: int) -> list[Split]:
    """The splits of a file: of about `size` bytes if it is plain, else one."""
    whole = Split(file_index, path, identity, size=_size_of(path))
    if whole.size <= size:
        return [whole]
    try:
        with OpenText(path) as text:
            if text.packing or needs_unwrapping(text.start(_START)):
                return [whole]
            cuts = [0]
            for offset in range(size, whole.size - size // 2, size):
                cut = _line_after(text.file, max(offset, cuts[-1]))
                if cut < whole.size and cut > cuts[-1]:
                    cuts.append(cut)
    except DAMAGE:
        return [whole]  # reading it will report the damage
    ends = [*cuts[1:], None]
    return [
        Split(file_index, path, identity, LineSpan(start, 1, end), (whole.size if end is None else end) - start)
        for start, end in zip(cuts, ends, strict=True)
    ]


def _line_after(file: IO[bytes], offset: int) -> int:
    """The offset of the first line that starts at or after `offset`; the end of the file if there is none."""
    at = offset - 1
    file.seek(at)
    while piece := file.read(_PIECE):
        if (found := piece.find(b"\n")) >= 0:
            return at + found + 1
        at += len(piece)
    return at


def _size_of(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
