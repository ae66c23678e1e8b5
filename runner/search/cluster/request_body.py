"""Parts of a request for a rule's events, for every API: time range, the rule's own filters, fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.rules.rule import Rule
from runner.search.compiled_rule import time_fields
from runner.search.own_alerts import filters_of
from runner.windows import Window, iso

_DATE_FORMAT = "strict_date_optional_time"


def range_filter(window: Window, times: Sequence[str]) -> dict[str, Any]:
    """Events within the window, both ends included, by the first of `times` or, where an event has none, the second."""

    def within(name: str) -> dict[str, Any]:
        return {"range": {name: {"gte": iso(window.start), "lte": iso(window.end), "format": _DATE_FORMAT}}}

    primary, *secondary = times
    if not secondary:
        return within(primary)
    absent = {"bool": {"must_not": {"exists": {"field": primary}}}}
    fallback = {"bool": {"filter": [within(*secondary), absent]}}
    return {"bool": {"should": [within(primary), fallback], "minimum_should_match": 1}}


def has_filters(rule: Rule) -> bool:
    """Whether the rule has a filter that is not disabled."""
    return any(not (entry.get("meta") or {}).get("disabled") for entry in filters_of(rule))


def filters_query(filters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The documents that meet all of some filters, in the form that Kibana gives them; disabled ones are left out."""
    return _joined(filters)


def rule_filter(rule: Rule) -> dict[str, Any]:
    """The rule's own `filters`, in the form that Kibana gives them; disabled ones are left out."""
    return _joined(filters_of(rule))


def filter_clause(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The query of one of Kibana's filters, whether it is negated or not."""
    meta = entry.get("meta") or {}
    if meta.get("type") == "combined":
        inner = meta.get("params") or ()
        if meta.get("relation") == "OR":
            return {"bool": {"should": [_joined([one]) for one in inner], "minimum_should_match": 1}}
        return _joined(inner)
    clause = entry.get("query") or {key: entry[key] for key in entry if key not in ("meta", "$state")}
    match clause:
        case {"match": {**fields}} if len(fields) == 1:  # how old versions of Kibana wrote a phrase
            ((name, asked),) = fields.items()
            if isinstance(asked, Mapping) and asked.get("type") == "phrase":
                return {"match_phrase": {name: {key: asked[key] for key in asked if key != "type"}}}
    return clause


def _joined(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The documents that meet all of some filters."""
    wanted: list[Any] = []
    unwanted: list[Any] = []
    for entry in entries:
        meta = entry.get("meta") or {}
        if not meta.get("disabled"):
            (unwanted if meta.get("negate") else wanted).append(filter_clause(entry))
    return {"bool": {"must": [], "filter": wanted, "should": [], "must_not": unwanted}}


def documents_query(keys: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The documents with some pairs of index and id."""
    ids: dict[str, list[str]] = {}
    for index, id_ in keys:
        ids.setdefault(index, []).append(id_)
    named = [
        {"bool": {"filter": [{"term": {"_index": index}}, {"ids": {"values": values}}]}}
        for index, values in ids.items()
    ]
    return {"bool": {"should": named, "minimum_should_match": 1}}


def asked_fields(rule: Rule) -> list[dict[str, Any]]:
    """The `fields` to ask for with a document that an alert is made of: all, and the times in one format."""
    fields: list[dict[str, Any]] = [{"field": "*", "include_unmapped": True}]
    fields += [{"field": name, "format": _DATE_FORMAT} for name in time_fields(rule)]
    return fields
