"""The part of an alert that comes from its event: merged with the `fields` block, cleaned, `event.*` kept aside.

The steps are those of Kibana's detection engine (strategy `missingFields`, then its traversal of the document).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from runner.dates.dates import read_date
from runner.events.documents import remove_path
from runner.events.fields.schema import DATES, DECIMALS, INTEGERS, DataType, Schema
from runner.events.fields.values import as_indexed, read_ip
from runner.search.protocol import Hit

_BANNED: Final = frozenset({"kibana", "rule_runner", "signal", "threshold_result"})
_COPIED: Final = {"event": "kibana.alert.original_event", "data_stream": "kibana.alert.original_data_stream"}
_OBJECTS: Final = frozenset({DataType.OBJECT, DataType.FLATTENED, DataType.NESTED})
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # what JSON writers and Elasticsearch can hold as an integer


@dataclass(frozen=True, slots=True)
class FieldTypes:
    """The types of an event's fields, for finding values that the alert index would refuse."""

    types: Mapping[str, DataType] = field(default_factory=dict)
    parents: frozenset[str] = frozenset()
    """Every name that has fields below it."""

    @classmethod
    def of(cls, schema: Schema) -> FieldTypes:
        """The types of a schema. Fields of a type that EQL does not know, such as `geo_point`, are not judged."""
        types = {name: found.type for name, found in schema.fields.items()}
        judged = {name: type_ for name, type_ in types.items() if type_ is not DataType.UNSUPPORTED}
        parents = {name[:place] for name in types for place in range(len(name)) if name[place] == "."}
        return cls(judged, frozenset(parents))

    def is_object(self, name: str) -> bool:
        """Whether the field holds other fields rather than values."""
        found = self.types.get(name)
        return found in _OBJECTS if found is not None else name in self.parents

    def is_scalar(self, name: str) -> bool:
        """Whether the field is known to hold values, so that nothing can stand below it."""
        found = self.types.get(name)
        return found is not None and found not in _OBJECTS


@dataclass(frozen=True, slots=True)
class EventFields:
    """The fields that an alert has from one event."""

    document: dict[str, Any]
    """The event's own fields in the spelling of its source, without `event.kind`."""
    original: dict[str, Any]
    """`kibana.alert.original_event.*` and `kibana.alert.original_data_stream.*`, flat."""


def event_fields(hit: Hit, types: FieldTypes) -> EventFields:
    """The fields of an alert that come from its event: merged, cleaned, copied; the hit itself is left as it is."""
    document = _clean_object(merge_missing_fields(hit.source, hit.fields), types, path="")
    original: dict[str, Any] = {}
    for path, value in flat_values(document):
        top, dot, rest = path.partition(".")
        if dot and top in _COPIED:
            original[f"{_COPIED[top]}.{rest}"] = value
    remove_path(document, "event.kind")
    return EventFields(document, original)


def value_at(document: Mapping[str, Any], path: str) -> Any:
    """The value of a dotted path in any mix of dotted and nested spelling, or None.

    >>> value_at({"process": {"parent.name": "bash"}}, "process.parent.name")
    'bash'
    """
    value = document.get(path)
    if value is not None:
        return value
    place = path.find(".")
    while place != -1:
        inner = document.get(path[:place])
        if isinstance(inner, Mapping):
            value = value_at(inner, path[place + 1 :])
            if value is not None:
                return value
        place = path.find(".", place + 1)
    return None


def values_at(document: Mapping[str, Any], path: str) -> list[Any]:
    """The values of a path as a list: empty where there is none, one member for a single value."""
    value = value_at(document, path)
    if value is None:
        return []
    return [member for member in value if member is not None] if isinstance(value, list) else [value]


