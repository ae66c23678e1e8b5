"""Requests searched concurrently: at most so many units at a time, results as they come, none begun after an outage."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any

from runner.errors import RunnerError, SearchError, UnreachableError
from runner.search.cluster.search_failures import subject_of
from runner.search.protocol import SearchRequest, SearchResult, Unreachable


@dataclass(frozen=True, slots=True)
class Unit:
    """Requests that are searched together. `rest`: it is a part of one that failed as a whole."""

    requests: tuple[SearchRequest, ...]
    rest: bool = False


@dataclass(frozen=True, slots=True)
class UnitOutcome:
    """The results of a unit, and smaller units that are to be searched next for the other requests of it."""

    results: tuple[SearchResult, ...] = ()
    again: tuple[Unit, ...] = ()
    away: str | None = None
    """Why the cluster could not be reached."""


async def outcome_of(request: SearchRequest, searched: Awaitable[SearchResult]) -> UnitOutcome:
    """The outcome of a unit with one request: its result with the time that it took, an error of it as its result."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        result = await searched
    except UnreachableError as error:
        result = Unreachable(request, error=str(error))
    except SearchError as error:
        result = SearchResult(request, error=str(error), retryable=error.retryable)
    except RunnerError as error:
        result = SearchResult(request, error=f"{subject_of(request.rule)}: {error}")
    result = replace(result, took_ms=(loop.time() - started) * 1_000)
    return UnitOutcome((result,), away=result.error if isinstance(result, Unreachable) else None)


async def concurrent_results(
    units: Iterable[Unit],
    search: Callable[[Unit], Coroutine[Any, Any, UnitOutcome]],
    *,
    concurrency: int,
    answers: Callable[[], Awaitable[bool]],
) -> AsyncGenerator[SearchResult, None]:
    """The results of all units, as they get done; at most `concurrency` units are searched at a time.

    Closing the generator cancels the searches that still run. After an outcome that is `away`, if the cluster does not
    answer (`answers`) either, the units that were not begun yet fail with the same error.
    """
    waiting = deque(units)
    running: set[asyncio.Task[UnitOutcome]] = set()
    away: str | None = None
    try:
        while waiting or running:
            while waiting and len(running) < concurrency:
                unit = waiting.popleft()
                if away is None:
                    running.add(asyncio.create_task(search(unit)))
                    continue
                for request in unit.requests:
                    yield SearchResult(request, error=away)
            if not running:
                continue
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                outcome = task.result()
                waiting.extendleft(reversed(outcome.again))
                if away is None and waiting and outcome.away is not None and not await answers():
                    away = outcome.away
                for result in outcome.results:
                    yield result
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
