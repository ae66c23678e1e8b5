"""The overview of the alerts in a cluster: one search with aggregations, and one for the histogram."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from runner.store.overview import COUNTED, Overview, OverviewRequest, TimeBin, ValueCount, bin_width
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

    terms: dict[str, Any] = {
        one: {"terms": {"field": name(_FIELDS[one]), "size": request.most_values, "missing": ""}} for one in COUNTED
    }
    terms["rule"]["aggs"] = {
        "name": {"terms": {"field": name("kibana.alert.rule.name"), "size": 1, "order": {"_key": "desc"}}}
    }
    time = {"field": name("kibana.alert.original_time")}
    terms |= {"first": {"min": time}, "last": {"max": time}}
    offset = min(request.offset, _FURTHEST)
    size = min(request.size, _FURTHEST - offset)
    return {"from": offset, "size": size, "track_total_hits": True, "query": dict(query), "aggs": terms}


def bins_body(
    answer: Mapping[str, Any], query: Mapping[str, Any], stored: Callable[[str], str]
) -> dict[str, Any] | None:
    """The body of the search for the histogram of what was found; None if nothing has a time."""
    first, last = (answer.get("aggregations", {}).get(name, {}).get("value") for name in ("first", "last"))
    if first is None or last is None:
        return None
    width = max(1, bin_width(int(first) * _MILLISECOND, int(last) * _MILLISECOND) // _MILLISECOND)
    time = {"field": stored("kibana.alert.original_time"), "fixed_interval": f"{width}ms", "min_doc_count": 1}
    severity = {"terms": {"field": stored(_FIELDS["severity"]), "size": 5, "missing": ""}}
    times = {"date_histogram": time, "aggs": {"severity": severity}, "meta": {"width_ms": width}}
    return {"size": 0, "query": dict(query), "aggs": {"times": times}}


def read_overview(
    alerts: Sequence[StoredAlert], answer: Mapping[str, Any] | None, times: Mapping[str, Any] | None
) -> Overview:
    """The overview of the two answers; an empty one without the first."""
    if answer is None or "aggregations" not in answer:  # no index behind the name answers without aggregations
        return Overview(tuple(alerts), 0, dict.fromkeys(COUNTED, ()), ())
    found = answer["aggregations"]
    counts = {name: tuple(_value(name, bucket) for bucket in found[name]["buckets"]) for name in COUNTED}
    bins: tuple[TimeBin, ...] = ()
    if times is not None and "aggregations" in times:
        histogram = times["aggregations"]["times"]
        width = int(histogram["meta"]["width_ms"]) * _MILLISECOND
        bins = tuple(
            TimeBin(
                int(bucket["key"]) * _MILLISECOND,
                width,
                {str(one["key"]): int(one["doc_count"]) for one in bucket["severity"]["buckets"]},
            )
            for bucket in histogram["buckets"]
        )
    return Overview(tuple(alerts), int(answer["hits"]["total"]["value"]), counts, bins)


def _value(name: str, bucket: Mapping[str, Any]) -> ValueCount:
    value = str(bucket["key"])
    named = bucket["name"]["buckets"] if name == "rule" else ()
    return ValueCount(value, str(named[0]["key"]) if named else value, int(bucket["doc_count"]))
