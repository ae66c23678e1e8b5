"""Lines of JSON to rows that hold only the fields that queries read.

A `RowDecoder` generates one `msgspec` type for the wanted fields; everything else in a line is skipped in C. Fields may
stand nested, dotted (`{"process.name": ...}`) or mixed, and with values of odd types. Only the nested form, arrays of
objects included, is decoded on the fast path; any other line fails validation and is read as a whole document. Both
paths give the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import repeat
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from runner.events.columns.decoder_types import (
    DecoderNode,
    Never,
    is_nameable,
    is_text,
    leaves_of,
    plant,
    reading,
    structure,
)
from runner.events.documents import flatten
from runner.events.fields.schema import DataType, Field
from runner.events.fields.values import Canonical, canonical, typed
from runner.json_text import BrokenLine, is_blank, lost_before_hole, read_document

Row: TypeAlias = Any
"""One decoded event: an instance of the decoder's generated structure."""

Line: TypeAlias = bytes | memoryview
"""The text of a line, without its end."""


_CONVERTED = {DataType.IP, DataType.UNSIGNED_LONG, DataType.HALF_FLOAT, DataType.FLOAT, DataType.SCALED_FLOAT}
"""Types whose values are checked, rounded or spelled alike when they are looked at, not when they are decoded."""
_TEXTS = {DataType.KEYWORD, DataType.WILDCARD, DataType.TEXT, DataType.FLATTENED, DataType.VERSION}
_UNREAD = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What decoding a line raises that is not as the structure says."""
_CONVERSIONS = 4096
"""Most converted values of a field remembered."""


@dataclass(frozen=True, slots=True)
class DecodedRow:
    """One event's row, and where it came from if the line was a hit, in the names of a hit."""

    source: Row
    index: str | None
    id: str | None


