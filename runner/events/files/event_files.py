"""Events from NDJSON files, folders and standard input, plain or compressed, a batch at a time."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runner.errors import EventsError
from runner.events.columns.batch import Columns, EventBatch, Rows
from runner.events.documents import read_document
from runner.events.fields.schema import Field
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.compression import spooled
from runner.events.files.discovery import EVENT_FILES, files_in, near_file
from runner.events.files.event_stream import EventStream, Spools, TimeWanted
from runner.events.files.kept_lines import KeptLines
from runner.events.files.line_blocks import CHUNK, Block, ReadProgress
from runner.events.files.read_report import MAX_LINE, Counts, ReadReport
from runner.events.files.splits import Split, SplitRead, splits_of
from runner.events.files.time_index import TimeIndex

__all__ = [
    "EVENT_FILES",
    "MAX_LINE",
    "EventFiles",
    "ReadProgress",
    "ReadReport",
    "TimeWanted",
    "newest_timestamp",
]

_ROOM = 96 << 20
"""Bytes that all files that are read at a time have for their buffers."""
_MOST_OPEN = 48
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventFiles:
    """A fixed list of files of events. It may be read several times; use it as a context manager."""

    def __init__(
        self, paths: Sequence[str | Path], *, modified_after: float | None = None, index: TimeIndex | None = None
    ) -> None:
        """Find the files: each path is a file, a folder (searched for event files, sorted by name) or `-`.

        `modified_after` (seconds since 1970) leaves out files of folders that were last written to before. With an
        `index` a pass reads only what may matter to it, and the index learns what it has not read before.
        Raises EventsError for a path that does not exist or may not be read.
        """
        self._spools = Spools()
        self._unread: list[str] = []
        self._index = index
        self.paths: list[str] = []
        for path in paths:
            self.paths.extend(self._files_of(str(path), modified_after))
        self._identities = [self._identity_of(path) for path in self.paths]
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
        """Drop the spooled copies; nothing can be read or fetched any more."""
        self._kept.close()
        self._spools.close()
        if self._folder is not None:
            self._folder.cleanup()

    def size(self) -> int:
        """Bytes of all files as they are stored."""
        return sum(
            _size(self._spools.streams[path]) if path in self._spools.streams else Path(path).stat().st_size
            for path in self.paths
        )

    def report(self) -> ReadReport:
        """What the last reading found."""
        counts = Counts()
        for part in (self._counts, *(stream.counts for stream, _ in self._open)):
            counts.add(part)
        names = [
            ("standard input" if path == "-" else path) + (", document " if path in self._spools.unwrapped else ":")
            for path in self.paths
        ]
        return ReadReport(
            files=len(self.paths),
            events=counts.events,
            broken=counts.broken,
            oversized=counts.oversized,
            untimed=counts.untimed,
            newest_ns=None if counts.newest == NO_TIME else counts.newest,
            oldest_ns=None if counts.newest == NO_TIME else counts.oldest,
            examples=counts.examples(names, oversized=False),
            oversized_examples=counts.examples(names, oversized=True),
            failures=tuple(counts.failures),
            unread=(*self._unread, *counts.unread),
        )

    def batches(
        self,
        columns: Columns,
        *,
        time_field: str = "@timestamp",
        wanted: TimeWanted | None = None,
        progress: ReadProgress | None = None,
    ) -> Iterator[EventBatch]:
        """All events, batch by batch; starts a new reading. A batch is good until the next.

        Files that follow each other in time are read in that order, those of the same time side by side; the numbers of
        the events go by the order of the files all the same. Events that are not `wanted` may be left out. Broken
        lines, lines that are too long and files that end too early are counted for `report()`, never fatal.
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

    def parts(self, time: Field, *, size: int) -> list[Split]:
        """All that is to be read, in parts of about `size` bytes, in the best order; starts a new reading.

        The parts are read elsewhere, and what is found out is given to `take_over`, part by part in this order.
        """
        self._begin(time)
        self._folder = self._folder or TemporaryDirectory(prefix="rule-runner-")
        return [
            part
            for stream in reversed(self._waiting)
            for part in splits_of(stream.number, stream.path, self._identities[stream.number], size=size)
        ]

    @property
    def folder(self) -> Path:
        """Where those who read parts put what is to be fetched later."""
        assert self._folder is not None
        return Path(self._folder.name)

    def take_over(self, part: Split, read: SplitRead, *, is_last: bool) -> None:
        """Take note of what was read of a part; `is_last`: the part has been read to its end."""
        if self._waiting and self._waiting[-1].number == part.number:
            self._open = [(self._waiting.pop(), _no_blocks())]
        ((stream, _),) = self._open
        if is_last:
            skipped = [replace(line, line=line.line + stream.lines) for line in read.counts.skipped]
            self._counts.add(replace(read.counts, skipped=skipped))
            stream.lines += read.lines
            stream.disorder = max(stream.disorder, stream.newest - read.counts.oldest)
        stream.disorder = max(stream.disorder, read.disorder)
        stream.newest = max(stream.newest, read.newest)
        self._kept.take_over(read.kept)

    def can_be_shared(self) -> bool:
        """Whether other processes can read all of the files."""
        return not self._spools.streams

    def horizon(self, *, tight: bool = False) -> tuple[int, int]:
        """The time before which no event is expected any more by the order of the files so far, and the number up to
        which events of that very time have come.

        Files may break that expectation. `tight` allows for less: see `EventStream.horizon`.
        """
        among = [stream for stream, _ in self._open] + self._waiting[-1:]
        earliest = min((stream.horizon(tight=tight) for stream in among), default=NO_TIME)
        if len(self._open) != 1 or self._open[0][0].horizon(tight=tight) != earliest or self._waiting:
            return earliest, -1
        return earliest, self._open[0][0].last()

    def keep(self, batch: EventBatch, rows: Rows) -> None:
        """Make sure that the documents of these rows of the last batch can be fetched later."""
        if len(rows):
            assert self._last is not None
            stream, block = self._last
            self._kept.keep(
                range(batch.base, batch.base + len(batch)),
                rows,
                lines=block.lines,
                positions=batch.positions,
                path=stream.path if stream.rereadable else "",
                offset=block.offset,
            )

    def fetch(self, number: int) -> dict[str, Any]:
        """The whole line of a kept event as a document or hit. Raises EventsError if the file has changed since."""
        path, line = self._kept.fetch(number)
        try:
            return read_document(line.removeprefix(_BYTE_ORDER_MARK))
        except ValueError:
            raise EventsError(f"{path}: changed while it was being read", path=path) from None

    def _begin(self, time: Field) -> None:
        """Start a new reading of all files, the one that begins first at the end of those that wait."""
        self._kept.close()
        self._kept = KeptLines(self._spools.of)
        self._counts = Counts()
        streams = [
            EventStream(number, path, self._spools, identity=identity)
            for number, (path, identity) in enumerate(zip(self.paths, self._identities, strict=True))
        ]
        if len(streams) > 1:
            for stream in streams:
                stream.peek(time)
        self._waiting = sorted(streams, key=_place, reverse=True)
        self._open = []

    def _next(self, columns: Columns, wanted: TimeWanted, progress: ReadProgress | None) -> Iterator[EventBatch]:
        """The next batch, of the file that is the furthest back in time; none if that one has come to its end."""
        opened = min(self._open, key=lambda pair: _place(pair[0]), default=None)
        if self._waiting and (
            opened is None or (len(self._open) < _MOST_OPEN and _place(self._waiting[-1]) < _place(opened[0]))
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
            return
        batch = stream.batch(columns, block, wanted)
        if len(batch):
            self._last = stream, block
            yield batch

    def _chunk(self) -> int:
        """How large the buffer of a file may be, with so many of them open."""
        return min(CHUNK, _ROOM // max(1, len(self._open)))

    def _files_of(self, path: str, modified_after: float | None) -> list[str]:
        if path == "-":
            if "-" not in self._spools.streams:
                self._spools.streams["-"] = spooled(sys.stdin.buffer)
            return ["-"]
        try:
            if Path(path).is_dir():
                return files_in(Path(path), modified_after, self._unread)
            if not Path(path).is_file() and Path(path).exists():
                # A pipe can be read once and not by offset: it is copied first, as standard input is.
                with Path(path).open("rb") as stream:
                    self._spools.streams[path] = spooled(stream)
                return [path]
            with Path(path).open("rb"):
                return [path]
        except FileNotFoundError:
            raise EventsError(f"{path}: no such file or folder{near_file(path)}", path=path) from None
        except OSError as error:
            raise EventsError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}", path=path) from None

    def _identity_of(self, path: str) -> tuple[int, int] | None:
        """What a file must still be when it is read; None where there is nothing to compare."""
        if path in self._spools.streams:
            return None
        try:
            found = Path(path).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def newest_timestamp(
    files: EventFiles, columns: Columns, wanted: TimeWanted, progress: ReadProgress | None = None
) -> int | None:
    """The newest timestamp of all events in nanoseconds since 1970, None if no event has one. Reads everything once."""
    for _ in files.batches(columns, wanted=wanted, progress=progress):
        pass  # reading counts the newest on the way
    return files.report().newest_ns


def _no_blocks() -> Generator[Block]:
    yield from ()


def _place(stream: EventStream) -> tuple[int, int]:
    return stream.newest, stream.number


def _size(spool: Any) -> int:
    position = spool.tell()
    end = spool.seek(0, 2)
    spool.seek(position)
    return int(end)
