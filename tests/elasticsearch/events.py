"""A small stream of endpoint events with a mapping of ECS, for the tests of the node and of the proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elasticsearch import Elasticsearch

MAPPING: Mapping[str, Any] = {
    "properties": {
        "@timestamp": {"type": "date"},
        "agent": {"properties": {"id": {"type": "keyword"}}},
        "data_stream": {"properties": {"type": {"type": "constant_keyword", "value": "logs"}}},
        "event": {
            "properties": {"category": {"type": "keyword"}, "id": {"type": "keyword"}, "sequence": {"type": "long"}}
        },
        "host": {"properties": {"id": {"type": "keyword"}}},
        "process": {
            "properties": {
                "command_line": {"type": "wildcard", "fields": {"text": {"type": "match_only_text"}}},
                "entity_id": {"type": "keyword"},
                "name": {"type": "keyword", "fields": {"caseless": {"type": "keyword", "normalizer": "lowercase"}}},
                "pid": {"type": "long"},
            }
        },
        "source": {"properties": {"ip": {"type": "ip"}}},
    }
}


def process(second: int, name: str, *, host: str = "h1", category: str = "process") -> dict[str, Any]:
    """One event, so many seconds after noon."""
    return {
        "@timestamp": f"2026-01-01T12:00:{second:02d}.000Z",
        "data_stream": {"type": "logs"},
        "event": {"category": [category], "id": f"{host}-{second}"},
        "host": {"id": host},
        "process": {"name": name, "command_line": f"{name} -c Run", "pid": second, "entity_id": f"{host}-{name}"},
        "source": {"ip": "10.0.0.1"},
    }


EVENTS = (
    process(1, "bash"),
    process(2, "curl"),
    process(3, "Curl", host="h2"),
    process(4, "nc"),
    process(5, "bash", host="h2"),
    process(6, "sshd", category="network"),
)


def make_stream(client: Elasticsearch, namespace: str) -> str:
    """Create a data stream with the events in it; returns its name."""
    name = f"logs-endpoint.events.process-{namespace}"
    client.indices.put_index_template(
        name=f"template-{namespace}",
        index_patterns=[f"logs-*-{namespace}"],
        data_stream={},
        priority=500,
        template={"settings": {"number_of_replicas": 0}, "mappings": dict(MAPPING)},
    )
    lines: list[Mapping[str, Any]] = []
    for number, event in enumerate(EVENTS):
        lines += [{"create": {"_id": f"e{number}"}}, event]
    answer = client.bulk(index=name, operations=lines, refresh=True)
    assert not answer["errors"], answer
    return name
