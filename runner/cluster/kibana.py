"""`Kibana`: requests to Kibana, with retries and the runner's own errors.

APIs, all of them public in 8.x, 9.x and serverless: status, and import and export of saved objects; those of lists are
in `kibana_lists`.
https://www.elastic.co/docs/api/doc/kibana/group/endpoint-saved-objects
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from elastic_transport import HttpHeaders, TransportError
from tenacity import retry_if_result
from urllib3 import encode_multipart_formdata

from runner.cluster.connection import Connection, credentials_for, without_user
from runner.cluster.http_node import HttpNode, node_configs
from runner.cluster.transport import BUSY_STATUSES, IF_IT_PASSES, Retry, path_part
from runner.errors import AccessError, ClusterError, RunnerError, UnreachableError, WrongAnswerError

OLDEST = (8, 9)
"""The first version that takes the objects of `kibana_objects`."""

_PRIVILEGE = (
    "it takes a role with the Kibana privilege `Saved Objects Management: All` in that space, as `editor` and "
    "`kibana_admin` have it"
)


@dataclass(frozen=True, slots=True)
class Imported:
    """What Kibana did with the objects of one import."""

    ids: Mapping[str, str]
    """The objects that were stored, each with the id that it has got."""
    failures: Mapping[str, str]
    """The others with the reason. With a single one that could be overcome, Kibana stores no object."""


@dataclass(frozen=True, slots=True)
class _KibanaAnswer:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        """The body; None if it is not JSON."""
        try:
            return orjson.loads(self.raw)
        except orjson.JSONDecodeError:
            return None

    @property
    def message(self) -> str:
        """The error message in the body."""
        body = self.json
        found = body.get("message") if isinstance(body, Mapping) else self.raw.decode(errors="replace")
        return re.sub(r"\s+", " ", str(found or f"HTTP {self.status}"))[:500]


_IF_BUSY = retry_if_result(lambda answer: answer.status in BUSY_STATUSES)


class Kibana:
    """One space of a Kibana. Its methods raise UnreachableError, AccessError, or ClusterError for other failures."""

    def __init__(self, connection: Connection, *, space: str = "default", retry: Retry | None = None) -> None:
        """`connection` has Kibana's address as its one host, and the login of Elasticsearch.

        Raises SettingsError for one that cannot work.
        """
        self._connection = connection
        self.space = space
        self._retry = retry or Retry()
        self._node = HttpNode(node_configs(connection)[0])
        self.place = f"Kibana at {connection.shown_hosts[0]}"

    async def close(self) -> None:
        """Close all connections."""
        await self._node.close()

    async def check_version(self) -> str:
        """Kibana's version; "" if it is not shown. Raises ClusterError for an old one, and for another server."""
        answer = await self._send("GET", "/api/status")
        body = answer.json
        if answer.headers.get("x-elastic-product") == "Elasticsearch":
            raise ClusterError(f"{self.place}: there is Elasticsearch; write Kibana's address", status=answer.status)
        if answer.status == 404:
            raise ClusterError(
                f"{self.place}: what answers there has no API of Kibana (HTTP 404): check the address; a base path "
                "(server.basePath) belongs to it, as in https://host:5601/base",
                status=404,
            )
        # One that is not well yet answers 503, with a status or with a plain text.
        if answer.status != 200 and not (answer.status == 503 and isinstance(body, Mapping)):
            raise self._failure(answer, "read its status")
        if not isinstance(body, Mapping) or "status" not in body:
            raise ClusterError(f"{self.place}: what answers there is not Kibana", status=answer.status)
        # Without a login the version is left out.
        version = str((body.get("version") or {}).get("number") or "")
        parts = re.match(r"(\d+)\.(\d+)", version)
        if parts and (int(parts[1]), int(parts[2])) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise ClusterError(f"{self.place} is of version {version}; {oldest} or newer is needed", status=200)
        return version

    async def read(self, kind: str, id_: str) -> dict[str, Any] | None:
        """A saved object as it is stored; None if there is none."""
        body = {"objects": [{"type": kind, "id": id_}], "excludeExportDetails": True}
        action = f"read the {kind} {id_}"
        answer = await self._send(
            "POST", "/api/saved_objects/_export", body=orjson.dumps(body), kind="application/json", spaced=True
        )
        if answer.status == 200:
            found = next((line for line in answer.raw.splitlines() if line.strip()), None)
            try:
                stored = orjson.loads(found or b"")
            except orjson.JSONDecodeError:
                stored = None
            if isinstance(stored, dict):
                return stored
            raise WrongAnswerError(f"{self.place} could not {action}: the answer is no JSON object")
        if answer.status == 400:
            errors = [error for error in _errors_of(answer.json) if error]
            if any(error.get("statusCode") == 404 for error in errors):
                return None
            if any(error.get("statusCode") == 403 for error in errors):
                raise self._refused(action, str(errors[0].get("message", "")))
        raise self._failure(answer, action)

    async def store(self, objects: Sequence[Mapping[str, Any]], *, overwrite: bool) -> Imported:
        """Import the objects with their ids; with `overwrite` in the place of those that have them."""
        lines = b"\r\n".join(orjson.dumps(item) for item in objects)
        path = f"/api/saved_objects/_import?overwrite={'true' if overwrite else 'false'}"
        body, kind = encode_multipart_formdata({"file": ("rule-runner.ndjson", lines, "application/ndjson")})
        answer = await self._send("POST", path, body=body, kind=kind, spaced=True)
        found = answer.json
        if answer.status != 200 or not isinstance(found, Mapping) or "success" not in found:
            raise self._failure(answer, "import saved objects")
        stored = {
            str(item["id"]): str(item.get("destinationId") or item["id"]) for item in found.get("successResults") or ()
        }
        failures = {str(error["id"]): _reason_of(error.get("error") or {}) for error in found.get("errors") or ()}
        return Imported({} if failures else stored, failures)

    async def request(self, method: str, path: str, *, action: str, privilege: str) -> bytes | None:
        """The body of an API's answer, in the space; None if what is asked for does not exist there.

        `privilege` is what it takes, for the message if it is missing.
        """
        answer = await self._send(method, path, spaced=True)
        if answer.status == 200:
            return answer.raw
        if answer.status in (400, 404) and "does not exist" in answer.message:
            return None
        raise self._failure(answer, action, privilege)

    async def _send(
        self, method: str, path: str, *, body: bytes | None = None, kind: str = "", spaced: bool = False
    ) -> _KibanaAnswer:
        """The answer; sent again after failures that pass: all that is sent here may be sent twice."""
        space = f"/s/{path_part(self.space)}" if spaced and self.space != "default" else ""
        headers = {"kbn-xsrf": "rule-runner", "accept": "application/json", "user-agent": "rule-runner"}
        headers |= {"content-type": kind} if kind else {}
        if authorization := _authorization(self._connection):
            headers["authorization"] = authorization
        retrying = self._retry.attempting(again=IF_IT_PASSES | _IF_BUSY)
        try:
            return await retrying(self._send_once, method, space + path, body, headers=headers)
        except TransportError as error:
            raise self._unreachable(error, int(retrying.statistics["attempt_number"])) from None

    async def _send_once(
        self, method: str, target: str, body: bytes | None, *, headers: Mapping[str, str]
    ) -> _KibanaAnswer:
        timeout = self._connection.request_timeout
        answer = await self._node.perform_request(method, target, body, HttpHeaders(headers), timeout)
        return _KibanaAnswer(answer.meta.status, answer.meta.headers, answer.body)

    def _unreachable(self, error: TransportError, attempts: int) -> UnreachableError:
        why = str(error.message).replace("ELASTICSEARCH_CA_CERTS", "KIBANA_CA_CERTS")
        why = re.sub(r" or its fingerprint \(\w+\)", "", why)
        tried = f" ({attempts} attempts)" if attempts > 1 else ""
        return UnreachableError(
            f"{self.place} can not be reached: {self._clean(why)}{tried}", hosts=self._connection.shown_hosts
        )

    def _refused(self, action: str, message: str, privilege: str = _PRIVILEGE) -> AccessError:
        who = self._connection.identity
        return AccessError(f"{who} may not {action} in Kibana's space `{self.space}`: {message}; {privilege}")

    def _failure(self, answer: _KibanaAnswer, action: str, privilege: str = _PRIVILEGE) -> RunnerError:
        message = self._clean(answer.message)
        if answer.status == 401:
            return AccessError(f"{self.place} does not accept {self._connection.identity}: {message}")
        if answer.status == 403:
            return self._refused(action, message, privilege)
        if answer.status == 404:
            text = f"{self.place} has no space `{self.space}`: make it, or name another (RUNNER_SPACE)"
            return ClusterError(text, status=404, reason=message)
        if 300 <= answer.status < 400:
            target = without_user(self._clean(answer.headers.get("location", "elsewhere")))
            text = f"{self.place} redirects to {target}; write Kibana's own address, with its base path"
            return ClusterError(text, status=answer.status)
        text = f"{self.place} could not {action}: {message} (HTTP {answer.status})"
        return ClusterError(text, status=answer.status, reason=message)

    def _clean(self, text: str) -> str:
        """The text without any of the connection's secrets and without control characters."""
        for secret in self._connection.secrets:
            text = text.replace(secret, "***")
        return re.sub(r"[\x00-\x1f\x7f]", " ", text).strip()


def _errors_of(body: Any) -> list[Mapping[str, Any]]:
    """The errors of the single objects in a refused export."""
    objects = (body.get("attributes") or {}).get("objects") or [] if isinstance(body, Mapping) else []
    return [item.get("error") or {} for item in objects if isinstance(item, Mapping)]


def _reason_of(error: Mapping[str, Any]) -> str:
    """Why an object was not imported, in words."""
    match error.get("type"):
        case "conflict" | "ambiguous_conflict":
            return "there is another object of that id"
        case "missing_references":
            missing = ", ".join(f"{item.get('type')} {item.get('id')}" for item in error.get("references") or ())
            return f"what it refers to is not there: {missing}"
        case "unsupported_type":
            return "this Kibana has no objects of that type"
    return str(error.get("message") or error.get("type") or "unknown")


def _authorization(connection: Connection) -> str:
    """The header `Authorization`; "" if nothing is known to log in with."""
    options = credentials_for(connection)
    if key := options.get("api_key"):
        return f"ApiKey {key}"
    if token := options.get("bearer_auth"):
        return f"Bearer {token}"
    if login := options.get("basic_auth"):
        return f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"
    return ""
