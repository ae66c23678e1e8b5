"""Events from NDJSON files, folders and standard input, plain or compressed, a batch at a time."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import zstandard

from runner.errors import EventsError
from runner.events.batch import Columns, EventBatch, Rows
from runner.events.decode import read_document
from runner.events.kept import KeptLines
from runner.events.timestamps import NO_TIME

_EVENT_FILE = re.compile(r"[^.].*\.(?:ndjson|jsonl|json|log)(?:\.\d+)?(?:\.gz|\.zst)?", re.IGNORECASE | re.DOTALL)
EVENT_FILES = "their names end in .ndjson, .jsonl, .json or .log, with a number, .gz or .zst after it if need be"
"""Which files of a folder are read, in words: logs that were rotated and compressed are among them."""
_FIRST_CHUNK = 1 << 20
"""The first batch of a file is small: it shows which fields are worth reading at once."""
_CHUNK = 32 << 20
"""Of every later one: large enough that what a batch costs, however many rules there are, is little for each event."""
_BATCH = 32_768
MAX_LINE = 32 << 20
"""Longer lines are skipped and reported: no event is that long, and one of them must not fill the memory."""
_EXAMPLES = 5
_ZSTD_PIECE = 2048
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Packing = Literal["", "gz", "zst"]

Progress = Callable[[int], None]
"""Called with the number of bytes (of the files as they are stored) that were read since the last call."""


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What was read: events, and lines that hold none. `examples` are the first few broken lines, ready to print."""

    files: int = 0
    events: int = 0
    broken: int = 0
    oversized: int = 0
    untimed: int = 0
    newest_ns: int | None = None
    """The newest timestamp read, nanoseconds since 1970."""
    oldest_ns: int | None = None
    examples: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    """Files that are damaged and were read as far as that is possible, each with the reason."""
    unread: tuple[str, ...] = ()
    """Files and folders that are there and could not be read, each with the reason: what they hold is still owed."""

    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the input, one sentence each."""
        said = [*self.unread, *self.failures]
        if self.broken:
            said.append(f"{self.broken:,} broken line{'s' * (self.broken > 1)} skipped: " + "; ".join(self.examples))
        if self.oversized:
            said.append(f"{self.oversized:,} line{'s' * (self.oversized > 1)} over {MAX_LINE >> 20} MiB skipped")
        if self.untimed:
            said.append(f"{self.untimed:,} event{'s' * (self.untimed > 1)} without a readable timestamp")
        return tuple(said)


@dataclass(slots=True)
class _Counts:
    events: int = 0
    broken: int = 0
    oversized: int = 0
    untimed: int = 0
    newest: int = NO_TIME
    oldest: int = np.iinfo(np.int64).max
    examples: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines of one file: `first_line` counts from 1, `offset` is where it starts in the uncompressed text."""

    lines: list[memoryview]
    first_line: int
    offset: int


