"""Events from files, folders and standard input, plain or compressed, a batch at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runner.errors import EventsError, UnreadableEventError
from runner.events.columns.batch import Columns, EventBatch, Rows
from runner.events.fields.schema import Field
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.compression import spooled, spooled_file
from runner.events.files.discovery import EVENT_FILES, FileKey, files_in, key_of, near_file
from runner.events.files.event_stream import FILE_BITS, EventStream, Spools, TimeWanted, latest_at_the_ends
from runner.events.files.kept_lines import KeptLines
from runner.events.files.line_blocks import CHUNK, Block, ReadProgress, unreported
from runner.events.files.read_report import MAX_LINE, Counts, ReadReport
from runner.events.files.splits import Split, SplitRead, splits_of
from runner.events.files.time_index import TimeIndex
from runner.file_formats.inner_events import InnerEvents
from runner.json_text import BrokenLine, read_document

__all__ = ["EVENT_FILES", "MAX_LINE", "EventFiles", "ReadProgress", "ReadReport", "TimeWanted", "unreported"]

_ROOM = 96 << 20
"""Bytes for the buffers of all open files."""
_MOST_OPEN = 48
"""Most open files; a process may often open 256 (macOS) or 1,024 (Linux)."""


class EventFiles:
    """A fixed list of event files for one or more passes; a context manager."""

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        modified_after: float | None = None,
        index: TimeIndex | None = None,
        progress: ReadProgress = unreported,
        written_after: float | None = None,
        inner: InnerEvents | None = None,
    ) -> None:
        """Find the files: each path is a file, a folder (searched for event files, sorted by name) or `-`.

        A file (device and inode) is read once, however many names it has. `modified_after` (seconds since 1970) leaves
        out files of folders that were last written to before, unless their events are later than that. With an `index`
        a pass reads only what may matter to it, and the index learns what it has not read before.
        Files of folders last written to after `written_after` still are: an incomplete last line of theirs is not
        broken. `progress` is called while a pipe is copied. `inner` says in which fields documents hold the events.
        Raises EventsError for a path that cannot be read.
        """
        self._progress = progress
        self._spools = Spools(inner=inner or InnerEvents())
        self._unread: list[str] = []
        self._left_out: list[str] = []
        self._index = index
        self._modified_after = modified_after
        self._written_after = float("inf") if written_after is None else written_after
        self._files: dict[str, os.stat_result | None] = {}
        self._in_folders: set[str] = set()
        self._too_old: set[str] = set()
        self.folders: set[str] = set()
        """Folders that were given."""
        self.empty_folders: list[str] = []
        """Those of them that have no event file."""
        seen: set[FileKey] = set()
        for path in paths:
            for name, found in self._files_of(str(path)).items():
                if found is None or key_of(found) not in seen:
                    self._files[name] = found
                    seen.update(() if found is None else (key_of(found),))
        self.paths = list(self._files)
        self._kept = KeptLines(self._spools.of)
        self._counts = Counts()
        self._open: list[tuple[EventStream, Generator[Block]]] = []
        self._waiting: list[EventStream] = []
        self._last: tuple[EventStream, Block] | None = None
        self._folder: TemporaryDirectory[str] | None = None

    def __enter__(self) -> EventFiles:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the copies; nothing can be read or fetched afterwards."""
        self._kept.close()
        self._spools.close()
        if self._folder is not None:
            self._folder.cleanup()

    def size(self) -> int:
        """The stored bytes of all files."""
        return sum(
            _size(self._spools.streams[path]) if found is None else found.st_size for path, found in self._files.items()
        )

    def report(self) -> ReadReport:
        """The report of the last pass, or of the current one so far."""
        counts = Counts()
        for part in (self._counts, *(stream.counts for stream, _ in self._open)):
            counts.add(part)
        report = counts.report([_line_prefix(path, self._spools) for path in self.paths], self._spools.inner.fields)
        barren = counts.barren.items()
        unread = [f"{path}: cannot be read: {said}" for path, said in barren if path not in self._in_folders]
        return replace(
            report,
            unread=(*self._unread, *report.unread, *unread),
            left_out=(*self._left_out, *report.left_out, *(counts.barren.keys() & self._in_folders)),
        )

    def batches(
        self,
        columns: Columns,
        *,
        time_field: str = "@timestamp",
        wanted: TimeWanted | None = None,
        progress: ReadProgress = unreported,
    ) -> Iterator[EventBatch]:
        """All events, batch by batch, in a new pass. A batch is valid until the next.

        Files are merged by time: those of different times are read in order, those of the same time side by side. Event
        numbers follow the order of the files. Events that are not `wanted` may be left out. Broken lines, oversized
        lines and damaged files are counted for `report()`, never fatal.
        """
        wanted = wanted or TimeWanted((time_field,))
        self._begin(columns.fields[wanted.names[0]])
        try:
            while self._open or self._waiting:
                yield from self._next(columns, wanted, progress)
        finally:
            for stream, blocks in self._open:
                blocks.close()
                self._counts.add(stream.counts)
            self._open = []

    def stopped(self, reason: str) -> None:
        """Add to the report of the last pass that it was stopped before its end."""
        self._counts.failures.append(reason)

    @property
    def at(self) -> str:
        """The path of the file that is being read; "" between two."""
        return min((_read_order(one), one.path) for one, _ in self._open)[1] if self._open else ""

    def parts(self, time: Field, *, size: int) -> list[Split]:
        """The splits of all files, of about `size` bytes, in the order of time, in a new pass.

        Other processes read them; the results are passed to `take_over` in this order.
        """
        self._begin(time)
        self._folder = self._folder or TemporaryDirectory(prefix="rule-runner-")
        streams = reversed(self._waiting)
        parts = (splits_of(one.file_index, one.path, _key(self._files[one.path]), size=size) for one in streams)
        return [replace(part, inner=self._spools.inner) for part in chain.from_iterable(parts)]

    @property
    def folder(self) -> Path:
        """The folder for the spools of the processes that read splits."""
        assert self._folder is not None
        return Path(self._folder.name)

    def take_over(self, part: Split, read: SplitRead, *, is_last: bool) -> None:
        """Add the result of a split, or with `is_last` false of a piece of it."""
        if self._waiting and self._waiting[-1].file_index == part.file_index:
            self._open = [(self._waiting.pop(), _no_blocks())]
        ((stream, _),) = self._open
        progress = stream.progress
        if is_last:
            skipped = [replace(line, line=line.line + stream.lines) for line in read.counts.skipped]
            self._counts.add(replace(read.counts, skipped=skipped))
            stream.lines += read.lines
            progress.disorder = max(progress.disorder, progress.newest - read.counts.oldest)
        progress.disorder = max(progress.disorder, read.disorder)
        progress.newest = max(progress.newest, read.newest)
        self._kept.take_over(read.kept)

    def can_be_shared(self) -> bool:
        """Whether other processes can read all of the files, and have a folder for copies of lines."""
        try:
            self._folder = self._folder or TemporaryDirectory(prefix="rule-runner-")
        except OSError:
            return False  # one process alone needs none for plain files
        return not self._spools.streams

    def watermark(self, *, tight: bool = False) -> tuple[int, int]:
        """The time before which no event is expected, and the number up to which events of that very time have come.

        Files may break that expectation; `tight` allows for less lateness: see `TimeProgress.watermark`.
        """
        streams = [stream for stream, _ in self._open] + self._waiting[-1:]
        earliest = min((stream.progress.watermark(tight=tight) for stream in streams), default=NO_TIME)
        if len(self._open) != 1 or self._waiting or self._open[0][0].progress.watermark(tight=tight) != earliest:
            return earliest, -1
        return earliest, self._open[0][0].last()

    def keep(self, batch: EventBatch, rows: Rows) -> None:
        """Keep the documents of these rows of the last batch for `fetch`."""
        if len(rows):
            assert self._last is not None
            stream, block = self._last
            self._kept.keep(batch, rows, block=block, source=stream.source())

    def fetch(self, number: int) -> dict[str, Any]:
        """The document or hit of a kept event.

        Raises EventsError if the file has changed since, UnreadableEventError if the document is no JSON after all:
        the search reads no more of it than it needs.
        """
        path, line = self._kept.fetch(number)
        try:
            return read_document(self._spools.inner.event(line) or line if self._spools.inner else line)
        except BrokenLine as error:
            number &= (1 << FILE_BITS) - 1
            raise UnreadableEventError(f"{path}: event {number + 1:,} of the file cannot be read: {error}") from None

    def _begin(self, time: Field) -> None:
        """Start a new pass over all files; the earliest one is the last of `_waiting`."""
        self._kept.close()
        self._kept = KeptLines(self._spools.of)
        self._counts = Counts()
        self._too_old = {path for path in self.paths if self._is_too_old(path, time)}
        young = ((number, path) for number, path in enumerate(self.paths) if path not in self._too_old)
        streams = [self._stream(number, path) for number, path in young]
        if len(streams) > 1:
            for stream in streams:
                stream.peek(time)
        self._waiting = sorted(streams, key=_read_order, reverse=True)
        self._open = []

    def _next(self, columns: Columns, wanted: TimeWanted, progress: ReadProgress) -> Iterator[EventBatch]:
        """The next batch of the earliest file; nothing if that file ends."""
        opened = min(self._open, key=lambda pair: _read_order(pair[0]), default=None)
        if self._waiting and (
            opened is None or (len(self._open) < _MOST_OPEN and _read_order(self._waiting[-1]) < _read_order(opened[0]))
        ):
            stream = self._waiting.pop()
            opened = stream, stream.blocks(wanted, self._index, chunk=self._chunk, progress=progress)
            self._open.append(opened)
        assert opened is not None
        stream, blocks = opened
        block = next(blocks, None)
        if block is None:
            self._open.remove(opened)
            self._counts.add(stream.counts)
            self._note_latest(stream)
            return
        batch = stream.batch(columns, block, wanted)
        if len(batch):
            self._last = stream, block
            yield batch

    def _note_latest(self, stream: EventStream) -> None:
        """Note the latest time of a file that was read by a copy, so that it is not unpacked again for each pass."""
        found = self._files[stream.path]
        if stream.is_unwrapped and found is not None and self._index is not None:
            self._index.peeked[_state_of(found)] = stream.counts.newest

    def _chunk(self) -> int:
        """Most bytes of a file's buffer, given the open files."""
        return min(CHUNK, _ROOM // max(1, len(self._open)))

    def _files_of(self, path: str) -> dict[str, os.stat_result | None]:
        """The files of a path that was given, with what the system says of each; None for a copy of a stream."""
        if path == "-":
            if "-" not in self._spools.streams:
                if sys.stdin is None:
                    raise EventsError("-: standard input is closed; expected events", path="-")
                self._spools.streams["-"] = spooled(sys.stdin.fileno(), lambda: self._progress(0))
            return {"-": None}
        try:
            if Path(path).is_dir():
                return self._files_in(path)
            if not Path(path).is_file() and Path(path).exists():
                # A pipe, like standard input, can be read once only: it is copied.
                self._spools.streams[path] = spooled_file(path, lambda: self._progress(0))
                return {path: None}
            with Path(path).open("rb") as file:
                return {path: os.fstat(file.fileno())}
        except FileNotFoundError:
            raise EventsError(f"{path}: no such file or folder{near_file(path)}", path=path) from None
        except OSError as error:
            raise EventsError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}", path=path) from None

    def _files_in(self, folder: str) -> dict[str, os.stat_result | None]:
        self.folders.add(folder)
        listing = files_in(Path(folder))
        self._unread += listing.unread
        self._left_out += listing.left_out
        self._in_folders.update(listing.files)
        if not listing.files:
            self.empty_folders.append(folder)
        return dict(listing.files)

    def states(self) -> frozenset[tuple[int, int, int, int]]:
        """Device, inode, size and time of the last write of each file, in nanoseconds; pipes have none."""
        return frozenset(_state_of(found) for found in self._files.values() if found is not None)

    def unread_paths(self, *, all_of_them: bool) -> list[str]:
        """The files that the last pass has left out because of their age, or all files, the latest first."""
        chosen = self.paths if all_of_them else self._too_old
        times = {path: found.st_mtime for path in chosen if (found := self._files[path]) is not None}
        return sorted(times, key=times.__getitem__, reverse=True)

    @property
    def only_folders(self) -> bool:
        """Whether all files were found in folders; none was given by its name."""
        return self._in_folders.issuperset(self.paths)

    def _is_too_old(self, path: str, time: Field) -> bool:
        """Whether a file of a folder was last written to before the pass cares, and shows no later event.

        The clock of who writes the events may be ahead of the file system's, so the first and the last events are
        looked at, once for each state of the file.
        """
        found, after = self._files[path], self._modified_after
        if found is None or after is None or path not in self._in_folders or found.st_mtime >= after:
            return False
        return _latest(path, found, time, self._index, self._spools.inner) < after * 1e9

    def _stream(self, number: int, path: str) -> EventStream:
        found = self._files[path]
        size = 0 if found is None else found.st_size
        is_written = found is not None and path in self._in_folders and found.st_mtime > self._written_after
        return EventStream(number, path, self._spools, identity=_key(found), size=size, is_written=is_written)


