"""The indicators of a rule in a cluster: the values of the compared fields of all, whole documents of a few."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from runner.cluster.answer_shapes import hits
from runner.cluster.elasticsearch import Elastic
from runner.errors import SearchError
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import DATES, Field
from runner.rules.threat_match import ThreatMatchCondition
from runner.search.cluster.field_caps import FieldCaps
from runner.search.cluster.pages import Page, read_answer, read_page
from runner.search.cluster.point_in_time import PassOptions, Point
from runner.search.cluster.request_body import documents_query, filters_query
from runner.search.cluster.stage_query import condition_query
from runner.search.cluster.text_query import at_time
from runner.search.compiled_rule import CompiledRule
from runner.search.indicators.programs import indicator_query
from runner.search.indicators.table import IndicatorTable
from runner.search.protocol import Hit

_DOCUMENTS = hits(source=False, sort=False, versions=False)
_PART = 500
"""Documents fetched with one request."""


class ClusterIndicators:
    """The indicators of a rule at one time, read in a point in time of their indices."""

    def __init__(
        self, client: Elastic, compiled: CompiledRule, condition: ThreatMatchCondition, types: FieldCaps,
        *, options: PassOptions, now_ns: int,
    ) -> None:  # fmt: skip
        self._client, self._options, self._types = client, options, types
        self._condition = condition
        self._name = f"rule-runner:{compiled.rule.rule_id}"
        self._query = _query(compiled, condition, types, now_ns=now_ns)
        self._keys: list[tuple[str, str]] = []

    async def read_into(self, table: IndicatorTable) -> None:
        """Add all indicators to the table. Raises RunnerError if a part of them cannot be read."""
        fields = {field.name: field for field in table.indicator_fields()}
        columns = Columns(fields.values())
        presence = table.indicator_presence()
        if isinstance(presence, bool):  # a mapping of no fields: nothing is an indicator
            return
        able = condition_query(presence, now_ns=0, unsearchable=self._types.unsearchable)
        body: dict[str, Any] = {
            "size": self._options.page_size,
            "_source": False,
            "sort": ["_shard_doc"],
            "fields": [_asked(field) for field in fields.values()],
            "query": {"bool": {"filter": [*self._query, able.query]}},
        }
        point = self._point()
        try:
            await point.open()
            while True:
                page = await asyncio.to_thread(read_page, await point.search(body), fields)
                point.check(page.about)
                await asyncio.to_thread(self._add, page, columns, table)
                if len(page) < self._options.page_size:
                    return
                body["search_after"] = page.last
        finally:
            await asyncio.shield(point.close())

    def _add(self, page: Page, columns: Columns, table: IndicatorTable) -> None:
        batch = EventBatch.of_lines(columns, page.lines, base=0, broken=_refuse)
        rows = batch.all_rows()
        names = [field.name for field in table.indicator_fields()]
        batch.load(frozenset(names), rows)
        base = len(self._keys)
        self._keys += zip(page.indices, page.ids, strict=True)
        values = zip(*(batch.values(name, rows) for name in names), strict=True)
        for number, known in enumerate(values, start=base):
            table.add(number, dict(zip(names, known, strict=True)))

    async def documents(self, numbers: Collection[int]) -> dict[int, Hit]:
        """The documents of some indicators by number, as far as they are still there. Raises RunnerError."""
        found: dict[int, Hit] = {}
        if not numbers:
            return found
        point = self._point()
        try:
            await point.open()
            wanted = sorted(numbers)
            for start in range(0, len(wanted), _PART):
                part = {self._keys[number]: number for number in wanted[start : start + _PART]}
                answer = await asyncio.to_thread(read_answer, await point.search(_search_of(list(part))), _DOCUMENTS)
                point.check(answer)
                for hit in answer["hits"]["hits"]:
                    if (number := part.get((hit["_index"], hit["_id"]))) is not None:
                        found[number] = Hit(hit["_index"], hit["_id"], hit.get("_source") or {})
        finally:
            await asyncio.shield(point.close())
        return found

    def _point(self) -> Point:
        return Point(
            self._client, self._condition.index, options=self._options, opaque_id=self._name,
            remotes=self._types.remotes,
        )  # fmt: skip


def _query(
    compiled: CompiledRule, condition: ThreatMatchCondition, types: FieldCaps, *, now_ns: int
) -> list[Mapping[str, Any]]:
    """What an indicator of the rule meets."""
    asked = at_time(indicator_query(compiled, types.schema), now_ns)
    return [asked, at_time(filters_query(condition.filters), now_ns)]


def _search_of(keys: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {"size": len(keys), "query": documents_query(keys), "sort": ["_shard_doc"]}


def _asked(field: Field) -> Any:
    return {"field": field.name, "format": "strict_date_optional_time_nanos"} if field.type in DATES else field.name


def _refuse(position: int, reason: str) -> None:
    raise SearchError(f"the values of an indicator could not be read: {reason}")
