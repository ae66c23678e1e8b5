"""Searches of rules that must not run now: they fail, and their windows stay owed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from runner.search.protocol import Search, SearchRequest, SearchResult


async def searched(search: Search, requests: Sequence[SearchRequest]) -> AsyncGenerator[SearchResult, None]:
    """One result per request, as they are done; an error for those of rules that are withheld."""
    for request in requests:
        if request.compiled.withheld:
            yield SearchResult(request, error=request.compiled.withheld)
    if ready := [request for request in requests if not request.compiled.withheld]:
        async for result in search.run(ready):
            yield result
