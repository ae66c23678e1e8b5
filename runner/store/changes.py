"""Changes of stored alerts: new values of single fields, on condition if wanted; everything else stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.alerts.event_fields import value_at
from runner.events.documents import remove_path

_CHANGEABLE = "kibana.alert."


@dataclass(frozen=True, slots=True)
class AlertChange:
    """New values of fields of one alert, by their full dotted names; applied twice it changes nothing more."""

    id: str
    """The whole id, not its beginning."""
    fields: Mapping[str, Any]
    """Names below `kibana.alert` with the values they get: scalars, lists, or None for a field that is to have none.
    A value that is an object is refused, since a cluster would merge it with the one before."""
    expected: Mapping[str, Any] = field(default_factory=dict)
    """Values that the alert must have for anything to be changed, None for no value; by the same kind of names."""
    with_blocks: bool = False
    """Whether the building blocks of a sequence get the same values when this, their shell, has them. What is expected
    is asked of the shell alone."""

    def __post_init__(self) -> None:
        for name in (*self.fields, *self.expected):
            if not name.startswith(_CHANGEABLE):
                raise ValueError(f"{name} cannot be changed: it is no field below kibana.alert")
        for name, value in self.fields.items():
            if isinstance(value, Mapping):
                raise ValueError(f"{name} cannot be changed to an object; expected a scalar, a list or None")


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """What became of changes, by the id of the alert; building blocks that went with their shell are not named."""

    changed: frozenset[str] = frozenset()
    unchanged: frozenset[str] = frozenset()
    """Alerts that had the values already."""
    conflicts: frozenset[str] = frozenset()
    """Alerts that have other values than expected, perhaps since another writer was faster; read them again."""
    missing: frozenset[str] = frozenset()
    rejected: Mapping[str, str] = field(default_factory=dict)
    """Alerts, or building blocks, that could not be changed for a reason of their own, each with the reason."""


class Tally:
    """The ids of an update as they are sorted by what became of them."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.unchanged: set[str] = set()
        self.conflicts: set[str] = set()
        self.missing: set[str] = set()
        self.rejected: dict[str, str] = {}

    def result(self) -> UpdateResult:
        """The result; an id with several changes counts as changed if one of them changed it."""
        return UpdateResult(
            frozenset(self.changed),
            frozenset(self.unchanged - self.changed),
            frozenset(self.conflicts),
            frozenset(self.missing),
            self.rejected,
        )


def rounds(changes: Sequence[AlertChange]) -> Iterator[list[AlertChange]]:
    """The changes in parts that have one change an alert, so that several of one alert come one after another."""
    left = list(changes)
    while left:
        first: dict[str, AlertChange] = {}
        later = [change for change in left if first.setdefault(change.id, change) is not change]
        yield list(first.values())
        left = later


def is_as_expected(document: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Whether the document has all of these values."""
    return all(value_at(document, name) == value for name, value in expected.items())


def set_fields(document: dict[str, Any], fields: Mapping[str, Any]) -> bool:
    """Set the values in the document, in whatever spelling it has the names; whether that changed anything."""
    differing = {name: value for name, value in fields.items() if value_at(document, name) != value}
    for name, value in differing.items():
        if value is None or name not in document:
            remove_path(document, name)
        if value is not None:
            document[name] = value
    return bool(differing)


def partial_document(document: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The part to merge into the document to set these values, each in the spelling that the document has it in.

    >>> partial_document({"a": {"b.c": 1}}, {"a.b.c": 2, "d.e": 3})
    {'a': {'b.c': 2}, 'd.e': 3}
    """
    part: dict[str, Any] = {}
    for name, value in fields.items():
        _merge(part, _placed(document, name, value))
    return part


def block_changes(changes: Iterable[AlertChange], ids: Iterable[tuple[str, str]]) -> list[AlertChange]:
    """The changes of the building blocks (group id, id) that go with those of their shells."""
    by_group = {change.id: change.fields for change in changes}
    return [AlertChange(id_, by_group[group]) for group, id_ in ids if group in by_group]


def _placed(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    if path not in document:
        for place in (place for place, character in enumerate(path) if character == "."):
            inner, rest = document.get(path[:place]), path[place + 1 :]
            if isinstance(inner, Mapping) and value_at(inner, rest) is not None:
                return {path[:place]: _placed(inner, rest, value)}
    return {path: value}


def _merge(into: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value
