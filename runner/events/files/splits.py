"""Parts of files that can be read apart from each other, and what was read of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runner.events.files.compression import DAMAGE, OpenText
from runner.events.files.event_stream import EventStream, Spools
from runner.events.files.json_documents import is_wrapped
from runner.events.files.kept_lines import Kept
from runner.events.files.read_report import Counts
from runner.events.files.time_index import LineSpan

PART = 64 << 20
"""About how many bytes of a plain file make a part."""
_START = 1 << 16
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Split:
    """Some lines of one file; `number` is that of the file. No span: all of it, in whatever form it is."""

    number: int
    path: str
    identity: tuple[int, int] | None
    span: LineSpan | None = None
    size: int = 0
    """Bytes of it, as they are stored."""

    def stream(self) -> EventStream:
        """The part, to be read."""
        return EventStream(self.number, self.path, Spools(), identity=self.identity, part=self.span)


@dataclass(frozen=True, slots=True)
class SplitRead:
    """What was read of a part, or of a piece of it: what was counted, its lines, its latest time and its disorder."""

    counts: Counts
    lines: int
    newest: int
    disorder: int
    kept: Sequence[Kept]


def splits_of(number: int, path: str, identity: tuple[int, int] | None, *, size: int) -> list[Split]:
    """The parts of a file: stretches of about `size` bytes of a plain one, else all of it."""
    whole = Split(number, path, identity, size=_size_of(path))
    if whole.size <= size:
        return [whole]
    try:
        with OpenText(path) as text:
            if text.packing or is_wrapped(text.start(_START)):
                return [whole]
            cuts = [0]
            for place in range(size, whole.size - size // 2, size):
                cut = _line_after(text.file, max(place, cuts[-1]))
                if cut < whole.size and cut > cuts[-1]:
                    cuts.append(cut)
    except DAMAGE:
        return [whole]  # the reading will say what is wrong
    ends = [*cuts[1:], None]
    return [
        Split(number, path, identity, LineSpan(start, 1, end), (whole.size if end is None else end) - start)
        for start, end in zip(cuts, ends, strict=True)
    ]


def _line_after(file: IO[bytes], place: int) -> int:
    """Where the first line begins that does not begin before the place; the end of the file if there is none."""
    file.seek(place - 1)
    at = place - 1
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
