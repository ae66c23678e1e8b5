"""Requests to a real node, with a proxy before it that breaks things: retries, and errors in the runner's words."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack

import pytest

from runner.cluster.elasticsearch import Connection, Elastic, Retry
from runner.errors import AccessError, ClusterError, UnreachableError, WrongAnswerError
from tests.cluster.opened import opened as opened_with
from tests.elasticsearch.proxy import EVERY, Proxy

AT_ONCE = Retry(attempts=4, first_wait=0.0, longest_wait=0.0)
KEY = base64.b64encode(b"VuaCfGcBCdbk:ui2lp2axTNmsyakw9tvNnw").decode()


@pytest.fixture
def proxy(eql_proxy: Proxy) -> Proxy:
    return eql_proxy


def opened(connection: Connection, retry: Retry = AT_ONCE) -> AbstractAsyncContextManager[Elastic]:
    return opened_with(connection, retry)


@pytest.fixture
def closed() -> Iterator[Callable[[], str]]:
    """Addresses at which nobody listens, and nobody else can: the ports are taken."""
    with ExitStack() as held:

        def address() -> str:
            taken = held.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            return f"http://127.0.0.1:{taken.getsockname()[1]}"

        yield address


async def test_the_cluster_says_what_it_is(proxy: Proxy) -> None:
    async with opened(Connection(hosts=(proxy.url,))) as client:
        info = await client.info()
    assert info.version.startswith("8.")
    assert info.name and info.uuid


async def test_a_closed_port_is_unreachable(closed: Callable[[], str]) -> None:
    url = closed()
    async with opened(Connection(hosts=(url,))) as client:
        with pytest.raises(UnreachableError, match=r"connection refused .*\(4 attempts\)") as caught:
            await client.info()
    assert caught.value.hosts == (url,)
    assert url in str(caught.value)


async def test_an_unknown_host_is_unreachable() -> None:
    async with opened(Connection(hosts=("http://elasticsearch.invalid:9200",))) as client:
        with pytest.raises(UnreachableError, match=r"elasticsearch\.invalid"):
            await client.info()


async def test_one_living_host_of_several_is_enough(proxy: Proxy, closed: Callable[[], str]) -> None:
    dead = tuple(closed() for _ in range(5))
    async with opened(Connection(hosts=(*dead, proxy.url))) as client:
        assert (await client.info()).version


async def test_tls_to_a_plain_port_says_so(proxy: Proxy) -> None:
    url = proxy.url.replace("http://", "https://")
    async with opened(Connection(hosts=(url,))) as client:
        with pytest.raises(UnreachableError, match="TLS failed, the port speaks plain HTTP"):
            await client.info()


async def test_another_product_is_named_as_the_problem(proxy: Proxy) -> None:
    proxy.fail_next(200, headers={"X-elastic-product": "OtherSearch"})
    async with opened(Connection(hosts=(proxy.url,))) as client:
        with pytest.raises(UnreachableError, match="does not say that it is Elasticsearch"):
            await client.info()


async def test_a_wrong_key_is_an_access_error_that_names_its_id_and_is_not_tried_again(proxy: Proxy) -> None:
    proxy.fail_next(401, times=EVERY, kind="security_exception", reason=f"unable to authenticate with {KEY}")
    async with opened(Connection(hosts=(proxy.url,), api_key=KEY)) as client:
        with pytest.raises(AccessError) as caught:
            await client.info()
    assert 'API key id "VuaCfGcBCdbk"' in str(caught.value)
    assert "ui2lp2axTNmsyakw9tvNnw" not in str(caught.value)
    assert len(proxy.requests) == 1


async def test_a_missing_privilege_names_action_and_index(proxy: Proxy) -> None:
    proxy.fail_next(403, kind="security_exception", reason="action [indices:data/read/search] is unauthorized")
    async with opened(Connection(hosts=(proxy.url,), username="reader", password="secret-1")) as client:
        with pytest.raises(AccessError) as caught:
            await client.search(("logs-a", "logs-b*"), {})
    assert str(caught.value) == (
        'user "reader" may not search in logs-a, logs-b*: action [indices:data/read/search] is unauthorized'
    )


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_failure_that_passes_is_tried_again(proxy: Proxy, status: int) -> None:
    proxy.fail_next(status, times=3)
    async with opened(Connection(hosts=(proxy.url,))) as client:
        assert (await client.info()).version
    assert len(proxy.requests) == 4


async def test_a_failure_that_does_not_pass_ends_after_the_last_attempt(proxy: Proxy) -> None:
    proxy.fail_next(503, times=EVERY, kind="cluster_block_exception", reason="no master")
    async with opened(Connection(hosts=(proxy.url,))) as client:
        with pytest.raises(ClusterError, match=r"no master \(4 attempts\)") as caught:
            await client.info()
    assert (caught.value.status, caught.value.type) == (503, "cluster_block_exception")
    assert len(proxy.requests) == 4


async def test_a_gateway_without_a_cluster_behind_it_is_unreachable(proxy: Proxy) -> None:
    proxy.answer_next(502, b"<html>Bad Gateway</html>", times=EVERY)
    async with opened(Connection(hosts=(proxy.url,))) as client:
        with pytest.raises((UnreachableError, ClusterError)):
            await client.info()


async def test_a_bad_request_is_not_tried_again(proxy: Proxy) -> None:
    async with opened(Connection(hosts=(proxy.url,))) as client:
        with pytest.raises(ClusterError, match="unknown query") as caught:
            await client.search(("*",), {"query": {"nonsense": {}}})
    assert caught.value.status == 400
    assert len(proxy.requests) == 1


async def test_a_cut_connection_is_opened_again(proxy: Proxy) -> None:
    proxy.cut_next(times=2)
    async with opened(Connection(hosts=(proxy.url,))) as client:
        assert (await client.info()).version
    assert len(proxy.requests) == 3


async def test_nothing_is_tried_again_after_the_deadline(proxy: Proxy) -> None:
    proxy.fail_next(503, times=EVERY)
    async with opened(Connection(hosts=(proxy.url,))) as client:
        with pytest.raises(ClusterError):
            await client.eql_submit(
                ("logs-*",), {}, params={}, deadline=asyncio.get_running_loop().time(), opaque_id="rule-runner:1"
            )
    assert len(proxy.requests) == 1
    assert proxy.requests[0].headers["x-opaque-id"] == "rule-runner:1"


async def test_an_answer_that_never_ends_is_given_up(proxy: Proxy) -> None:
    proxy.hold(times=EVERY)
    async with opened(Connection(hosts=(proxy.url,), request_timeout=0.1)) as client:
        with pytest.raises(UnreachableError, match=r"did not answer within 0\.1 s"):
            await client.info()


async def test_a_warning_of_the_server_stays_out_of_the_way(proxy: Proxy) -> None:
    proxy.fail_next(200, headers={"Warning": '299 Elasticsearch-8.19.0 "this is deprecated"'})
    async with opened(Connection(hosts=(proxy.url,))) as client:
        with pytest.raises(WrongAnswerError, match="refused by the test"):
            await client.search(("*",), {})


async def test_a_path_prefix_is_kept(proxy: Proxy) -> None:
    proxy.answer_next(200, {"version": {"number": "8.19.0"}})
    async with opened(Connection(hosts=(f"{proxy.url}/behind/here",))) as client:
        await client.info()
    assert proxy.requests[0].path == "/behind/here/"


async def test_credentials_are_sent(proxy: Proxy) -> None:
    async with opened(Connection(hosts=(proxy.url,), api_key=KEY)) as client:
        await client.info()
    assert proxy.requests[0].headers["authorization"] == f"ApiKey {KEY}"


async def test_a_document_is_read_with_its_version(proxy: Proxy, namespace: str) -> None:
    index = f"{namespace}-documents"
    async with opened(Connection(hosts=(proxy.url,))) as client:
        assert await client.read_document(index, "a/b") is None
        await client.bulk([b'{"create": {"_id": "a/b"}}', b'{"n": 1}'], index=index)
        found = await client.read_document(index, "a/b")
    assert found is not None
    assert (found["_source"], found["_seq_no"]) == ({"n": 1}, 0)


async def test_field_capabilities_are_those_of_the_indices(proxy: Proxy, namespace: str) -> None:
    index = f"{namespace}-fields"
    async with opened(Connection(hosts=(proxy.url,))) as client:
        assert await client.create_index(index, {"mappings": {"properties": {"pid": {"type": "long"}}}})
        assert not await client.create_index(index, {})
        caps = await client.field_caps((index, f"{namespace}-missing"), ("pid", "nothing"))
    assert list(caps["fields"]["pid"]) == ["long"]
