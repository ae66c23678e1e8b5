"""A client, closed at the end; it tries everything once unless it is told otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from runner.cluster.elasticsearch import Connection, Elastic, Retry, open_client

ONCE = Retry(attempts=1, first_wait=0.0, longest_wait=0.0)


@asynccontextmanager
async def opened(connection: Connection, retry: Retry = ONCE) -> AsyncIterator[Elastic]:
    client = open_client(connection, retry=retry)
    try:
        yield client
    finally:
        await client.close()


def login_of(url: str) -> Connection:
    """The connection of a URL with user and password."""
    parts = urlsplit(url)
    host = f"{parts.scheme}://{parts.hostname}:{parts.port}"
    return Connection(hosts=(host,), username=parts.username or "", password=parts.password or "")
