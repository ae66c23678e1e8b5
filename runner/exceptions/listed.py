"""`ListedExceptions`: the exceptions of lists that rules refer to, read elsewhere than in files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.errors import Problem
from runner.exceptions.item import ExceptionItem, FilePlace, ValueList
from runner.exceptions.kibana_form import AGENT_LISTS, ITEM_KEYS, ListKey, read_lines
from runner.exceptions.tables import Findings, Part
from runner.exceptions.value_lists import ValueLists
from runner.rules.rule import Rule
from runner.rules.toml_positions import KeyPath


@dataclass(frozen=True, slots=True)
class ListedExceptions:
    """The sound items of the lists that could be read, what is wrong with the others, and which lists are not known."""

    items: tuple[ExceptionItem, ...] = ()
    problems: tuple[Problem, ...] = ()
    unread: Mapping[ListKey, str] = field(default_factory=dict)
    """The lists that were never read, each with the reason."""
    absent: Mapping[ListKey, str] = field(default_factory=dict)
    """The lists that do not exist, with a text about each; their items may stand in files."""


class FetchedValues(ValueLists):
    """Value lists that are no files, by their ids."""

    def __init__(self, lists: Mapping[str, ValueList]) -> None:
        super().__init__()
        self._fetched = lists

    def by_id(self, list_id: str) -> ValueList:
        """The list of an id. Raises ValueError for one that is not there."""
        if (found := self._fetched.get(list_id)) is None:
            raise ValueError(f"there is no value list `{list_id}` in Kibana")
        return found


def list_users(rules: Iterable[Rule]) -> dict[ListKey, list[Rule]]:
    """The lists that rules refer to, each with these rules; those that concern agents alone are left out."""
    found: dict[ListKey, list[Rule]] = {}
    for rule in rules:
        for one in rule.exceptions_list:
            if one.type not in AGENT_LISTS and not one.list_id.startswith(AGENT_LISTS):
                found.setdefault((one.list_id, one.namespace_type), []).append(rule)
    return found


def value_lists_of(items: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The ids of the value lists that items refer to."""
    return frozenset(id_ for item in items for id_ in _value_lists_of(item))


def _value_lists_of(item: Mapping[str, Any]) -> Iterator[str]:
    entries = item.get("entries")
    for entry in entries if isinstance(entries, list) else ():
        reference = entry.get("list") if isinstance(entry, Mapping) else None
        if isinstance(reference, Mapping) and isinstance(reference.get("id"), str):
            yield reference["id"]


def read_listed(
    lists: Mapping[ListKey, Sequence[Mapping[str, Any]]], values: ValueLists
) -> tuple[tuple[ExceptionItem, ...], tuple[Problem, ...]]:
    """The sound items of lists as Kibana's API gives them, and the problems of the others.

    Of what it adds to items nothing that is unknown is told: nobody has written it by hand.
    """
    numbered = list(enumerate((key, item) for key, found in lists.items() for item in found))

    def locate(path: KeyPath, part: Part) -> FilePlace:
        number = path[0] if path and isinstance(path[0], int) else 0
        (list_id, _), item = numbered[number][1]
        return FilePlace(Path(f"Kibana list {list_id}, item {item.get('item_id') or item.get('name')}"))

    findings = Findings(locate)
    documents = (
        (number, {"type": "simple"} | {name: value for name, value in item.items() if name in ITEM_KEYS} | _named(key))
        for number, (key, item) in numbered
    )
    items, _ = read_lines(documents, findings, values)
    return tuple(items), tuple(dict.fromkeys(findings.problems))


def _named(key: ListKey) -> dict[str, Any]:
    return {"list_id": key[0], "namespace_type": key[1]}
