"""Events by reference: the event that an id or `file:line` names, and the file and line of an event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from runner.errors import SettingsError
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import DataType, Field
from runner.events.files.event_stream import FILE_BITS, EventStream, Spools, TimeWanted
from runner.events.files.line_blocks import CHUNK, unreported
from runner.file_formats.inner_events import InnerEvents
from runner.json_text import read_document

_EVENT_ID = Field("event.id", DataType.KEYWORD)


@dataclass(frozen=True, slots=True)
class EventLine:
    """One event: its number in the order of reading, its file and line (from 1), its ids, and the bytes of its line."""

    number: int
    path: str
    line: int
    event_id: str
    document_id: str
    text: bytes

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.path}:{self.line}"

    def source(self) -> dict[str, Any]:
        """The event's document; of a search hit, its `_source`."""
        document = read_document(self.text)
        inner = document.get("_source")
        return inner if isinstance(inner, dict) else document


@dataclass(slots=True)
class _Reference:
    """One reference: the ids or line that it may name, and the events found for them."""

    text: str
    line: int | None = None
    path: str | None = None
    by_id: EventLine | None = None
    by_line: EventLine | None = None


def find_events(paths: Sequence[str], references: Sequence[str], inner: InnerEvents) -> list[EventLine]:
    """The event that each reference names: its `event.id`, its `_id`, `file:line`, or a line number of the only file.

    Raises SettingsError for a reference that names no event.
    """
    parsed = [_read_reference(text, paths) for text in references]
    for event in read_lines(paths, inner):
        for reference in parsed:
            if reference.text and reference.text in (event.event_id, event.document_id):
                reference.by_id = reference.by_id or event
            elif reference.line == event.line and reference.path == event.path:
                reference.by_line = event
    return [_event_of(reference, paths) for reference in parsed]


def places_of(paths: Sequence[str], numbers: Set[int], inner: InnerEvents) -> dict[int, EventLine]:
    """The lines of events by their numbers."""
    matching = (event for event in read_lines(paths, inner) if event.number in numbers)
    return {event.number: event for event in islice(matching, len(numbers))}


def _read_reference(text: str, paths: Sequence[str]) -> _Reference:
    name, colon, number = text.rpartition(":")
    if not (number.isascii() and number.isdigit() and len(number) < 12):
        return _Reference(text)
    if not colon:
        return _Reference(text, int(number), paths[0] if len(paths) == 1 else None)
    named = [path for path in paths if path == name or Path(path).name == name]
    return _Reference(text, int(number), named[0] if len(named) == 1 else None)


def _event_of(reference: _Reference, paths: Sequence[str]) -> EventLine:
    if found := reference.by_id or reference.by_line:
        return found
    tried = f"--event {reference.text}: no event has this event.id or _id"
    if reference.line is None:
        raise SettingsError(tried)
    if reference.path is not None:
        raise SettingsError(f"{tried}, and line {reference.line} of {reference.path} holds no event")
    if reference.text.isdigit():
        raise SettingsError(f"{tried}; there are {len(paths)} files, so a line is named as FILE:{reference.line}")
    raise SettingsError(f"{tried}, and no single file of --events is called {reference.text.rpartition(':')[0]}")


def read_lines(paths: Sequence[str], inner: InnerEvents) -> Iterator[EventLine]:
    """Every event of the files, with the number that a search gives it."""
    columns = Columns([_EVENT_ID])
    for file_index, path in enumerate(paths):
        number = file_index << FILE_BITS
        with closing(Spools(inner=inner)) as spools:
            stream = EventStream(file_index, path, spools)
            for block in stream.blocks(TimeWanted(), None, chunk=lambda: CHUNK, progress=unreported):
                texts = stream.event_lines(block)
                rows, positions, origins = columns.decoder.read_lines(texts, _ignore)
                batch = EventBatch(columns, rows, base=number)
                for row, value in enumerate(batch.values(_EVENT_ID.name, batch.all_rows())):
                    at = row if positions is None else positions[row]
                    event_id = value if isinstance(value, str) else ""
                    document_id = (origins.ids[row] or "") if origins is not None else ""
                    line = bytes(texts[at])
                    yield EventLine(number, path, block.first_line + at, event_id, document_id, line)
                    number += 1


def _ignore(position: int, reason: str) -> None:
    """Ignored: the search itself reports broken lines, and damaged files."""
