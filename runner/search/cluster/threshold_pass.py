"""`ThresholdPass`: a threshold rule in a cluster: which keys may meet its condition, and the events of those.

The keys are counted as Kibana counts them, by a composite aggregation; which of them are enough is decided here. That
count is of all events of the window. Which of them were counted before only the runner knows, so it reads the events of
the keys that have enough: the values of the rule's fields, times and ids, in the same point in time, no documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner import eql
from runner.cluster.answer_shapes import KEYS, TOTAL
from runner.engine.scope import Scope
from runner.errors import SearchError
from runner.events.fields.schema import DATES, DataType, Field
from runner.rules.rule_tables import Threshold
from runner.search.buckets import buckets_of
from runner.search.cluster.fetch_pass import FetchPass, PlannedRequest
from runner.search.cluster.pages import read_answer
from runner.search.cluster.search_failures import subject_of
from runner.search.compiled_rule import time_fields
from runner.search.protocol import Buckets, Hit, SearchResult
from runner.search.threshold_keys import least_cardinality, threshold_of

KEYS_A_PAGE = 10_000
PRECISION = 40_000
"""Up to how many values of a key their number is exact in the cluster's answer; beyond it is within some percent."""
_NEARLY = 0.9
"""The part of the wanted cardinality from which on the values of a key are counted here, where it is not exact."""
_NARROWED = 500
"""Keys whose events are read with one search."""
_MOST_NARROWED = 20 * _NARROWED
"""Keys up to which the events of no others are read."""
MOST_EVENTS = 1_000_000
"""Most events of keys that have enough of them, in one window."""


@dataclass(frozen=True, slots=True)
class _Key:
    values: tuple[Any, ...]
    events: int


class ThresholdPass(FetchPass):
    """One pass for one request of a threshold rule."""

    _among: Mapping[str, Any] | None = None
    """A filter for the events of some keys."""

    async def results(self) -> list[SearchResult]:
        """The result of the request, with its buckets. Raises RunnerError if any part of an answer is missing."""
        (asked,) = self._asked
        threshold = threshold_of(asked.request.rule)
        assert threshold is not None
        if asked.filters.whole.is_nothing or any(stage.empty for stage in asked.program.plan.stages):
            return [SearchResult(asked.request, buckets=Buckets())]
        try:
            await self._point.open()
            keys = await self._keys(threshold) if threshold.field else await self._all(threshold)
            if (events := sum(key.events for key in keys)) > MOST_EVENTS:
                raise SearchError(
                    f"{events:,} events of {len(keys):,} keys meet the threshold in one window, expected at most "
                    f"{MOST_EVENTS:,}: raise the threshold's value, or let the query find less"
                )
            for among in self._narrowings(threshold, keys):
                self._among = among
                await self._read_pages()
        finally:
            await asyncio.shield(self._point.close())
        (found,) = await asyncio.to_thread(lambda: list(self._matcher.found()))
        if found.error is not None:
            return [SearchResult(asked.request, error=f"{subject_of(self._rule)}: {found.error}")]
        return [SearchResult(asked.request, buckets=buckets_of(found.matches, threshold, self._hit_of))]

    def _ask(self, one: PlannedRequest) -> eql.Ask:
        scope = Scope(times=time_fields(one.request.rule))  # of any time: the cluster has selected the events by it
        return eql.Ask(one.program.plan, scope, now_ns=one.request.window.end_ns)

    def _more_fields(self) -> frozenset[Field]:
        known = {field.name: field for field in self._matcher.fields()}
        names = [name for name in time_fields(self._rule) if name not in known]
        return frozenset(Field(name, DataType.DATE_NANOS) for name in names)

    def _query(self) -> dict[str, Any]:
        query = FetchPass._query(self)
        if self._among is not None:
            query["bool"]["filter"].append(self._among)
        return query

    def _is_satisfied(self) -> bool:
        """No: all events of a key count."""
        return False

    async def _all(self, threshold: Threshold) -> list[_Key]:
        """The empty key of a rule without fields, if it has enough events."""
        body: dict[str, Any] = {"size": 0, "query": self._query(), "track_total_hits": True}
        if values := _values(threshold):
            body["aggs"] = values
        answer = await asyncio.to_thread(read_answer, await self._point.search(body), TOTAL)
        self._point.check(answer)
        events = int(answer["hits"]["total"]["value"])
        return [_Key((), events)] if _is_enough(events, answer.get("aggregations") or {}, threshold) else []

    async def _keys(self, threshold: Threshold) -> list[_Key]:
        """The keys that have enough events, and values of the cardinality field, in the order of the keys."""
        names = [f"k{place}" for place in range(len(threshold.field))]
        sources = [{name: {"terms": {"field": field}}} for name, field in zip(names, threshold.field, strict=True)]
        composite: dict[str, Any] = {"size": KEYS_A_PAGE, "sources": sources}
        counted: dict[str, Any] = {"composite": composite}
        if values := _values(threshold):
            counted["aggs"] = values
        found: list[_Key] = []
        while True:
            body = {"size": 0, "query": self._query(), "aggs": {"keys": counted}}
            answer = await asyncio.to_thread(read_answer, await self._point.search(body), KEYS)
            self._point.check(answer)
            page = answer["aggregations"]["keys"]
            found += (
                _Key(tuple(bucket["key"][name] for name in names), bucket["doc_count"])
                for bucket in page["buckets"]
                if _is_enough(bucket["doc_count"], bucket, threshold)
            )
            if not (after := page.get("after_key")):
                return found
            composite["after"] = after

    def _narrowings(self, threshold: Threshold, keys: Sequence[_Key]) -> Iterator[Mapping[str, Any] | None]:
        """Filters that together let the events of all keys through; None: all events."""
        if not keys:
            return
        if not threshold.field or len(keys) > _MOST_NARROWED:
            yield None
            return
        fields = [self._fields[name] for name in threshold.field]
        for start in range(0, len(keys), _NARROWED):
            part = [key.values for key in keys[start : start + _NARROWED]]
            if len(fields) == 1 and fields[0].type not in DATES:
                yield {"terms": {fields[0].name: [value for (value,) in part]}}
                continue
            each = [{"bool": {"filter": list(map(_has, fields, values))}} for values in part]
            yield {"bool": {"should": each, "minimum_should_match": 1}}

    def _hit_of(self, number: int) -> Hit:
        key = self._kept[number]
        return Hit(key.index, key.id, {})


def _has(field: Field, value: Any) -> dict[str, Any]:
    """The events that have a value of a key."""
    if field.type in DATES:
        return {"range": {field.name: {"gte": value, "lte": value, "format": "epoch_millis"}}}
    return {"term": {field.name: {"value": value}}}


def _values(threshold: Threshold) -> dict[str, Any]:
    """The aggregation that counts values of the cardinality field; empty without one."""
    if not threshold.cardinality:
        return {}
    return {"values": {"cardinality": {"field": threshold.cardinality[0].field, "precision_threshold": PRECISION}}}


def _is_enough(events: int, aggregations: Mapping[str, Any], threshold: Threshold) -> bool:
    least = least_cardinality(threshold)
    if least >= PRECISION:
        least = int(least * _NEARLY)
    return events >= threshold.value and (not least or aggregations["values"]["value"] >= least)
