"""The events that came into files since they were last looked at, and the record of what was read of each file.

A file is recognised by its content: the text up to where it was read has the same first and last bytes. So a log that
was renamed, copied or compressed brings nothing new, on whatever device it lies after a restart.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import orjson

from runner.errors import EventsError
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import Field
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.compression import DAMAGE, OpenText
from runner.events.files.discovery import FileKey, files_in, key_of
from runner.events.files.event_stream import EventStream, Spools, TimeWanted
from runner.events.files.event_times import TimeSlots
from runner.events.files.line_blocks import CHUNK, Block, ReadProgress, unreported
from runner.events.files.shapes.unwrapped import needs_unwrapping
from runner.events.files.time_index import LineSpan, times_by
from runner.file_formats.inner_events import InnerEvents

_HASHED = 4096
"""Bytes of the digests at the start of a text and before the end of what was read."""
_START = 1 << 16
_PIECE = 1 << 20
_AHEAD_S = 300
"""Seconds by which the clock of who writes events may be ahead of ours."""
_MOST_GONE = 10_000
"""Most files that are remembered after they are gone: rotated logs are deleted, and come back from a lost mount."""


@dataclass(frozen=True, slots=True)
class FileMark:
    """What was read of one file."""

    key: FileKey
    size: int
    """Stored bytes, as the file was when it was read."""
    modified_ns: int
    end: int = 0
    """Bytes of its text, decompressed, up to the end of the last whole line; 0 if it is not known how it goes on."""
    head: str = ""
    """Digest of the first bytes of that text."""
    tail: str = ""
    """Digest of its last bytes."""
    gone: int = 0
    """Since when there is no such file, in seconds since 1970; 0 while it is there."""


class KnownFiles:
    """What was read of the files below each path that events are read from; a path that is missing is a new one.

    Between two looks it is held as text: one object for each path, however many files came and went.
    """

    def __init__(self, texts: Mapping[str, bytes] | None = None) -> None:
        """`texts` are those of an earlier record. One that is none is left out: its path counts as a new one."""
        self.texts = {path: text for path, text in (texts or {}).items() if _read_marks(text) is not None}

    def __contains__(self, path: object) -> bool:
        return path in self.texts

    def marks(self, path: str) -> Sequence[FileMark]:
        """What was read of each file below the path."""
        return _read_marks(self.texts.get(path, b"[]")) or ()

    def note(self, path: str, marks: Iterable[FileMark]) -> None:
        """Put these marks in the place of the path's."""
        self.texts[path] = orjson.dumps(
            [[*mark.key, mark.size, mark.modified_ns, mark.end, mark.head, mark.tail, mark.gone] for mark in marks]
        )


def _read_marks(text: bytes) -> list[FileMark] | None:
    try:
        return [FileMark((row[0], row[1]), *row[2:]) for row in orjson.loads(text)]
    except (ValueError, TypeError, IndexError):
        return None


@dataclass(slots=True)
class Arrivals:
    """The events that came since the last look, and what is known of the files from now on."""

    known: KnownFiles
    files: int = 0
    """Files with something new."""
    events: int = 0
    newest: int = NO_TIME
    """The newest time of these events that is not ahead of the clock, in nanoseconds since 1970."""
    ahead: int = 0
    """Events whose time is ahead of the clock."""
    early: dict[tuple[str, ...], TimeSlots] = field(default_factory=dict)
    """By each time field with its fallbacks: the events before the limit that was asked for."""


