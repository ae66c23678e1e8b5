"""Requests through an HTTP proxy: which proxy is asked for which host, and what is said where it does not work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runner.cluster.elasticsearch import Connection, open_client
from runner.cluster.proxies import environment_proxies, proxy_for, read_proxy
from runner.errors import SettingsError, UnreachableError
from tests.cluster.forward_proxy import forward_proxy
from tests.cluster.opened import opened
from tests.cluster.tls import Authority, tls_before

NAME = "elasticsearch.internal"


def with_login(url: str, login: str) -> str:
    return url.replace("//", f"//{login}@")


async def version(connection: Connection) -> str:
    async with opened(connection) as client:
        return (await client.info()).version


async def failure(connection: Connection) -> str:
    with pytest.raises(UnreachableError) as caught:
        await version(connection)
    return str(caught.value)


async def test_plain_http_goes_to_the_proxy_with_the_whole_address(elasticsearch_url: str) -> None:
    port = urlsplit(elasticsearch_url).port or 0
    host = f"http://{NAME}:{port}"
    async with forward_proxy({NAME: port}, login="runner:s@fe#1") as proxy:
        assert await version(Connection(hosts=(host,), proxy=with_login(proxy.url, "runner:s%40fe%231")))
        assert proxy.asked == [f"GET {host}/"]


async def test_tls_runs_through_the_proxy_unread(elasticsearch_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("server", names=f"DNS:{NAME}")
    async with tls_before(elasticsearch_url, certificate) as url:
        port = urlsplit(url).port or 0
        host = f"https://{NAME}:{port}"
        async with forward_proxy({NAME: port}, login="runner:secret") as proxy:
            way = with_login(proxy.url, "runner:secret")
            for trust in (
                {"ca_certs": authority.certificate.file},
                {"fingerprint": certificate.fingerprint},
                {"fingerprint": authority.certificate.fingerprint},
            ):
                assert await version(Connection(hosts=(host,), proxy=way, **trust))
            assert set(proxy.asked) == {f"CONNECT {NAME}:{port}"}
            said = await failure(Connection(hosts=(host,), proxy=way))
            assert "its certificate is not trusted" in said


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_login_that_is_missing_or_wrong(scheme: str) -> None:
    host = f"{scheme}://{NAME}:9200"
    async with forward_proxy({}, login="runner:secret") as proxy:
        said = await failure(Connection(hosts=(host,), proxy=proxy.url))
        assert f"the proxy {proxy.url} (ELASTICSEARCH_PROXY) asks for a user and password (407)" in said
        said = await failure(Connection(hosts=(host,), proxy=with_login(proxy.url, "runner:hunter22")))
        assert 'does not accept the user "runner"' in said
        assert "hunter22" not in said


async def test_a_host_that_the_proxy_does_not_let_through() -> None:
    async with forward_proxy({}) as proxy:
        said = await failure(Connection(hosts=(f"https://{NAME}:9200",), proxy=proxy.url))
    assert f"the proxy {proxy.url} (ELASTICSEARCH_PROXY) answers 403 Forbidden" in said


async def test_a_proxy_that_is_not_there() -> None:
    said = await failure(Connection(hosts=(f"https://{NAME}:9200",), proxy="http://127.0.0.1:9"))
    assert "the proxy http://127.0.0.1:9 (ELASTICSEARCH_PROXY) can not be reached" in said
    said = await failure(Connection(hosts=(f"https://{NAME}:9200",), proxy="http://proxy.invalid:9"))
    assert "proxy.invalid" in said


async def test_the_environment_counts_where_the_setting_is_absent(elasticsearch_url: str) -> None:
    port = urlsplit(elasticsearch_url).port or 0
    host = f"http://{NAME}:{port}"
    async with forward_proxy({NAME: port}) as proxy:
        environ = {"HTTP_PROXY": proxy.url, "HTTPS_PROXY": "http://127.0.0.1:9"}
        assert await version(Connection(hosts=(host,), environment_proxies=environment_proxies(environ)))
        assert proxy.asked
    said = await failure(Connection(hosts=(host,), environment_proxies=environment_proxies(environ)))
    assert "(HTTP_PROXY) can not be reached" in said


@pytest.mark.parametrize(
    ("host", "environ", "expected"),
    [
        ("https://es.example:9200", {}, None),
        ("https://es.example:9200", {"HTTPS_PROXY": "http://a:1", "HTTP_PROXY": "http://b:2"}, "http://a:1"),
        ("http://es.example:9200", {"HTTPS_PROXY": "http://a:1", "HTTP_PROXY": "http://b:2"}, "http://b:2"),
        ("https://es.example:9200", {"HTTPS_PROXY": "http://a:1", "https_proxy": "http://c:3"}, "http://c:3"),
        ("https://es.example:9200", {"HTTPS_PROXY": "http://a:1", "https_proxy": ""}, None),
        ("https://es.example:9200", {"HTTPS_PROXY": "proxy.example:3128"}, "http://proxy.example:3128"),
        ("http://es.example:9200", {"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, None),
        ("https://es.example:9200", {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "*"}, None),
        ("https://es.example:9200", {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "x, es.example"}, None),
        ("https://es.example:9200", {"HTTPS_PROXY": "http://a:1", "NO_PROXY": ".example"}, None),
        ("https://es.example:9200", {"HTTPS_PROXY": "http://a:1", "no_proxy": "*.EXAMPLE"}, None),
        ("https://es.example:9200", {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "s.example"}, "http://a:1"),
        ("https://es.example:9200", {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "es.example:9200"}, None),
        ("https://es.example:9200", {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "es.example:9201"}, "http://a:1"),
        ("https://10.1.2.3:9200", {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://11.1.2.3:9200", {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "10.0.0.0/8"}, "http://a:1"),
        ("https://[fd00::1]:9200", {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "fd00::/8"}, None),
        ("https://[fd00::1]:9200", {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "[fd00::1]"}, None),
        ("https://localhost:9200", {"HTTPS_PROXY": "http://a:1"}, None),
        ("https://127.0.0.1:9200", {"HTTPS_PROXY": "http://a:1"}, None),
        ("https://[::1]:9200", {"HTTPS_PROXY": "http://a:1"}, None),
    ],
)
def test_which_proxy_the_environment_names(host: str, environ: Mapping[str, str], expected: str | None) -> None:
    found = proxy_for(Connection(hosts=(host,), environment_proxies=environment_proxies(environ)), host)
    assert (found.url if found else None) == expected


def test_the_setting_holds_for_every_host_and_goes_before_the_environment() -> None:
    environ = {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "*"}
    for host in ("https://localhost:9200", "http://es.example:80"):
        connection = Connection(hosts=(host,), proxy="http://b:2", environment_proxies=environment_proxies(environ))
        found = proxy_for(connection, host)
        assert found is not None
        assert str(found) == "http://b:2 (ELASTICSEARCH_PROXY)"


@pytest.mark.parametrize(
    "text", ["socks5://u:hunter22@a:1", "https://u:hunter22@a", "http://u:hunter22@", "u:hunter22@a:b", "a b"]
)
def test_a_proxy_that_can_not_be_used_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(SettingsError, match=r"HTTPS_PROXY: found .*, expected http://") as caught:
        read_proxy(text, "HTTPS_PROXY")
    assert "hunter22" not in str(caught.value)
    with pytest.raises(SettingsError, match=r"HTTPS_PROXY: found .*, expected http://"):
        open_client(Connection(hosts=("https://es:9200",), environment_proxies={"https": text}))


def test_the_login_of_a_proxy_is_not_shown() -> None:
    proxy = read_proxy("http://u:hunter22@a:1", "HTTPS_PROXY")
    assert (proxy.username, proxy.password) == ("u", "hunter22")
    connection = Connection(
        hosts=("https://es",), proxy="http://u:hunter22@a:1", environment_proxies={"https": "u:hunter33@b"}
    )
    shown = f"{proxy!r} {proxy} {connection!r}"
    assert "hunter" not in shown
    assert "http://a:1" in repr(connection)
