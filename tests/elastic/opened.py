"""A client that tries everything once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runner.elastic import Connection, Elastic, Retry, open_client

ONCE = Retry(attempts=1, first_wait=0.0, longest_wait=0.0)


@asynccontextmanager
async def opened(connection: Connection) -> AsyncIterator[Elastic]:
    client = open_client(connection, retry=ONCE)
    try:
        yield client
    finally:
        await client.close()
