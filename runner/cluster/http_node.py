"""`HttpNode`: one host of the cluster over HTTP, for the client, with proxies and messages for failures."""

from __future__ import annotations

import asyncio
import gzip
import io
import ssl
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from elastic_transport import (
    ApiResponseMeta,
    BaseAsyncNode,
    ConnectionTimeout,
    HttpHeaders,
    NodeConfig,
    TlsError,
    TransportApiResponse,
)
from elastic_transport import ConnectionError as ClientConnectionError
from elastic_transport.client_utils import DEFAULT, DefaultType, client_meta_version, parse_cloud_id, url_to_node_config

from runner.cluster.connection import Connection
from runner.cluster.connection_failures import describe
from runner.cluster.proxies import Proxy, proxy_for
from runner.cluster.tls import IssuerFoundError, context_for, pin_for
from runner.errors import SettingsError

READ_AS = "x-read-as"
"""A header that is not sent: the media type that the body of a good answer is read as, whatever the server calls it."""
_ROUTE = "_rule_runner_route"
_TLS_FAILURES = (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch, ssl.SSLError)


@dataclass(frozen=True, slots=True)
class _ProxyRoute:
    """How one host is reached."""

    connection: Connection
    proxy: Proxy | None
    context: ssl.SSLContext | None
    """What TLS trusts; None for a host without TLS."""


class HttpNode(BaseAsyncNode):
    """One host. Its errors are the client's, with a message made for the user and what it came from as their cause."""

    _CLIENT_META_HTTP_CLIENT = ("ai", client_meta_version(aiohttp.__version__))

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        self._route: _ProxyRoute = config._extras[_ROUTE]
        self._context = self._route.context
        self._session: aiohttp.ClientSession | None = None

    async def perform_request(  # type: ignore[override]
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: DefaultType | float | None = DEFAULT,
    ) -> TransportApiResponse:
        """The answer, whatever its status. Raises ConnectionTimeout, TlsError or ConnectionError of the client."""
        sent = self.headers.copy()
        sent.update(headers or {})
        read_as = sent.pop(READ_AS, None)
        if body and self._http_compress:
            body = gzip.compress(body)
            sent["content-encoding"] = "gzip"
        seconds = self.config.request_timeout if isinstance(request_timeout, DefaultType) else request_timeout
        try:
            send = partial(self._send, method, target, body, headers=sent, seconds=seconds)
            try:
                answer = await send()
            except IssuerFoundError as found:
                # From now on every certificate that this CA signed for the host will do.
                self._context = context_for(self._route.connection, issuer=found.certificate)
                answer = await send()
            if read_as and answer.meta.status < 300:
                answer.meta.headers["content-type"] = read_as
            return answer
        except TimeoutError as error:
            raise ConnectionTimeout("no answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            kind = TlsError if isinstance(error, _TLS_FAILURES) else ClientConnectionError
            raise kind(describe(error, self.base_url, proxy=self._route.proxy)) from error

    async def close(self) -> None:  # type: ignore[override]
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send(
        self, method: str, target: str, body: bytes | None, *, headers: HttpHeaders, seconds: float | None
    ) -> TransportApiResponse:
        if self._session is None:
            self._session = self._open_session()
        if self.scheme == "http" and (proxy := self._route.proxy) and proxy.username:
            # Without a tunnel every single request passes the proxy.
            headers["proxy-authorization"] = proxy.authorization
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with self._session.request(
            method,
            self.base_url + target,
            # aiohttp writes a stream piece by piece; a large body at once would block everything else.
            data=io.BytesIO(body) if body else None,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=seconds or 0),
            # A redirect would turn a POST into a GET, and show the credentials to another server.
            allow_redirects=False,
            **self._options(),
        ) as response:
            raw = await _whole(response)
        headers, took = HttpHeaders(response.headers), loop.time() - start
        return TransportApiResponse(ApiResponseMeta(response.status, "1.1", headers, took, self.config), raw)

    def _options(self) -> dict[str, Any]:
        """What every request of this host needs besides."""
        options: dict[str, Any] = {} if self._context is None else {"ssl": self._context}
        if proxy := self._route.proxy:
            options["proxy"] = proxy.url
            if self.scheme == "https" and proxy.username:
                options["proxy_headers"] = {"Proxy-Authorization": proxy.authorization}
        return options

    def _open_session(self) -> aiohttp.ClientSession:
        # The connector takes a context or a fingerprint; the context comes with each request, so that it can change.
        tls = pin_for(self._route.connection) if self._context is not None else None
        return aiohttp.ClientSession(
            headers=self.headers,
            skip_auto_headers=("accept", "accept-encoding", "user-agent"),
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit_per_host=self.config.connections_per_node, ssl=tls or True),
        )


_LARGEST = 1 << 30
"""Bytes of an answer: none is so long, and what goes on without an end would fill the memory."""


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer. Raises ClientPayloadError for one that is too long."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _LARGEST:
            raise aiohttp.ClientPayloadError(f"the answer is longer than {_LARGEST >> 20:,} MiB")
    return b"".join(parts)


def proxy_of(config: NodeConfig) -> Proxy | None:
    """The proxy that requests to this host go through."""
    route: _ProxyRoute = config._extras[_ROUTE]
    return route.proxy


def addresses(connection: Connection) -> tuple[str, ...]:
    """The URL of every host of the connection, without its path: of a cloud id, too. Raises SettingsError."""
    return tuple(map(_address, _plain_configs(connection)))


def node_configs(connection: Connection) -> list[NodeConfig]:
    """Every host of the connection, for the client. Raises SettingsError for what cannot be used."""
    plain = _plain_configs(connection)
    context = context_for(connection) if any(config.scheme == "https" for config in plain) else None
    return [_routed(config, connection, context=context) for config in plain]


def _plain_configs(connection: Connection) -> list[NodeConfig]:
    try:
        if connection.cloud_id:
            return [_cloud_node(connection.cloud_id)]
        return [url_to_node_config(host, use_default_ports_for_scheme=True) for host in connection.hosts]
    except ValueError as error:
        raise SettingsError(f"the connection to Elasticsearch can not be set up: {error}") from None


def _address(config: NodeConfig) -> str:
    name = f"[{config.host}]" if ":" in config.host else config.host
    return f"{config.scheme}://{name}:{config.port}"


def _routed(config: NodeConfig, connection: Connection, *, context: ssl.SSLContext | None) -> NodeConfig:
    proxy = proxy_for(connection, _address(config))
    route = _ProxyRoute(connection, proxy, context if config.scheme == "https" else None)
    return config.replace(_extras={_ROUTE: route}, http_compress=config.http_compress or connection.compress)


def _cloud_node(cloud_id: str) -> NodeConfig:
    address = parse_cloud_id(cloud_id).es_address
    if address is None or not address[0]:
        raise ValueError("the cloud id names no Elasticsearch")
    # Compressed, as Elastic's clients do towards its cloud: traffic out of it is paid for.
    return NodeConfig("https", address[0], address[1], http_compress=True)