def _key(found: os.stat_result | None) -> FileKey | None:
    """Device and inode that a file must still have when it is read; None for a copy of a stream."""
    return None if found is None else key_of(found)


def _latest(path: str, found: os.stat_result, time: Field, index: TimeIndex | None, inner: InnerEvents) -> int:
    """The latest time at both ends of a file, looked at once for each of its states."""
    state = (*key_of(found), found.st_size, found.st_mtime_ns)
    peeked = index.peeked if index is not None else {}
    if state not in peeked:
        peeked[state] = latest_at_the_ends(path, time, inner)
    return peeked[state]


def _line_prefix(path: str, spools: Spools) -> str:
    """What stands before a line's number in messages."""
    return ("standard input" if path == "-" else path) + (", document " if path in spools.unwrapped else ":")


def _no_blocks() -> Generator[Block]:
    yield from ()


def _state_of(found: os.stat_result) -> tuple[int, int, int, int]:
    """Equal for a file that has not changed."""
    return *key_of(found), found.st_size, found.st_mtime_ns


def _read_order(stream: EventStream) -> tuple[int, int]:
    return stream.progress.newest, stream.file_index


def _size(spool: Any) -> int:
    position = spool.tell()
    end = spool.seek(0, 2)
    spool.seek(position)
    return int(end)
