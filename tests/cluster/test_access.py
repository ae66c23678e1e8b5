"""Who asks, and what answers: every way to sign in, against a node with security, and everything that is no cluster."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from elasticsearch import Elasticsearch

import runner
from runner.cluster.elasticsearch import Connection, open_client
from runner.errors import AccessError, ClusterError, RunnerError, SettingsError, UnreachableError
from tests.cluster.forward_proxy import forward_proxy
from tests.cluster.opened import opened
from tests.cluster.tls import Authority, tls_before
from tests.elasticsearch.proxy import EVERY, Proxy


async def error(connection: Connection, kind: type[RunnerError] = UnreachableError) -> str:
    async with opened(connection) as client:
        with pytest.raises(kind) as caught:
            await client.info()
    return str(caught.value)


def without_login(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port}"


async def test_user_and_password(secured_url: str) -> None:
    with Elasticsearch(secured_url) as superuser:
        superuser.security.put_user(username="jo@home", password="p@ss:word/1", roles=["superuser"])
    host = without_login(secured_url)
    async with opened(Connection(hosts=(host,), username="jo@home", password="p@ss:word/1")) as client:
        assert (await client.info()).version
    said = await error(Connection(hosts=(host,), username="jo@home", password="wrong-password"), AccessError)
    assert 'does not accept user "jo@home"' in said
    assert "wrong-password" not in said
    assert "does not accept nobody (no credentials)" in await error(Connection(hosts=(host,)), AccessError)


async def test_api_keys(secured_url: str) -> None:
    host = without_login(secured_url)
    with Elasticsearch(secured_url) as superuser:
        made = superuser.security.create_api_key(name="runner")
        nobody = superuser.security.create_api_key(name="nobody", role_descriptors={"none": {"cluster": []}})
        dead = superuser.security.create_api_key(name="dead")
        superuser.security.invalidate_api_key(ids=[dead["id"]])
    async with opened(Connection(hosts=(host,), api_key=made["encoded"])) as client:
        assert (await client.info()).version
    said = await error(Connection(hosts=(host,), api_key=dead["encoded"]), AccessError)
    assert f'does not accept API key id "{dead["id"]}"' in said
    assert dead["api_key"] not in said
    said = await error(Connection(hosts=(host,), api_key=nobody["encoded"]), AccessError)
    assert f'API key id "{nobody["id"]}" may not read the cluster\'s version' in said


async def test_a_bearer_token_is_sent_and_refused_by_name(secured_url: str, eql_proxy: Proxy) -> None:
    async with opened(Connection(hosts=(eql_proxy.url,), bearer_token="some-token")) as client:
        await client.info()
    assert eql_proxy.requests[0].headers["authorization"] == "Bearer some-token"
    said = await error(Connection(hosts=(without_login(secured_url),), bearer_token="some-token"), AccessError)
    assert "does not accept the bearer token" in said
    assert "some-token" not in said


async def test_a_cloud_id(elasticsearch_url: str, tmp_path: Path) -> None:
    """The name in it is known to nobody here but the proxy."""
    authority = Authority(tmp_path)
    certificate = authority.issue("server", names="DNS:4f2a.cloud.internal")
    async with tls_before(elasticsearch_url, certificate) as url:
        port = urlsplit(url).port or 0
        inner = base64.b64encode(b"cloud.internal:9243$4f2a$6b3c").decode()
        async with forward_proxy({"4f2a.cloud.internal": port}) as proxy:
            connection = Connection(
                cloud_id=f"mine:{inner}", ca_certs=authority.certificate.file, proxy=proxy.url, api_key="id:secret-key"
            )
            async with opened(connection) as client:
                assert (await client.info()).version
            assert proxy.asked == ["CONNECT 4f2a.cloud.internal:9243"]
        assert "cloud mine can not be reached" in await error(connection)
    with pytest.raises(SettingsError, match="Cloud ID is not properly formatted"):
        open_client(Connection(cloud_id="mine:%%%"))
    nothing = base64.b64encode(b"cloud.internal").decode()
    with pytest.raises(SettingsError, match="names no Elasticsearch"):
        open_client(Connection(cloud_id=f"mine:{nothing}"))


async def test_the_media_type_is_one_that_servers_of_8_and_9_understand(eql_proxy: Proxy) -> None:
    """Version 9 answers a request of version 8 in the shapes of version 8."""
    async with opened(Connection(hosts=(eql_proxy.url,))) as client:
        await client.search(("no-such-index*",), {"size": 0})
    headers = eql_proxy.requests[0].headers
    assert headers["accept"] == headers["content-type"] == "application/vnd.elasticsearch+json; compatible-with=8"


@pytest.mark.parametrize("prefix", ["/wrong", "/wrong/path"])
async def test_a_wrong_path_before_the_clusters_own(elasticsearch_url: str, prefix: str) -> None:
    said = await error(Connection(hosts=(f"{elasticsearch_url}{prefix}",)))
    assert f"answers, but not under the path {prefix}: leave it away or correct it" in said


async def test_a_wrong_path_is_named_whatever_is_asked_first(elasticsearch_url: str) -> None:
    async with opened(Connection(hosts=(f"{elasticsearch_url}/wrong",))) as client:
        with pytest.raises(UnreachableError, match="answers, but not under the path /wrong: leave it away or correct"):
            await client.search(("logs-*",), {"size": 0})


async def test_an_error_of_the_root_without_a_path_stays_what_it_is(eql_proxy: Proxy) -> None:
    eql_proxy.fail_next(400, times=EVERY)
    assert "could not read the cluster's version" in await error(Connection(hosts=(eql_proxy.url,)), ClusterError)


OPENSEARCH = {"cluster_name": "os", "version": {"distribution": "opensearch", "number": "2.19.1"}}
OLD = {"cluster_name": "old", "version": {"number": "7.10.2", "build_flavor": "default"}}
REFUSED = "Content-Type header [application/vnd.elasticsearch+json; compatible-with=8] is not supported"
PAGE = b"<html>Welcome to nginx!</html>"


@pytest.mark.parametrize(
    ("status", "kind", "body", "expected"),
    [
        (200, "application/json", OPENSEARCH, "OpenSearch 2.19.1 is there, which is not supported; expected Elastic"),
        (200, "application/json", OLD, "an Elasticsearch of version 7.10.2 is there"),
        (200, "application/json", {"hello": "world"}, "does not say that it is Elasticsearch"),
        (200, "text/html", PAGE, "does not say that it is Elasticsearch"),
        (404, "text/html", PAGE, r"is not Elasticsearch \(HTTP 404\): check the address, the port and the path"),
        (405, "text/html", PAGE, r"is not Elasticsearch \(HTTP 405\)"),
        (301, "text/html", PAGE, "redirects to https://es.example/; write the address of the cluster itself"),
        (503, "text/html", PAGE, "the proxy before it answers 503"),
        (
            406,
            "application/json",
            {"error": REFUSED, "status": 406},
            "an older Elasticsearch is there, or another prod",
        ),
        (407, "text/html", PAGE, r"a proxy before it asks for a user and password \(407\)"),
    ],
)
async def test_what_is_no_elasticsearch(status: int, kind: str, body: Any, expected: str) -> None:
    async with web_server(status, kind, body) as url:
        with pytest.raises(UnreachableError, match=expected):
            async with opened(Connection(hosts=(url,))) as client:
                await client.info()


async def test_what_says_that_it_is_elasticsearch_and_nothing_of_a_version(eql_proxy: Proxy) -> None:
    eql_proxy.answer_next(200, {})
    assert "says nothing of a version" in await error(Connection(hosts=(eql_proxy.url,)))


async def test_a_port_that_speaks_something_else() -> None:
    async with server(b"SSH-2.0-OpenSSH_9.6\r\n") as url:
        assert "does not speak HTTP" in await error(Connection(hosts=(url,)))


@asynccontextmanager
async def server(raw: bytes) -> AsyncIterator[str]:
    """The address of a server that says the same to everybody."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(raw)
        await writer.drain()
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    finally:
        running.close()


@asynccontextmanager
async def web_server(status: int, kind: str, body: Any) -> AsyncIterator[str]:
    """The address of a server that answers every request with this."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Something\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
    head += "Location: https://es.example/\r\nConnection: close\r\n\r\n"
    async with server(head.encode() + content) as url:
        yield url


def test_the_client_stands_behind_few_modules() -> None:
    """So that another one can take its place."""
    package = Path(runner.__file__).parent
    importing = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if re.search(r"^ *(from|import) (elasticsearch|elastic_transport)\b", file.read_text(), re.MULTILINE)
    }
    assert importing == {"cluster/kibana.py", "cluster/http_node.py", "cluster/transport.py"}
