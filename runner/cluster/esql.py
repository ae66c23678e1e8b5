"""`EsqlApi`: the asynchronous ES|QL API of a cluster, with the warnings that its answers have as headers.

API: https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-esql-async-query
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.cluster import answer_shapes
from runner.cluster.elasticsearch import CLEAN_UP, Elastic
from runner.cluster.transport import WARNINGS, Answer, ApiCall, path_part

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
_ADDED_LIMIT = "No limit defined"


@dataclass(frozen=True, slots=True)
class EsqlAnswer:
    """The state or the answer of a query; one that still runs has an `id` and `is_running`."""

    body: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def id(self) -> str | None:
        return self.body.get("id")

    @property
    def is_running(self) -> bool:
        return bool(self.body.get("is_running"))


class EsqlApi:
    """The requests of one query after another. They raise UnreachableError, AccessError, or ClusterError."""

    def __init__(self, client: Elastic) -> None:
        self._transport = client.transport

    async def submit(
        self, body: Mapping[str, Any], *, params: Mapping[str, Any], deadline: float, opaque_id: str
    ) -> EsqlAnswer:
        """The first answer to a query."""
        call = ApiCall(
            "POST", "/_query/async", "search with ES|QL", params=params, body=body, deadline=deadline,
            opaque_id=opaque_id, expects=answer_shapes.ESQL,
        )  # fmt: skip
        return _answer(await self._transport.send_for_answer(call))

    async def get(self, query_id: str, *, params: Mapping[str, Any], deadline: float) -> EsqlAnswer:
        """The state or the answer of a query that was submitted."""
        path, action = f"/_query/async/{path_part(query_id)}", "read a running ES|QL query"
        call = ApiCall("GET", path, action, params=params, deadline=deadline, expects=answer_shapes.ESQL)
        return _answer(await self._transport.send_for_answer(call))

    async def delete(self, query_id: str, *, now: float) -> None:
        """Stop and forget a query; one that is not there any more is fine."""
        path = f"/_query/async/{path_part(query_id)}"
        call = ApiCall("DELETE", path, "stop an ES|QL query", deadline=now + CLEAN_UP, ignore=(404,))
        await self._transport.send(call)


def _answer(answer: Answer) -> EsqlAnswer:
    found = _WARNING.findall(answer.headers.get(WARNINGS) or "")
    texts = (re.sub(r"\\(.)", r"\1", text) for text in found if not text.startswith(_ADDED_LIMIT))
    return EsqlAnswer(answer.body, tuple(dict.fromkeys(texts)))
