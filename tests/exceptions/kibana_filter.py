"""The Query DSL that Kibana makes of exception items, to the letter: what the shorter forms are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Clause = dict[str, Any]


def kibana_clause(item: Mapping[str, Any], lists: Mapping[str, Sequence[str]]) -> Clause:
    """The clause of one item in the form of an export; `lists` are the value lists by id."""
    entries = [_entry(entry, lists) for entry in item["entries"]]
    if not item.get("os_types"):
        return _all(entries)
    alternatives = [
        _all([*entries, _match(name, one)])
        for one in item["os_types"]
        for name in ("host.os.type", "host.os.name.caseless")
    ]
    return {"bool": {"should": alternatives}}


def _all(clauses: Sequence[Clause]) -> Clause:
    return clauses[0] if len(clauses) == 1 else {"bool": {"filter": list(clauses)}}


def _entry(entry: Mapping[str, Any], lists: Mapping[str, Sequence[str]], path: str = "") -> Clause:
    name = f"{path}.{entry['field']}" if path else entry["field"]
    clause = _included(entry, name, lists)
    return {"bool": {"must_not": [clause]}} if entry.get("operator") == "excluded" else clause


def _included(entry: Mapping[str, Any], name: str, lists: Mapping[str, Sequence[str]]) -> Clause:
    match entry["type"]:
        case "match":
            return _match(name, entry["value"])
        case "match_any":
            should = [_match(name, value) for value in entry["value"]]
            return {"bool": {"should": should, "minimum_should_match": 1}}
        case "wildcard":
            return {"wildcard": {name: entry["value"]}}
        case "exists":
            return {"exists": {"field": name}}
        case "nested":
            query = _all([_entry(inner, lists, name) for inner in entry["entries"]])
            return {"nested": {"path": name, "query": query, "score_mode": "none"}}
        case "list":
            return _listed(name, lists[entry["list"]["id"]], entry["list"]["type"])
    raise ValueError(entry["type"])


def _match(name: str, value: str) -> Clause:
    return {"bool": {"should": [{"match_phrase": {name: value}}], "minimum_should_match": 1}}


def _listed(name: str, values: Sequence[str], kind: str) -> Clause:
    if kind != "ip_range":
        return {"terms": {name: list(values)}}
    spans = [value.split("-") for value in values if "-" in value]
    should: list[Clause] = [{"range": {name: {"gte": low, "lte": high}}} for low, high in spans]
    should.append({"terms": {name: [value for value in values if "-" not in value]}})
    return {"bool": {"should": should, "minimum_should_match": 1}}