def read_arrivals(
    paths: Sequence[str | Path],
    known: KnownFiles,
    limits: Mapping[tuple[str, ...], int],
    fields: Sequence[Field],
    *,
    now: int,
    kept_s: int,
    progress: ReadProgress = unreported,
    inner: InnerEvents | None = None,
) -> Arrivals:
    """The arrivals in these files and folders.

    `limits` are times in nanoseconds since 1970 by the time fields that select by them, which are among `fields`. What
    lies below a path that is new is no arrival. A file that cannot be read is looked at again the next time. `now` is
    in seconds since 1970; what is known of files that are gone is forgotten after `kept_s`.
    """
    found = Arrivals(KnownFiles(), early={names: TimeSlots() for names in limits})
    prefixes = _Prefixes(mark for path in known.texts for mark in known.marks(path))
    inner = inner or InnerEvents()
    reader = _Reader(prefixes, limits, fields, found, (now + _AHEAD_S) * 10**9, progress, Columns(fields), inner)
    seen: set[FileKey] = set()
    for path in dict.fromkeys(map(str, paths)):
        place = os.path.abspath(path)  # noqa: PTH100
        before = {mark.key: mark for mark in known.marks(place)}
        marks: dict[FileKey, FileMark] = {}
        for name, state in _files_of(path):
            if (key := key_of(state)) in seen:
                continue
            seen.add(key)
            mark = before.get(key)
            if mark is not None and (mark.size, mark.modified_ns) == (state.st_size, state.st_mtime_ns):
                marks[key] = mark if not mark.gone else replace(mark, gone=0)
            elif place not in known:
                marks[key] = _mark_of(name, state)
            elif (read := reader.mark(name, state)) is not None:
                marks[key] = read
            elif mark is not None:
                marks[key] = mark
        found.known.note(place, [*marks.values(), *_gone(before, marks, now=now, kept_s=kept_s)])
    return found


