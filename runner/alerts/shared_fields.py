"""What the documents of a sequence have in common: the source part of its shell alert."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, Final

_NOTHING: Final = object()


def intersection(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The fields that all documents share, folded pairwise from the left; a single document is returned whole.

    As in Kibana from 9.1: equal values stay; of two arrays, or an array and a value, the common members stay as an
    array in the left one's order, even if empty; objects inside arrays never count as equal; an object with
    nothing in common is dropped. Dotted and nested spellings of a field meet; the dotted one stays where all have it.

    >>> intersection([{"host.id": 1, "user": {"name": "a"}}, {"host": {"id": 1}, "user": {"name": "b"}}])
    {'host': {'id': 1}}
    """
    first, *others = documents
    return reduce(_common_fields, others, dict(first))


def _common_fields(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    same_spelling = {key for key in left if "." in key and key in right}
    one, other = _nested(left, same_spelling), _nested(right, same_spelling)
    common: dict[str, Any] = {}
    for key in one:
        if key in other and (value := _common(one[key], other[key])) is not _NOTHING:
            common[key] = value
    return common


def _nested(document: Mapping[str, Any], dotted: set[str]) -> dict[str, Any]:
    """The document with its dotted keys opened into objects, but for those in `dotted`."""
    nested: dict[str, Any] = {}
    for key, value in document.items():
        if key in dotted or "." not in key:
            _add(nested, key, value)
        else:
            first, _, rest = key.partition(".")
            _add(nested, first, {rest: value})
    return nested


def _add(document: dict[str, Any], key: str, value: Any) -> None:
    there = document.get(key, _NOTHING)
    if there is _NOTHING:
        document[key] = value
    elif isinstance(there, Mapping) and isinstance(value, Mapping):
        merged = dict(there)
        for inner, inner_value in value.items():
            _add(merged, inner, inner_value)
        document[key] = merged
    else:  # one field in two spellings has the values of both
        document[key] = [*_members(there), *_members(value)]


def _common(left: Any, right: Any) -> Any:
    if isinstance(left, Mapping) or isinstance(right, Mapping):
        if not (isinstance(left, Mapping) and isinstance(right, Mapping)):
            return _NOTHING
        return _common_fields(left, right) or _NOTHING
    if isinstance(left, list) or isinstance(right, list):
        known = {_key(member) for member in _members(right) if _is_plain(member)}
        common = {_key(member): member for member in _members(left) if _is_plain(member) and _key(member) in known}
        return list(common.values())
    return left if _key(left) == _key(right) else _NOTHING


def _members(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_plain(member: Any) -> bool:
    return not isinstance(member, (Mapping, list))


def _key(value: Any) -> tuple[bool, Any]:
    """For comparing: `True` is not 1, but 1 is 1.0, as in JSON's own language."""
    return isinstance(value, bool), value
