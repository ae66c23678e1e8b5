"""`OpenText`: the decompressed text of an event file, and its progress in stored bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import select
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

from runner.events.files.spools import temporary_file

Packing = Literal["", "gz", "zst", "bz2", "xz"]
DAMAGE = (OSError, EOFError, zlib.error, zstd.ZstdError, lzma.LZMAError)
"""Exceptions of reading a file that is gone, may not be read or is damaged."""
_PIECE = 1 << 16
_COPIED = 1 << 20
_PATIENCE_MS = 100
_MAGIC: dict[bytes, Packing] = {
    b"\x1f\x8b": "gz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
}
"""The first bytes of a compressed file."""
_XZ_MEMORY = 256 << 20
"""Bytes that the header of an .xz file may ask for; `xz -9` makes files that ask for 65 MiB."""


class OpenText:
    """A file open for reading, decompressed. Close it."""

    def __init__(self, path: str, spool: IO[bytes] | None = None) -> None:
        """A spool, a copy on disk, is read in the file's place."""
        self._spool = spool
        if spool is not None:
            spool.seek(0)
        self._raw: IO[bytes] = spool if spool is not None else Path(path).open("rb", buffering=0)  # noqa: SIM115
        self._text: Any = self._raw
        self._reported = self._at = 0
        self._end: int | None = None
        self.reached = 0
        """The end of the bytes read so far, of a plain file."""
        self.on_read: Callable[[], None] | None = None
        """Called after every piece that was read; what it raises ends the reading."""
        self.packing: Packing = packing_of(self._raw)
        self._rewind()

    def __enter__(self) -> OpenText:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self._text is not self._raw:
            self._text.close()
        if self._spool is None:
            self._raw.close()

    @property
    def file(self) -> IO[bytes]:
        """The file as it is stored; it may be sought in, which changes nothing here."""
        return self._raw

    def start(self, size: int) -> bytes:
        """The beginning of the text, as far as it can be read; to be called first, as reading starts over after it."""
        piece = bytearray(size)
        count, _ = self.read_into(memoryview(piece))
        self._rewind()
        return bytes(piece[:count])

    def go_to(self, start: int, end: int | None) -> None:
        """Read these bytes of a plain file next."""
        self._at, self._end = start, end

    def _rewind(self) -> None:
        self._raw.seek(0)
        self._at = 0
        match self.packing:
            case "gz":
                self._text = gzip.GzipFile(fileobj=self._raw)
            case "zst":
                self._text = zstd.ZstdFile(self._raw)
            case "bz2":
                self._text = bz2.BZ2File(self._raw)
            case "xz":
                self._text = io.BufferedReader(_XzReader(self._raw), _PIECE)

    def read_into(self, room: memoryview) -> tuple[int, Exception | None]:
        """Fill the room as far as there is text; how far, and why there is no more after it if the file is damaged."""
        filled = 0
        while filled < len(room):
            try:
                count = self._read_part(room[filled:])
            except DAMAGE as error:
                return filled, error
            if self.on_read is not None:
                self.on_read()
            if not count:
                break
            filled += count
        return filled, None

    def _read_part(self, room: memoryview) -> int:
        if self._text is not self._raw:
            # `readinto` may read several times, and loses what it has read if the last of them fails.
            return int(self._text.readinto1(room[:_PIECE]))
        if self._end is not None:
            room = room[: max(0, self._end - self._at)]
        self._raw.seek(self._at)  # a spool may be read by others in between
        count = int(self._raw.readinto(room))
        self._at += count
        self.reached = max(self.reached, self._at)
        return count

    def advanced(self) -> int:
        """Stored bytes read since the last call."""
        before, self._reported = self._reported, self._at if self._text is self._raw else self._raw.tell()
        return self._reported - before


def packing_of(file: IO[bytes]) -> Packing:
    """How the file is compressed, by its first bytes: a name may be wrong, and standard input has none."""
    start = file.read(max(map(len, _MAGIC)))
    file.seek(0)
    return next((packing for magic, packing in _MAGIC.items() if start.startswith(magic)), "")


class _XzReader(io.RawIOBase):
    """The text of an .xz file of any number of streams; unlike `lzma.LZMAFile` it bounds the memory of decompressing.

    Raises `lzma.LZMAError`, and EOFError if the file is cut off.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decompressor = self._begun()

    def _begun(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        while True:
            stored = b""
            if self._decompressor.eof:
                # Streams may be padded with NUL bytes.
                stored = self._decompressor.unused_data.lstrip(b"\0")
                while not stored and (piece := self._file.read(_PIECE)):
                    stored = piece.lstrip(b"\0")
                if not stored:
                    return 0
                self._decompressor = self._begun()
            elif self._decompressor.needs_input and not (stored := self._file.read(_PIECE)):
                raise EOFError("the file ends before the end of its last stream")
            text = self._decompressor.decompress(stored, len(room))
            if text:
                room[: len(text)] = text
                return len(text)


def spooled(descriptor: int, waiting: Callable[[], None]) -> IO[bytes]:
    """A copy of a stream on disk, because it is read more than once.

    `waiting` is called again and again, also while nothing comes; what it raises ends the copying.
    """
    spool = temporary_file()
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    try:
        while True:
            waiting()
            if ready.poll(_PATIENCE_MS):
                piece = os.read(descriptor, _COPIED)
                if not piece:
                    break
                spool.write(piece)
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return spool


def spooled_file(path: str, waiting: Callable[[], None]) -> IO[bytes]:
    """As `spooled`, of a named pipe or a device; one that nobody writes to is waited for. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return spooled(descriptor, waiting)
    finally:
        os.close(descriptor)