def _files_of(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """The event files of a path; none for what is missing, or can be read once only."""
    if os.path.isdir(path):  # noqa: PTH112 - False where the path may not be looked at
        yield from files_in(Path(path)).files.items()
    elif os.path.isfile(path):  # noqa: PTH113
        with suppress(OSError):
            yield path, os.stat(path)  # noqa: PTH116


def _gone(
    before: Mapping[FileKey, FileMark], here: Mapping[FileKey, FileMark], *, now: int, kept_s: int
) -> list[FileMark]:
    """The marks of the files that are not there any more, the newest last."""
    missing = (mark for key, mark in before.items() if key not in here and mark.end)
    gone = sorted((replace(mark, gone=mark.gone or now) for mark in missing), key=lambda mark: mark.gone)
    return [mark for mark in gone if now - mark.gone <= kept_s][-_MOST_GONE:]


def _digest(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=12).hexdigest()


def _mark_of(path: str, state: os.stat_result) -> FileMark:
    """The mark of a file that counts as read as it is; a compressed one is not read for that."""
    mark = FileMark(key_of(state), state.st_size, state.st_mtime_ns)
    try:
        with OpenText(path) as text:
            if text.packing or key_of(os.fstat(text.file.fileno())) != mark.key:
                return mark
            end = state.st_size
            if not needs_unwrapping(text.start(_START)):
                text.file.seek(start := max(0, end - _PIECE))
                end = start + text.file.read(end - start).rfind(b"\n") + 1
            return _marked(mark, text, end)
    except DAMAGE:
        return mark


def _marked(mark: FileMark, text: OpenText, end: int) -> FileMark:
    """The mark of a file that was read up to `end`."""
    if not end:
        return mark
    head = _digest(text.start(min(_HASHED, end)))
    return replace(mark, end=end, head=head, tail=_tails(text, [end])[0].get(end, ""))


def _tails(text: OpenText, ends: Sequence[int], *, to_end: bool = False) -> tuple[dict[int, str], int]:
    """The digests of the last bytes before each of the `ends` that the text has, and how far it was read."""
    size = os.fstat(text.file.fileno()).st_size
    tails: dict[int, str] = {}
    if not text.packing:
        for end in ends:
            if end <= size:
                text.file.seek(max(0, end - _HASHED))
                tails[end] = _digest(text.file.read(min(_HASHED, end)))
        return tails, size
    text.start(1)  # from the beginning
    piece, at, last = bytearray(_PIECE), 0, b""
    waiting = sorted(ends)
    while waiting or to_end:
        count, failure = text.read_into(memoryview(piece))
        last = last[-_HASHED:] + piece[:count]
        at += count
        while waiting and waiting[0] <= at:
            end = waiting.pop(0)
            before = len(last) - (at - end)
            tails[end] = _digest(last[max(0, before - _HASHED) : before])
        if not count or failure is not None:
            break
    return tails, at


class _Prefixes:
    """The texts that were read, by their first bytes."""

    def __init__(self, marks: Iterable[FileMark]) -> None:
        self._ends: dict[int, dict[str, set[tuple[int, str]]]] = {}
        """By length and digest of the first bytes: the ends with the digests before them."""
        for mark in marks:
            if mark.end:
                ends = self._ends.setdefault(min(_HASHED, mark.end), {}).setdefault(mark.head, set())
                ends.add((mark.end, mark.tail))

    def longest_of(self, text: OpenText, start: bytes) -> int:
        """The length of the longest of them that this text, which has this start, begins with."""
        lengths = [length for length in self._ends if length <= len(start)]
        found = [one for length in lengths for one in self._ends[length].get(_digest(start[:length]), ())]
        tails, _ = _tails(text, list({end for end, _ in found})) if found else ({}, 0)
        return max((end for end, tail in found if tails.get(end) == tail), default=0)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads what is new in files, and adds it to the arrivals."""

    prefixes: _Prefixes
    limits: Mapping[tuple[str, ...], int]
    fields: Sequence[Field]
    found: Arrivals
    clock: int
    """The latest time of an event that is not ahead of the clock."""
    progress: ReadProgress
    columns: Columns
    inner: InnerEvents

    def mark(self, path: str, state: os.stat_result) -> FileMark | None:
        """The mark of a file after what is new in it was read; None if it could not be read."""
        mark = FileMark(key_of(state), state.st_size, state.st_mtime_ns)
        try:
            with OpenText(path) as text:
                if key_of(os.fstat(text.file.fileno())) != mark.key:
                    return None
                start = text.start(_START)
                known = self.prefixes.longest_of(text, start)
                if not needs_unwrapping(start):
                    end = self._read(path, mark, known, is_plain=not text.packing)
                    return None if end is None else _marked(mark, text, end)
                # Of an array only the whole can be read.
                _, end = _tails(text, (), to_end=True)
                if known != end and self._read(path, mark, 0, is_plain=False) is None:
                    return None
                return _marked(mark, text, end)
        except (*DAMAGE, EventsError):
            return None  # the search says why, and owes its window

    def _read(self, path: str, mark: FileMark, known: int, *, is_plain: bool) -> int | None:
        """Read a file from its byte `known` on; the end of its last whole line, None if it could not be opened."""
        span = LineSpan(known) if is_plain and known else None
        spools = Spools(inner=self.inner)
        stream = EventStream(0, path, spools, identity=mark.key, span=span)
        wanted = TimeWanted(tuple(one.name for one in self.fields))
        end, before = known, self.found.events
        size = CHUNK if mark.size > CHUNK else _PIECE  # a buffer costs more than the lines of a small file
        try:
            for block in stream.blocks(wanted, None, chunk=lambda: size, progress=self.progress):
                if block.offsets[-1] > known:
                    self._add(stream.batch(self.columns, block, wanted), block, known)
                    end = int(block.offsets[-1]) if block.is_whole else end
        finally:
            spools.close()
        self.found.files += self.found.events > before
        return None if stream.counts.unread else end

    def _add(self, batch: EventBatch, block: Block, known: int) -> None:
        """Add the events of a block that begin at byte `known` or later."""
        new = block.offsets[batch.positions] >= known
        self.found.events += int(np.count_nonzero(new))
        times = times_by(batch, [one.name for one in self.fields])[new]
        right = times[times <= self.clock]
        self.found.ahead += len(times) - len(right)
        self.found.newest = max(self.found.newest, int(right.max(initial=NO_TIME)))
        for names, limit in self.limits.items():
            times = times_by(batch, names)[new]
            self.found.early[names].add(times[times < limit])
