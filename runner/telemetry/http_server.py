"""`HttpServer`: answers GET requests for a few fixed paths, on a thread and an event loop of its own.

Of its own, so that it answers while the service's loop is busy or stuck. Seconds, bytes and connections are bounded;
what exceeds them is refused. Every answer ends its connection. Requests for other paths are handed to the pages, if
there are some, once their head has come within these bounds; some connections are kept free for the fixed paths.
HTTP/1.1: https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus

import structlog

from runner.errors import RunnerError, SettingsError

_LOG = structlog.get_logger("runner.monitoring")
_LONGEST_REQUEST = 8_192
"""Bytes of the request line and the headers."""
_PATIENCE_S = 5.0
"""Seconds for a request to arrive, and again for its answer to be taken."""
_LINGERS = 0.2
"""Share of that for which what a client still sends is read after the answer."""
_MOST_CONNECTIONS = 32
_MOST_PAGES = 24
"""Connections that the pages may have of these."""
_PAGE_S = 60.0
"""Seconds for a page to be asked for, made and taken."""
_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (\S+) HTTP/1\.[01]")
_ACCEPT = re.compile(rb"(?im)^accept:[ \t]*([^\r\n]*)")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What is sent back."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


Route = Callable[[str], HttpAnswer]
"""Makes the answer for one path, given the request's `Accept` header. Called on the server's thread."""


Pages = Callable[[], asyncio.Protocol]
"""Makes the protocol that speaks HTTP over one connection; it closes the transport after its answer."""


class HttpServer:
    """Listens at one address from `start` to `stop`. `pages` are opened on the server's loop, and closed on it."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        pages: AbstractAsyncContextManager[Pages] | None = None,
        *,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._routes = routes
        self._patience_s = patience_s
        self._opening = pages
        self._pages: Pages | None = None
        self._shown = 0
        self._connections = 0
        self._running: tuple[threading.Thread, asyncio.AbstractEventLoop] | None = None
        self._ended = asyncio.Event()
        self._is_open = threading.Event()

    def start(self, host: str, port: int) -> int:
        """Begin to listen; returns the port, which is chosen by the system for 0. Raises SettingsError."""
        bound = _bound(host, port)
        chosen: int = bound.getsockname()[1]
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._serve_until_stopped, args=(loop, bound), name="monitoring", daemon=True)
        self._running = thread, loop
        thread.start()
        self._is_open.wait()
        return chosen

    def stop(self) -> None:
        """End the thread; answers that are under way are cut off."""
        if self._running is None:
            return
        thread, loop = self._running
        with suppress(RuntimeError):  # the loop may have ended by itself
            loop.call_soon_threadsafe(self._ended.set)
        thread.join()
        self._running = None

    def _serve_until_stopped(self, loop: asyncio.AbstractEventLoop, bound: socket.socket) -> None:
        try:
            loop.run_until_complete(self._serve(bound))
        except Exception:  # noqa: BLE001 - the service goes on without it, and the log says so
            _LOG.exception("the monitoring port is no longer served")
        finally:
            self._is_open.set()
            loop.close()
            bound.close()

    async def _serve(self, bound: socket.socket) -> None:
        server = await asyncio.start_server(self._handle, sock=bound, limit=_LONGEST_REQUEST)
        async with AsyncExitStack() as opened:
            if self._opening is not None:
                try:
                    self._pages = await opened.enter_async_context(self._opening)
                except RunnerError as error:  # what is served beside them goes on
                    _LOG.error(f"the pages are not served: {error}")
            self._is_open.set()
            await self._ended.wait()
            self._pages = None
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections > _MOST_CONNECTIONS:
                answer: bytes | None = _rendered(_plain(HTTPStatus.SERVICE_UNAVAILABLE))
            else:
                answer = await self._answer(reader, writer)
            if answer is not None:
                await _send(reader, writer, answer, patience_s=self._patience_s)
        except (ConnectionError, TimeoutError) as error:
            # There is nobody to answer to; the log may help an operator.
            _LOG.debug(f"a client of the monitoring port has gone or takes too long: {type(error).__name__}")
        finally:
            self._connections -= 1
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """The bytes to send; None if the client went away without a word, or a page has answered."""
        try:
            async with asyncio.timeout(self._patience_s):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return _rendered(_plain(HTTPStatus.REQUEST_TIMEOUT))
        except asyncio.LimitOverrunError:
            return _rendered(_plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        except asyncio.IncompleteReadError as error:
            return _rendered(_plain(HTTPStatus.BAD_REQUEST)) if error.partial.strip() else None
        request = _REQUEST_LINE.match(head)
        if request is None or b"\0" in head:  # a NUL is in no field (RFC 9110, 5.5)
            return _rendered(_plain(HTTPStatus.BAD_REQUEST))
        route = self._routes.get(request[2].split(b"?")[0].decode("latin-1"))
        if route is None and self._pages is not None:
            if self._shown >= _MOST_PAGES:
                return _rendered(_plain(HTTPStatus.SERVICE_UNAVAILABLE))
            await self._show_page(self._pages(), head, reader, writer)
            return None
        if route is None:
            return _rendered(_plain(HTTPStatus.NOT_FOUND))
        if request[1] not in (b"GET", b"HEAD"):
            return _rendered(_plain(HTTPStatus.METHOD_NOT_ALLOWED), "Allow: GET, HEAD\r\n")
        accept = _ACCEPT.search(head)
        try:
            answer = route(accept[1].decode("latin-1") if accept else "")
        except Exception:  # noqa: BLE001 - one answer that cannot be made ends neither the server nor the service
            _LOG.exception("a request to the monitoring port could not be answered")
            answer = _plain(HTTPStatus.INTERNAL_SERVER_ERROR)
        return _rendered(answer, with_body=request[1] == b"GET")

    async def _show_page(
        self, page: asyncio.Protocol, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Let the pages answer: they get what was read and what is still to come."""
        self._shown += 1
        page.connection_made(writer.transport)
        try:
            async with asyncio.timeout(_PAGE_S):
                page.data_received(head)
                while part := await reader.read(_LONGEST_REQUEST):
                    page.data_received(part)
                await writer.wait_closed()
        finally:
            page.connection_lost(None)
            self._shown -= 1


def split_address(text: str) -> tuple[str, int] | None:
    """Host and port of a checked `RUNNER_LISTEN`; None for `off`.

    >>> split_address("[::1]:9722")
    ('::1', 9722)
    """
    if text == "off":
        return None
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _bound(host: str, port: int) -> socket.socket:
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[0][4][:2], family=found[0][0], backlog=_MOST_CONNECTIONS)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(f"cannot listen at {shown}: another process listens there") from None
        raise SettingsError(f"cannot listen at {shown}: {error.strerror or error}") from None


def _plain(status: HTTPStatus) -> HttpAnswer:
    return HttpAnswer(f"{status.phrase}\n".encode(), status=status)


def _rendered(answer: HttpAnswer, extra: str = "", *, with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        f"{extra}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (answer.body if with_body else b"")


async def _send(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes, *, patience_s: float
) -> None:
    """Send all of it, then read what the client still sends for a moment: unread bytes would reset the connection."""
    async with asyncio.timeout(patience_s):
        writer.transport.set_write_buffer_limits(0)  # so that `drain` waits until all of it is taken
        writer.write(answer)
        writer.write_eof()
        await writer.drain()
    async with asyncio.timeout(_LINGERS * patience_s):
        while await reader.read(_LONGEST_REQUEST):
            pass
