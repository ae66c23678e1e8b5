"""Which line of which file an event is: references of a user to events, and places of events for a user."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import zstandard

from runner.errors import SettingsError
from runner.events.columns.batch import Columns, EventBatch
from runner.events.documents import read_document
from runner.events.fields.schema import DataType, Field
from runner.events.files.compression import OpenText
from runner.events.files.event_files import MAX_LINE
from runner.events.files.event_stream import FILE_BITS
from runner.events.files.json_documents import is_wrapped, unwrapped

_LINES_AT_ONCE = 4096
_EVENT_ID = Field("event.id", DataType.KEYWORD)


@dataclass(frozen=True, slots=True)
class EventLine:
    """One event: its number in the order of reading, its file and line (from 1), its ids, and the text of its line."""

    number: int
    path: str
    line: int
    event_id: str
    document_id: str
    text: bytes

    @property
    def place(self) -> str:
        """`file:line`, to be read by people."""
        return f"{self.path}:{self.line}"

    def source(self) -> dict[str, Any]:
        """The event's document, without what a hit has around it."""
        document = read_document(self.text)
        inner = document.get("_source")
        return inner if isinstance(inner, dict) else document


@dataclass(slots=True)
class _Reference:
    """One reference: what it may mean, and what it was found to mean."""

    text: str
    line: int | None = None
    path: str | None = None
    by_id: list[EventLine] = field(default_factory=list)
    by_line: EventLine | None = None


def find_events(paths: Sequence[str], references: Sequence[str]) -> list[EventLine]:
    """The event that each reference names: its `event.id`, its `_id`, `file:line`, or a line number of the only file.

    Raises SettingsError for a reference that names no event.
    """
    wanted = [_wanted(text, paths) for text in references]
    for event in _lines(paths):
        for one in wanted:
            if one.text and one.text in (event.event_id, event.document_id):
                one.by_id.append(event)
            elif one.line == event.line and one.path == event.path:
                one.by_line = event
    return [_chosen(one, paths) for one in wanted]


def places_of(paths: Sequence[str], numbers: Collection[int]) -> dict[int, EventLine]:
    """The lines of events by their numbers."""
    left = set(numbers)
    found: dict[int, EventLine] = {}
    if left:
        for event in _lines(paths):
            if event.number in left:
                found[event.number] = event
                if len(found) == len(left):
                    break
    return found


def _wanted(text: str, paths: Sequence[str]) -> _Reference:
    name, colon, number = text.rpartition(":")
    if not (number.isascii() and number.isdigit() and len(number) < 12):
        return _Reference(text)
    if not colon:
        return _Reference(text, int(number), paths[0] if len(paths) == 1 else None)
    fitting = [path for path in paths if path == name or Path(path).name == name]
    return _Reference(text, int(number), fitting[0] if len(fitting) == 1 else None)


def _chosen(wanted: _Reference, paths: Sequence[str]) -> EventLine:
    if wanted.by_id:
        return wanted.by_id[0]
    if wanted.by_line is not None:
        return wanted.by_line
    tried = f"--event {wanted.text}: no event has this event.id or _id"
    if wanted.line is None:
        raise SettingsError(tried)
    if wanted.path is not None:
        raise SettingsError(f"{tried}, and line {wanted.line} of {wanted.path} holds no event")
    if wanted.text.isdigit():
        raise SettingsError(f"{tried}; there are {len(paths)} files, so a line is named as FILE:{wanted.line}")
    raise SettingsError(f"{tried}, and no single file of --events is called {wanted.text.rpartition(':')[0]}")


def _lines(paths: Sequence[str]) -> Iterator[EventLine]:
    """Every event of the files, numbered as a search numbers them."""
    for file_number, path in enumerate(paths):
        number = file_number << FILE_BITS
        columns = Columns([_EVENT_ID])
        with _opened(path) as file:
            first = 1
            readable = _readable(file)
            while block := list(islice(readable, _LINES_AT_ONCE)):
                lines = [b"" if len(line) > MAX_LINE else line.rstrip(b"\n") for line in block]
                if first == 1 and lines[0].startswith(b"\xef\xbb\xbf"):
                    lines[0] = b"   " + lines[0][3:]
                rows, positions, origins = columns.decoder.read_lines(lines, _ignore)
                batch = EventBatch(columns, rows, base=number)
                for place, found in enumerate(batch.values(_EVENT_ID.name, batch.all_rows())):
                    at = place if positions is None else positions[place]
                    known = found if isinstance(found, str) else ""
                    document_id = (origins.ids[place] or "") if origins is not None else ""
                    yield EventLine(number, path, first + at, known, document_id, lines[at])
                    number += 1
                first += len(block)


def _ignore(position: int, reason: str) -> None:
    """Broken lines are reported by the search itself."""


def _opened(path: str) -> IO[bytes] | io.BufferedIOBase:
    with OpenText(path) as text:
        if is_wrapped(text.start(1 << 16)):
            return unwrapped(text)[0]  # its lines are the documents, as in the search
    if path.endswith(".gz"):
        return gzip.GzipFile(path, "rb")
    if path.endswith(".zst"):
        stream = zstandard.ZstdDecompressor().stream_reader(Path(path).open("rb"), read_across_frames=True)  # noqa: SIM115
        return io.BufferedReader(stream)
    return Path(path).open("rb")


def _readable(file: IO[bytes] | io.BufferedIOBase) -> Iterator[bytes]:
    """The lines of a file as far as it can be read: the search has said already if it is damaged."""
    try:
        yield from file
    except (OSError, EOFError, zlib.error, zstandard.ZstdError):
        return
