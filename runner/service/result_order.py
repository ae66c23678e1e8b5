"""The order in which the results of searches are written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from runner.search.protocol import SearchRequest, SearchResult


async def in_order(
    results: AsyncIterator[SearchResult], requests: Sequence[SearchRequest]
) -> AsyncIterator[SearchResult]:
    """The results as they come; those of a rule that counts, by alert suppression or a threshold, or whose windows
    find rows again, in the order in which its windows end.

    The windows of one rule are alike in cost and are searched in their order, so that few have to wait.
    """
    expected: dict[str, list[datetime]] = {}
    for request in requests:
        counts = request.rule.alert_suppression is not None or request.rule.type == "threshold"
        if counts or request.compiled.same_for:
            expected.setdefault(request.rule.rule_id, []).append(request.window.end)
    for ends in expected.values():
        ends.sort(reverse=True)
    waiting: dict[str, list[SearchResult]] = {}
    async for result in results:
        rule_id = result.request.rule.rule_id
        if rule_id not in expected:
            yield result
            continue
        left, held = expected[rule_id], waiting.setdefault(rule_id, [])
        held.append(result)
        held.sort(key=_end, reverse=True)
        while held and left and _end(held[-1]) <= left[-1]:
            left.pop()
            yield held.pop()
    for held in waiting.values():
        for result in reversed(held):
            yield result


def _end(result: SearchResult) -> datetime:
    return result.request.window.end
