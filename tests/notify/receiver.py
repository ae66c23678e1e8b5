"""`Receiver`: an HTTP server on a thread of its own that keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.cluster.tls import Certificate


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered; status 0: nothing, the connection is closed; -1: nothing, it stays open."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


class Receiver:
    """Listens at `url` within its `with` block. `reply` makes the answer to each request; `taken` are those that were
    answered with 200."""

    def __init__(
        self, reply: Callable[[Received], Reply] = lambda request: Reply(), certificate: Certificate | None = None
    ) -> None:
        self.reply = reply
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(certificate.file, certificate.key)
        self.requests: list[Received] = []
        self.taken: list[Received] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *arguments: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._context).start()
        self.url = f"http{'s' if self._context else ''}://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        hanging = asyncio.all_tasks() - {asyncio.current_task()}
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        received = Received(request.path_qs, dict(request.headers), await request.read())
        self.requests.append(received)
        reply = self.reply(received)
        if reply.status == -1:
            await asyncio.sleep(3_600)
        if reply.status <= 0:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if reply.status == 200:
            self.taken.append(received)
        return web.Response(status=reply.status, headers=reply.headers, text=reply.text)