class EventFiles:
    """A fixed list of files of events. It may be read several times; use it as a context manager."""

    def __init__(self, paths: Sequence[str | Path], *, modified_after: float | None = None) -> None:
        """Find the files: each path is a file, a folder (searched for event files, sorted by name) or `-`.

        `modified_after` (seconds since 1970) leaves out files of folders that were last written to before.
        Raises EventsError for a path that does not exist or may not be read.
        """
        self._spools: dict[str, IO[bytes]] = {}
        self._unread: list[str] = []
        self.paths: list[str] = []
        for path in paths:
            self.paths.extend(self._files_of(str(path), modified_after))
        self._kept: KeptLines | None = None
        self._counts = _Counts()
        self._packing: Packing = ""  # of the file that is being read; lines of a compressed one cannot be read again

    def __enter__(self) -> EventFiles:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the spooled copies; nothing can be read or fetched any more."""
        if self._kept is not None:
            self._kept.close()
        for spool in self._spools.values():
            spool.close()

    def _files_of(self, path: str, modified_after: float | None) -> list[str]:
        if path == "-":
            if "-" not in self._spools:
                self._spools["-"] = _spooled(sys.stdin.buffer)
            return ["-"]
        try:
            if Path(path).is_dir():
                return _files_in(Path(path), modified_after, self._unread)
            if not Path(path).is_file() and Path(path).exists():
                # A pipe can be read once and not by offset: it is copied first, as standard input is.
                with Path(path).open("rb") as stream:
                    self._spools[path] = _spooled(stream)
                return [path]
            with Path(path).open("rb"):
                return [path]
        except FileNotFoundError:
            raise EventsError(f"{path}: no such file or folder{_near_file(path)}", path=path) from None
        except OSError as error:
            raise EventsError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}", path=path) from None

    def size(self) -> int:
        """Bytes of all files as they are stored."""
        return sum(
            _size(self._spools[path]) if path in self._spools else Path(path).stat().st_size for path in self.paths
        )

    def report(self) -> ReadReport:
        """What the last reading found."""
        counts = self._counts
        return ReadReport(
            files=len(self.paths),
            events=counts.events,
            broken=counts.broken,
            oversized=counts.oversized,
            untimed=counts.untimed,
            newest_ns=None if counts.newest == NO_TIME else counts.newest,
            oldest_ns=None if counts.newest == NO_TIME else counts.oldest,
            examples=tuple(counts.examples),
            failures=tuple(counts.failures),
            unread=(*self._unread, *counts.unread),
        )

    def batches(
        self, columns: Columns, *, time_field: str = "@timestamp", progress: Progress | None = None
    ) -> Iterator[EventBatch]:
        """All events, batch by batch, in the order of the files; starts a new reading. A batch is good until the next.

        Broken lines, lines that are too long and files that end too early are counted for `report()`, never fatal.
        """
        if self._kept is not None:
            self._kept.close()
        self._kept = KeptLines(self.paths, self._spools)
        self._counts = _Counts()
        for number, path in enumerate(self.paths):
            for block in self._blocks(path, progress):
                batch = self._batch(columns, block, path)
                if len(batch):
                    self._kept.begin(number, self._packing == "", block.lines, block.offset)
                    self._note_times(batch, time_field)
                    yield batch
                    columns.trim(len(batch))

    def keep(self, batch: EventBatch, rows: Rows) -> None:
        """Make sure that the documents of these rows of the last batch can be fetched later."""
        assert self._kept is not None
        if len(rows):
            self._kept.keep(rows + batch.base, batch.positions[rows])

    def fetch(self, number: int) -> dict[str, Any]:
        """The whole line of a kept event as a document or hit. Raises EventsError if the file has changed since."""
        assert self._kept is not None
        path, line = self._kept.fetch(number)
        try:
            return read_document(line.removeprefix(_BYTE_ORDER_MARK))
        except ValueError:
            raise EventsError(f"{path}: changed while it was being read", path=path) from None

    def _batch(self, columns: Columns, block: _Block, path: str) -> EventBatch:
        def broken(position: int, reason: str) -> None:
            self._counts.broken += 1
            if len(self._counts.examples) < _EXAMPLES:
                name = "standard input" if path == "-" else path
                self._counts.examples.append(f"{name}:{block.first_line + position}: {reason}")

        batch = EventBatch.of_lines(columns, block.lines, base=self._counts.events, broken=broken)
        self._counts.events += len(batch)
        return batch

    def _note_times(self, batch: EventBatch, time_field: str) -> None:
        times = batch.timestamps(time_field)
        timed = times[times != NO_TIME]
        if len(timed):
            self._counts.newest = max(self._counts.newest, int(timed.max()))
            self._counts.oldest = min(self._counts.oldest, int(timed.min()))
        self._counts.untimed += len(times) - len(timed)

    def _blocks(self, path: str, progress: Progress | None) -> Iterator[_Block]:
        try:
            with _Opened(path, self._spools.get(path)) as opened:
                self._packing = opened.packing
                yield from self._blocks_of(opened, progress)
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                self._counts.unread.append(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}")
            else:
                self._counts.failures.append(f"{path}: could not be read to its end: {error}")

    def _blocks_of(self, opened: _Opened, progress: Progress | None) -> Iterator[_Block]:
        buffer = bytearray(_FIRST_CHUNK)
        held, line, offset = 0, 1, 0
        skipping = False
        failure: Exception | None = None
        while failure is None:
            count, failure = opened.read_into(memoryview(buffer)[held:])
            if progress is not None:
                progress(opened.advanced())
            if not count:
                break
            end = held + count
            lines, start = _lines_of(buffer, end)
            if lines and skipping:
                skipping = False
                offset += len(lines[0]) + 1
                line += 1
                del lines[0]
            if lines:
                yield from self._checked(lines, line, offset)
                offset += sum(map(len, lines)) + len(lines)
                line += len(lines)
            held = end - start
            if held > MAX_LINE or (skipping and held):
                self._counts.oversized += not skipping
                offset += held
                held, skipping = 0, True
            buffer = _emptied(buffer, start, held)
        if held and not skipping:
            yield from self._checked([memoryview(buffer)[:held]], line, offset)
        if failure is not None:
            raise failure

    def _checked(self, lines: list[memoryview], line: int, offset: int) -> Iterator[_Block]:
        if line == 1 and bytes(lines[0][:3]) == b"\xef\xbb\xbf":
            lines[0][:3] = b"   "  # a byte order mark is no JSON; blanks keep the offsets
        first = 0
        for place, text in enumerate(lines):
            if len(text) > MAX_LINE:
                self._counts.oversized += 1
                yield from self._parts(lines[first:place], line + first, offset)
                offset += sum(map(len, lines[first : place + 1])) + place + 1 - first
                first = place + 1
        yield from self._parts(lines[first:], line + first, offset)

    def _parts(self, lines: list[memoryview], line: int, offset: int) -> Iterator[_Block]:
        """The lines as blocks of as many as a batch may have."""
        for start in range(0, len(lines), _BATCH):
            part = lines[start : start + _BATCH]
            yield _Block(part, line + start, offset)
            offset += sum(map(len, part)) + len(part)


def _lines_of(buffer: bytearray, end: int) -> tuple[list[memoryview], int]:
    """The whole lines in the first `end` bytes, without a copy, and where the one begins that does not end there."""
    view, find = memoryview(buffer), buffer.find
    lines: list[memoryview] = []
    start = 0
    while (stop := find(b"\n", start, end)) >= 0:
        lines.append(view[start:stop])
        start = stop + 1
    return lines, start


def _emptied(buffer: bytearray, start: int, held: int) -> bytearray:
    """A buffer that begins with the `held` bytes from `start` and has room behind them; the same one if its size is
    right."""
    size = min(len(buffer) * 4, _CHUNK)
    while size < 2 * held:
        size *= 2
    if size == len(buffer):
        buffer[:held] = buffer[start : start + held]
        return buffer
    return buffer[start : start + held].ljust(size, b"\0")


class _Opened:
    """A file open for reading, decompressed, that knows how far it is in the stored bytes."""

    def __init__(self, path: str, spool: IO[bytes] | None) -> None:
        self._spool = spool
        if spool is not None:
            spool.seek(0)
        self._raw: IO[bytes] = spool if spool is not None else Path(path).open("rb", buffering=0)  # noqa: SIM115
        self._text: Any = self._raw
        self._position = 0
        self.packing = _packing_of(self._raw)
        if self.packing == "gz":
            self._text = gzip.GzipFile(fileobj=self._raw)
        elif self.packing == "zst":
            self._text = _ZstdText(self._raw)

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._text is not self._raw:
            self._text.close()
        if self._spool is None:
            self._raw.close()

    def read_into(self, room: memoryview) -> tuple[int, Exception | None]:
        """Fill the room as far as there is text; how far, and why there is no more after it if the file is damaged."""
        filled = 0
        while filled < len(room):
            part = room[filled:] if self._text is self._raw else room[filled : filled + (1 << 16)]
            try:
                count = self._text.readinto(part)
            except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
                return filled, error
            if not count:
                break
            filled += count
        return filled, None

    def advanced(self) -> int:
        """Stored bytes read since the last call."""
        before, self._position = self._position, self._raw.tell()
        return self._position - before


def _packing_of(file: IO[bytes]) -> Packing:
    """How the file is compressed, by its first bytes: a name may be wrong, and standard input has none."""
    start = file.read(4)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return "gz"
    return "zst" if start == b"\x28\xb5\x2f\xfd" else ""


class _ZstdText(io.RawIOBase):
    """The text of a zstd file of one or more frames; raises EOFError where the file ends within a frame.

    The package's own reader takes a frame that is cut off for a whole one.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame: Any = None
        self._packed = b""
        self._text = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the start of `buffer`; returns how many bytes that were, 0 at the end."""
        while not self._text:
            # Small pieces, because each may unfold into a hundred times 128 KiB.
            self._packed = self._packed or self._raw.read(_ZSTD_PIECE)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("Compressed file ended before the end of a frame was reached")
                return 0
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._text = memoryview(self._frame.decompress(self._packed))
            self._packed = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        count = min(len(buffer), len(self._text))
        buffer[:count] = self._text[:count]
        self._text = self._text[count:]
        return count


def newest_timestamp(
    files: EventFiles, columns: Columns, time_field: str, progress: Progress | None = None
) -> int | None:
    """The newest timestamp of all events in nanoseconds since 1970, None if no event has one. Reads everything once."""
    for _ in files.batches(columns, time_field=time_field, progress=progress):
        pass  # reading counts the newest on the way
    return files.report().newest_ns


def _files_in(folder: Path, modified_after: float | None, unread: list[str]) -> list[str]:
    """The event files below a folder, by name; what of it cannot be looked into is told in `unread`."""

    def refused(error: OSError) -> None:
        unread.append(f"{error.filename}: cannot be read: {(error.strerror or str(error)).lower()}")

    found = []
    for root, folders, names in os.walk(folder, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not _EVENT_FILE.fullmatch(name) or not path.is_file():
                continue
            if modified_after is None or path.stat().st_mtime >= modified_after:
                found.append(str(path))
    return found


def _near_file(path: str) -> str:
    from difflib import get_close_matches

    folder = Path(path).parent
    names: Iterable[str] = [path.name for path in folder.iterdir()] if folder.is_dir() else ()
    near = get_close_matches(Path(path).name, names, n=1)
    return f"; did you mean {folder / near[0]}?" if near else ""


def _spooled(stream: IO[bytes]) -> IO[bytes]:
    """A copy of a stream on disk, because it is read more than once."""
    spool = tempfile.TemporaryFile(prefix="rule-runner-")  # noqa: SIM115
    shutil.copyfileobj(stream, spool, 1 << 20)
    spool.seek(0)
    return spool


def _size(spool: IO[bytes]) -> int:
    return os.fstat(spool.fileno()).st_size
