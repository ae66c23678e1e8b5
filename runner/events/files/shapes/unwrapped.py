"""`Unwrapped`: the events of files without an event per line, converted to NDJSON in a temporary file."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO

from runner.events.files.compression import OpenText
from runner.events.files.discovery import EVENT_FILES, is_archive, is_event_file, looks_like_events
from runner.events.files.json_documents import DocumentReader
from runner.events.files.read_report import MOST_EXAMPLES
from runner.events.files.shapes.archives import ArchiveReading, Room, members_of
from runner.events.files.spools import temporary_file
from runner.file_formats.json_starts import is_wrapped
from runner.file_formats.kinds import Archive, archive_of, refusal

_START = 1 << 16
_PIECE = 1 << 20
_MOST_LEVELS = 3
"""Most archives within each other."""


def needs_unwrapping(start: bytes) -> bool:
    """Whether the lines of a file with these first bytes, decompressed, are not an event each."""
    return archive_of(start) is not None or is_wrapped(start)


@dataclass(slots=True)
class Unwrapped:
    """The documents of a file as lines of a temporary file, broken ones included."""

    lines: IO[bytes]
    damage: list[str] = field(default_factory=list)
    """Why not all of the file was read."""
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Members of an archive that are not read, though their names look like events."""
    barren: str = ""
    """Said of an archive without any event file."""
    _members: list[tuple[int, str, bool]] = field(default_factory=list)
    """The count of documents before a member of an archive, its name, and whether each of its lines is a document."""
    _places: dict[int, int] = field(default_factory=dict)
    """The line of documents that are no JSON, by their number from 1; of the first ones."""

    def place(self, number: int) -> str:
        """Where in the file a document is, by its number from 1, as the beginning of a message; empty if unknown."""
        line = f"line {self._places[number]}: " if number in self._places else ""
        member = bisect_right(self._members, number - 1, key=lambda member: member[0]) - 1
        before, name, is_lines = self._members[member]
        if not name:
            return line
        return f"{name}:{number - before}: " if is_lines else f"{name}, document {number - before}: {line}"


def unwrapped(text: OpenText, start: bytes, advanced: Callable[[], None] = lambda: None) -> Unwrapped:
    """The documents of a text that begins like this. Raises EventsError if the temporary folder is full.

    `advanced` is called again and again; what it raises ends the reading.
    """
    made = Unwrapped(temporary_file())
    room = Room.for_file(os.fstat(text.file.fileno()).st_size)
    text.on_read = advanced
    try:
        _Unwrapping(made, room, advanced).read(text, start)
    except ValueError as error:
        made.damage.append(str(error))
    except BaseException:
        made.lines.close()
        raise
    made.lines.seek(0)
    return made


class _Unwrapping:
    def __init__(self, made: Unwrapped, room: Room, advanced: Callable[[], None]) -> None:
        self._made = made
        self._advanced = advanced
        self._room = room
        self._documents = 0

    def read(self, text: OpenText, start: bytes, *, levels: int = _MOST_LEVELS, name: str = "") -> None:
        """Write the documents of a text; of an archive, those of its members. `name` is that of the member, if it is
        one."""
        if (kind := archive_of(start)) is not None:
            self._read_archive(text, kind, levels=levels, name=name)
        elif name and (said := refusal(start)):
            self._made.damage.append(f"{name}: {said}")
        elif name and not is_wrapped(start):
            self._made._members.append((self._documents, name, True))
            self._copy(text)
        else:
            self._made._members.append((self._documents, name, False))
            self._convert(text, said=f"{name}: " if name else "")

    def _read_archive(self, text: OpenText, kind: Archive, *, levels: int, name: str) -> None:
        if kind == "zip" and text.packing:
            raise ValueError("it is a compressed zip archive: unpack it once, and name the archive")
        if not levels:
            raise ValueError(f"{name}: an archive within {_MOST_LEVELS} others: unpack it, and name what is in it")
        reading, count = ArchiveReading(), 0
        try:
            for member_name, member in members_of(text, kind, _is_wanted, self._room, reading):
                count += 1
                full = f"{name}/{member_name}" if name else member_name
                try:
                    self.read(member, member.start(_START), levels=levels - 1, name=full)
                except ValueError as error:
                    self._room.take(0)
                    self._made.damage.append(f"{full}: {error}")
        finally:
            self._made.damage += reading.damage
            looks = [one for one in reading.left_out if looks_like_events(_base(one))]
            self._made.left_out += [f"{name}/{one}" if name else one for one in looks]
        if not count and not reading.damage:
            others = f", with {reading.left_out[0]} and the like" if reading.left_out else ""
            self._made.barren = f"{name}: " * bool(name) + (
                f"it is a {kind} archive without an event file{others}; files are read if {EVENT_FILES}"
            )

    def _copy(self, text: OpenText) -> None:
        """Write the lines of a text."""
        piece = memoryview(bytearray(_PIECE))
        last = b"\n"
        failure = None
        while failure is None:
            count, failure = text.read_into(piece)
            self._advanced()
            if not count:
                break
            self._write(bytes(piece[:count]))
            self._documents += bytes(piece[:count]).count(b"\n")
            last = bytes(piece[count - 1 : count])
        if last != b"\n":
            self._write(b"\n")
            self._documents += 1
        if failure is not None:
            raise ValueError(str(failure))

    def _convert(self, text: OpenText, *, said: str) -> None:
        """Write the documents of a text of any shape."""
        reader = DocumentReader(text, self._advanced)
        failure: Exception | None = None
        try:
            for document in reader.documents():
                self._documents += 1
                # Line breaks occur between the values of a document only, where they are whitespace.
                line = document.replace("\r", " ").replace("\n", " ")
                self._write(line.encode(errors="surrogateescape") + b"\n")
                if reader.broken_at and len(self._made._places) < MOST_EXAMPLES:
                    self._made._places[self._documents] = reader.broken_at
        except ValueError as error:
            failure = error
        failure = reader.failure or failure
        self._made.notes += [f"{said}{note}" for note in reader.notes()]
        self._made.damage += [f"{said}{fault}" for fault in reader.faults()]
        if failure is not None:
            raise ValueError(str(failure))

    def _write(self, text: bytes) -> None:
        self._room.take(len(text))
        self._made.lines.write(text)


def _is_wanted(name: str) -> bool:
    """Whether a member of an archive is read."""
    return is_event_file(_base(name)) or is_archive(_base(name))


def _base(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name
