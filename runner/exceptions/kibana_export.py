"""Exceptions as Kibana's lists: the NDJSON of its export, to be imported there.

Items for the same rules are one list. What Kibana's items cannot say is refused, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from itertools import product
from typing import Any

from runner.exceptions.item import ExceptionEntry, ExceptionItem
from runner.windows import iso


@dataclass(frozen=True, slots=True)
class KibanaExport:
    """The lines of an export; what could not be said; and what has to be done beside importing it."""

    lines: tuple[dict[str, Any], ...]
    refused: tuple[tuple[ExceptionItem, str], ...]
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By list id the rules that have to refer to it, by id or name."""
    value_lists: tuple[str, ...] = ()
    """Ids of the value lists that items refer to: they are not part of an export."""


def kibana_export(items: Iterable[ExceptionItem]) -> KibanaExport:
    """The items as lists, items and the line of counts."""
    refused: list[tuple[ExceptionItem, str]] = []
    by_list: dict[str, list[dict[str, Any]]] = {}
    rules: dict[str, tuple[str, ...]] = {}
    names: dict[str, None] = {}
    for item in items:
        try:
            made = list(_items(item, names))
        except ValueError as error:
            refused.append((item, str(error)))
            continue
        list_id = item.lists[0][0] if item.lists else _list_id(item.rules)
        rules.setdefault(list_id, item.rules)
        namespace = item.lists[0][1] if item.lists else "single"
        by_list.setdefault(list_id, []).extend({**one, "list_id": list_id, "namespace_type": namespace} for one in made)
    lines: list[dict[str, Any]] = []
    for list_id, own in by_list.items():
        lines.append(_list(list_id, rules[list_id], own[0]["namespace_type"]))
        lines += own
    count = sum(map(len, by_list.values()))
    lines.append(
        {
            "exported_exception_list_count": len(by_list),
            "exported_exception_list_item_count": count,
            "missing_exception_list_item_count": 0,
            "missing_exception_list_items": [],
            "missing_exception_lists": [],
            "missing_exception_lists_count": 0,
        }
    )
    return KibanaExport(tuple(lines), tuple(refused), rules, tuple(names))


def _list_id(rules: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(sorted(rules)).encode()).hexdigest()
    return f"rule-runner-{digest[:12]}"


def _list(list_id: str, rules: Sequence[str], namespace: str) -> dict[str, Any]:
    return {
        "list_id": list_id,
        "type": "detection",
        "name": f"rule-runner: {', '.join(rules)}"[:120] if rules else list_id,
        "description": f"Exceptions for the rules {', '.join(rules)}" if rules else "Exceptions",
        "namespace_type": namespace,
        "os_types": [],
        "tags": [],
    }


def _items(item: ExceptionItem, value_lists: dict[str, None]) -> Iterator[dict[str, Any]]:
    """The items that together say the same. Raises ValueError, saying what Kibana has no words for."""
    if item.where is not None:
        raise ValueError("`where` is a condition in EQL, which Kibana's exceptions have not")
    if item.scope == "alert":
        raise ValueError('`scope = "alert"`: Kibana leaves out events before the rule sees them')
    if not item.lists and (item.all_rules or item.tags):
        raise ValueError(f"`{'all_rules' if item.all_rules else 'tags'}`: Kibana's lists belong to single rules")
    alternatives = [_alternatives(entry, value_lists) for entry in item.entries]
    for number, chosen in enumerate(product(*alternatives), 1):
        several = f" ({number})" if number > 1 else ""
        made: dict[str, Any] = {
            "item_id": f"{item.id.partition('/')[2] if item.lists else item.id}{several}",
            "type": "simple",
            "name": f"{item.name}{several}",
            "description": item.reason or item.name,
            "os_types": list(item.os),
            "tags": [],
            "comments": [],
            "entries": [entry for part in chosen for entry in part],
        }
        if item.expires is not None:
            made["expire_time"] = iso(item.expires.astimezone(UTC))
        yield made


def _alternatives(entry: ExceptionEntry, value_lists: dict[str, None]) -> list[list[dict[str, Any]]]:
    """Entries one of which has to hold, each as entries that must all hold."""
    if entry.any_case:
        raise ValueError(f"`any_case` on `{entry.field}`: name a sub-field that ignores the case, such as `.caseless`")
    if entry.type == "wildcard" and len(entry.values) > 1:
        single = [_made(entry, value=value) for value in entry.values]
        return [[one] for one in single] if entry.included else [single]
    if entry.type == "list":
        assert entry.value_list is not None
        if not entry.value_list.id:
            if any("-" in value for value in entry.value_list.values):
                raise ValueError(f"`in_net` on `{entry.field}` has a span of addresses: put it into a value list")
            return [[_made(entry, type="match_any", value=list(entry.value_list.values))]]
        value_lists[entry.value_list.id] = None
        kind = "ip_range" if entry.of_spans else "keyword"
        return [[_made(entry, list={"id": entry.value_list.id, "type": kind})]]
    if entry.type == "nested":
        inner = [_alternatives(one, value_lists) for one in entry.entries]
        prefix = f"{entry.field}."
        return [
            [
                {
                    "field": entry.field,
                    "type": "nested",
                    "entries": [{**one, "field": one["field"].removeprefix(prefix)} for part in chosen for one in part],
                }
            ]
            for chosen in product(*inner)
        ]
    if entry.type == "exists":
        return [[_made(entry)]]
    values = list(entry.values)
    return [[_made(entry, value=values if entry.type == "match_any" else values[0])]]


def _made(entry: ExceptionEntry, **more: Any) -> dict[str, Any]:
    operator = "included" if entry.included else "excluded"
    return {"field": entry.field, "type": entry.type, "operator": operator} | more
