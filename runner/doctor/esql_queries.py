"""Checks of the queries in ES|QL: the cluster compiles each of them over its indices, and reads nothing."""

from __future__ import annotations

import asyncio
from asyncio import Semaphore
from collections.abc import Sequence
from datetime import UTC, datetime

from runner.cluster.elasticsearch import Elastic
from runner.cluster.esql import EsqlApi
from runner.doctor.checks import Check, gather, names_of, ok
from runner.errors import ClusterError, SearchError
from runner.esql import EsqlError, sent_text
from runner.messages.quantities import counted
from runner.rules.rule import Rule
from runner.search.cluster.esql.esql_search import is_no_index, search_error

_SECONDS = 30.0
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)


async def check_esql(client: Elastic, rules: Sequence[Rule], *, limit: Semaphore) -> list[Check]:
    """A check per query that the cluster refuses, and one for all others."""
    mine = [rule for rule in rules if rule.type == "esql"]
    if not mine:
        return []
    faults = await gather((_fault(client, rule) for rule in mine), limit)
    remedy = "change the query, or the mapping; until then the rule can not be run"
    checks = [
        Check("query", ", ".join(rule.index), "problem", str(fault), remedy, names_of([rule]))
        for rule, fault in zip(mine, faults, strict=True)
        if fault is not None
    ]
    if sound := len(mine) - len(checks):
        checks.append(ok("esql", "cluster", f"{counted(sound, 'query', 'queries')} in ES|QL can be run"))
    return checks


async def _fault(client: Elastic, rule: Rule) -> SearchError | None:
    """Why the cluster refuses a query; None for one that it takes, and for one without any index."""
    try:
        text = sent_text(rule.query, now=_ANY_TIME, limit=0)
    except EsqlError:
        return None  # a problem of the rule's file, reported with it
    body = {"query": text.text, "wait_for_completion_timeout": f"{_SECONDS:g}s", "filter": {"match_none": {}}}
    now = asyncio.get_running_loop().time()
    api = EsqlApi(client)
    try:
        answer = await api.submit(body, params={}, deadline=now + _SECONDS, opaque_id=f"rule-runner:{rule.rule_id}")
    except ClusterError as error:
        return None if is_no_index(error) else search_error(error, rule, text)
    if answer.id is not None:
        await api.delete(answer.id, now=asyncio.get_running_loop().time())
    return None
