"""Field types, read from a mapping, the cluster's field capabilities, the shipped table or the events themselves."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from importlib import resources
from sys import intern
from typing import Any

from runner.dates.dates import DEFAULT_FORMATS, formats_of


class DataType(Enum):
    """The field types of Elasticsearch that EQL can use; the value is the mapping's name of the type."""

    KEYWORD = "keyword"
    CONSTANT_KEYWORD = "constant_keyword"
    WILDCARD = "wildcard"
    TEXT = "text"
    BYTE = "byte"
    SHORT = "short"
    INTEGER = "integer"
    LONG = "long"
    UNSIGNED_LONG = "unsigned_long"
    HALF_FLOAT = "half_float"
    FLOAT = "float"
    DOUBLE = "double"
    SCALED_FLOAT = "scaled_float"
    BOOLEAN = "boolean"
    DATE = "date"
    DATE_NANOS = "date_nanos"
    IP = "ip"
    VERSION = "version"
    BINARY = "binary"
    FLATTENED = "flattened"
    NESTED = "nested"
    OBJECT = "object"
    UNSUPPORTED = "unsupported"
    NULL = "null"

    __hash__ = object.__hash__  # that of an Enum is a call of Python code, for every `in` of a set


KEYWORDS = frozenset({DataType.KEYWORD, DataType.CONSTANT_KEYWORD, DataType.WILDCARD})
STRINGS = KEYWORDS | {DataType.TEXT}
WHOLE_RANGES = {
    DataType.BYTE: (-(2**7), 2**7 - 1),
    DataType.SHORT: (-(2**15), 2**15 - 1),
    DataType.INTEGER: (-(2**31), 2**31 - 1),
    DataType.LONG: (-(2**63), 2**63 - 1),
    DataType.UNSIGNED_LONG: (0, 2**64 - 1),
}
"""The least and the greatest value of the types of whole numbers."""
INTEGERS = frozenset(WHOLE_RANGES)
DECIMALS = frozenset({DataType.HALF_FLOAT, DataType.FLOAT, DataType.DOUBLE, DataType.SCALED_FLOAT})
NUMBERS = INTEGERS | DECIMALS
DATES = frozenset({DataType.DATE, DataType.DATE_NANOS})


