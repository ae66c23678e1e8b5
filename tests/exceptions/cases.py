"""The cases of `specs/exceptions/hits.toml`, and their items as the runner reads them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.exceptions.item import ExceptionItem
from runner.exceptions.load import load_exceptions
from tests.paths import SPECS

_FILE = tomllib.loads((SPECS / "exceptions/hits.toml").read_text())
MAPPING: Mapping[str, Any] = {"properties": json.loads(_FILE["mapping"])}
DOCUMENTS: Mapping[str, Mapping[str, Any]] = json.loads(_FILE["documents"])
LISTS: Mapping[str, list[str]] = _FILE["lists"]


@dataclass(frozen=True)
class Case:
    """One item, and the ids of the documents that it hits; None: it is refused."""

    item: Mapping[str, Any]
    hits: frozenset[str] | None

    @property
    def name(self) -> str:
        parts = [json.dumps(entry, ensure_ascii=False) for entry in self.item["entries"]]
        return " and ".join([*parts, *self.item["os_types"]])


def _cases() -> Iterable[Case]:
    for case in _FILE["case"]:
        given = [_with_operator(entry) for entry in case["entries"]]
        item = {"entries": given, "os_types": case.get("os_types", [])}
        if "refused" in case:
            yield Case(item, None)
        elif "all_but" in case:
            yield Case(item, frozenset(DOCUMENTS) - frozenset(case["all_but"]))
        else:
            yield Case(item, frozenset(case["hits"]))


def _with_operator(entry: Mapping[str, Any]) -> dict[str, Any]:
    inner = {"entries": [_with_operator(one) for one in entry["entries"]]} if "entries" in entry else {}
    operator = {} if entry["type"] == "nested" else {"operator": "included"}
    return {**operator, **entry, **inner}


CASES = tuple(_cases())


def load_cases(folder: Path, cases: Iterable[Case] = CASES) -> list[ExceptionItem]:
    """The items of the cases, read from an export with its value lists beside it."""
    for name, values in LISTS.items():
        (folder / name).write_text("\n".join(values))
    lines: list[Mapping[str, Any]] = [{"type": "detection", "list_id": "spec", "name": "spec"}]
    for number, case in enumerate(cases):
        head = {"type": "simple", "list_id": "spec", "item_id": f"{number:04}", "name": f"case {number}"}
        lines.append({**head, **case.item})
    (folder / "spec.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    loaded = load_exceptions([folder])
    assert not loaded.problems
    return list(loaded.items)