def texts_at(document: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """The single values of a path as texts; objects and lists in a list are left out."""
    return tuple(str(value) for value in values_at(document, path) if not isinstance(value, (Mapping, list)))


def text_at(document: Mapping[str, Any], path: str) -> str:
    """The values of a path as one text, joined with commas; "" where there is none."""
    return ", ".join(texts_at(document, path))


def flat_values(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is not an object, with its full dotted path; lists are values. Empty objects have none."""
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from flat_values(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def merge_missing_fields(source: Mapping[str, Any], fields: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """A copy of `source` with what only the `fields` block has: constant keywords, runtime and alias fields."""
    merged = _copy(source)
    for name in sorted(fields):
        values = fields[name]
        if not isinstance(values, (list, tuple)) or not values or not _is_mergeable(name, fields):
            continue
        if any(isinstance(value, (Mapping, list, tuple)) for value in values):
            continue  # nested objects and geo shapes
        if value_at(merged, name) is None and not _is_blocked(merged, name):
            _put(merged, name, values[0] if len(values) == 1 else list(values))
    return merged


def _is_mergeable(name: str, fields: Mapping[str, Sequence[Any]]) -> bool:
    """No for Elasticsearch's own names (`_ignored`), another alert's, malformed ones, and multi-fields of one there."""
    segments = name.split(".")
    if name.startswith("_") or not all(segments) or segments[0] in _BANNED:
        return False
    return len(segments) == 1 or ".".join(segments[:-1]) not in fields


def _is_blocked(document: Mapping[str, Any], path: str) -> bool:
    """Whether a value or an array stands where an object would have to be."""
    place = path.find(".")
    while place != -1:
        inner = document.get(path[:place])
        if isinstance(inner, Mapping):
            if _is_blocked(inner, path[place + 1 :]):
                return True
        elif inner is not None:
            return True
        place = path.find(".", place + 1)
    return False


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        inner = document.get(parent)
        if not isinstance(inner, dict):
            inner = document[parent] = {}
        document = inner
    document[last] = value


def _copy(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in document.items()}


def _clean_object(document: Mapping[str, Any], types: FieldTypes, *, path: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in document.items():
        if not path and key.partition(".")[0] in _BANNED:
            continue
        clean = _clean(value, types, path=f"{path}.{key}" if path else key, checked=len(path))
        if clean is not _DROPPED:
            kept[as_indexed(key)] = clean
    return kept


_DROPPED: Final = object()


def _clean(value: Any, types: FieldTypes, *, path: str, checked: int) -> Any:
    """The value without what clashes with the known types, or `_DROPPED` if nothing is left.

    `checked` is the length of the path of the object that the value is in.
    """
    if isinstance(value, (list, tuple)):
        members = [_clean(member, types, path=path, checked=checked) for member in value]
        kept = [member for member in members if member is not _DROPPED]
        return kept or _DROPPED
    if not _fits(value, types, path=path, checked=checked):
        return _DROPPED
    if isinstance(value, Mapping):
        return _clean_object(value, types, path=path) or _DROPPED
    return storable(value)


def _fits(value: Any, types: FieldTypes, *, path: str, checked: int) -> bool:
    """Whether a single value may stand at `path`; every name that the table does not have passes."""
    place = path.find(".", checked + 1)
    while place != -1:
        if types.is_scalar(path[:place]):
            return False
        place = path.find(".", place + 1)
    if types.is_object(path):
        return isinstance(value, Mapping)
    if not types.is_scalar(path):
        return True
    return not isinstance(value, Mapping) and (value is None or _fits_type(value, types.types[path]))


def _fits_type(value: Any, type_: DataType) -> bool:
    try:
        if type_ in INTEGERS:
            return not isinstance(value, bool) and float(value) == int(float(value))
        if type_ in DECIMALS:
            return not isinstance(value, bool) and isfinite(float(value))
        if type_ is DataType.IP:
            read_ip(value if isinstance(value, str) else "")
        elif type_ in DATES:
            read_date(value, (), nanos=type_ is DataType.DATE_NANOS)
        elif type_ is DataType.BOOLEAN:
            return isinstance(value, bool) or value in ("true", "false", "")
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def storable(value: Any) -> Any:
    """The value as every JSON writer can write it: numbers out of range as text, lone surrogates as U+FFFD."""
    if isinstance(value, str):
        return as_indexed(value)
    if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        return str(value)
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value