class RowDecoder:
    """Reads lines and documents into rows of the wanted fields.

    `unreadable` counts, per field, the values that its type could not read; they count as missing.
    """

    def __init__(self, fields: Iterable[Field], familiar: Mapping[str, Collection[str]] | None = None) -> None:
        """`familiar` are texts that most values of some fields are, by field: lines with others take longer."""
        self.fields = {wanted.name: wanted for wanted in fields}
        self.unreadable: dict[str, int] = {}
        self.unfamiliar = 0
        """How many lines had other texts."""
        root = DecoderNode()
        for wanted in self.fields.values():
            plant(root, wanted)
        self._paths: dict[str, str] = {}
        document: Any
        self._leaves = leaves_of(root)
        self._familiar = {
            path: texts
            for path, texts in (familiar or {}).items()
            if path in self._leaves and texts and is_text(self._leaves[path])
        }
        self._build, self._empty, document = structure(root, self._paths, self._familiar)
        self._parents = {path for leaf in self._leaves for path in _above(leaf) if path in self._leaves}
        self._texts = {path for path, leaf in self._leaves.items() if leaf.type in _TEXTS}
        # Never: then every line is read as a whole document.
        self._copied = {one.source_path: one.copied for one in self.fields.values() if one.copied}
        self._wanted = {**self._leaves, **dict.fromkeys(path for paths in self._copied.values() for path in paths)}
        is_simple = all(map(is_nameable, self._leaves)) and not self._copied
        self._readable: Any = document if is_simple else Never
        self._plain = msgspec.json.Decoder(self._readable)

    @cached_property
    def _wider(self) -> RowDecoder | None:
        """Reads the same for lines that have other texts than familiar ones; its rows have the same attributes."""
        return RowDecoder(self.fields.values()) if self._familiar else None

    @cached_property
    def _hit(self) -> msgspec.json.Decoder[Any]:
        """Generated when the first hit is met."""
        hit: Any = msgspec.defstruct(
            "Hit",
            [("source", self._readable), ("index", str | None, None), ("id", str | None, None)],
            rename={"source": "_source", "index": "_index", "id": "_id"},
            frozen=True,
            gc=False,
        )
        return msgspec.json.Decoder(hit)

    def getter(self, name: str) -> Callable[[Row], Canonical]:
        """A function that takes the field's canonical value out of a row.

        It raises AttributeError for a row in which a null or an array stands where the field's parent is looked for:
        then `gatherer` has the value.
        """
        path = self._paths.get(self.fields[name].source_path)
        return self._reader(name, attrgetter(path)) if path is not None else _nothing

    def gatherer(self, name: str) -> Callable[[Row], Canonical]:
        """The same for any row; it takes longer."""
        path = self._paths.get(self.fields[name].source_path)
        if path is None:
            return _nothing  # a name like `.a`, which no document can have
        attributes = path.split(".")
        return self._reader(name, lambda row: _gather(row, attributes))

    def likeness(self, names: Iterable[str]) -> Callable[[Sequence[Row]], list[Hashable]]:
        """A function that gives a key for each of some rows: rows with equal keys have equal values of these fields.

        Where the rows hold nothing else of an object, the object itself is in the key. Keys of fields without a mapping
        include the value's type, since 1, 1.0 and true are equal in Python.
        """
        sources = {self.fields[name].source_path for name in names} & self._paths.keys()
        paths = {self._paths[path] for path in sources}
        if not paths:
            return lambda rows: [None] * len(rows)
        quick = attrgetter(*sorted({_widest(path, set(self._paths.values()) - paths) for path in paths}))
        apart = sorted(path.split(".") for path in paths)
        untyped = [attrgetter(self._paths[path]) for path in sources if self._leaves[path].type is DataType.NULL]

        def keys(rows: Sequence[Row]) -> list[Hashable]:
            try:
                found: list[Hashable] = list(map(quick, rows))
                if all(_PLAIN.issuperset(map(type, map(value, rows))) for value in untyped):
                    return found
            except AttributeError:  # an array or a null stands where an object usually does
                return [(_GATHERED, *(typed(_gather(row, attributes)) for attributes in apart)) for row in rows]
            kinds = [tuple([typed(value(row)) for value in untyped]) for row in rows]
            return list(zip(repeat(_GATHERED), found, kinds, strict=False))

        return keys

    def _reader(self, name: str, get: Callable[[Row], Canonical]) -> Callable[[Row], Canonical]:
        """`get` itself where what it finds is the canonical value."""
        wanted = self.fields[name]
        if wanted.type not in _CONVERTED and reading(wanted) == reading(self._leaves[wanted.source_path]):
            return get

        convert = lru_cache(_CONVERSIONS, typed=True)(lambda value: canonical(value, wanted)[0])

        def read(row: Row) -> Canonical:
            value = get(row)
            return None if value is None else convert(value)

        return read

    def read_lines(
        self, lines: Sequence[Line], broken: Callable[[int, str], None]
    ) -> tuple[list[Row], list[int] | None, Origins | None]:
        """Rows of the lines that hold an event, the position of each in `lines` (None if it is each row's own number),
        and their origins if any line was a hit.

        Blank lines are skipped; each line that is no JSON object is reported by `broken(position, reason)`.
        """
        rows: list[Row] = []
        while True:
            try:
                rows.extend(map(self._plain.decode, lines[len(rows) :] if rows else lines))
            except _UNREAD:
                try:
                    rows.append(self._read_unfamiliar(lines[len(rows)], hit=False))
                except _UNREAD:
                    return self._read_mixed(lines, rows, broken)
            else:
                return rows, None, None

    def _read_unfamiliar(self, line: Line, *, hit: bool) -> Any:
        """The row, or the hit with the row, of a line that may have texts that are not familiar."""
        if self._wider is None:
            raise msgspec.ValidationError
        found = self._wider._hit.decode(line) if hit else self._wider._plain.decode(line)
        self.unfamiliar += 1
        return found

    def _read_mixed(
        self, lines: Sequence[Line], rows: list[Row], broken: Callable[[int, str], None]
    ) -> tuple[list[Row], list[int] | None, Origins | None]:
        """The same for a batch in which some line is not a plain document in plain form; `rows` are those before it."""
        positions = list(range(len(rows)))
        indices: list[str | None] = [None] * len(rows)
        ids: list[str | None] = [None] * len(rows)
        any_hit = False
        decode_hit, decode_plain = self._hit.decode, self._plain.decode
        prefer_hit = True
        for position in range(len(rows), len(lines)):
            line = lines[position]
            if not line:
                continue
            try:
                found = decode_hit(line) if prefer_hit else decode_plain(line)
            except _UNREAD:
                try:
                    found = self._read_unfamiliar(line, hit=prefer_hit)
                except _UNREAD:
                    try:
                        found = self._read_whole(line)
                    except BrokenLine as error:
                        broken(position, str(error))
                        continue
                    if found is None:
                        continue
                    if lost_before_hole(bytes(line)):
                        broken(position, "NUL bytes within the line: what stands before them is lost")
                    prefer_hit = found.index is not None or found.id is not None
                    if not prefer_hit:
                        found = found.source
            row, index, id_ = (found.source, found.index, found.id) if prefer_hit else (found, None, None)
            any_hit = any_hit or index is not None or id_ is not None
            rows.append(row)
            positions.append(position)
            indices.append(index)
            ids.append(id_)
        return rows, positions, Origins(tuple(indices), tuple(ids)) if any_hit else None

    def read_known(self, lines: Sequence[Line], *, hits: bool) -> list[Row]:
        """A row of each of the lines, all of which are known to hold an event; `hits` says in which form most of them
        are.

        A line that turns out to be broken in a field that was not read before is an event without any value.
        """
        try:
            if hits:
                return [hit.source for hit in map(self._hit.decode, lines)]
            return list(map(self._plain.decode, lines))
        except _UNREAD:
            return [self._read_one(line, hit=hits) for line in lines]

    def _read_one(self, line: Line, *, hit: bool) -> Row:
        try:
            return self._hit.decode(line).source if hit else self._plain.decode(line)
        except _UNREAD:
            try:
                decoded = self._read_whole(line)
            except BrokenLine:
                return self._empty
            return self._empty if decoded is None else decoded.source

    def _read_whole(self, line: Line) -> DecodedRow | None:
        """The row of a line in any form; None for a blank line. Raises BrokenLine."""
        line = bytes(line)
        if is_blank(line):
            return None
        document = read_document(line)
        source = document.get("_source")
        if isinstance(source, dict):
            index, id_ = document.get("_index"), document.get("_id")
            return DecodedRow(self.row(source, line), _text(index), _text(id_))
        return DecodedRow(self.row(document, line), None, None)

    def row(self, document: Mapping[str, Any], line: bytes | None = None) -> Row:
        """The row of a whole document in nested, dotted or mixed form; `line` is the document's, if it has one."""
        if not self._leaves:
            return self._empty
        values = flatten(document, self._wanted)
        for path, sources in self._copied.items():
            copies = (value for source in (path, *sources) for value in values.get(source, ()))
            if given := [value for value in copies if not isinstance(value, dict)]:
                values[path] = given
        found: dict[str, Canonical] = {}
        for path, wanted in self._leaves.items():
            if path in values:
                given = values[path]
                if line is not None and path in self._texts and float in map(type, given):
                    # The text of a number is compared as it was written: 1.50 is not 1.5.
                    exact = read_document(line, exact=True)
                    return self.row(exact["_source"] if isinstance(exact.get("_source"), dict) else exact)
                if path in self._parents:
                    given = [item for item in given if not isinstance(item, dict)]
                value, readable = canonical(given[0] if len(given) == 1 else given, wanted)
                if not readable:
                    self.unreadable[path] = self.unreadable.get(path, 0) + 1
                found[path] = value
            elif wanted.constant is not None:
                found[path] = wanted.constant  # type: ignore[assignment]
        return self._build(found)


