"""Requests searched concurrently: at most so many units at a time, results as they come, none begun after an outage."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from runner.search.protocol import SearchRequest, SearchResult


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