@dataclass(frozen=True, slots=True)
class Field:
    """One field as a query sees it."""

    name: str
    """The full dotted name, as a query writes it."""
    type: DataType
    path: str = ""
    """Where its value stands in `_source`: the target of an alias, the parent of a multi-field; the name if empty."""
    copied: tuple[str, ...] = ()
    """More paths whose values it has: those of several fields with the same `copy_to`."""
    exact: str | None = None
    """For text: the name of the one keyword sub-field that exact operations use; None if there is none."""
    formats: tuple[str, ...] = ()
    """For dates: the mapping's formats in order; empty means `strict_date_optional_time||epoch_millis`."""
    null_value: object = None
    ignore_above: int | None = None
    normalized: bool = False
    scaling_factor: float | None = None
    constant: object = None
    """For constant_keyword: the value that every document of the index has."""
    original_type: str = ""
    """The mapping's own name of the type where `type` is UNSUPPORTED, such as `geo_point`; see `ambiguous`."""

    @property
    def source_path(self) -> str:
        return self.path or self.name

    @property
    def ambiguous(self) -> bool:
        """True if indices map the name differently; `original_type` is "mapped as [2] incompatible types: ..." then."""
        return self.original_type.startswith(_AMBIGUOUS)


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields that queries may use, by full dotted name."""

    fields: Mapping[str, Field] = field(default_factory=dict)
    lenient: bool = False
    """True: an unknown field is a warning, and each event's values keep their own types (rules over files); False: an
    error."""
    absent: frozenset[str] = frozenset()
    """For a lenient schema: names that no event has either, so that `?name` is null."""

    def find(self, name: str) -> Field | None:
        """The field of that name, or None where the schema has none. A key of a flattened field is one, too, which
        no query can use."""
        found = self.fields.get(name)
        if found is not None:
            return found
        end = name.rfind(".")
        while end > 0:
            parent = self.fields.get(name[:end])
            if parent is not None:
                if parent.type is not DataType.FLATTENED:
                    return None
                return Field(name, DataType.FLATTENED, path=f"{parent.source_path}{name[end:]}")
            end = name.rfind(".", 0, end)
        return None


_AMBIGUOUS = "mapped as ["
_TYPES = {kind.value: kind for kind in DataType if kind not in (DataType.UNSUPPORTED, DataType.NULL)} | {
    "match_only_text": DataType.TEXT,
    "annotated_text": DataType.TEXT,
    "pattern_text": DataType.TEXT,
    "passthrough": DataType.OBJECT,
}
_CONTAINERS = frozenset({DataType.OBJECT, DataType.NESTED})


class _ShippedFields(Mapping[str, Field]):
    """The shipped table. It holds type names; a `Field` is made at its first lookup, because few ever are looked up.

    A name that ends in `.*` is that of an object whose keys are not known beforehand: it is found under any name below.
    """

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._made: dict[str, Field] = {}
        self._open: tuple[str, ...] | None = None

    def __getitem__(self, name: str) -> Field:
        made = self._made.get(name)
        if made is None:
            written = self._types.get(name) or self._of_open_object(name)
            if not written:
                raise KeyError(name)
            made = self._made[name] = self._make(name, written)
        return made

    def get(self, name: str, default: Any = None) -> Any:
        """The same without an exception: most lookups are of parents, which the table does not have."""
        written = self._types.get(name) or self._of_open_object(name)
        return self[name] if written else default

    def __contains__(self, name: object) -> bool:
        return name in self._types or (isinstance(name, str) and self._of_open_object(name) != "")

    def _of_open_object(self, name: str) -> str:
        """The type of what lies below an object of unknown keys; "" for any other name, and for objects around names
        that the table has."""
        if self._open is None:
            self._open = tuple(known[:-1] for known in self._types if known.endswith(".*"))
        if not name.startswith(self._open):
            return ""
        above = max((prefix for prefix in self._open if name.startswith(prefix)), key=len)
        return self._types[f"{above}*"] if name != above else ""

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def _make(self, name: str, written: str) -> Field:
        kind = _TYPES.get(written)
        if kind is None:
            return Field(name, DataType.UNSUPPORTED, original_type=written)
        parent = name.rpartition(".")[0]
        is_multi_field = self._types.get(parent, "object") not in ("object", "nested", "flattened")
        exact = f"{name}.keyword" if kind is DataType.TEXT and f"{name}.keyword" in self._types else None
        factor = _SHIPPED_SCALING_FACTOR if kind is DataType.SCALED_FLOAT else None
        return Field(name, kind, path=parent if is_multi_field else "", exact=exact, scaling_factor=factor)


_SHIPPED_SCALING_FACTOR = 1000.0
"""That of every scaled float in ECS."""


@cache
def shipped_schema() -> Schema:
    """The fields of ECS and of Elastic Defend's events.

    >>> shipped_schema().find("process.command_line").type
    <DataType.WILDCARD: 'wildcard'>
    """
    types: dict[str, str] = {}
    parents: list[str] = [""]
    last, depth, written = "", 0, ""
    with resources.files(__package__).joinpath("field_types.txt").open(encoding="utf-8") as table:
        for line in table:  # a tree: one tab for each level, a leaf without a type is a keyword
            entry = line.lstrip("\t")
            level = len(line) - len(entry)
            if level > depth:
                if not written:
                    del types[last]
                parents.append(f"{last}.")
            segment, _, written = entry.rstrip("\n").partition(" ")
            del parents[level + 1 :]
            last, depth = parents[level] + segment, level
            types[last] = intern(written or "keyword")
    return Schema(_ShippedFields(types))


def schema_from_mapping(mapping: Mapping[str, Any]) -> Schema:
    """The fields of a mapping: `{"properties": ...}`, `{"mappings": ...}`, or the answer of `GET index/_mapping`.

    Several indices give the union of their fields; a name with types that do not go together is UNSUPPORTED and
    `ambiguous`. Raises ValueError for anything that is no mapping.

    >>> schema_from_mapping({"properties": {"pid": {"type": "long"}}}).find("pid").type
    <DataType.LONG: 'long'>
    """
    indices = _indices(mapping)
    by_name: dict[str, dict[str, Field]] = {}
    for index, body in indices.items():
        for found in _mapped_fields(body).values():
            by_name.setdefault(found.name, {})[index] = found
    return Schema({name: _united(name, found) for name, found in by_name.items()})


def _indices(mapping: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The body of the mapping of each index, the bodies having `properties`; an unnamed mapping is that of ""."""
    if not isinstance(mapping, Mapping):
        raise ValueError(f"a mapping must be a JSON object, found {type(mapping).__name__}")
    if not mapping or any(isinstance(mapping.get(key), Mapping) for key in ("properties", "runtime")):
        return {"": mapping}
    if isinstance(mapping.get("mappings"), Mapping):
        return {"": mapping["mappings"]}
    bodies = {}
    for index, body in mapping.items():
        inner = body.get("mappings", body) if isinstance(body, Mapping) else None
        if not isinstance(inner, Mapping) or (inner and "properties" not in inner and inner is body):
            raise ValueError(f"not a mapping: expected [properties] or [mappings], found [{index}]")
        bodies[index] = inner
    return bodies


