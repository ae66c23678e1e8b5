"""Spec files of sequences and samples drawn as timelines; `specs/engine/sequences.txt` says how they are drawn."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAPPING = {
    "properties": {
        "@timestamp": {"type": "date"},
        "event": {"properties": {"category": {"type": "keyword"}}},
        "u": {"type": "keyword"},
        "v": {"type": "keyword"},
        "tie": {"type": "long"},
    }
}
_START = 1_700_000_000_000
_TOKEN = re.compile(r"([A-Z]+)(\d+|\?)(?:\.(\d+))?")


@dataclass
class Timeline:
    """One drawn case: `answer` has for each match its key, if any, and its events as they were drawn."""

    title: str
    query: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    hits: list[dict[str, Any]] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)


def read_timelines(path: Path) -> list[Timeline]:
    """The cases of a file."""
    cases: list[Timeline] = []
    for line in path.read_text().splitlines():
        if line.startswith("== "):
            cases.append(Timeline(line[3:]))
        elif line and not line.startswith("#"):
            _read_line(cases[-1], line)
    for case in cases:
        case.hits.sort(key=_second)
    return cases


def _read_line(case: Timeline, line: str) -> None:
    if not case.query:
        case.query = re.sub(r"\[([A-Z])\]", r"[\1 where true]", line)
    elif line == "tiebreaker":
        case.options["tiebreaker_field"] = "tie"
    elif line.startswith("-> "):
        case.answer = [] if line == "-> nothing" else line[3:].split(" | ")
    elif "=" in line:
        name, _, value = line.partition("=")
        case.options[name] = int(value)
    else:
        key, colon, events = line.rpartition(": ")
        case.hits.extend(_hit(token, key if colon else "") for token in events.split())


def _second(hit: dict[str, Any]) -> int:
    found = _TOKEN.fullmatch(hit["_id"])
    assert found is not None
    return -1 if found[2] == "?" else int(found[2])


def _hit(token: str, key: str) -> dict[str, Any]:
    found = _TOKEN.fullmatch(token)
    assert found is not None, token
    categories, second, tie = found.groups()
    source: dict[str, Any] = {"event": {"category": list(categories)}}
    if second != "?":
        source["@timestamp"] = _START + int(second) * 1000
    if tie is not None:
        source["tie"] = int(tie)
    for name, part in zip("uv", key.split("/"), strict=False):
        if part not in ("", "-"):
            source[name] = part.split(",")
    return {"_index": "timeline", "_id": token, "_source": source}


def drawn(response: dict[str, Any]) -> list[str]:
    """The sequences of a response as they are drawn."""
    shown = []
    for sequence in response["hits"]["sequences"]:
        events = " ".join("!" if event.get("missing") else event["_id"] for event in sequence["events"])
        keys = ["null" if key is None else str(key) for key in sequence.get("join_keys", [])]
        shown.append(f"{','.join(keys)}: {events}" if keys else events)
    return shown
