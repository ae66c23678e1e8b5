"""`Elastic`: the few requests that the runner sends to Elasticsearch, with retries and the runner's own errors.

The official client stands behind this one class, so that another client can take its place.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import re
import ssl
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import ServerFingerprintMismatch
from elastic_transport import AsyncTransport, ConnectionTimeout, SerializationError, TlsError, TransportError
from elastic_transport import ConnectionError as ClientConnectionError
from elastic_transport.client_utils import percent_encode, url_to_node_config
from elasticsearch import ApiError, AsyncElasticsearch, OrjsonSerializer, UnsupportedProductError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
)

from runner.connection import SECRETS, check_connection, credentials_for, tls_options_for, without_user
from runner.connection import Connection as Connection
from runner.errors import AccessError, ClusterError, RunnerError, SettingsError, UnreachableError

ObjectKind = Literal["component_template", "index_template", "lifecycle_policy", "role"]

_LOG = logging.getLogger("runner.elastic")
_BUSY = frozenset({429, 502, 503, 504})
"""Statuses that pass: too many requests, and a gateway or node that is not there for the moment."""
_OBJECT_PATHS: Mapping[ObjectKind, str] = {
    "component_template": "/_component_template/",
    "index_template": "/_index_template/",
    "lifecycle_policy": "/_ilm/policy/",
    "role": "/_security/role/",
}
_JSON = {"accept": "application/json", "content-type": "application/json"}
_NDJSON = {"accept": "application/json", "content-type": "application/x-ndjson"}
_LEFT_OUT = "-hits.hits.ignored_field_values,-hits.hits._ignored,-hits.hits._score"


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently a request is sent again after a failure that passes; times in seconds."""

    attempts: int = 4
    first_wait: float = 0.25
    longest_wait: float = 8.0


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """What the cluster says of itself."""

    name: str
    uuid: str
    version: str
    distribution: str
    """`default` or `serverless` for Elasticsearch; another product's own name else."""


@dataclass(frozen=True, slots=True)
class _Call:
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


