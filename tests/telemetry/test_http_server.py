"""The monitoring port: what it answers, and that nobody can hold it up."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager

import pytest

from runner.errors import SettingsError, StoreError
from runner.telemetry.http_server import HttpAnswer, HttpServer, split_address

HOST = "127.0.0.1"


def broken(accept: str) -> HttpAnswer:
    raise ValueError("hunter2")


@pytest.fixture
def port() -> Iterator[int]:
    routes = {
        "/hello": lambda accept: HttpAnswer(f"hello {accept}\n".encode()),
        "/large": lambda accept: HttpAnswer(b"x" * 5_000_000),
        "/broken": broken,
    }
    server = HttpServer(routes, patience_s=60)  # on a slow machine a client takes long, too
    try:
        yield server.start(HOST, 0)
    finally:
        server.stop()


def ask(port: int, target: str = "/hello", method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    connection.request(method, target, headers=headers)
    answer = connection.getresponse()
    answer.content = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def raw(port: int, request: bytes) -> bytes:
    """What the server says to these bytes, up to the end of the connection."""
    with socket.create_connection((HOST, port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def test_a_path_is_answered_and_the_connection_ends(port: int) -> None:
    answer = ask(port, "/hello?x=1", Accept="text/plain")
    assert (answer.status, answer.content) == (200, b"hello text/plain\n")  # type: ignore[attr-defined]
    assert answer.getheader("Connection") == "close"
    assert answer.getheader("Cache-Control") == "no-store"
    assert answer.getheader("Server") is None


def test_head_is_answered_without_a_body(port: int) -> None:
    answer = ask(port, method="HEAD")
    assert (answer.status, answer.getheader("Content-Length"), answer.read()) == (200, "7", b"")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/hello", 405),
        ("DELETE", "/hello", 405),
        ("GET", "/", 404),
        ("GET", "/hello/", 404),
        ("GET", "/broken", 500),
    ],
)
def test_everything_else_is_refused_in_a_word(port: int, method: str, target: str, status: int) -> None:
    answer = ask(port, target, method)
    assert answer.status == status
    assert b"hunter2" not in answer.content  # type: ignore[attr-defined]
    assert (answer.getheader("Allow") == "GET, HEAD") == (status == 405)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /hello\r\n\r\n", b"400"),
        (b"GET /hello HTTP/2.0\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\n", b"400"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET /hello HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b"431"),
        (b"GET /hello HTTP/1.1\r\nAccept: text/plain\0;version=1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00" + b"\x00" * 400 + b"\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_is_refused(port: int, request_: bytes, status: bytes) -> None:
    assert raw(port, request_).split()[1] == status


def test_a_client_that_says_nothing_is_let_go(port: int) -> None:
    assert raw(port, b"") == b""


def test_slow_and_idle_clients_hold_nobody_up(port: int) -> None:
    with ExitStack() as open_:
        for number in range(20):
            connection = open_.enter_context(socket.create_connection((HOST, port), timeout=30))
            connection.sendall(b"GET /large HTTP/1.1\r\n" + (b"\r\n" if number % 2 else b""))
        for _ in range(3):
            assert ask(port).status == 200


def test_too_many_clients_are_sent_away_and_come_again_later(port: int) -> None:
    with ExitStack() as open_:
        for _ in range(32):
            open_.enter_context(socket.create_connection((HOST, port), timeout=30)).sendall(b"GET /")
        statuses = {ask(port).status for _ in range(3)}
        assert statuses == {503}
    while ask(port).status == 503:
        continue
    assert ask(port).status == 200


def test_a_large_answer_arrives_whole(port: int) -> None:
    assert len(raw(port, b"GET /large HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")[2]) == 5_000_000


class Echo(asyncio.Protocol):
    """A page: says what it was sent, once it has all of it, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.got = transport, b""

    def data_received(self, data: bytes) -> None:
        self.got += data
        head, _, body = self.got.partition(b"\r\n\r\n")
        if len(body) >= int((re.search(rb"Content-Length: (\d+)", head) or [b"", b"0"])[1]):
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.got) + self.got)
            self.transport.close()


@pytest.fixture
def paged() -> Iterator[int]:
    """A server with a fixed path and pages for all others."""

    @asynccontextmanager
    async def pages() -> AsyncIterator[type[asyncio.Protocol]]:
        yield Echo

    server = HttpServer({"/hello": lambda accept: HttpAnswer(b"hello\n")}, pages())
    try:
        yield server.start(HOST, 0)
    finally:
        server.stop()


def test_other_paths_are_handed_to_the_pages_as_they_came(paged: int) -> None:
    request = b"POST /page?x=1 HTTP/1.1\r\nContent-Length: 300000\r\n\r\n" + b"y" * 300_000
    assert raw(paged, request).partition(b"\r\n\r\n")[2] == request
    assert ask(paged).status == 200
    assert raw(paged, b"GET /page HTTP/1.1\r\nX: " + b"a" * 9_000 + b"\r\n\r\n").split()[1] == b"431"


def test_pages_leave_connections_for_the_fixed_paths(paged: int) -> None:
    with ExitStack() as open_:
        for _ in range(24):
            waiting = open_.enter_context(socket.create_connection((HOST, paged), timeout=30))
            waiting.sendall(b"POST /page HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
        while ask(paged, "/page").status != 503:
            continue
        assert ask(paged).status == 200
        waiting.sendall(b"12345")
        assert waiting.recv(12) == b"HTTP/1.1 200"


def test_pages_that_cannot_be_opened_take_nothing_else_with_them() -> None:
    @asynccontextmanager
    async def pages() -> AsyncIterator[type[asyncio.Protocol]]:
        raise StoreError("there is no such file")
        yield Echo

    server = HttpServer({"/hello": lambda accept: HttpAnswer(b"hello\n")}, pages())
    port = server.start(HOST, 0)
    assert (ask(port).status, ask(port, "/page").status) == (200, 404)
    server.stop()


def test_a_port_that_is_taken(port: int) -> None:
    with pytest.raises(SettingsError, match=f"cannot listen at 127.0.0.1:{port}: another process listens there"):
        HttpServer({}).start(HOST, port)
    with pytest.raises(SettingsError, match=r"cannot listen at host\.invalid:1: "):
        HttpServer({}).start("host.invalid", 1)


def test_the_port_is_free_again_after_the_end() -> None:
    server = HttpServer({})
    port = server.start(HOST, 0)
    server.stop()
    server.stop()
    again = HttpServer({"/": lambda accept: HttpAnswer(json.dumps(accept).encode())})
    assert again.start(HOST, port) == port
    assert ask(port, "/", Accept="a").status == 200
    again.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "monitoring"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("off", None),
        ("127.0.0.1:9722", ("127.0.0.1", 9722)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_addresses(text: str, address: tuple[str, int] | None) -> None:
    assert split_address(text) == address
