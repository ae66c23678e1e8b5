"""Random mappings and random documents that fit them more or less: what the differential test searches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from runner.events.fields.schema import Schema, schema_from_mapping, shipped_schema, with_inferred

WORDS = (
    "a",
    "b",
    "ab",
    "A",
    "aB",
    "abc",
    "b*",
    "",
    "é",
    "É",
    "a.b",
    "c:\\x",
    "1",
    "0x1f",
    "2.5",
    "x\ny",
    "😀a",
    "true",
)
TIMES = (
    "2024-01-01T00:00:00Z", "2024-01-01T00:00:00.001Z", "2024-01-01T00:00:01Z", "2024-01-01T00:00:02.500Z",
    "2024-01-01T00:00:03+00:00", "2024-01-01T01:00:05+01:00", "2024-01-01T00:00:10.000000001Z", "2024-01-01T00:01:00Z",
    1704067203000, "1704067204000", "2024-01-02",
)  # fmt: skip
VALUES: dict[str, tuple[Any, ...]] = {
    "keyword": WORDS,
    "text": ("a", "b", "Ab", "a b", "b-c a", "1", "", "é x"),
    "wildcard": WORDS,
    "long": (0, 1, 2, -3, 7, 20, 2**40, "5"),
    "integer": (0, 1, 2, 5, -3, 20),
    "short": (0, 1, 2, 300),
    "byte": (0, 1, 2, 127, 128),
    "unsigned_long": (0, 1, 2, 2**63, 2**64 - 1),
    "double": (0.5, 1.0, 2, -1.5, 1e10, 0.1, "2.5"),
    "float": (0.5, 1.0, 2, 0.1, 16777217),
    "half_float": (0.5, 1.0, 2, 0.1),
    "scaled_float": (0.5, 1.0, 2, 0.126, 0.124),
    "boolean": (True, False, "true", "false", ""),
    "date": TIMES,
    "date_nanos": TIMES,
    "ip": ("10.0.0.1", "10.0.0.2", "192.168.1.7", "::1", "2001:DB8::1", "::ffff:10.0.0.1"),
    "version": ("1.2.3", "1.2.10", "1.2.3-rc.1", "2.0.0", "x"),
    "constant_keyword": ("only",),
}
ODD: tuple[Any, ...] = ("zzz", 3, -7.25, True, {"odd": 1}, 2**62, 1e300, "2024-01-01T00:00:03.25Z", [[1], ["a"]], "3")
NAMES = ("f", "g", "p.f", "p.g", "p.q.h", "r.f")


@dataclass(frozen=True)
class World:
    """Documents, their mapping (None: the shipped field table and what the documents say), what queries may name."""

    mapping: dict[str, Any] | None
    sources: list[dict[str, Any]]
    fields: dict[str, str]
    """Type by name."""
    tiebreaker: str | None
    timestamp: str
    hits: bool

    def schema(self) -> Schema:
        given = shipped_schema() if self.mapping is None else schema_from_mapping(self.mapping)
        return with_inferred(given, self.sources)

    def events(self) -> list[dict[str, Any]]:
        if not self.hits:
            return self.sources
        return [
            {"_index": f"logs-{number % 2}", "_id": str(number), "_source": source} if number % 5 else source
            for number, source in enumerate(self.sources)
        ]

    def lines(self) -> list[bytes]:
        return [json.dumps(event, ensure_ascii=number % 3 == 0).encode() for number, event in enumerate(self.events())]


def random_world(rng: Random) -> World:
    """A mapping and some documents."""
    mapped = rng.random() < 0.85
    fields = _mapped_fields(rng) if mapped else _dynamic_fields(rng)
    timestamp = "date_nanos" if mapped and rng.random() < 0.2 else "date"
    tiebreaker = rng.choice((None, None, "seq"))
    sources = [
        _document(rng, fields, timestamp, number, mapped=mapped) for number in range(rng.choice((0, 1, 3, 8, 16, 30)))
    ]
    mapping = _mapping(fields, timestamp) if mapped else None
    if not mapped:  # what no document has is an unknown column
        sources.append(
            {"@timestamp": TIMES[0], "event": {"category": "x"}, "seq": 1, "uid": len(sources), **_filled(fields)}
        )
    return World(mapping, sources, {**fields, "uid": "long"}, tiebreaker, timestamp, rng.random() < 0.5)


def _mapped_fields(rng: Random) -> dict[str, str]:
    names = rng.sample(NAMES, rng.randint(2, len(NAMES)))
    kinds = (*VALUES, "keyword", "keyword", "long", "long", "text", "short_keyword", "defaulted", "epoch")
    return {name: rng.choice(kinds) for name in names}


def _dynamic_fields(rng: Random) -> dict[str, str]:
    names = rng.sample(NAMES, rng.randint(2, len(NAMES)))
    return {name: rng.choice(("keyword", "long", "double", "boolean")) for name in names}


def _filled(fields: dict[str, str]) -> dict[str, Any]:
    return {name: {"keyword": "q", "long": 9, "double": 9.5, "boolean": True}[kind] for name, kind in fields.items()}


def _mapping(fields: dict[str, str], timestamp: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "@timestamp": {"type": timestamp},
        "seq": {"type": "long"},
        "event": {"properties": {"category": {"type": "keyword"}}},
    }
    for name, kind in {**fields, "uid": "long"}.items():
        *parents, last = name.split(".")
        at = properties
        for parent in parents:
            at = at.setdefault(parent, {"properties": {}})["properties"]
        at[last] = _definition(kind)
    return {"properties": properties}


def _definition(kind: str) -> dict[str, Any]:
    special: dict[str, dict[str, Any]] = {
        "text": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
        "scaled_float": {"type": "scaled_float", "scaling_factor": 100},
        "constant_keyword": {"type": "constant_keyword", "value": "only"},
        "short_keyword": {"type": "keyword", "ignore_above": 2},
        "defaulted": {"type": "keyword", "null_value": "a"},
        "epoch": {"type": "date", "format": "epoch_second||strict_date_optional_time"},
    }
    return special.get(kind, {"type": kind})


def values_for(kind: str) -> tuple[Any, ...]:
    """Values that fields of a type are given, and from which constants of queries are made."""
    if kind == "epoch":
        return (1704067200, "1704067203", "2024-01-01T00:00:03Z")
    return VALUES.get(kind, WORDS)


def _document(rng: Random, fields: dict[str, str], timestamp: str, number: int, *, mapped: bool) -> dict[str, Any]:
    pairs: list[tuple[str, Any]] = [("uid", number)]
    if rng.random() < 0.95:
        pairs.append(("@timestamp", rng.choice(TIMES) if rng.random() < 0.98 else "zzz"))
    if rng.random() < 0.95:
        pairs.append(("event.category", rng.choice(("x", "x", "y", ["x", "y"], "X"))))
    if rng.random() < 0.9:
        pairs.append(("seq", rng.randint(0, 3)))
    for name, kind in fields.items():
        if kind != "constant_keyword" and rng.random() < 0.8:
            pairs.append((name, _value(rng, values_for(kind), odd=mapped)))
    rng.shuffle(pairs)
    return _spelled(rng, pairs)


def _value(rng: Random, among: Sequence[Any], *, odd: bool) -> Any:
    chance = rng.random()
    if chance < 0.72:
        return rng.choice(among)
    if chance < 0.77:
        return None
    if chance < 0.80:
        return rng.choice(([], [None], [[]]))
    if chance < 0.83 and odd:
        return rng.choice(ODD)
    several: list[Any] = [rng.choice(among) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.1:
        several.append(None)
    if rng.random() < 0.1 and odd:
        several.append(rng.choice(ODD))
    return several


def _spelled(rng: Random, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A document with every pair nested, dotted, or partly so; now and then with an array of objects."""
    document: dict[str, Any] = {}
    style = rng.choice(("nested", "nested", "dotted", "mixed"))
    for name, value in pairs:
        at: Any = document
        *parents, last = name.split(".")
        if style == "dotted" or (style == "mixed" and rng.random() < 0.5):
            document[name] = value
            continue
        if style == "mixed" and len(parents) == 2:
            last, parents = ".".join((parents[1], last)), parents[:1]
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = value
    if rng.random() < 0.1:
        for key, value in document.items():
            if isinstance(value, dict):
                document[key] = [value, {}] if rng.random() < 0.5 else [{one: inner} for one, inner in value.items()]
    return document
