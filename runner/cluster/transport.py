"""`Transport`: sends one request to Elasticsearch, again after failures that pass, with the runner's own errors.

The official client is used in this package alone, so that another client can take its place. It requests
the media type of version 8 (`compatible-with=8`), which servers of 8.x and of 9.x understand, and which keeps their
answers in the same shapes. OpenSearch has no such media type and does not pass the client's check of the product: it is
not supported, and an error names it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from elastic_transport import (
    AsyncTransport,
    ConnectionTimeout,
    SerializationError,
    Serializer,
    TlsError,
    TransportError,
)
from elastic_transport import ConnectionError as ClientConnectionError
from elastic_transport.client_utils import percent_encode
from elasticsearch import ApiError, AsyncElasticsearch, OrjsonSerializer, UnsupportedProductError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.retry import retry_base

from runner.cluster.answer_shapes import Shape, fault_of
from runner.cluster.connection import Connection, credentials_for, without_user
from runner.cluster.connection_failures import wrong_proxy_login
from runner.cluster.http_node import READ_AS, HttpNode, node_configs, proxy_of
from runner.cluster.proxies import Proxy
from runner.errors import AccessError, ClusterError, RunnerError, SettingsError, UnreachableError, WrongAnswerError

_LOG = logging.getLogger("runner.transport")
BUSY_STATUSES = frozenset({429, 502, 503, 504})
"""Statuses that pass: too many requests, and a gateway or node that is not there for the moment."""
WARNINGS = "x-runner-warnings"
"""The header that has the text of an answer's `Warning` headers."""
_JSON = {"accept": "application/json", "content-type": "application/json"}
_NDJSON = {"accept": "application/json", "content-type": "application/x-ndjson"}


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently a request is sent again after a failure that passes; times in seconds."""

    attempts: int = 4
    first_wait: float = 0.25
    longest_wait: float = 8.0

    def wait_after(self, attempt: int, *, requested: float = 0.0) -> float:
        """Seconds until the next attempt: exponential backoff with jitter, or as long as the server requested."""
        grown = min(self.longest_wait, self.first_wait * 2**attempt)
        return min(self.longest_wait, max(random.uniform(grown / 2, grown), requested))

    def attempting(
        self,
        *,
        again: retry_base,
        stop: Callable[[RetryCallState], bool] | None = None,
        wait: Callable[[RetryCallState], float] | None = None,
    ) -> AsyncRetrying:
        """Calls a function for as long as `again` holds; what its last call returned or raised is the result."""
        return AsyncRetrying(
            retry=again,
            stop=stop or stop_after_attempt(self.attempts),
            wait=wait or (lambda state: self.wait_after(state.attempt_number)),
            sleep=asyncio.sleep,
            retry_error_callback=_result_of,
        )


def _result_of(state: RetryCallState) -> Any:
    assert state.outcome is not None
    return state.outcome.result()


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One request, with the words that an error message needs."""

    method: str
    path: str
    action: str
    """What is done, to follow `may not` or `could not`: `search with EQL in a, b`."""
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    ndjson: bool = False
    deadline: float | None = None
    """In the time of the running event loop."""
    opaque_id: str | None = None
    ignore: tuple[int, ...] = ()
    """Statuses that are an answer, not an error."""
    expects: Shape = None
    """The shape of the answer where it is a success (`answer_shapes`); None for any."""
    as_bytes: bool = False
    """Whether the body is returned as it came, for a caller that parses it itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body, which is parsed where it is JSON."""

    status: int
    body: Any
    headers: Mapping[str, str]
    took: float
    """Seconds from the request to the end of the answer."""


