"""Events and rules as a scenario writes them, made into the documents and files that the runner reads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

DAY = "2026-03-02"


def at(text: str) -> datetime:
    """The moment of a time of day, on the day of all scenarios."""
    return datetime.fromisoformat(f"{DAY}T{text}").replace(tzinfo=UTC)


def document_of(line: str) -> dict[str, Any]:
    """The event of a line such as `c1 connect 10:00:01.250 host=web entity=e7 ip=203.0.113.9`.

    The parts are the event's id, what happened (`connect` or `exec`), the time, and what differs from the usual.
    """
    id_, what, time, *rest = line.split()
    given = dict(part.split("=", 1) for part in rest)
    host = given.get("host", "web")
    entity = given.get("entity", f"entity-{id_}")
    network = what == "connect"
    process = {
        "entity_id": entity,
        "pid": 100,
        "name": given.get("name", "bash"),
        "parent": {"entity_id": given.get("parent", "none"), "name": given.get("parent_name", "bash")},
    }
    made: dict[str, Any] = {
        "@timestamp": f"{given.get('day', DAY)}T{time}Z",
        "agent": {"id": f"agent-{host}", "type": "endpoint"},
        "data_stream": {
            "type": "logs",
            "dataset": f"endpoint.events.{'network' if network else 'process'}",
            "namespace": "default",
        },
        "event": {
            "id": id_,
            "kind": "event",
            "category": ["network" if network else "process"],
            "type": ["start"],
            "action": "connection_attempted" if network else "exec",
        },
        "host": {"id": f"id-{host}", "name": host, "os": {"type": "linux"}},
        "process": process,
        "user": {"name": given.get("user", "ann")},
    }
    if network:
        made["destination"] = {"ip": given.get("ip", "203.0.113.9"), "port": 4444}
        made["source"] = {"ip": "10.0.0.5", "port": 50_000}
    if "ingested" in given:
        made["event"]["ingested"] = f"{DAY}T{given['ingested']}Z"
    return made


def ndjson(lines: list[str]) -> str:
    """The lines of a scenario as NDJSON; a line that begins with `raw ` stands as it is."""
    return "".join(
        (line.removeprefix("raw ") if line.startswith("raw ") else json.dumps(document_of(line))) + "\n"
        for line in lines
    )


def rule_text(name: str, fields: dict[str, Any]) -> str:
    """A rule file for the fields that a scenario gives; the name is the `rule_id`, too."""
    whole: dict[str, Any] = {
        "rule_id": name,
        "name": name,
        "description": "A rule of a scenario.",
        "type": "eql",
        "language": "eql",
        "risk_score": 47,
        "severity": "medium",
        "author": ["tests"],
        "index": ["logs-endpoint.events.*"],
        "from": "now-9m",
        "interval": "5m",
    } | fields
    return "[rule]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in whole.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {_toml(inner)}' for key, inner in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)