def _mapped_fields(body: Mapping[str, Any]) -> dict[str, Field]:
    """The fields of one index by name."""
    found: dict[str, Field] = {}
    aliases: dict[str, str] = {}
    copied: dict[str, list[str]] = {}
    stack = [("", _properties_of(body, ""))]
    while stack:
        prefix, properties = stack.pop()
        for name, definition in properties.items():
            full = prefix + name
            if not isinstance(definition, Mapping):
                raise ValueError(f"not a mapping: field [{full}] must be an object, found [{definition}]")
            written = definition.get("type", "object")
            if written == "alias":
                aliases[full] = str(definition.get("path", ""))
                continue
            found[full] = _mapped_field(full, str(written), definition)
            if found[full].type in _CONTAINERS and definition.get("enabled") not in (False, "false"):
                stack.append((f"{full}.", _properties_of(definition, full)))
            found.update(_multi_fields(found[full], definition))
            targets = definition.get("copy_to") or ()
            for target in (targets,) if isinstance(targets, str) else targets:
                copied.setdefault(target, []).append(full)
    _read_from_sources(found, copied)
    for name, definition in (body.get("runtime") or {}).items():
        found[name] = _runtime_field(name, definition)
    for name, target in aliases.items():
        if (known := found.get(target)) is not None:
            found[name] = replace(known, name=name, path=known.source_path)
        else:
            found[name] = Field(name, DataType.UNSUPPORTED, original_type=f"alias to unknown field {target}")
    return found


def _read_from_sources(found: dict[str, Field], copied: Mapping[str, Sequence[str]]) -> None:
    """Have each target of a `copy_to`, and its multi-fields, read the field that is copied: `_source` has no copy.

    A target of several fields has their values beside its own, in the order of the mapping.
    """
    for target, sources in copied.items():
        if target not in found:
            continue
        path = found[target].source_path
        for name, one in found.items():
            if one.source_path == path:
                change: dict[str, Any] = {"path": sources[0]} if len(sources) == 1 else {"copied": tuple(sources)}
                found[name] = replace(one, **change)