class Transport:
    """Sends requests to a cluster.

    Its methods raise UnreachableError, AccessError, or ClusterError for other errors that the cluster answers.
    """

    def __init__(self, client: AsyncElasticsearch, connection: Connection, *, retry: Retry) -> None:
        self._client = client
        self.retry = retry
        self.connection = connection

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def send_for_object(self, call: ApiCall) -> dict[str, Any]:
        """The body of an answer that has to be a JSON object. Raises WrongAnswerError for another one."""
        answer = await self.send(call)
        if isinstance(answer, dict):
            return answer
        raise self.wrong(answer, call.action, "expected a JSON object")

    async def send(self, call: ApiCall, *, attempts: int | None = None) -> Any:
        """The body of the answer; of a HEAD request whether the status is a success."""
        answer = await self.send_for_answer(call, attempts=attempts)
        return 200 <= answer.status < 300 if call.method == "HEAD" else answer.body

    async def send_for_answer(self, call: ApiCall, *, attempts: int | None = None) -> Answer:
        """The answer; sent again after failures that pass, as the retry policy and the deadline allow.

        Raises WrongAnswerError for one that has not the shape that the call expects.
        """
        loop = asyncio.get_running_loop()
        # With several hosts each of them is tried before the request counts as failed.
        most = attempts or max(self.retry.attempts, len(self.connection.hosts))

        def enough(state: RetryCallState) -> bool:
            late = call.deadline is not None and loop.time() + state.upcoming_sleep >= call.deadline
            return late or state.attempt_number >= most

        retrying = self.retry.attempting(again=IF_IT_PASSES, stop=enough, wait=self._wait)
        try:
            answer: Answer = await retrying(self._send_once, call)
        except (ApiError, TransportError) as error:
            tried = int(retrying.statistics.get("attempt_number", 1))
            raise self._translated(error, call, tried=tried) from None
        if call.expects is not None and answer.status not in call.ignore:
            self.require(answer.body, call.expects, action=call.action)
        return answer

    def require(self, answer: Any, expected: Shape, *, action: str) -> None:
        """Raises WrongAnswerError for an answer that has not the expected shape."""
        if fault := fault_of(answer, expected):
            raise self.wrong(answer, action, fault)

    def wrong(self, answer: Any, action: str, fault: str) -> WrongAnswerError:
        """The error for an answer with a fault; one that is an error in itself, with status 200, says so."""
        reason = reason_of(answer)[1] if isinstance(answer, Mapping) and "error" in answer else ""
        why = f"the answer is an error: {reason}" if reason else f"not an answer of Elasticsearch: {fault}"
        text = self._clean(f"{self._place} could not {action}: {why}")
        return WrongAnswerError(text, hosts=self.connection.shown_hosts)

    async def _send_once(self, call: ApiCall) -> Answer:
        timeout = self.connection.request_timeout
        if call.deadline is not None:
            timeout = max(0.1, min(timeout, call.deadline - asyncio.get_running_loop().time()))
        client = self._client.options(request_timeout=timeout, ignore_status=call.ignore)
        headers = dict(_NDJSON if call.ndjson else _JSON)
        if call.body is None:
            del headers["content-type"]
        if call.opaque_id:
            headers["x-opaque-id"] = call.opaque_id
        if call.as_bytes:
            headers[READ_AS] = _Bytes.mimetype
        answer = await client.perform_request(
            call.method, call.path, params=call.params, headers=headers, body=call.body
        )
        return Answer(answer.meta.status, answer.body, answer.meta.headers, answer.meta.duration)

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until the next attempt; none before another host."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, TransportError) and state.attempt_number < len(self.connection.hosts):
            return 0.0
        requested = _requested_wait(error) if isinstance(error, ApiError) else 0.0
        return self.retry.wait_after(state.attempt_number, requested=requested)

    def _translated(self, error: ApiError | TransportError, call: ApiCall, *, tried: int) -> RunnerError:
        hosts = self.connection.shown_hosts
        attempts = f" ({tried} attempts)" if tried > 1 else ""
        if isinstance(error, UnsupportedProductError):
            return UnreachableError(f"{self._place}: {_other_product(error)}", hosts=hosts)
        if isinstance(error, SerializationError):
            return self.wrong(None, call.action, f"expected JSON ({error.message})")
        if isinstance(error, ConnectionTimeout):
            way = next((f" through the proxy {proxy}" for proxy in self._proxies if proxy), "")
            return UnreachableError(
                f"{self._place}{way} did not answer within {self.connection.request_timeout:g} s: "
                f"could not {call.action}{attempts}",
                hosts=hosts,
            )
        if isinstance(error, TransportError):
            why = self._clean(str(error.message)) or "the connection failed"
            return UnreachableError(f"{self._place} can not be reached: {why}{attempts}", hosts=hosts)
        return self._answered(error, call, attempts=attempts)

    def _answered(self, error: ApiError, call: ApiCall, *, attempts: str) -> RunnerError:
        status = error.meta.status
        kind, reason = reason_of(error.body)
        reason = self._clean(reason) or f"HTTP {status}"
        if why := self._never_arrived(error, kind, reason=reason):
            text = f"{self._place} can not be reached: {why}{attempts}"
            return UnreachableError(text, hosts=self.connection.shown_hosts, retry_after=_requested_wait(error))
        if status == 401:
            return AccessError(f"{self._place} does not accept {self.connection.identity}: {reason}")
        if status == 403 and kind in ("", "security_exception"):
            return AccessError(f"{self.connection.identity} may not {call.action}: {reason}")
        text = f"{self._place} could not {call.action}: {reason}{attempts}"
        return ClusterError(text, status=status, type=kind, reason=reason, retry_after=_requested_wait(error))

    def _never_arrived(self, error: ApiError, kind: str, *, reason: str) -> str:
        """Why the answer is not one of the cluster; empty if it may be."""
        status, headers = error.meta.status, error.meta.headers
        if prefix := self._prefix_asked_of_it(reason):
            return f"it answers, but not under the path {prefix}: leave it away or correct it ({reason})"
        if status == 407:
            return wrong_proxy_login(proxy_of(error.meta.node))
        if 300 <= status < 400:
            target = without_user(self._clean(str(headers.get("location") or "elsewhere")))
            return f"what answers there redirects to {target}; write the address of the cluster itself"
        if status in (502, 503, 504) and not kind:
            return f"the proxy before it answers {status}"
        if kind == "media_type_header_exception" or (status in (406, 415) and "vnd.elasticsearch" in reason):
            return f"an older Elasticsearch is there, or another product ({reason}); expected Elasticsearch 8 or 9"
        if status in (404, 405) and not kind and "x-elastic-product" not in headers:
            return (
                f"what answers there is not Elasticsearch (HTTP {status}): check the address, the port and the path "
                "before the cluster's own"
            )
        return ""

    def _prefix_asked_of_it(self, reason: str) -> str:
        """The path of an address that reached the cluster as a part of the request's own; empty if none did."""
        paths = (urlsplit(host).path.rstrip("/") for host in self.connection.hosts)
        return next((path for path in paths if path and f"no handler found for uri [{path}/" in reason), "")

    @property
    def _place(self) -> str:
        return f"Elasticsearch at {', '.join(self.connection.shown_hosts)}"

    @property
    def _proxies(self) -> Iterator[Proxy | None]:
        return (proxy_of(node.config) for node in self._client.transport.node_pool.all())

    def _clean(self, text: str) -> str:
        """The text without any of the connection's secrets and without control characters, cut to 2,000 characters."""
        for secret in self.connection.secrets:
            text = text.replace(secret, "***")
        return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", " ", text)[:2_000].strip()


