"""Lines of JSON to rows that hold only the fields that queries read.

A `RowDecoder` generates one `msgspec` structure for the wanted fields, so that everything else in a line is skipped in
C without becoming a Python object. Fields may stand nested (`{"process": {"name": ...}}`), dotted (`{"process.name":
...}`) or in any mixture, and with values of odd types. Only the nested form, arrays of objects included, is decoded on
the fast path: every dotted spelling is declared in the structure with a type that no value has, so such a line, like
one with a value of another type, fails validation and is read again as a whole document. Both paths give the same
values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import orjson

from runner.events.schema import DataType, Field
from runner.events.values import canonical

Row: TypeAlias = Any
"""One decoded event: an instance of the decoder's generated structure."""

Line: TypeAlias = bytes | memoryview
"""The text of a line, without its end."""

Scalar: TypeAlias = bool | int | float | str
Canonical: TypeAlias = Scalar | tuple[Scalar, ...] | None
"""A field's value in a row: missing, one value or several. An empty tuple is missing, too."""

_NEVER = Literal["\x00\x00"]  # what a dotted spelling is declared as: no document has this text, so it always fails

_STRINGS = {
    DataType.KEYWORD,
    DataType.CONSTANT_KEYWORD,
    DataType.WILDCARD,
    DataType.TEXT,
    DataType.IP,
    DataType.VERSION,
    DataType.FLATTENED,
    DataType.BINARY,
}
_CONVERTED = {DataType.IP, DataType.UNSIGNED_LONG, DataType.HALF_FLOAT, DataType.FLOAT, DataType.SCALED_FLOAT}
"""Types whose values are checked, rounded or spelled alike when they are looked at, not when they are decoded."""
_RANGES = {
    DataType.BYTE: (-(2**7), 2**7 - 1),
    DataType.SHORT: (-(2**15), 2**15 - 1),
    DataType.INTEGER: (-(2**31), 2**31 - 1),
    DataType.LONG: (-(2**63), 2**63 - 1),
}


class BrokenLine(ValueError):  # noqa: N818 - a state of the input, not a fault
    """A line that is not a JSON object; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class DecodedRow:
    """One event's row, and where it came from if the line was a hit."""

    row: Row
    index: str | None
    id: str | None


@dataclass(slots=True)
class _Node:
    """One level of the wanted fields while the structures are generated."""

    leaf: Field | None = None
    children: dict[str, _Node] = field(default_factory=dict)


