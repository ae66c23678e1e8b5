"""No index that matches, for a user who may not read any: never taken for time that was searched."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import pytest
from elasticsearch import Elasticsearch

from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import open_client
from runner.search.cluster.cluster_search import ClusterSearch
from runner.search.protocol import SearchRequest, SearchResult
from tests.compiled import compiled
from tests.elasticsearch.proxy import Proxy
from tests.search.lab import WINDOW, rule


@pytest.fixture(params=[True, False], ids=["EQL search API", "fetch and match"])
def host(request: pytest.FixtureRequest, secured_url: str) -> Iterator[str]:
    """The address, without a login, of a cluster with security."""
    parts = urlsplit(secured_url)
    with Proxy(f"http://{parts.hostname}:{parts.port}", eql=request.param) as proxy:
        if request.param:
            # What Elasticsearch's own EQL says; the proxy reads the mapping as the user, who may not.
            reason = "Found 1 problem\nline -1:-1: Unknown index [*,-*]"
            proxy.fail_next(400, on="_eql/search", kind="verification_exception", reason=reason)
        yield proxy.url


@pytest.fixture
def name(secured_url: str) -> Iterator[str]:
    """A user who may read `<name>-open-*`; there is an index `<name>-closed-1`."""
    name = f"u{uuid.uuid4().hex[:12]}"
    with Elasticsearch(secured_url) as admin:
        admin.indices.create(index=f"{name}-closed-1")
        admin.security.put_role(name=name, indices=[{"names": [f"{name}-open-*"], "privileges": ["read"]}])
        admin.security.put_user(username=name, password="user-password", roles=[name])
        yield name
        admin.indices.delete(index=f"{name}-closed-1")


async def asked(host: str, name: str, patterns: Sequence[str]) -> SearchResult:
    client = open_client(Connection(hosts=(host,), username=name, password="user-password"))
    search = ClusterSearch(client)
    try:
        (found,) = [
            result async for result in search.run([SearchRequest(compiled(rule(index=patterns)), WINDOW, size=10)])
        ]
        return found
    finally:
        await search.close()
        await client.close()


async def test_patterns_that_may_not_be_read_are_an_error(host: str, name: str) -> None:
    found = await asked(host, name, [f"{name}-closed-*", "-nothing-*"])
    assert found.error is not None
    assert f"the privilege `read` is missing on {name}-closed-*" in found.error
    assert found.retryable


async def test_patterns_that_may_be_read_and_match_nothing_are_a_warning(host: str, name: str) -> None:
    found = await asked(host, name, [f"{name}-open-*"])
    assert (found.error, found.warnings) == (None, (f"no index matches {name}-open-*: nothing was searched",))


async def test_one_of_several_patterns_that_may_not_be_read_is_named(host: str, name: str) -> None:
    found = await asked(host, name, [f"{name}-open-*", f"{name}-closed-*"])
    assert found.error is None
    assert found.warnings[0].endswith(f"nothing was searched; `read` is missing on {name}-closed-*")