class Elastic:
    """A cluster. Its methods raise UnreachableError, AccessError, or ClusterError for other errors that it answers."""

    def __init__(self, client: AsyncElasticsearch, connection: Connection, *, retry: Retry) -> None:
        self._client = client
        self.retry = retry
        self.connection = connection

    async def info(self, *, retry: bool = True) -> ClusterInfo:
        """What the cluster says of itself; with `retry=False` after a single attempt."""
        answer = await self._send(_Call("GET", "/", "read the cluster's version"), attempts=None if retry else 1)
        version = answer.get("version", {})
        distribution = version.get("distribution") or version.get("build_flavor", "default")
        return ClusterInfo(
            str(answer.get("cluster_name", "")),
            str(answer.get("cluster_uuid", "")),
            version.get("number", ""),
            distribution,
        )

    async def answers(self) -> bool:
        """True if the cluster answers at all: then a failed connection says something of one request only."""
        try:
            await self.info(retry=False)
        except UnreachableError:
            return False
        except RunnerError:
            return True
        return True

    async def eql_submit(
        self,
        indices: Sequence[str],
        body: Mapping[str, Any],
        *,
        params: Mapping[str, Any],
        deadline: float,
        opaque_id: str,
    ) -> dict[str, Any]:
        """The answer of the EQL search API; one that is still running has an `id` and `is_running`."""
        path = f"/{_targets(indices)}/_eql/search"
        action = f"search with EQL in {', '.join(indices)}"
        return await self._object(
            _Call("POST", path, action, params=params, body=body, deadline=deadline, opaque_id=opaque_id)
        )

    async def eql_get(self, search_id: str, *, params: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """The state or the answer of a running EQL search."""
        path = f"/_eql/search/{_name(search_id)}"
        return await self._object(_Call("GET", path, "read a running EQL search", params=params, deadline=deadline))

    async def eql_delete(self, search_id: str) -> None:
        """Stop and forget a running EQL search; one that is not there any more is fine."""
        await self._send(_Call("DELETE", f"/_eql/search/{_name(search_id)}", "stop an EQL search", ignore=(404,)))

    async def search(
        self, indices: Sequence[str], body: Mapping[str, Any], *, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The answer of the search API."""
        action = f"search in {', '.join(indices)}"
        return await self._object(
            _Call("POST", f"/{_targets(indices)}/_search", action, params=params or {}, body=body)
        )

    async def open_point(self, indices: Sequence[str], *, keep_alive: str, deadline: float) -> str:
        """The id of a point in time of the indices that are there; it is kept that long after each use."""
        action = f"search in {', '.join(indices)}"
        params = {"keep_alive": keep_alive, "ignore_unavailable": True, "allow_no_indices": True}
        call = _Call("POST", f"/{_targets(indices)}/_pit", action, params=params, deadline=deadline)
        return str((await self._object(call))["id"])

    async def search_point(self, body: Mapping[str, Any], *, deadline: float, opaque_id: str) -> dict[str, Any]:
        """The answer of the search API in the point in time that the body names; failed shards are an error."""
        params = {"allow_partial_search_results": False, "filter_path": _LEFT_OUT}
        return await self._object(
            _Call("POST", "/_search", "search", params=params, body=body, deadline=deadline, opaque_id=opaque_id)
        )

    async def close_point(self, point: str) -> None:
        """Give up a point in time; one that is not there any more is fine."""
        await self._send(_Call("DELETE", "/_pit", "close a point in time", body={"id": point}, ignore=(404,)))

    async def bulk(
        self,
        lines: Sequence[bytes],
        *,
        index: str,
        refresh: Literal["true", "false", "wait_for"] = "false",
        require_alias: bool = False,
    ) -> dict[str, Any]:
        """The answer of the bulk API: one item per action. `lines` are its JSON lines, without line ends.

        Sent once: what the caller knows to be safe to send again, it sends again.
        """
        params = {"refresh": refresh, "require_alias": require_alias}
        call = _Call("POST", f"/{_name(index)}/_bulk", f"write to {index}", params=params, body=lines, ndjson=True)
        answer = await self._send(call, attempts=1)
        if not isinstance(answer, dict) or not isinstance(answer.get("items"), list):
            raise ClusterError(f"could not {call.action}: the answer has no `items`", status=200)
        return answer

    async def field_caps(self, indices: Sequence[str], fields: Sequence[str]) -> dict[str, Any]:
        """Which of the fields the indices have and with what types; indices that are not there are left out."""
        params = {"include_unmapped": True, "ignore_unavailable": True, "allow_no_indices": True}
        action = f"read the fields of {', '.join(indices)}"
        # In the body, as the URL must stay under 4 KB.
        body = {"fields": list(fields)}
        return await self._object(_Call("POST", f"/{_targets(indices)}/_field_caps", action, params=params, body=body))

    async def read_object(self, kind: ObjectKind, name: str) -> Mapping[str, Any] | None:
        """The stored template, policy or role, as it was written; None if there is none of that name."""
        call = _Call("GET", _OBJECT_PATHS[kind] + _name(name), f"read the {_words(kind)} {name}", ignore=(404,))
        answer = await self._send(call)
        listed = answer.get(f"{kind}s") if isinstance(answer, dict) else None
        if isinstance(listed, list):
            return dict(listed[0][kind]) if listed else None
        found = answer.get(name) if isinstance(answer, dict) else None
        return dict(found) if isinstance(found, Mapping) else None

    async def write_object(self, kind: ObjectKind, name: str, body: Mapping[str, Any]) -> None:
        """Create or replace a template, policy or role."""
        await self._send(_Call("PUT", _OBJECT_PATHS[kind] + _name(name), f"write the {_words(kind)} {name}", body=body))

    async def read_alias(self, alias: str) -> Mapping[str, bool] | None:
        """The indices behind an alias, each with whether it is the one written to; None if there is no such alias."""
        call = _Call("GET", f"/_alias/{_name(alias)}", f"read the alias {alias}", ignore=(404,))
        answer = await self._send(call)
        indices = {
            index: bool(value["aliases"][alias].get("is_write_index"))
            for index, value in answer.items()
            if isinstance(value, Mapping) and alias in value.get("aliases", {})
        }
        if len(indices) == 1:  # A single index behind an alias is written to even if nothing says so.
            return dict.fromkeys(indices, True)
        return indices or None

    async def index_exists(self, name: str) -> bool:
        """True if there is an index, alias or data stream of that name."""
        return bool(await self._send(_Call("HEAD", f"/{_name(name)}", f"look for the index {name}", ignore=(404,))))

    async def create_index(self, name: str, body: Mapping[str, Any]) -> bool:
        """True if the index was created, False if it was there already."""
        try:
            await self._send(_Call("PUT", f"/{_name(name)}", f"create the index {name}", body=body))
        except ClusterError as error:
            if error.type == "resource_already_exists_exception":
                return False
            raise
        return True

    async def put_mapping(self, index: str, body: Mapping[str, Any]) -> None:
        """Add fields to an index, or to the index that an alias writes to."""
        params = {"write_index_only": True}
        await self._send(_Call("PUT", f"/{_name(index)}/_mapping", f"add fields to {index}", params=params, body=body))

    async def refresh(self, index: str) -> None:
        """Make everything that was written visible to searches; an index that is not there is fine."""
        await self._send(_Call("POST", f"/{_name(index)}/_refresh", f"refresh {index}", ignore=(404,)))

    async def read_document(self, index: str, document_id: str) -> Mapping[str, Any] | None:
        """The document with `_source`, `_seq_no` and `_primary_term`; None if it or its index is not there."""
        path = f"/{_name(index)}/_doc/{_name(document_id)}"
        answer = await self._object(_Call("GET", path, f"read from {index}", ignore=(404,)))
        return answer if answer.get("found") else None

    async def write_document(
        self, index: str, document_id: str, body: Mapping[str, Any], *, after: Mapping[str, Any] | None = None
    ) -> bool:
        """True if the document was written; False if it changed since it was read as `after`."""
        if after is None:
            params: dict[str, Any] = {"op_type": "create"}
        else:
            params = {"if_seq_no": after["_seq_no"], "if_primary_term": after["_primary_term"]}
        path = f"/{_name(index)}/_doc/{_name(document_id)}"
        answer = await self._object(_Call("PUT", path, f"write to {index}", params=params, body=body, ignore=(409,)))
        return "result" in answer

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _object(self, call: _Call) -> dict[str, Any]:
        answer = await self._send(call)
        if isinstance(answer, dict):
            return answer
        raise ClusterError(f"could not {call.action}: the answer is not a JSON object", status=200)

    async def _send(self, call: _Call, *, attempts: int | None = None) -> Any:
        """The body of the answer; sent again after failures that pass, as the retry policy and the deadline allow."""
        loop = asyncio.get_running_loop()
        # With several hosts every one of them gets its turn before the request counts as failed.
        most = attempts or max(self.retry.attempts, len(self.connection.hosts))

        def enough(state: RetryCallState) -> bool:
            late = call.deadline is not None and loop.time() + state.upcoming_sleep >= call.deadline
            return late or state.attempt_number >= most

        retrying = AsyncRetrying(
            retry=retry_if_exception(_passes),
            wait=self._wait,
            stop=enough,
            sleep=asyncio.sleep,
            reraise=True,
        )
        try:
            return await retrying(self._send_once, call)
        except (ApiError, TransportError) as error:
            tried = int(retrying.statistics.get("attempt_number", 1))
            raise self._translated(error, call, tried=tried) from None

    async def _send_once(self, call: _Call) -> Any:
        timeout = self.connection.request_timeout
        if call.deadline is not None:
            timeout = max(0.1, min(timeout, call.deadline - asyncio.get_running_loop().time()))
        client = self._client.options(request_timeout=timeout, ignore_status=call.ignore)
        headers = dict(_NDJSON if call.ndjson else _JSON)
        if call.body is None:
            del headers["content-type"]
        if call.opaque_id:
            headers["x-opaque-id"] = call.opaque_id
        answer = await client.perform_request(
            call.method, call.path, params=call.params, headers=headers, body=call.body
        )
        return bool(answer) if call.method == "HEAD" else answer.body

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until the next attempt: exponential with jitter, or as the server asks; none before another host."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, TransportError) and state.attempt_number < len(self.connection.hosts):
            return 0.0
        asked = str(error.meta.headers.get("retry-after")) if isinstance(error, ApiError) else ""
        grown = min(self.retry.longest_wait, self.retry.first_wait * 2**state.attempt_number)
        own = random.uniform(grown / 2, grown)
        return min(self.retry.longest_wait, max(own, float(asked) if asked.isdigit() else 0.0))

    def _translated(self, error: ApiError | TransportError, call: _Call, *, tried: int) -> RunnerError:
        hosts = self.connection.shown_hosts
        place = f"Elasticsearch at {', '.join(hosts)}"
        attempts = f" ({tried} attempts)" if tried > 1 else ""
        if isinstance(error, UnsupportedProductError):
            return UnreachableError(
                f"{place}: the server there does not say that it is Elasticsearch (no `X-Elastic-Product` header); "
                "expected Elasticsearch 8 or 9, or a proxy that passes its headers on",
                hosts=hosts,
            )
        if isinstance(error, SerializationError):
            return ClusterError(f"{place} could not {call.action}: the answer is not JSON", status=200)
        if isinstance(error, ConnectionTimeout):
            return UnreachableError(
                f"{place} did not answer within {self.connection.request_timeout:g} s: "
                f"could not {call.action}{attempts}",
                hosts=hosts,
            )
        if isinstance(error, TransportError):
            if _is_other_certificate(error):
                why = "the fingerprint of its certificate is another one than the one set"
            else:
                why = _connection_trouble(self._clean(str(error.message)), hosts, tls=isinstance(error, TlsError))
            return UnreachableError(f"{place} can not be reached: {why}{attempts}", hosts=hosts)
        return self._answered(error, call, attempts=attempts)

    def _answered(self, error: ApiError, call: _Call, *, attempts: str) -> RunnerError:
        status = error.meta.status
        kind, reason = reason_of(error.body)
        reason = self._clean(reason) or f"HTTP {status}"
        place = f"Elasticsearch at {', '.join(self.connection.shown_hosts)}"
        if status == 401:
            return AccessError(f"{place} does not accept {self.connection.identity}: {reason}")
        if status == 403 and kind in ("", "security_exception"):
            return AccessError(f"{self.connection.identity} may not {call.action}: {reason}")
        if status in (502, 503, 504) and not kind:
            return UnreachableError(
                f"{place} can not be reached: the proxy before it answers {status}{attempts}",
                hosts=self.connection.shown_hosts,
            )
        text = f"{place} could not {call.action}: {reason}{attempts}"
        return ClusterError(text, status=status, type=kind, reason=reason)

    def _clean(self, text: str) -> str:
        """The text without any of the connection's secrets and without control characters, cut to 2,000 characters."""
        for name in SECRETS:
            if len(secret := getattr(self.connection, name)) > 3:
                text = text.replace(secret, "***")
        return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", " ", text)[:2_000].strip()


def open_client(connection: Connection, *, retry: Retry | None = None) -> Elastic:
    """The cluster behind the connection; nothing is sent yet. Raises SettingsError for one that cannot work."""
    check_connection(connection)
    options: dict[str, Any] = {}
    if connection.cloud_id:
        options["cloud_id"] = connection.cloud_id
    else:
        options["hosts"] = [
            url_to_node_config(without_user(host), use_default_ports_for_scheme=True) for host in connection.hosts
        ]
    options |= credentials_for(connection)
    if connection.cloud_id or any(host.startswith("https:") for host in connection.hosts):
        options |= tls_options_for(connection)
    if connection.headers:
        options["headers"] = dict(connection.headers)
    try:
        client = AsyncElasticsearch(
            **options,
            request_timeout=connection.request_timeout,
            serializers={"application/json": OrjsonSerializer()},
            transport_class=_QuietTransport,
            max_retries=0,
            retry_on_timeout=False,
        )
    except ssl.SSLError as error:
        raise SettingsError(f"the certificate files can not be used: {error.reason or error}") from None
    except (ValueError, TypeError) as error:
        raise SettingsError(f"the connection to Elasticsearch can not be set up: {error}") from None
    return Elastic(client, connection, retry=retry or Retry())


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
    if kind == "search_phase_execution_exception":  # "all shards failed": why, only the shards say
        roots: list[Any] = error.get("root_cause") or [{}]
        inner = str(roots[0].get("reason") or "")
        reason = f"{reason}: {inner}" if inner and inner not in reason else reason
    return kind, reason or kind


class _QuietTransport(AsyncTransport):
    """Turns the server's `Warning` headers into log lines; the client would make Python warnings of them."""

    async def perform_request(self, method: str, target: str, **options: Any) -> Any:  # type: ignore[override]
        answer = await super().perform_request(method, target, **options)
        if text := answer.meta.headers.get("warning"):
            _LOG.debug("Elasticsearch warns: %s", text)
            headers = answer.meta.headers.copy()
            del headers["warning"]
            answer = answer._replace(meta=dataclasses.replace(answer.meta, headers=headers))
        return answer


def _passes(error: BaseException) -> bool:
    """True for failures after which the same request may succeed a little later."""
    if isinstance(error, ApiError):
        return error.meta.status in _BUSY
    if isinstance(error, TlsError) or _is_other_certificate(error):
        return False
    return isinstance(error, ConnectionTimeout | ClientConnectionError)


def _is_other_certificate(error: BaseException) -> bool:
    """True if the certificate has another fingerprint; the client keeps that only as what its own error came from."""
    return isinstance(error.__context__, ServerFingerprintMismatch)


def _connection_trouble(message: str, hosts: Collection[str], *, tls: bool) -> str:
    """What to say of a failed connection, with what may help."""
    if "WRONG_VERSION_NUMBER" in message or "record layer failure" in message:
        return "TLS failed, the port speaks plain HTTP: write http:// if that is meant"
    if "CERTIFICATE_VERIFY_FAILED" in message or "certificate verify failed" in message:
        found = re.search(r"certificate verify failed: ([^(\]']+)", message)
        return (
            f"TLS failed, its certificate is not trusted ({found[1].strip() if found else message}): name the file "
            "of the CA that signed it (ELASTICSEARCH_CA_CERTS) or its fingerprint; --insecure turns the check off"
        )
    if tls:
        return f"TLS failed: {message}"
    if "Connect call failed" in message or "Connection refused" in message:
        return f"connection refused ({message})"
    if "disconnected" in message.lower() and any(host.startswith("http:") for host in hosts):
        return f"{message}; if the cluster uses TLS, write https://"
    return message or "the connection failed"


def _name(text: str) -> str:
    return percent_encode(text, safe="")


def _targets(indices: Sequence[str]) -> str:
    return percent_encode(",".join(indices), safe=",*")


def _words(kind: ObjectKind) -> str:
    return kind.replace("_", " ")
