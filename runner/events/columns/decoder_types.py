"""Structures for `msgspec`: types generated for the wanted fields, so that the rest of a line is skipped in C.

Every dotted spelling of a field is declared with a type that no value has, so a line with one fails to decode. None of
them can be left out: an event that has it would be taken for one without a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from runner.events.fields.schema import DATES, DECIMALS, INTEGERS, STRINGS, WHOLE_RANGES, DataType, Field
from runner.events.fields.values import Canonical


class Never:
    """What a dotted spelling is declared as: no value of a document is one, so it always fails."""


_UNNAMEABLE = re.compile(r'[\x00-\x1f"\\]')

_READ_AS_TEXT = STRINGS | {DataType.IP, DataType.VERSION, DataType.FLATTENED, DataType.BINARY}


@dataclass(slots=True)
class DecoderNode:
    """One level of the wanted fields while the structures are generated."""

    leaf: Field | None = None
    children: dict[str, DecoderNode] = field(default_factory=dict)


def plant(root: DecoderNode, wanted: Field) -> None:
    """Take a field into the tree of wanted fields."""
    node = root
    for part in wanted.source_path.split("."):
        node = node.children.setdefault(part, DecoderNode())
    node.leaf = wanted if node.leaf is None else _common(node.leaf, wanted)


_PLAIN_TEXTS = {DataType.KEYWORD, DataType.WILDCARD, DataType.TEXT}


def reading(wanted: Field) -> tuple[object, ...]:
    """What decides how a value is read: equal for fields that have the same values of one place in a document."""
    kind = DataType.KEYWORD if wanted.type in _PLAIN_TEXTS else wanted.type
    return kind, wanted.formats, wanted.null_value, wanted.ignore_above, wanted.scaling_factor, wanted.constant


def _common(one: Field, other: Field) -> Field:
    """How a value is decoded that several fields read, such as a field and its multi-fields: as much as any of them
    needs."""
    if reading(one) == reading(other):
        return one
    if {one.type, other.type} <= _PLAIN_TEXTS and one.null_value == other.null_value:
        return Field(one.source_path, DataType.KEYWORD, null_value=one.null_value)
    return Field(one.source_path, DataType.NULL)


def leaves_of(root: DecoderNode) -> dict[str, Field]:
    """The fields of the tree by their full path."""
    leaves: dict[str, Field] = {}
    stack = [("", root)]
    while stack:
        path, node = stack.pop()
        if node.leaf is not None:
            leaves[path] = node.leaf
        stack.extend((f"{path}.{part}" if path else part, child) for part, child in node.children.items())
    return leaves


Builder: TypeAlias = Callable[[Mapping[str, Canonical]], Any]


def structure(
    node: DecoderNode,
    paths: dict[str, str],
    familiar: Mapping[str, Collection[str]],
    *,
    prefix: str = "",
    attributes: tuple[str, ...] = (),
) -> tuple[Builder, Any, type[msgspec.Struct]]:
    """The structure of one level: a function that builds it from values by path, its empty instance, and its type.

    Fills `paths` with the attribute path of every leaf. Leaves with `familiar` texts, by path, have no others: such a
    text is not made anew for every line. `msgspec` looks for a key from where it found the last one on,
    so the keys stand in the order of the alphabet, as they do in most documents, and the dotted spellings at the end.
    """
    declared: list[tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    parts: list[tuple[str, str, Builder | None]] = []
    for number, (key, child) in enumerate(sorted(node.children.items())):
        attribute = f"f{number}"
        rename[attribute] = key if is_nameable(key) else f"\x80{attribute}"
        path = f"{prefix}.{key}" if prefix else key
        if child.children:
            build, empty, kind = structure(child, paths, familiar, prefix=path, attributes=(*attributes, attribute))
            # Of a flattened field and a key of it the whole object is wanted: not on the fast path either.
            is_whole = child.leaf is not None and child.leaf.type is DataType.FLATTENED
            written = Never | None if is_whole else kind | tuple[kind, ...] | None  # type: ignore[valid-type]
            declared.append((attribute, written, empty))
            parts.append((attribute, path, build))
            if child.leaf is not None:  # a value where other documents have an object: never on the fast path
                rename[f"v{number}"] = f"\x80value{number}"
                declared.append((f"v{number}", Never, child.leaf.constant))
                paths[path] = ".".join((*attributes, f"v{number}"))
                parts.append((f"v{number}", path, None))
        else:
            assert child.leaf is not None
            declared.append((attribute, _leaf_type(child.leaf, familiar.get(path, ())), child.leaf.constant))
            paths[path] = ".".join((*attributes, attribute))
            parts.append((attribute, path, None))
    for number, spelling in enumerate(sorted(set(filter(is_nameable, _dotted(node))))):
        rename[f"d{number}"] = spelling
        declared.append((f"d{number}", Never, ""))
    if not prefix and "_source" not in node.children:
        # A line with `_source` is a hit, and must not be taken for a document without any of the fields.
        rename["source"] = "_source"
        declared.append(("source", bool, False))
    kind = msgspec.defstruct("Level", declared, rename=rename, frozen=True, gc=False)

    def build_level(values: Mapping[str, Canonical]) -> Any:
        given: dict[str, Any] = {}
        for attribute, path, build in parts:
            if build is not None:
                given[attribute] = build(values)
            elif path in values:
                given[attribute] = values[path]
        return kind(**given)

    return build_level, kind(), kind


def is_nameable(key: str) -> bool:
    """Whether a generated structure can have a field of that name."""
    return _UNNAMEABLE.search(key) is None


def _dotted(node: DecoderNode) -> Iterator[str]:
    """Every key with a dot in it that could stand at this level for one of the fields below it."""
    stack = list(node.children.items())
    while stack:
        path, child = stack.pop()
        below = [(f"{path}.{key}", grandchild) for key, grandchild in child.children.items()]
        yield from (spelling for spelling, _ in below)
        stack += below


def is_text(wanted: Field) -> bool:
    """Whether the values of a field are texts, read as they are."""
    return wanted.type in _READ_AS_TEXT and wanted.constant is None


def _leaf_type(wanted: Field, familiar: Collection[str]) -> Any:
    """The JSON types that need no conversion for a field of this type; everything else takes the slow path."""
    scalar: Any
    if wanted.constant is not None:
        return Literal[wanted.constant] if isinstance(wanted.constant, str) else Never
    if wanted.type in _READ_AS_TEXT:
        scalar = str
        if familiar:
            scalar = Literal[tuple(sorted(familiar))]
        elif wanted.ignore_above is not None:
            # Half of it, as it counts UTF-16 units: what may be longer is counted on the slow path.
            scalar = Annotated[str, msgspec.Meta(max_length=max(0, wanted.ignore_above // 2))]
    elif wanted.type is DataType.UNSIGNED_LONG:
        scalar = int
    elif wanted.type in INTEGERS:
        low, high = WHOLE_RANGES[wanted.type]
        scalar = Annotated[int, msgspec.Meta(ge=low, le=high)]
    elif wanted.type in DECIMALS:
        scalar = float
    elif wanted.type is DataType.BOOLEAN:
        scalar = bool
    elif wanted.type is DataType.NULL:
        # A field that no mapping names: each value keeps the type that it has in JSON.
        return str | int | float | bool | tuple[str | int | float | bool, ...] | None
    elif wanted.type in DATES:
        return (
            str | int | tuple[str | int, ...] | None if wanted.null_value is None else str | int | tuple[str | int, ...]
        )
    elif wanted.type is DataType.NESTED:
        return msgspec.Raw  # the objects as they are written; a condition on them decodes what it needs
    else:
        return Never | None  # nothing of these types can be asked for
    if wanted.null_value is not None:
        return scalar | tuple[scalar, ...]
    return scalar | tuple[scalar, ...] | None