class RowDecoder:
    """Reads lines and documents into rows of the wanted fields.

    `unreadable` counts, per field, the values that its type could not read; they count as missing.
    """

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields = {wanted.name: wanted for wanted in fields}
        self.unreadable: dict[str, int] = {}
        root = _Node()
        for wanted in self.fields.values():
            _plant(root, wanted)
        self._paths: dict[str, str] = {}
        document: Any
        self._build, self._empty, document = _structure(root, "", (), self._paths)
        self._leaves = _leaves(root)
        self._parents = {path for path in self._leaves if any(name.startswith(f"{path}.") for name in self._leaves)}
        readable: Any = document
        if not all(map(_nameable, self._leaves)):
            readable = _NEVER  # every line is read as a whole document
        self._plain = msgspec.json.Decoder(readable)
        hit: Any = msgspec.defstruct(
            "Hit",
            [("source", readable), ("index", str | None, None), ("id", str | None, None)],
            rename={"source": "_source", "index": "_index", "id": "_id"},
            frozen=True,
            gc=False,
        )
        self._hit: msgspec.json.Decoder[Any] = msgspec.json.Decoder(hit)

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

    def _reader(self, name: str, get: Callable[[Row], Canonical]) -> Callable[[Row], Canonical]:
        """`get` itself where what it finds is the canonical value."""
        wanted = self.fields[name]
        if wanted.type not in _CONVERTED and _reading(wanted) == _reading(self._leaves[wanted.source_path]):
            return get

        def read(row: Row) -> Canonical:
            value = get(row)
            return None if value is None else canonical(value, wanted)[0]

        return read

    def read_lines(
        self, lines: Sequence[Line], broken: Callable[[int, str], None]
    ) -> tuple[list[Row], list[int] | None, Origins | None]:
        """Rows of the lines that hold an event, the position of each in `lines` (None if it is each row's own number),
        and their origins if any line was a hit.

        Blank lines are passed over; each line that is no JSON object is reported by `broken(position, reason)`.
        """
        rows: list[Row] = []
        try:
            rows.extend(map(self._plain.decode, lines))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return self._read_mixed(lines, rows, broken)
        return rows, None, None

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
            try:
                if prefer_hit:
                    hit = decode_hit(line)
                    row, index, id_ = hit.source, hit.index, hit.id
                else:
                    row, index, id_ = decode_plain(line), None, None
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                try:
                    decoded = self._read_whole(line)
                except BrokenLine as error:
                    broken(position, str(error))
                    continue
                if decoded is None:
                    continue
                row, index, id_ = decoded.row, decoded.index, decoded.id
                prefer_hit = index is not None or id_ is not None
            any_hit = any_hit or index is not None or id_ is not None
            rows.append(row)
            positions.append(position)
            indices.append(index)
            ids.append(id_)
        return rows, positions, Origins(tuple(indices), tuple(ids)) if any_hit else None

    def read_known(self, lines: Sequence[Line], *, hits: bool) -> list[Row]:
        """A row of each of the lines, all of which are known to hold an event; `hits` says in which form most of them
        are.

        A line that turns out to be broken in a field that nobody has looked at before is an event without any value.
        """
        try:
            if hits:
                return [hit.source for hit in map(self._hit.decode, lines)]
            return list(map(self._plain.decode, lines))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return [self._read_one(line, hit=hits) for line in lines]

    def _read_one(self, line: Line, *, hit: bool) -> Row:
        try:
            return self._hit.decode(line).source if hit else self._plain.decode(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            try:
                decoded = self._read_whole(line)
            except BrokenLine:
                return self._empty
            return self._empty if decoded is None else decoded.row

    def _read_whole(self, line: Line) -> DecodedRow | None:
        """The row of a line in any form; None for a blank line. Raises BrokenLine."""
        line = bytes(line)
        if not line or line.isspace():
            return None
        document = read_document(line)
        source = document.get("_source")
        if isinstance(source, dict):
            index, id_ = document.get("_index"), document.get("_id")
            return DecodedRow(self.row(source), _text(index), _text(id_))
        return DecodedRow(self.row(document), None, None)

    def row(self, document: Mapping[str, Any]) -> Row:
        """The row of a whole document in nested, dotted or mixed form."""
        if not self._leaves:
            return self._empty
        values = flatten(document, self._leaves)
        found: dict[str, Canonical] = {}
        for path, wanted in self._leaves.items():
            if path in values:
                given = values[path]
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


def read_document(line: bytes) -> dict[str, Any]:
    """The whole document of a line. Raises BrokenLine if it is no JSON object.

    Text that is not valid UTF-8 inside strings is kept with replacement characters: a match must not be lost for a
    stray byte.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode()
        except UnicodeDecodeError:
            try:
                document = orjson.loads(line.decode(errors="replace"))
            except orjson.JSONDecodeError:
                raise BrokenLine(f"not JSON: {error}") from None
        else:
            raise BrokenLine(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BrokenLine(f"a JSON {_json_name(document)} where an object was expected")
    return document


def flatten(document: Mapping[str, Any], wanted: Mapping[str, object] | None = None) -> dict[str, list[Any]]:
    """Every value of a document by its full dotted path, in document order, as Elasticsearch would index it.

    Arrays of objects are merged per path. Values of a path that is wanted are kept as they are, objects included.

    >>> flatten({"a": {"b": 1}, "a.b": 2, "c": [{"d": 3}, {"d": [4, 5]}]})
    {'a.b': [1, 2], 'c.d': [3, 4, 5]}
    """
    values: dict[str, list[Any]] = {}
    # A stack of iterators, not recursion: a document may be nested deeper than Python's stack allows.
    stack: list[tuple[str, Any]] = [("", document)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            if path and wanted is not None and path in wanted:
                values.setdefault(path, []).append(value)
            prefix = f"{path}." if path else ""
            stack.extend((f"{prefix}{key}", child) for key, child in reversed(value.items()))
        elif isinstance(value, (list, tuple)):
            if value:
                stack.extend((path, child) for child in reversed(value))
        elif wanted is None or path in wanted:
            values.setdefault(path, []).append(value)
    return values


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


def _json_name(value: object) -> str:
    if isinstance(value, list):
        return "array"
    return {str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")


def _plant(root: _Node, wanted: Field) -> None:
    node = root
    for part in wanted.source_path.split("."):
        node = node.children.setdefault(part, _Node())
    node.leaf = wanted if node.leaf is None else _common(node.leaf, wanted)


_PLAIN_TEXTS = {DataType.KEYWORD, DataType.WILDCARD, DataType.TEXT}


def _reading(wanted: Field) -> tuple[object, ...]:
    """What decides how a value is read: equal for fields that have the same values of one place in a document."""
    kind = DataType.KEYWORD if wanted.type in _PLAIN_TEXTS else wanted.type
    return kind, wanted.formats, wanted.null_value, wanted.ignore_above, wanted.scaling_factor, wanted.constant


def _common(one: Field, other: Field) -> Field:
    """How a value is decoded that several fields read, such as a field and its multi-fields: as much as any of them
    needs."""
    if _reading(one) == _reading(other):
        return one
    if {one.type, other.type} <= _PLAIN_TEXTS and one.null_value == other.null_value:
        return Field(one.source_path, DataType.KEYWORD, null_value=one.null_value)
    return Field(one.source_path, DataType.NULL)


def _leaves(root: _Node) -> dict[str, Field]:
    leaves: dict[str, Field] = {}
    stack = [("", root)]
    while stack:
        path, node = stack.pop()
        if node.leaf is not None:
            leaves[path] = node.leaf
        stack.extend((f"{path}.{part}" if path else part, child) for part, child in node.children.items())
    return leaves


_Builder: TypeAlias = Callable[[Mapping[str, Canonical]], Row]


def _structure(
    node: _Node, prefix: str, attributes: tuple[str, ...], paths: dict[str, str]
) -> tuple[_Builder, Row, type[msgspec.Struct]]:
    """The structure of one level: a function that builds it from values by path, its empty instance, and its type.

    Fills `paths` with the attribute path of every leaf.
    """
    declared: list[tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    parts: list[tuple[str, str, _Builder | None]] = []
    for number, (key, child) in enumerate(node.children.items()):
        attribute = f"f{number}"
        rename[attribute] = key if _nameable(key) else f"\x80{attribute}"
        path = f"{prefix}.{key}" if prefix else key
        if child.children:
            build, empty, kind = _structure(child, path, (*attributes, attribute), paths)
            declared.append((attribute, kind | tuple[kind, ...] | None, empty))  # type: ignore[valid-type]
            parts.append((attribute, path, build))
            if child.leaf is not None:  # a value where other documents have an object: never on the fast path
                rename[f"v{number}"] = f"\x80value{number}"
                declared.append((f"v{number}", _NEVER, child.leaf.constant))
                paths[path] = ".".join((*attributes, f"v{number}"))
                parts.append((f"v{number}", path, None))
        else:
            assert child.leaf is not None
            declared.append((attribute, _leaf_type(child.leaf), child.leaf.constant))
            paths[path] = ".".join((*attributes, attribute))
            parts.append((attribute, path, None))
    for number, spelling in enumerate(sorted(filter(_nameable, _dotted(node)))):
        rename[f"d{number}"] = spelling
        declared.append((f"d{number}", _NEVER, ""))
    if not prefix and "_source" not in node.children:
        # A line with `_source` is a hit, and must not be taken for a document without any of the fields.
        rename["source"] = "_source"
        declared.append(("source", _NEVER, ""))
    kind = msgspec.defstruct("Level", declared, rename=rename, frozen=True, gc=False)

    def build_level(values: Mapping[str, Canonical]) -> Row:
        given: dict[str, Any] = {}
        for attribute, path, build in parts:
            if build is not None:
                given[attribute] = build(values)
            elif path in values:
                given[attribute] = values[path]
        return kind(**given)

    return build_level, kind(), kind


def _nameable(key: str) -> bool:
    """Whether a generated structure can have a field of that name."""
    return not any(char in '\\"' or char < " " for char in key)


def _dotted(node: _Node) -> set[str]:
    """Every key with a dot in it that could stand at this level for one of the fields below it."""
    spellings: set[str] = set()
    stack = [(key, child) for key, child in node.children.items()]
    while stack:
        path, child = stack.pop()
        for key, grandchild in child.children.items():
            spellings.add(f"{path}.{key}")
            stack.append((f"{path}.{key}", grandchild))
    return spellings - node.children.keys()


def _leaf_type(wanted: Field) -> Any:
    """The JSON types that need no conversion for a field of this type; everything else takes the slow path."""
    scalar: Any
    if wanted.constant is not None:
        return Literal[wanted.constant] if isinstance(wanted.constant, str) else _NEVER
    if wanted.type in _STRINGS:
        scalar = str
        if wanted.ignore_above is not None:
            # Half of it, as it counts UTF-16 units: what may be longer is counted on the slow path.
            scalar = Annotated[str, msgspec.Meta(max_length=max(0, wanted.ignore_above // 2))]
    elif wanted.type in _RANGES:
        low, high = _RANGES[wanted.type]
        scalar = Annotated[int, msgspec.Meta(ge=low, le=high)]
    elif wanted.type is DataType.UNSIGNED_LONG:
        scalar = int
    elif wanted.type in (DataType.DOUBLE, DataType.HALF_FLOAT, DataType.FLOAT, DataType.SCALED_FLOAT):
        scalar = float
    elif wanted.type is DataType.BOOLEAN:
        scalar = bool
    elif wanted.type is DataType.NULL:
        # A field that no mapping names: each value keeps the type that it has in JSON.
        return str | int | float | bool | tuple[str | int | float | bool, ...] | None
    elif wanted.type in (DataType.DATE, DataType.DATE_NANOS):
        return (
            str | int | tuple[str | int, ...] | None if wanted.null_value is None else str | int | tuple[str | int, ...]
        )
    else:
        return _NEVER | None  # nothing of these types can be asked for
    if wanted.null_value is not None:
        return scalar | tuple[scalar, ...]
    return scalar | tuple[scalar, ...] | None
