"""The explicit mappings of the alert, run and state indices.

The alert fields and their types are those of Kibana's detection alerts, so that Kibana reads the documents as its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import orjson

from runner.alerts.ecs_alert import PREFIX
from runner.search.own_alerts import SIGNAL_NAMES

Tree = Mapping[str, Any]
"""Field names, each with its type or with the tree of its sub-fields; the key "" holds the type of the field itself."""

KEYWORD_LIMIT = 1_024
FLATTENED_LIMIT = 4_096
"""As in Kibana's own alert indices: a rule's query is found by its beginning no longer than this."""
LONG_KEYWORD_LIMIT = 8_191
"""Lucene refuses terms over 32,766 bytes, and a character has up to 4."""

REPLACEMENTS: Mapping[str, str] = {
    "constant_keyword": "keyword",
    "flattened": "object",
    "match_only_text": "text",
    "scaled_float": "double",
    "version": "keyword",
    "wildcard": "keyword",
}
"""What stands in for a field type that the cluster does not have, as a distribution without x-pack."""


def alert_mappings(replaced: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The mapping of alert documents: ECS and `kibana.alert.*`. `replaced` names types to use in place of others."""
    mappings = _mappings(_fields("ecs") | {"kibana": _fields("alert")}, replaced)
    mappings["properties"]["signal"] = _former_names(mappings["properties"])
    return mappings


def _former_names(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The fields `signal.*` as aliases, as Kibana's index of alerts has them: rules that read alerts name them."""
    made: dict[str, Any] = {}
    for old, new in SIGNAL_NAMES.items():
        if not _is_mapped(new, properties):
            continue
        place = made
        *parents, name = old.removeprefix("signal.").split(".")
        for parent in parents:
            place = place.setdefault(parent, {"properties": {}})["properties"]
        place[name] = {"type": "alias", "path": new}
    return {"properties": made}


def _is_mapped(name: str, properties: Mapping[str, Any]) -> bool:
    """Whether a field is one that can be searched."""
    found: Mapping[str, Any] = {"properties": properties}
    for part in name.split("."):
        found = found.get("properties", {}).get(part, {})
    return found.get("type", "object") not in ("object", "nested", "alias") and found.get("index", True)


def external_mappings(replaced: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The mapping of alerts that are stored as external alerts: what alerts have under `kibana` is under our name."""
    return _mappings(_fields("ecs") | {PREFIX: _fields("alert") | {"replaced": "opaque"}}, replaced)


def run_mappings(replaced: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The mapping of the run log: one document per run of a rule."""
    return _mappings(_fields("run"), replaced)


def state_mappings() -> dict[str, Any]:
    """The mapping of the ledger: one document per rule."""
    return _mappings(_fields("state"))


def _fields(documents: str) -> dict[str, Any]:
    """The fields of these documents, from the file beside this module."""
    fields: dict[str, Any] = orjson.loads(files(__package__).joinpath(f"{documents}_fields.json").read_bytes())
    return fields


def _mappings(fields: Tree, replaced: Mapping[str, str] | None = None) -> dict[str, Any]:
    # Fields without a mapping stay in `_source`: a strange event must not grow the mapping, or be refused.
    return {"dynamic": False, "date_detection": False, "properties": _properties(fields, replaced or {})}


def _properties(tree: Tree, replaced: Mapping[str, str]) -> dict[str, Any]:
    return {name: _property(value, replaced) for name, value in sorted(tree.items()) if name}


def _property(value: str | Tree, replaced: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(value, str):
        return _leaf(value, replaced)
    kind = value.get("", "object")
    children = _properties(value, replaced)
    if kind in ("object", "nested"):
        return ({"type": "nested"} if kind == "nested" else {}) | {"properties": children}
    return _leaf(kind, replaced) | {"fields": children}


def _leaf(kind: str, replaced: Mapping[str, str]) -> dict[str, Any]:
    """The mapping of one field of that type, or of the type that replaces it."""
    kind = replaced.get(kind, kind)
    match kind:
        case "keyword" | "wildcard":
            return {"type": kind, "ignore_above": KEYWORD_LIMIT}
        case "flattened":
            return {"type": kind, "ignore_above": FLATTENED_LIMIT}
        case "long_keyword":
            return {"type": "keyword", "ignore_above": LONG_KEYWORD_LIMIT}
        case "unindexed":
            return {"type": "keyword", "index": False, "ignore_above": 2_048}
        case "scaled_float":
            return {"type": kind, "scaling_factor": 1_000}
        case "object" | "opaque":
            # Kept in `_source` and not looked into: its sub-fields are whatever the document has.
            return {"type": "object", "enabled": False}
    return {"type": kind}
