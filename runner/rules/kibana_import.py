"""`read_export`: the rules of an export of Kibana's, each as the TOML of a rule file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from runner.errors import RunnerError
from runner.rules.rule import RuleFields

_EXPORT = "exported_count"
_ITEM_KEYS = ("list_id", "item_id")
_FIRST = ("rule_id", "name", "description", "type", "language", "index", "query", "filters")
_EMPTY: tuple[object, ...] = (None, "", [], {})
_KEPT_BY_KIBANA = frozenset({"actions", "throttle", "output_index"})
"""Keys of rules that mean something in Kibana alone; `actions` that are there are told."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class ImportedRule:
    """A rule's file name and TOML; the keys that were left out, and whether actions were among them."""

    file_name: str
    text: str
    left_out: tuple[str, ...]
    has_actions: bool


@dataclass(frozen=True, slots=True)
class RuleExport:
    """The rules of an export, and the count of its lines that are of exceptions."""

    rules: tuple[ImportedRule, ...]
    exceptions: int


def read_export(text: str, name: str) -> RuleExport:
    """The rules in NDJSON that Kibana exported; `name` is the file's, for errors. Raises RunnerError."""
    rules: list[ImportedRule] = []
    exceptions = 0
    taken: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            raise RunnerError(f"{name}:{number}: is not JSON; expected NDJSON as Kibana exports rules") from None
        if not isinstance(fields, dict):
            raise RunnerError(f"{name}:{number}: found no JSON object; expected a rule in each line")
        if "rule_id" in fields and "type" in fields:
            rules.append(_imported(fields, taken))
        elif any(key in fields for key in _ITEM_KEYS):
            exceptions += 1
        elif not any(key.endswith("_count") for key in fields):
            raise RunnerError(
                f"{name}:{number}: neither a rule nor an exception; expected an export of rules of Kibana"
            )
    if not rules:
        raise RunnerError(f"{name}: has no rule; expected an export of rules (Kibana, Rules, Bulk actions, Export)")
    return RuleExport(tuple(rules), exceptions)


def _imported(fields: Mapping[str, Any], taken: set[str]) -> ImportedRule:
    known = {info.serialization_alias or name for name, info in RuleFields.model_fields.items()} - _KEPT_BY_KIBANA
    kept = {key: value for key, value in fields.items() if key in known and value not in _EMPTY}
    left_out = tuple(sorted(key for key, value in fields.items() if key not in known and value not in _EMPTY))
    order = [*(key for key in _FIRST if key in kept), *(key for key in kept if key not in _FIRST)]
    stem = re.sub(r"[^a-z0-9]+", "_", str(fields.get("name", "")).lower()).strip("_")[:80] or "rule"
    number, name = 1, stem
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    text = "\n".join(("[rule]", *_table({key: kept[key] for key in order}, "rule")))
    return ImportedRule(f"{name}.toml", text + "\n", left_out, bool(fields.get("actions")))


def _table(values: Mapping[str, Any], path: str) -> Iterator[str]:
    """The lines of a table: plain values first, then the tables below it."""
    below: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict) or (
            isinstance(value, list) and value and all(isinstance(one, dict) for one in value)
        ):
            below.append((key, value))
        elif value is not None:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in below:
        name = f"{path}.{_key(key)}"
        for one in value if isinstance(value, list) else [value]:
            yield ""
            yield f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
            yield from _table(one, name)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)


def _value(value: Any) -> str:
    """A value on one line, but for texts of several."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float() | date():
            return str(value)
        case list():
            return "[" + ", ".join(_value(one) for one in value if one is not None) + "]"
        case dict():
            pairs = (f"{_key(key)} = {_value(one)}" for key, one in value.items() if one is not None)
            return "{ " + ", ".join(pairs) + " }"
    text = str(value)
    if "\n" in text and "'''" not in text and not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
        return f"'''\n{text}'''" if not text.endswith("'") else _quoted(text)
    return _quoted(text)


def _quoted(text: str) -> str:
    """A basic string; TOML's escapes are those of JSON, but that 0x7f has to be one, too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
