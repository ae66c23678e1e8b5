"""A small HTTP proxy for tests: CONNECT for https, absolute addresses for http."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.cluster.tls import join


@dataclass(slots=True)
class ForwardProxy:
    """What a running proxy was asked, and what it does about it."""

    port: int = 0
    login: str = ""
    """`user:password` that it asks for, if any."""
    names: Mapping[str, int] = field(default_factory=dict)
    """Host names that nobody else knows, with the loopback port behind them."""
    asked: list[str] = field(default_factory=list)
    """Method and target of each request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        line, *rest = head.decode().split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in rest)}
        self.asked.append(f"{method} {target}")
        wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}"
        if self.login and headers.get("proxy-authorization") != wanted:
            await _refuse(writer, "407 Proxy Authentication Required")
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        port = self.names.get(parts.hostname or "")
        if port is None:
            await _refuse(writer, "403 Forbidden")
            return
        onward = await asyncio.open_connection("127.0.0.1", port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            kept = "\r\n".join(text for text in rest if not text.lower().startswith(("proxy-", "connection:")))
            onward[1].write(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n{kept}".encode())
        await join((reader, writer), onward)


@asynccontextmanager
async def forward_proxy(names: Mapping[str, int], *, login: str = "") -> AsyncIterator[ForwardProxy]:
    """A proxy that runs, and knows these host names and no other."""
    proxy = ForwardProxy(login=login, names=names)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()


async def _refuse(writer: asyncio.StreamWriter, status: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    writer.close()
