"""The files in zip and tar archives, each as a text of its own; nothing is unpacked to named files."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from runner.events.files.compression import DAMAGE, OpenText
from runner.events.files.spools import temporary_file
from runner.file_formats.kinds import Archive

_LEAST_ROOM = 1 << 30
_MOST_RATIO = 250
"""Most bytes for a stored one: logs have some 10 to 100."""
_PIECE = 1 << 20
_MOST_HEADER = 1 << 20
"""Most bytes of the further headers of a member of a tar archive, which hold long names."""
_LONGEST_NAME = 200
_BLOCK = tarfile.BLOCKSIZE
_READ_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_BY_HAND = "unpack the archive, and name what is in it"

Wanted = Callable[[str], bool]


@dataclass(slots=True)
class Room:
    """How much may be unpacked of a file, in bytes, so that a small one does not fill the disk."""

    left: int

    @classmethod
    def for_file(cls, size: int) -> Room:
        """The room for a file of that many stored bytes."""
        return cls(max(_LEAST_ROOM, _MOST_RATIO * size))

    def take(self, count: int) -> None:
        """Use up some of it. Raises ValueError if that is too much."""
        self.left -= count
        if self.left < 0:
            raise ValueError(
                f"it unpacks to over {_MOST_RATIO} times its size and {_LEAST_ROOM >> 30} GiB: unpack it by hand if "
                "you trust it"
            )


@dataclass(slots=True)
class ArchiveReading:
    """What came of an archive's members that were not read."""

    left_out: list[str] = field(default_factory=list)
    """The names of those that were not wanted."""
    damage: list[str] = field(default_factory=list)


def members_of(
    text: OpenText, kind: Archive, wanted: Wanted, room: Room, reading: ArchiveReading
) -> Iterator[tuple[str, OpenText]]:
    """The name and the text of each wanted member, open until the next; damaged ones are named in `reading`.

    Raises ValueError if the archive is damaged, or larger than the room.
    """
    copies = _zip_copies if kind == "zip" else _tar_copies
    for name, copy in copies(text, wanted, reading):
        with closing(temporary_file()) as spool:
            try:
                for piece in copy:
                    room.take(len(piece))
                    spool.write(piece)
            except (*DAMAGE, zipfile.BadZipFile) as error:
                reading.damage.append(f"{name}: {error}")
                if kind == "tar" and not spool.tell():
                    continue
            with OpenText(name, spool) as member:
                yield name, member


def _zip_copies(text: OpenText, wanted: Wanted, reading: ArchiveReading) -> Iterator[tuple[str, Iterator[bytes]]]:
    try:
        archive = zipfile.ZipFile(text.file)
    except (zipfile.BadZipFile, ValueError, RuntimeError, OSError) as error:
        raise ValueError(f"the zip archive is damaged: {error}") from None
    with archive:
        for info in archive.infolist():
            name = printable(info.filename)
            if info.is_dir():
                continue
            if not wanted(info.filename):
                reading.left_out.append(name)
            elif info.flag_bits & 1:
                reading.damage.append(f"{name}: it is encrypted; {_BY_HAND}")
            elif info.compress_type not in _READ_METHODS:
                reading.damage.append(f"{name}: it is compressed by method {info.compress_type}; {_BY_HAND}")
            else:
                yield name, _zip_pieces(archive, info)


def _zip_pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(info) as file:
            yield from iter(lambda: file.read(_PIECE), b"")
    except (RuntimeError, zlib.error) as error:
        raise zipfile.BadZipFile(str(error)) from None


class _TarText:
    """A text that is read a number of bytes at a time."""

    def __init__(self, text: OpenText) -> None:
        self._text = text
        self.failure: Exception | None = None

    def read(self, count: int) -> bytes:
        piece = bytearray(count)
        filled, failure = self._text.read_into(memoryview(piece))
        self.failure = self.failure or failure
        return bytes(piece[:filled])

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next bytes. Raises EOFError if there are not that many."""
        while size:
            piece = self.read(min(size, _PIECE))
            if not piece:
                raise EOFError(str(self.failure or "the archive ends within it"))
            size -= len(piece)
            yield piece


def _tar_copies(text: OpenText, wanted: Wanted, reading: ArchiveReading) -> Iterator[tuple[str, Iterator[bytes]]]:
    # Not `tarfile.open`: it reads a header of any size into memory, and needs a file that can be sought in.
    tar = _TarText(text)
    further: dict[str, str] = {}
    is_over = False
    while block := tar.read(_BLOCK):
        if not block.strip(b"\0"):
            is_over = True  # archives that were written one after the other may follow
            continue
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if is_over:
                return
            raise ValueError(f"the tar archive is damaged: {tar.failure or error}") from None
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            if info.size > _MOST_HEADER:
                raise ValueError("the tar archive is damaged: a header of over 1 MiB")
            header = b"".join(_padded(tar, info.size))[: info.size]
            if info.type == tarfile.GNUTYPE_LONGNAME:
                further["path"] = header.rstrip(b"\0").decode(errors="surrogateescape")
            elif info.type != tarfile.XGLTYPE:
                further |= _pax_records(header)
            continue
        name, size = further.get("path", info.name), info.size
        if further.get("size", "").isdecimal():
            size = int(further["size"])
        is_sparse = info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in further)
        further = {}
        content = _padded(tar, size if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES else 0)
        if info.isreg() and not is_sparse and wanted(name):
            yield printable(name), _cut(content, size)
        elif info.isreg() or is_sparse:
            reading.left_out.append(printable(name))
        for _ in content:
            continue  # what is not read of it
    if tar.failure is not None or not is_over:
        raise ValueError(f"the tar archive is damaged: {tar.failure or 'it ends too early'}")


def _padded(tar: _TarText, size: int) -> Iterator[bytes]:
    return tar.pieces(-(-size // _BLOCK) * _BLOCK)


def _cut(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The first bytes of pieces."""
    for piece in pieces:
        yield piece[:size]
        size -= min(size, len(piece))


def _pax_records(header: bytes) -> dict[str, str]:
    """The records of an extended header, each `LENGTH KEY=VALUE` and a line break."""
    records: dict[str, str] = {}
    while header:
        length, _, _ = header.partition(b" ")
        if not length.isdigit() or not 0 < len(length) < 8 or int(length) <= len(length):
            break
        record, header = header[len(length) + 1 : int(length) - 1], header[int(length) :]
        key, _, value = record.partition(b"=")
        records[key.decode(errors="replace")] = value.decode(errors="surrogateescape")
    return records


def printable(name: str) -> str:
    """A member's name without control characters, not too long."""
    shown = "".join(char if char.isprintable() else "\ufffd" for char in name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}…"
