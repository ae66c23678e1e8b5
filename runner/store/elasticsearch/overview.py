"""The overview of the alerts in a cluster: one search with aggregations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from runner.store.overview import COUNTED, MOST_BINS, Overview, OverviewRequest, TimeBin, ValueCount
from runner.store.stored_alert import StoredAlert

MOST_LOOKED_INTO: Final = 10_000
"""Alerts that are searched for a text, the newest events first."""
_FURTHEST: Final = 10_000
"""How far a search can page (`index.max_result_window`)."""
_MILLISECOND: Final = 10**6
_FIELDS: Final = {
    "severity": "kibana.alert.severity",
    "status": "kibana.alert.workflow_status",
    "rule": "kibana.alert.rule.rule_id",
    "host": "host.name",
    "user": "user.name",
}


def overview_body(request: OverviewRequest, query: Mapping[str, Any], stored: Callable[[str], str]) -> dict[str, Any]:
    """The body of the search; `stored` gives the name that the documents have a field below `kibana.alert` by."""

    def name(field: str) -> str:
        return stored(field) if field.startswith("kibana.alert") else field

    severity = name(_FIELDS["severity"])
    terms: dict[str, Any] = {
        one: {"terms": {"field": name(_FIELDS[one]), "size": request.most_values, "missing": ""}} for one in COUNTED
    }
    terms["rule"]["aggs"] = {
        "name": {"terms": {"field": name("kibana.alert.rule.name"), "size": 1, "order": {"_key": "desc"}}}
    }
    terms["times"] = {
        "auto_date_histogram": {"field": name("kibana.alert.original_time"), "buckets": MOST_BINS},
        "aggs": {"severity": {"terms": {"field": severity, "size": 5, "missing": ""}}},
    }
    offset = min(request.offset, _FURTHEST)
    size = min(request.size, _FURTHEST - offset)
    return {"from": offset, "size": size, "track_total_hits": True, "query": dict(query), "aggs": terms}


def read_overview(alerts: Sequence[StoredAlert], answer: Mapping[str, Any] | None) -> Overview:
    """The overview that the cluster has answered; an empty one without an answer."""
    if answer is None or "aggregations" not in answer:  # no index behind the name answers without aggregations
        return Overview(tuple(alerts), 0, dict.fromkeys(COUNTED, ()), ())
    found = answer["aggregations"]
    counts = {name: tuple(_value(name, bucket) for bucket in found[name]["buckets"]) for name in COUNTED}
    buckets = [bucket for bucket in found["times"]["buckets"] if bucket["doc_count"]]
    starts = [bucket["key"] for bucket in found["times"]["buckets"]]
    width = min((after - before for before, after in pairwise(starts)), default=1_000)
    bins = tuple(
        TimeBin(
            int(bucket["key"]) * _MILLISECOND,
            int(width) * _MILLISECOND,
            {str(one["key"]): int(one["doc_count"]) for one in bucket["severity"]["buckets"]},
        )
        for bucket in buckets
    )
    return Overview(tuple(alerts), int(answer["hits"]["total"]["value"]), counts, bins)


def _value(name: str, bucket: Mapping[str, Any]) -> ValueCount:
    value = str(bucket["key"])
    named = bucket["name"]["buckets"] if name == "rule" else ()
    return ValueCount(value, str(named[0]["key"]) if named else value, int(bucket["doc_count"]))
