"""`ElasticsearchRunLog`: the runs that left their window unsearched, from the run log in Elasticsearch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from runner.cluster.elasticsearch import Elastic
from runner.errors import ClusterError, StoreError
from runner.rule_run import COUNTS, RuleRun, RunCost
from runner.store.protocol import MOST_UNFINISHED
from runner.store.source import UNNAMED, EventSource
from runner.windows import Window, iso

_RULES_AT_ONCE = 10_000
"""Rule ids in one query; the limit of the server is 65,536."""


class ElasticsearchRunLog:
    """The runs over one source in the index of the run log. Implements `RunLog`; raises StoreError, and what the
    client raises."""

    def __init__(self, client: Elastic, index: str, *, source: EventSource = UNNAMED) -> None:
        self._client = client
        self._index = index
        self._source = source.as_json() if source.kind else None

    async def unfinished(self, rule_ids: Collection[str], since: datetime) -> tuple[RuleRun, ...]:
        """The newest runs of these rules that left a window unsearched which ends after `since`, newest first.

        Windows are those of the log, cut to milliseconds.
        """
        clauses: list[dict[str, Any]] = [
            {"terms": {"rule.id": sorted(rule_ids)[:_RULES_AT_ONCE]}},
            {"term": {"runner.complete": False}},
            {"range": {"runner.window.to": {"gt": iso(since), "format": "strict_date_optional_time"}}},
        ]
        body = {"size": MOST_UNFINISHED, "query": {"bool": {"filter": clauses}}, "sort": [{"@timestamp": "desc"}]}
        runs = map(_read_run, await search_hits(self._client, self._index, body))
        return tuple(run for source, run in runs if source == self._source)


async def read_costs(client: Elastic, index: str, since: datetime | None) -> dict[str, RunCost]:
    """What the runs of the log that started at or after `since` took, by rule id, of the 10,000 that ran most often.

    Raises StoreError, and what the client raises.
    """
    started = {} if since is None else {"gte": iso(since), "format": "strict_date_optional_time"}
    sums = {name: {"sum": {"field": f"runner.{name}"}} for name in ("matches", "suppressed", "took_ms")}
    of_rule = {"terms": {"field": "rule.id", "size": _RULES_AT_ONCE}}
    failed = {"filter": {"term": {"runner.status": "failed"}}}
    body = {
        "size": 0,
        "query": {"range": {"@timestamp": started}} if started else {"match_all": {}},
        "aggs": {"rules": of_rule | {"aggs": {**sums, "failed": failed}}},
    }
    answer = await _search(client, index, body)
    if "aggregations" not in answer:
        return {}  # no index, or one without any shard
    try:
        return {
            str(bucket["key"]): RunCost(
                int(bucket["doc_count"]),
                int(bucket["failed"]["doc_count"]),
                *(int(bucket[name]["value"]) for name in sums),
            )
            for bucket in answer["aggregations"]["rules"]["buckets"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{index}: the totals of its runs cannot be read: {error!r}") from None


async def search_hits(client: Elastic, index: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hits of a search; none if there is no such index yet. Raises StoreError, and what the client raises."""
    answer = await _search(client, index, body)
    hits: list[dict[str, Any]] = answer["hits"]["hits"] if answer else []
    return hits


async def _search(client: Elastic, index: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer to a search; empty if there is no such index yet."""
    try:
        return await client.search((index,), body, params={"allow_partial_search_results": False})
    except ClusterError as error:
        if error.type == "index_not_found_exception":
            return {}
        raise StoreError(str(error)) from None


def _read_run(hit: Mapping[str, Any]) -> tuple[Any, RuleRun]:
    """A run of the log with its source, None for the cluster's own events; StoreError for a document that is none."""
    try:
        source = hit["_source"]
        part = source["runner"]
        counts: dict[str, Any] = {name: int(part[name]) for name in COUNTS}
        return part.get("source"), RuleRun(
            rule_id=source["rule"]["id"],
            name=source["rule"]["name"],
            execution_id=source["kibana"]["alert"]["rule"]["execution"]["uuid"],
            status=part["status"],
            window=Window(*(datetime.fromisoformat(part["window"][end]) for end in ("from", "to"))),
            started=datetime.fromisoformat(source["@timestamp"]),
            **counts,
            took_ms=int(part["took_ms"]),
            complete=bool(part["complete"]),
            messages=tuple(part["messages"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        place = f"{hit.get('_index')}/{hit.get('_id')}"
        raise StoreError(f"{place} is not a run that can be read: {error!r}") from None