def open_transport(connection: Connection, *, retry: Retry | None = None) -> Transport:
    """The way to the cluster; nothing is sent yet. Raises SettingsError for a connection that cannot work."""
    hosts = node_configs(connection)
    try:
        client = AsyncElasticsearch(
            hosts,
            **credentials_for(connection),
            request_timeout=connection.request_timeout,
            serializers={"application/json": OrjsonSerializer(), _Bytes.mimetype: _Bytes()},
            node_class=HttpNode,
            transport_class=_QuietTransport,
            max_retries=0,
            retry_on_timeout=False,
        )
    except (ValueError, TypeError) as error:
        raise SettingsError(f"the connection to Elasticsearch can not be set up: {error}") from None
    return Transport(client, connection, retry=retry or Retry())


def reason_of(body: Any) -> tuple[str, str]:
    """Type and reason of an error answer, the innermost cause included where it says more.

    >>> reason_of({"error": {"type": "verification_exception", "reason": "Found 1 problem"}, "status": 400})
    ('verification_exception', 'Found 1 problem')
    """
    if not isinstance(body, Mapping):
        return "", ""
    error = body.get("error", body)
    if not isinstance(error, Mapping):
        return "", str(error)
    kind, reason = str(error.get("type", "")), str(error.get("reason") or "")
    cause = error.get("caused_by")
    while isinstance(cause, Mapping):
        inner = str(cause.get("reason") or "")
        if inner and inner not in reason:
            reason = f"{reason}: {inner}" if reason else inner
        cause = cause.get("caused_by")
    if kind == "search_phase_execution_exception":  # "all shards failed": only the shards have the reason
        roots = error.get("root_cause")
        root = roots[0] if isinstance(roots, list) and roots and isinstance(roots[0], Mapping) else {}
        inner = str(root.get("reason") or "")
        reason = f"{reason}: {inner}" if inner and inner not in reason else reason
    return kind, reason or kind