def _properties_of(definition: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    properties = definition.get("properties") or {}
    if not isinstance(properties, Mapping):
        raise ValueError(f"not a mapping: [properties] of [{name}] must be an object")
    return properties


def _mapped_field(name: str, written: str, definition: Mapping[str, Any], path: str = "") -> Field:
    kind = _TYPES.get(written)
    if kind is None:
        return Field(name, DataType.UNSUPPORTED, path=path, original_type=written)
    ignore_above = definition.get("ignore_above")
    factor = definition.get("scaling_factor")
    sub_fields = definition.get("fields") or {}
    exact = [sub for sub, inner in sub_fields.items() if inner.get("type") == "keyword" and not inner.get("normalizer")]
    return Field(
        name,
        kind,
        path=path,
        exact=f"{name}.{exact[0]}" if kind is DataType.TEXT and len(exact) == 1 else None,
        formats=formats_of(definition.get("format")) if kind in DATES else (),
        null_value=definition.get("null_value"),
        ignore_above=int(ignore_above) if ignore_above is not None else None,
        normalized=kind is DataType.KEYWORD and definition.get("normalizer") is not None,
        scaling_factor=float(factor) if factor is not None else None,
        constant=definition.get("value") if kind is DataType.CONSTANT_KEYWORD else None,
    )


def _multi_fields(parent: Field, definition: Mapping[str, Any]) -> dict[str, Field]:
    """The fields in `fields`, which read the parent's value in their own way."""
    found = {}
    for name, inner in (definition.get("fields") or {}).items():
        full = f"{parent.name}.{name}"
        found[full] = _mapped_field(full, str(inner.get("type", "keyword")), inner, path=parent.source_path)
    return found


def _runtime_field(name: str, definition: Mapping[str, Any]) -> Field:
    """A runtime field that shows `_source`. One that a script computes cannot be answered here."""
    written = str(definition.get("type", ""))
    kind = _TYPES.get(written)
    if kind is None or "script" in definition:
        return Field(name, DataType.UNSUPPORTED, original_type=f"{written} runtime field with a script")
    return Field(name, kind, formats=formats_of(definition.get("format")))


def _united(name: str, by_index: Mapping[str, Field]) -> Field:
    """One field for what several indices have under a name."""
    fields = list(by_index.values())
    first = fields[0]
    if all(other == first for other in fields[1:]):
        return first
    kinds = {found.type for found in fields}
    if (len(kinds) > 1 and not kinds <= KEYWORDS) or len({found.original_type for found in fields}) > 1:
        indices: dict[str, list[str]] = {}
        for index, found in by_index.items():
            indices.setdefault(found.original_type or found.type.value, []).append(index)
        return _ambiguous(name, indices)
    formats = tuple(dict.fromkeys(written for found in fields for written in (found.formats or DEFAULT_FORMATS)))
    one_constant = all(found.constant == first.constant for found in fields)
    return replace(
        first,
        type=first.type if len(kinds) == 1 and one_constant else DataType.KEYWORD,
        exact=first.exact if all(found.exact == first.exact for found in fields) else None,
        formats=formats_of(formats) if any(found.formats for found in fields) else (),
        constant=first.constant if one_constant else None,
        normalized=any(found.normalized for found in fields),
    )


def _ambiguous(name: str, indices: Mapping[str, list[str]]) -> Field:
    kinds = ", ".join(f"[{kind}] in {sorted(names)}".replace("'", "") for kind, names in sorted(indices.items()))
    return Field(name, DataType.UNSUPPORTED, original_type=f"{_AMBIGUOUS}{len(indices)}] incompatible types: {kinds}")


def schema_from_field_caps(answer: Mapping[str, Any]) -> Schema:
    """The fields of an answer of `_field_caps?fields=*`, which names families of types: a wildcard is a keyword there.

    A field below one that is no object is a multi-field of it. Raises ValueError for anything that is no such answer.
    """
    described = answer.get("fields") if isinstance(answer, Mapping) else None
    if not isinstance(described, Mapping):
        raise ValueError("not an answer of _field_caps: expected [fields]")
    types: dict[str, dict[str, list[str]]] = {}
    for name, by_type in described.items():
        kept = {
            written: [str(index) for index in about.get("indices") or answer.get("indices") or []]
            for written, about in by_type.items()
            if written != "unmapped" and not about.get("metadata_field")
        }
        if kept:
            types[name] = kept
    return Schema({name: _field_from_caps(name, types) for name in types})


def _field_from_caps(name: str, types: Mapping[str, dict[str, list[str]]]) -> Field:
    if len(types[name]) > 1:
        return _ambiguous(name, types[name])
    (written,) = types[name]
    parent = name.rpartition(".")[0]
    is_multi_field = parent in types and not types[parent].keys() & {"object", "nested", "flattened", "passthrough"}
    found = _mapped_field(name, written, {}, path=parent if is_multi_field else "")
    if found.type is not DataType.TEXT:
        return found
    exact = [other for other in types if other.rpartition(".")[0] == name and "keyword" in types[other]]
    return replace(found, exact=exact[0] if len(exact) == 1 else None)


def with_inferred(
    schema: Schema, events: Iterable[Mapping[str, Any]], *, dates: Collection[str] = ("@timestamp",)
) -> Schema:
    """The schema with the fields that only the events have, typed by their values; `dates` are read as dates.

    A string is a keyword, a whole number a long, another a double; mixed numbers are a double, any other mix a keyword.
    """
    found: dict[str, DataType] = {}
    known: dict[str, bool] = {}
    for event in events:
        stack: list[tuple[str, Any]] = [(str(name), value) for name, value in event.items()]
        while stack:
            name, value = stack.pop()
            if isinstance(value, Mapping):
                if name not in known:
                    known[name] = _is_closed(schema, name)
                if not known[name]:
                    stack.extend((f"{name}.{key}", inner) for key, inner in value.items())
            elif isinstance(value, (list, tuple)):
                stack.extend((name, item) for item in value)
            elif value is not None:
                kind = _dynamic_type(value)
                before = found.get(name)
                if before is not kind:
                    found[name] = kind if before is None else _wider(before, kind)
    new = {name: DataType.DATE if name in dates else kind for name, kind in found.items() if schema.find(name) is None}
    added = {name: Field(name, kind) for name, kind in new.items()}
    return replace(schema, fields=ChainMap(added, schema.fields)) if added else schema  # type: ignore[arg-type]


def _is_closed(schema: Schema, name: str) -> bool:
    """True if what is below the name cannot be fields of its own."""
    found = schema.fields.get(name)
    return found is not None and found.type not in _CONTAINERS


_NUMBERS = frozenset({DataType.LONG, DataType.UNSIGNED_LONG, DataType.DOUBLE})


def _dynamic_type(value: object) -> DataType:
    if isinstance(value, bool):
        return DataType.BOOLEAN
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return DataType.LONG
        return DataType.UNSIGNED_LONG if 0 <= value < 2**64 else DataType.DOUBLE
    return DataType.DOUBLE if isinstance(value, float) else DataType.KEYWORD


def _wider(one: DataType, other: DataType) -> DataType:
    return DataType.DOUBLE if {one, other} <= _NUMBERS else DataType.KEYWORD
