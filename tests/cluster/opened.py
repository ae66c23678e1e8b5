"""A client, closed at the end; it tries everything once unless it is told otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runner.cluster.elasticsearch import Connection, Elastic, Retry, open_client

ONCE = Retry(attempts=1, first_wait=0.0, longest_wait=0.0)


@asynccontextmanager
async def opened(connection: Connection, retry: Retry = ONCE) -> AsyncIterator[Elastic]:
    client = open_client(connection, retry=retry)
    try:
        yield client
    finally:
        await client.close()
