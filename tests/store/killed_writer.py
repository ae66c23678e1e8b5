"""A process that writes groups of alerts to a file until it is killed; it prints the number of each that is stored."""

from __future__ import annotations

import asyncio
import itertools
import sys

from runner.store.sqlite.sqlite_store import SqliteStore
from tests.store.alerts import Made

GROUP_SIZE = 20


async def write(path: str) -> None:
    store = SqliteStore(path)
    for number in itertools.count():
        await store.create(Made(minute=number % 50).group(str(number), size=GROUP_SIZE - 1))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1]))
