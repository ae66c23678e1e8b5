"""`Concurrency`: an upper bound for requests at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")


class Concurrency:
    """A semaphore for awaitables: at most `count` of them run at a time."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    async def gather(self, waiting: Iterable[Awaitable[T]]) -> list[T]:
        """The results in order."""
        return list(await asyncio.gather(*map(self._one, waiting)))

    async def _one(self, waiting: Awaitable[T]) -> T:
        async with self._free:
            return await waiting