@dataclass(frozen=True, slots=True)
class Origins:
    """Index and id of each row of a batch of hits; None where a row was a plain document."""

    indices: tuple[str | None, ...]
    ids: tuple[str | None, ...]


_PLAIN = frozenset({str, type(None)})
"""Types of which no value is equal to one of another type."""
_GATHERED = object()  # in keys that were made the thorough way, so that they equal no others


def _widest(path: str, others: Collection[str]) -> str:
    """The path of attributes or the shortest beginning of it under which none of the other paths lies."""
    parts = path.split(".")
    beginnings = (".".join(parts[:length]) for length in range(1, len(parts)))
    return next((start for start in beginnings if not any(other.startswith(f"{start}.") for other in others)), path)


def _above(path: str) -> Iterator[str]:
    """The paths of the objects that a field is in."""
    place = path.find(".")
    while place >= 0:
        yield path[:place]
        place = path.find(".", place + 1)


def _nothing(row: Row) -> Canonical:
    return None


def _gather(row: Row, attributes: Sequence[str]) -> Canonical:
    """The value at a path of attributes; from arrays of objects the values of all of them, in order."""
    levels = [row]
    for attribute in attributes:
        found: list[Any] = []
        for level in levels:
            value = getattr(level, attribute)
            if type(value) is tuple:
                found.extend(value)
            elif value is not None:
                found.append(value)
        levels = found
    if len(levels) < 2:
        return levels[0] if levels else None
    return tuple(levels)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
