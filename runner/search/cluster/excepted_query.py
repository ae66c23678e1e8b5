"""`ExceptedQuery`: one query to the EQL search API without what exceptions except."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from runner.cluster.elasticsearch import Elastic
from runner.eql.excepting import excepting_text
from runner.events.fields.schema import Schema, shipped_schema
from runner.exceptions.item import ExceptionItem
from runner.search.cluster.excepted_counts import ExceptedCounter
from runner.search.cluster.field_caps import FieldCapsCache
from runner.search.cluster.request_body import has_filters, rule_filter
from runner.search.compiled_rule import CompiledRule
from runner.search.protocol import SearchRequest, SearchResult
from runner.windows import Window, nanoseconds

_ALWAYS = Window(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
_FORM = Schema(shipped_schema().fields, lenient=True)
"""The types that fields of found events are read by."""


class ExceptedQuery:
    """A query, as a rule, with its exceptions over the events of a cluster, and how much each has left out."""

    def __init__(self, client: Elastic, compiled: CompiledRule) -> None:
        self._compiled = compiled
        self._types = FieldCapsCache(client)
        self._types.want(compiled)
        self._counter = ExceptedCounter(client, self._types)
        self.events: Counter[ExceptionItem] = Counter()
        self.matches: Counter[ExceptionItem] = Counter()
        self.warnings: tuple[str, ...] = ()

    async def body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The request's body with the filters of the rule, and without the events that are excepted."""
        rule = self._compiled.rule
        filters = [rule_filter(rule)] if has_filters(rule) else []
        text = body["query"]
        if self._compiled.exceptions:
            resolved = self._compiled.excepted((await self._types.types(rule.index)).schema)
            text = excepting_text(self._compiled.eql_query, resolved.wheres) if resolved.wheres else text
            filters += [] if resolved.query is None else [{"bool": {"must_not": [resolved.query]}}]
        return {**body, "query": text} | ({"filter": {"bool": {"filter": filters}}} if filters else {})

    async def left(self, answer: dict[str, Any], now: datetime) -> dict[str, Any]:
        """The answer without the matches that exceptions of scope alert drop; counts what was left out."""
        result = await self._counter.counted(SearchResult(SearchRequest(self._compiled, _ALWAYS, 1)))
        self.warnings = (*result.warnings, *self._compiled.excepted(_FORM, "alert").warnings)
        for one in result.excepted:
            self.events[one.item] += one.events
        hits, now_ns = dict(answer["hits"]), nanoseconds(now)
        for name in ("events", "sequences"):
            if name in hits:
                kept = [one for one in hits[name] if not self._is_dropped(one, now_ns)]
                dropped, hits[name] = len(hits[name]) - len(kept), kept
                total = hits.get("total")
                if dropped and isinstance(total, dict):
                    hits["total"] = {**total, "value": max(0, total.get("value", dropped) - dropped)}
        return {**answer, "hits": hits}

    def _is_dropped(self, match: Mapping[str, Any], now_ns: int) -> bool:
        sources = [event.get("_source") or {} for event in match.get("events", (match,)) if not event.get("missing")]
        item = self._compiled.excepted_alert(sources, _FORM, now_ns)
        if item is not None:
            self.matches[item] += 1
        return item is not None