class _Bytes(Serializer):
    """Leaves an answer as it is."""

    mimetype = "application/octet-stream"

    def loads(self, data: bytes) -> bytes:
        return data


class _QuietTransport(AsyncTransport):
    """Turns the server's `Warning` headers into log lines; the client would make Python warnings of them."""

    async def perform_request(self, method: str, target: str, **options: Any) -> Any:  # type: ignore[override]
        answer = await super().perform_request(method, target, **options)
        if text := answer.meta.headers.get("warning"):
            _LOG.debug("Elasticsearch warns: %s", text)
            headers = answer.meta.headers.copy()
            del headers["warning"]
            headers[WARNINGS] = text
            answer = answer._replace(meta=dataclasses.replace(answer.meta, headers=headers))
        return answer


def _requested_wait(error: ApiError) -> float:
    """Seconds of the answer's `Retry-After`; 0 without it, and for a date."""
    seconds = str(error.meta.headers.get("retry-after"))
    return float(seconds) if seconds.isdigit() else 0.0


def _passes(error: BaseException) -> bool:
    """True for failures after which the same request may succeed a little later."""
    if isinstance(error, ApiError):
        return error.meta.status in BUSY_STATUSES
    return isinstance(error, ConnectionTimeout | ClientConnectionError) and not isinstance(error, TlsError)


IF_IT_PASSES = retry_if_exception(_passes)
"""For `Retry.attempting`: after failures that pass."""


def _other_product(error: UnsupportedProductError) -> str:
    """The message about a server that does not name itself Elasticsearch, as those of 7.14 and later do."""
    version = error.body.get("version") if isinstance(error.body, Mapping) else None
    version = version if isinstance(version, Mapping) else {}
    name, number = str(version.get("distribution", "")), str(version.get("number", ""))
    expected = "expected Elasticsearch 8 or 9"
    if name == "opensearch":
        return f"OpenSearch {number} is there, which is not supported; {expected}"
    if re.fullmatch(r"[0-7]\.[\w.-]+", number):
        return f"an Elasticsearch of version {number} is there, or what takes itself for one; {expected}"
    return (
        "the server there does not say that it is Elasticsearch (no `X-Elastic-Product` header); "
        f"{expected}, or a proxy that passes its headers on"
    )


def path_part(text: str) -> str:
    """A name or id as one part of a path."""
    return percent_encode(text, safe="")


def targets_part(indices: Sequence[str]) -> str:
    """Index patterns as one part of a path."""
    return percent_encode(",".join(indices), safe=",*")
