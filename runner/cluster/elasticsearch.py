"""`Elastic`: the requests that the runner sends to Elasticsearch."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from runner.cluster import answer_shapes
from runner.cluster.connection import Connection as Connection
from runner.cluster.transport import ApiCall, Transport, open_transport, path_part, targets_part
from runner.cluster.transport import Retry as Retry
from runner.cluster.transport import reason_of as reason_of
from runner.errors import ClusterError, RunnerError, UnreachableError, WrongAnswerError

CLEAN_UP = 5.0
"""Seconds in which a search or a point in time is given up; the server drops it by itself later."""
ObjectKind = Literal["component_template", "index_template", "lifecycle_policy", "role"]

_OBJECT_PATHS: Mapping[ObjectKind, str] = {
    "component_template": "/_component_template/",
    "index_template": "/_index_template/",
    "lifecycle_policy": "/_ilm/policy/",
    "role": "/_security/role/",
}
_LEFT_OUT = "-hits.hits.ignored_field_values,-hits.hits._ignored,-hits.hits._score"


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """The answer of `GET /`."""

    name: str
    uuid: str
    version: str
    distribution: str
    """`default` or `serverless` for Elasticsearch, another product's own name otherwise."""


class Elastic:
    """The APIs of a cluster. Its methods raise UnreachableError, AccessError, or ClusterError for other errors."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        """For requests that have no method here."""
        self.connection = transport.connection

    async def info(self, *, retry: bool = True) -> ClusterInfo:
        """Name, id and version of the cluster; with `retry=False` after a single attempt."""
        answer = await self._root(attempts=None if retry else 1)
        version = answer["version"]
        distribution = version.get("distribution") or version.get("build_flavor") or "default"
        name, uuid = str(answer.get("cluster_name", "")), str(answer.get("cluster_uuid") or "")
        return ClusterInfo(name, uuid, version.get("number") or "", distribution)

    async def answers(self) -> bool:
        """True if the cluster answers at all, so that a connection that failed concerns one request only."""
        try:
            await self.info(retry=False)
        except RunnerError as error:
            return not isinstance(error, UnreachableError)
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
        path, action = f"/{targets_part(indices)}/_eql/search", f"search with EQL in {', '.join(indices)}"
        common: dict[str, Any] = {"deadline": deadline, "opaque_id": opaque_id, "expects": answer_shapes.EQL}
        return await self.transport.send_for_object(ApiCall("POST", path, action, params=params, body=body, **common))

    async def eql_get(self, search_id: str, *, params: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """The state or the answer of a running EQL search."""
        path = f"/_eql/search/{path_part(search_id)}"
        action, expected = "read a running EQL search", answer_shapes.EQL
        call = ApiCall("GET", path, action, params=params, deadline=deadline, expects=expected)
        return await self.transport.send_for_object(call)

    async def eql_delete(self, search_id: str) -> None:
        """Stop and forget a running EQL search; one that is not there any more is fine."""
        path = f"/_eql/search/{path_part(search_id)}"
        await self.transport.send(ApiCall("DELETE", path, "stop an EQL search", deadline=_soon(), ignore=(404,)))

    async def search(
        self, indices: Sequence[str], body: Mapping[str, Any], *, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The answer of the search API."""
        path, action = f"/{targets_part(indices)}/_search", f"search in {', '.join(indices)}"
        parts = {"sort": "sort" in body, "versions": bool(body.get("seq_no_primary_term"))}
        expected = answer_shapes.hits(source=body.get("_source") is not False, **parts)
        call = ApiCall("POST", path, action, params=params or {}, body=body, expects=expected)
        return await self.transport.send_for_object(call)

    async def open_point(self, indices: Sequence[str], *, keep_alive: str, deadline: float) -> str:
        """The id of a point in time of the indices that are there; it is kept that long after each use."""
        action = f"search in {', '.join(indices)}"
        params = {"keep_alive": keep_alive, "ignore_unavailable": True, "allow_no_indices": True}
        path, expected = f"/{targets_part(indices)}/_pit", answer_shapes.POINT
        call = ApiCall("POST", path, action, params=params, deadline=deadline, expects=expected)
        return str((await self.transport.send_for_object(call))["id"])

    async def search_point(self, body: Mapping[str, Any], *, deadline: float, opaque_id: str) -> bytes:
        """The JSON of the search API's answer in the point in time that the body names; failed shards are an error."""
        params = {"allow_partial_search_results": False, "filter_path": _LEFT_OUT}
        call = ApiCall("POST", "/_search", "search", params=params, body=body, deadline=deadline, opaque_id=opaque_id)
        return bytes(await self.transport.send(dataclasses.replace(call, as_bytes=True)))

    async def close_point(self, point: str) -> None:
        """Give up a point in time; one that is not there any more is fine."""
        call = ApiCall("DELETE", "/_pit", "close a point in time", body={"id": point}, deadline=_soon(), ignore=(404,))
        await self.transport.send(call)

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
        path = f"/{path_part(index)}/_bulk"
        action, expected = f"write to {index}", answer_shapes.BULK
        call = ApiCall("POST", path, action, params=params, body=lines, ndjson=True, expects=expected)
        answer: dict[str, Any] = await self.transport.send(call, attempts=1)
        return answer

    async def field_caps(
        self,
        indices: Sequence[str],
        fields: Sequence[str],
        *,
        runtime_mappings: Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> dict[str, Any]:
        """Which of the fields the indices have and with what types; indices that are not there are left out.

        `failures` of the answer names indices and remote clusters that are there and did not answer.
        """
        params = {"include_unmapped": True, "ignore_unavailable": True, "allow_no_indices": True}
        path, action = f"/{targets_part(indices)}/_field_caps", f"read the fields of {', '.join(indices)}"
        # In the body, as the URL must stay under 4 KB.
        body = {"fields": list(fields)} | ({"runtime_mappings": runtime_mappings} if runtime_mappings else {})
        expected = answer_shapes.FIELD_CAPS
        call = ApiCall("POST", path, action, params=params, body=body, deadline=deadline, expects=expected)
        return await self.transport.send_for_object(call)

    async def read_object(self, kind: ObjectKind, name: str) -> Mapping[str, Any] | None:
        """The stored template, policy or role, as it was written; None if there is none of that name."""
        is_listed = kind in ("component_template", "index_template")
        action = f"read the {_words(kind)} {name}"
        expected = answer_shapes.templates(kind) if is_listed else answer_shapes.BY_NAME
        call = ApiCall("GET", _OBJECT_PATHS[kind] + path_part(name), action, ignore=(404,), expects=expected)
        answer = await self.transport.send(call)
        listed = answer.get(f"{kind}s") if isinstance(answer, dict) else None
        if isinstance(listed, list):
            return dict(listed[0][kind]) if listed else None
        found = answer.get(name) if isinstance(answer, dict) else None
        return dict(found) if isinstance(found, Mapping) else None

    async def write_object(self, kind: ObjectKind, name: str, body: Mapping[str, Any]) -> None:
        """Create or replace a template, policy or role."""
        path, action = _OBJECT_PATHS[kind] + path_part(name), f"write the {_words(kind)} {name}"
        expected = answer_shapes.ROLE_WRITTEN if kind == "role" else answer_shapes.DONE
        await self.transport.send(ApiCall("PUT", path, action, body=body, expects=expected))

    async def create_api_key(self, name: str, roles: Mapping[str, Any]) -> str:
        """A new API key of that name, encoded, with the privileges of these role descriptors and no end.

        Sent once: a key whose answer is lost stays in the cluster unknown.
        """
        body = {"name": name, "role_descriptors": roles, "metadata": {"managed_by": name}}
        call = ApiCall("POST", "/_security/api_key", f"make the API key {name}", body=body)
        answer = await self.transport.send(call, attempts=1)
        encoded = answer.get("encoded") if isinstance(answer, dict) else None
        if not isinstance(encoded, str):
            raise ClusterError(f"could not {call.action}: the answer has no `encoded`", status=200)
        return encoded

    async def read_alias(self, alias: str) -> Mapping[str, bool] | None:
        """The indices behind an alias, each with whether it is the one written to; None if there is no such alias."""
        path, action = f"/_alias/{path_part(alias)}", f"read the alias {alias}"
        answer = await self.transport.send(ApiCall("GET", path, action, ignore=(404,), expects=answer_shapes.ALIAS))
        indices = {
            index: bool(value["aliases"][alias].get("is_write_index"))
            for index, value in (answer.items() if isinstance(answer, Mapping) else ())
            if isinstance(value, Mapping) and alias in (value.get("aliases") or {})
        }
        if len(indices) == 1:  # A single index behind an alias is written to without being marked.
            return dict.fromkeys(indices, True)
        return indices or None

    async def index_exists(self, name: str) -> bool:
        """True if there is an index, alias or data stream of that name."""
        call = ApiCall("HEAD", f"/{path_part(name)}", f"look for the index {name}", ignore=(404,))
        return bool(await self.transport.send(call))

    async def create_index(self, name: str, body: Mapping[str, Any]) -> bool:
        """True if the index was created, False if it was there already."""
        try:
            action, expected = f"create the index {name}", answer_shapes.DONE
            await self.transport.send(ApiCall("PUT", f"/{path_part(name)}", action, body=body, expects=expected))
        except ClusterError as error:
            if error.type == "resource_already_exists_exception":
                return False
            raise
        return True

    async def create_data_stream(self, name: str) -> None:
        """Make a data stream of the index template that is for its name. Raises ClusterError if there is none."""
        action, expected = f"create the data stream {name}", answer_shapes.DONE
        await self.transport.send(ApiCall("PUT", f"/_data_stream/{path_part(name)}", action, expects=expected))

    async def count(self, index: str) -> int:
        """How many documents there are in an index or data stream."""
        body = {"size": 0, "track_total_hits": True}
        return int((await self.search([index], body))["hits"]["total"]["value"])

    async def put_mapping(self, index: str, body: Mapping[str, Any]) -> None:
        """Add fields to an index, or to the index that an alias writes to."""
        path, params = f"/{path_part(index)}/_mapping", {"write_index_only": True}
        expected = answer_shapes.DONE
        call = ApiCall("PUT", path, f"add fields to {index}", params=params, body=body, expects=expected)
        await self.transport.send(call)

    async def refresh(self, index: str) -> None:
        """Make everything that was written visible to searches; an index that is not there is fine."""
        path, expected = f"/{path_part(index)}/_refresh", answer_shapes.REFRESHED
        await self.transport.send(ApiCall("POST", path, f"refresh {index}", ignore=(404,), expects=expected))

    async def read_document(self, index: str, document_id: str) -> Mapping[str, Any] | None:
        """The document with `_source`, `_seq_no` and `_primary_term`; None if it or its index is not there."""
        path = f"/{path_part(index)}/_doc/{path_part(document_id)}"
        call = ApiCall("GET", path, f"read from {index}", ignore=(404,), expects=answer_shapes.DOCUMENT)
        answer = await self.transport.send_for_object(call)
        return answer if answer.get("found") else None

    async def read_documents(self, index: str, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """Those of the documents that are there, as they were last written, each as `read_document` returns one."""
        path, expected = f"/{path_part(index)}/_mget", answer_shapes.DOCUMENTS
        call = ApiCall("POST", path, f"read from {index}", body={"ids": list(ids)}, expects=expected)
        found = (await self.transport.send_for_object(call))["docs"]
        for one in found:
            if (error := one.get("error")) and error.get("type") != "index_not_found_exception":
                raise ClusterError(f"could not read {one['_id']} from {index}: {error.get('reason')}", status=503)
        return [one for one in found if one.get("found")]

    async def close(self) -> None:
        """Close all connections."""
        await self.transport.close()

    async def _root(self, *, attempts: int | None) -> Mapping[str, Any]:
        """What `GET /` answers. Raises UnreachableError if something else than a cluster's root does."""
        hosts = self.connection.shown_hosts
        place = f"Elasticsearch at {', '.join(hosts)}"
        try:
            call = ApiCall("GET", "/", "read the cluster's version", expects=answer_shapes.ROOT)
            answer: Mapping[str, Any] = await self.transport.send(call, attempts=attempts)
        except WrongAnswerError as error:
            raise WrongAnswerError(
                f"{error} - what answers there says nothing of a version; expected Elasticsearch 8 or 9", hosts=hosts
            ) from None
        except ClusterError as error:
            prefixes = _prefixes(self.connection)
            if error.status not in (400, 404, 405) or not prefixes:
                raise
            raise UnreachableError(
                f"{place} answers, but not under the path {' or '.join(prefixes)}: "
                f"leave it away or correct it ({error.reason or error.status})",
                hosts=hosts,
            ) from None
        return answer


def _prefixes(connection: Connection) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for host in connection.hosts if (path := urlsplit(host).path.rstrip("/"))))


def open_client(connection: Connection, *, retry: Retry | None = None) -> Elastic:
    """The cluster behind the connection; nothing is sent yet. Raises SettingsError for one that cannot work."""
    return Elastic(open_transport(connection, retry=retry))


def _words(kind: ObjectKind) -> str:
    return kind.replace("_", " ")


def _soon() -> float:
    """By when something must be given up, in the time of the running event loop."""
    return asyncio.get_running_loop().time() + CLEAN_UP
