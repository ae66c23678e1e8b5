"""An HTTP proxy before a real node: adds the EQL search API, breaks things on demand, records what was asked."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

from tests.elasticsearch.eql_api import Ask, EqlApi
from tests.elasticsearch.eql_request import RefusedError, read_request, read_time
from tests.elasticsearch.faults import (
    REFUSALS,
    WAIT_SECONDS,
    Cut,
    Faults,
    Gate,
    Hold,
    Partial,
    Recorded,
    Refuse,
    Slow,
    Wait,
    error_body,
)

EVERY = float("inf")
START_SECONDS = 20.0
_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding", "date", "server"})


def _local_search() -> Callable[..., Mapping[str, Any]]:
    """The engine, loaded when the first query comes."""
    from runner.eql import search

    return search


def _search(query: str, events: Any, **options: Any) -> Mapping[str, Any]:
    """`runner.eql.search`, with the engine's errors turned into the API's."""
    from runner.eql.syntax.errors import EqlError

    try:
        return _local_search()(query, events, **options)
    except EqlError as error:
        raise RefusedError(400, error.kind, str(error)) from error


class Proxy:
    """A proxy on a loopback port of its own, run by a thread of its own; a context manager.

    `eql=False` answers EQL searches as a cluster without EQL does. `on` of the methods below is a part of the path
    (`"_bulk"`, `"_eql/search"`; "" is every request), `method` the HTTP method if it matters: POST is a new EQL search,
    GET a poll of one.
    """

    def __init__(self, backend: str, *, eql: bool = True) -> None:
        parts = urlsplit(backend)
        self._login, _, self._host = parts.netloc.rpartition("@")
        self._backend = f"{parts.scheme}://{self._host}{parts.path.rstrip('/')}"
        self._eql_there = eql
        self._faults = Faults()
        self._requests: list[Recorded] = []
        self._thread = threading.Thread(target=self._serve, name="elasticsearch proxy", daemon=True)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stopping = asyncio.Event()
        self._eql = EqlApi(_search)
        self._port = 0

    @property
    def url(self) -> str:
        """The address, with the user and password of the node's address if it has them."""
        return f"http://{self._login}{'@' if self._login else ''}127.0.0.1:{self._port}"

    @property
    def requests(self) -> tuple[Recorded, ...]:
        """All requests so far, in the order of their arrival."""
        return tuple(self._requests)

    def requests_on(self, on: str, method: str | None = None) -> tuple[Recorded, ...]:
        return tuple(one for one in self.requests if on in one.path and method in (None, one.method))

    @property
    def cancelled(self) -> tuple[str, ...]:
        """Ids of EQL searches that were deleted while they ran; "" for one whose client went away."""
        return tuple(self._eql.cancelled)

    def wait_cancelled(self, seconds: float = WAIT_SECONDS) -> None:
        """Return once a client has left its search, else raise `TimeoutError`. Async tests call it in a thread."""
        if not self._eql.someone_left.wait(seconds):
            raise TimeoutError(f"no client left its search within {seconds:g} s")

    @property
    def kept(self) -> tuple[str, ...]:
        """Ids of EQL searches that were neither deleted nor have expired."""
        return tuple(self._eql.kept)

    def fail_next(
        self,
        status: int,
        *,
        on: str = "",
        method: str | None = None,
        times: float = 1,
        kind: str | None = None,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer the next requests with an error; type and reason as Elasticsearch gives them unless given."""
        default = REFUSALS.get(status, ("exception", "refused by the test"))
        body = json.dumps(error_body(status, kind or default[0], reason or default[1])).encode()
        self._faults.plan(Refuse(status, body, dict(headers or {})), on=on, method=method, times=times)

    def answer_next(self, status: int, body: Any, *, on: str = "", method: str | None = None, times: float = 1) -> None:
        """Answer the next requests with this body: JSON of an object, or bytes as they are."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._faults.plan(Refuse(status, raw), on=on, method=method, times=times)

    def cut_next(
        self,
        *,
        on: str = "",
        method: str | None = None,
        times: float = 1,
        after: int | None = None,
        reached_node: bool = False,
    ) -> None:
        """Close the connection of the next requests: at once, after the node did the work (`reached_node`), or
        after so many bytes of its answer's body (`after`)."""
        self._faults.plan(Cut(after, reached_node or after is not None), on=on, method=method, times=times)

    def slow_next(self, seconds: float, *, on: str = "", method: str | None = None, times: float = 1) -> None:
        """Send half of the body of the next answers, and the rest so much later."""
        self._faults.plan(Slow(seconds), on=on, method=method, times=times)

    def delay(self, seconds: float, *, on: str = "", method: str | None = None, times: float = EVERY) -> None:
        """Wait before requests are carried out; an EQL search counts it as its running time."""
        self._faults.plan(Wait(seconds), on=on, method=method, times=times)

    def hold(self, *, on: str = "", method: str | None = None, times: float = 1) -> Gate:
        """Let the next requests wait until the gate is opened; an EQL search runs meanwhile."""
        gate = Gate(self._loop)
        self._faults.plan(Hold(gate), on=on, method=method, times=times)
        return gate

    def partial_next(self, *, times: float = 1, failures: int = 1, timed_out: bool = False, obey: bool = True) -> None:
        """Let shards of the next EQL searches fail: an error, or a partial answer if the request allows it or `obey` is
        False. `timed_out` marks the answer as timed out."""
        reason = {"type": "illegal_state_exception", "reason": "shard failed for the test"}
        shards = [{"shard": n, "index": "failed", "node": "runner-tests", "reason": reason} for n in range(failures)]
        self._faults.plan(Partial(shards, timed_out, obey), on="_eql/search", method=None, times=times)

    def keep_running(self, polls: int) -> None:
        """Let every asynchronous EQL search from now on be running at its start and at so many polls."""
        self._eql.polls = polls

    def clear(self) -> None:
        """Forget planned faults and recorded requests."""
        self._faults.clear()
        self._requests.clear()
        self._eql.polls = 0

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise TimeoutError(f"the proxy was not ready within {START_SECONDS:g} s")
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_SECONDS)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._main())
            except BaseException as failure:  # noqa: BLE001  handed to the thread that entered
                self._failure = failure
                self._ready.set()

    async def _main(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as session:
            self._session = session
            application = web.Application(client_max_size=2**30)
            application.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._port = runner.addresses[0][1]
            self._ready.set()
            await self._stopping.wait()
            await runner.cleanup()
            await self._eql.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        recorded = Recorded(request.method, unquote(request.path), dict(request.query), headers, await request.read())
        self._requests.append(recorded)
        is_eql = "/_eql/" in recorded.path
        if not (is_eql and self._eql_there and recorded.path.endswith("_eql/search")):
            await self._wait(recorded)
        fault = self._faults.take(request.method, recorded.path, kinds=(Refuse, Cut, Slow))
        if isinstance(fault, Refuse):
            return _answer(request, fault.status, fault.body, fault.headers)
        if isinstance(fault, Cut) and not fault.reached_node:
            return _abort(request)
        answer = await (self._answer_eql(request, recorded) if is_eql else self._pass_on(request, recorded))
        if isinstance(fault, Cut):
            return await _send_part(request, answer, part=fault.after)
        if isinstance(fault, Slow):
            return await _send_slowly(request, answer, seconds=fault.seconds)
        return answer

    async def _wait(self, recorded: Recorded) -> None:
        hold = self._faults.take(recorded.method, recorded.path, kinds=(Hold,))
        if isinstance(hold, Hold):
            await hold.gate.passed()
        wait = self._faults.take(recorded.method, recorded.path, kinds=(Wait,))
        if isinstance(wait, Wait):
            await asyncio.sleep(wait.seconds)

    async def _before_search(self, recorded: Recorded) -> Partial | None:
        await self._wait(recorded)
        partial = self._faults.take(recorded.method, recorded.path, kinds=(Partial,))
        return partial if isinstance(partial, Partial) else None

    async def _pass_on(self, request: web.Request, recorded: Recorded) -> web.Response:
        # The body was unpacked when it was read.
        headers = {
            name: value for name, value in recorded.headers.items() if name not in _HOP and name != "content-encoding"
        }
        url = URL(self._backend + request.raw_path, encoded=True)
        skip = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
        try:
            async with self._session.request(
                request.method, url, data=recorded.body or None, headers=headers, skip_auto_headers=skip
            ) as answer:
                body = await answer.read()
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
                return web.Response(status=answer.status, body=body, headers=kept)
        except aiohttp.ClientError:  # it is not there, or was killed in the middle of its answer
            return _abort(request)

    def _ask(self, recorded: Recorded) -> Ask:
        """Requests of the proxy itself, made with the client's own rights."""
        headers = {"accept-encoding": "identity"}
        headers |= {name: recorded.headers[name] for name in ("authorization",) if name in recorded.headers}

        async def ask(method: str, path: str, body: Any, parameters: Mapping[str, str]) -> tuple[int, Any]:
            url = self._backend + path
            async with self._session.request(method, url, json=body, params=parameters, headers=headers) as answer:
                return answer.status, json.loads(await answer.read())

        return ask

    async def _answer_eql(self, request: web.Request, recorded: Recorded) -> web.Response:
        if not self._eql_there:
            text = f"no handler found for uri [{request.raw_path}] and method [{request.method}]"
            return _answer(request, 400, json.dumps({"error": text}).encode())
        try:
            body = await self._eql_body(recorded)
        except RefusedError as refused:
            return _answer(request, refused.status, json.dumps(refused.body).encode())
        except aiohttp.ClientError:  # it is not there, or was killed in the middle of its answer
            return _abort(request)
        return _answer(request, 200, json.dumps(body).encode())

    async def _eql_body(self, recorded: Recorded) -> dict[str, Any]:
        before, _, after = recorded.path.partition("/_eql/")
        steps = after.strip("/").split("/")
        match (recorded.method, steps):
            case ("GET" | "POST", ["search"]) if before:
                return await self._start_search(recorded, before.lstrip("/"))
            case ("GET", ["search", "status", key]):
                return self._eql.status(key)
            case ("GET", ["search", key]):
                alive = recorded.query.get("keep_alive")
                patience = read_time(
                    recorded.query.get("wait_for_completion_timeout", "0s"), "wait_for_completion_timeout"
                )
                return await self._eql.poll(
                    key, patience=patience, keep_alive=None if alive is None else read_time(alive, "keep_alive")
                )
            case ("DELETE", ["search", key]):
                return self._eql.delete(key)
        raise RefusedError(400, "illegal_argument_exception", f"no handler found for uri [{recorded.path}]")

    async def _start_search(self, recorded: Recorded, target: str) -> dict[str, Any]:
        try:
            body = recorded.json
        except ValueError as error:
            raise RefusedError(400, "x_content_parse_exception", f"[1:1] {error}") from error
        search = read_request(body, recorded.query)
        before = functools.partial(self._before_search, recorded)
        return await self._eql.submit(self._ask(recorded), target, request=search, before=before)


def _answer(request: web.Request, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer in the media type that was asked for, with the product's header."""
    versioned = "vnd.elasticsearch+json" in request.headers.get("Accept", "")
    kind = "application/vnd.elasticsearch+json;compatible-with=8" if versioned else "application/json"
    sent = {"X-elastic-product": "Elasticsearch", "Content-Type": kind, **(headers or {})}
    return web.Response(status=status, body=body, headers=sent)


def _abort(request: web.Request) -> web.Response:
    """Cut the connection; the answer that comes back reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


async def _begin(request: web.Request, answer: web.Response) -> tuple[web.StreamResponse, bytes]:
    body = answer.body if isinstance(answer.body, bytes) else b""
    stream = web.StreamResponse(status=answer.status, headers=answer.headers)
    stream.content_length = len(body)
    await stream.prepare(request)
    return stream, body


async def _send_part(request: web.Request, answer: web.Response, *, part: int | None) -> web.StreamResponse:
    if part is None:
        return _abort(request)
    stream, body = await _begin(request, answer)
    await stream.write(body[:part])
    _abort(request)
    return stream


async def _send_slowly(request: web.Request, answer: web.Response, *, seconds: float) -> web.StreamResponse:
    stream, body = await _begin(request, answer)
    await stream.write(body[: len(body) // 2])
    await asyncio.sleep(seconds)
    await stream.write(body[len(body) // 2 :])
    await stream.write_eof()
    return stream
