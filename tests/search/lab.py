"""Events in a node, and the same events as files: what the tests of the ways of searching share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from elasticsearch import Elasticsearch

from runner.rules.rule import Rule
from runner.search.protocol import Search, SearchRequest, SearchResult
from runner.windows import Window, iso
from tests.compiled import compiled

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WINDOW = Window(NOON, NOON + timedelta(minutes=9))
KEYWORDS: Sequence[Any] = ({"strings": {"match_mapping_type": "string", "mapping": {"type": "keyword"}}},)
PROPERTIES: Mapping[str, Any] = {
    "@timestamp": {"type": "date"},
    "message": {"type": "match_only_text"},
    "event": {
        "properties": {
            "category": {"type": "keyword"},
            "created": {"type": "date"},
            "ingested": {"type": "date"},
            "type": {"type": "keyword"},
        }
    },
    "process": {
        "properties": {
            "args": {"type": "keyword"},
            "command_line": {"type": "wildcard", "fields": {"text": {"type": "match_only_text"}}},
            "name": {"type": "keyword", "fields": {"text": {"type": "match_only_text"}}},
            "parent": {"properties": {"name": {"type": "keyword"}}},
            "pid": {"type": "long"},
        }
    },
    "source": {"properties": {"ip": {"type": "ip"}}},
    "destination": {"properties": {"ip": {"type": "ip"}}},
    "user": {"properties": {"name": {"type": "keyword"}}},
    "host": {"properties": {"id": {"type": "keyword"}, "ip": {"type": "ip"}}},
}
MAPPINGS: dict[str, Any] = {"dynamic_templates": list(KEYWORDS), "properties": PROPERTIES}


def rule(query: str = "any where true", *, index: Sequence[str] = ("logs-*",), **fields: Any) -> Rule:
    """A rule of the query; its id is made of it unless given."""
    given = {"index": tuple(index), "rule_id": query, "name": "Lab", "type": "eql", "language": "eql", "query": query}
    return Rule.model_validate(given | {"description": "d", "severity": "low", "risk_score": 1} | fields)


def process(second: float, name: str, **fields: Any) -> dict[str, Any]:
    """A process event so many seconds after noon."""
    moment = iso(NOON + timedelta(seconds=second))
    return {"@timestamp": moment, "event.category": "process", "process.name": name, "host.id": "h"} | fields


def fill(
    url: str, index: str, documents: Iterable[Mapping[str, Any]], *, mappings: Mapping[str, Any] = MAPPINGS
) -> None:
    """Index the documents with their places as ids."""
    with Elasticsearch(url) as client:
        client.indices.create(index=index, mappings=dict(mappings))
        write(client, ((index, str(number), document) for number, document in enumerate(documents)))


def write(client: Elasticsearch, events: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
    """Write documents, each with its index or data stream and its id."""
    lines: list[Mapping[str, Any]] = []
    for index, id_, document in events:
        lines += [{"create": {"_index": index, "_id": id_}}, document]
    for start in range(0, len(lines), 4_000):
        answer = client.bulk(operations=lines[start : start + 4_000])
        failed = [item for item in answer["items"] if item["create"]["status"] != 201]
        assert not failed, failed[0]
    client.indices.refresh(index="*")


def save_hits(url: str, pattern: str, path: Path) -> None:
    """Write all documents of the indices as hits to a file, in the order of the indices."""
    with Elasticsearch(url) as client, path.open("wb") as file:
        point = client.open_point_in_time(index=pattern, keep_alive="1m")["id"]
        after: Any = None
        while True:
            more = {} if after is None else {"search_after": after}
            answer = client.search(pit={"id": point}, sort=["_shard_doc"], size=2_000, **more)
            hits = answer["hits"]["hits"]
            for hit in hits:
                file.write(orjson.dumps({name: hit[name] for name in ("_index", "_id", "_source")}) + b"\n")
            if len(hits) < 2_000:
                break
            after = hits[-1]["sort"]
        client.close_point_in_time(id=point)


async def results(search: Search, *requests: SearchRequest) -> list[SearchResult]:
    return [result async for result in search.run(requests)]


def request(of: Rule, *, size: int = 101, window: Window = WINDOW) -> SearchRequest:
    return SearchRequest(compiled(of), window, size)


def found_ids(result: SearchResult) -> list[list[str]]:
    """The ids of the events of each match; "" for a missing event."""
    return [[hit.id for hit in match.hits] for match in result.matches]
