"""`KibanaLists`: the exception lists and the value lists of a space, read from Kibana.

APIs, all of them public in 8.x, 9.x and serverless: items of exception lists, and export of value lists.
https://www.elastic.co/docs/api/doc/kibana/group/endpoint-security-exceptions-api
https://www.elastic.co/docs/api/doc/kibana/group/endpoint-security-lists-api
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from runner.cluster.kibana import Kibana
from runner.errors import ClusterError, WrongAnswerError
from runner.messages.quantities import counted

_PAGE: Final = 1_000
_MOST: Final = 10_000
"""Items that can be paged through: the limit of a search in Elasticsearch."""
_COUNT: Final = "exported_exception_list_item_count"
_PRIVILEGE: Final = (
    "it takes a role with the Kibana privilege `Security: Read` in that space (where `Rules` and `Exceptions` are "
    "privileges of their own, `Read` of these), and for value lists `read` on the indices `.lists-{space}` and "
    "`.items-{space}`"
)


class KibanaLists:
    """The lists of one space, and of all spaces. Its methods raise what those of `Kibana` raise."""

    def __init__(self, kibana: Kibana) -> None:
        self._kibana = kibana
        self._privilege = _PRIVILEGE.format(space=kibana.space)

    @property
    def place(self) -> str:
        """The Kibana and its space, for messages."""
        return f"{self._kibana.place}, space `{self._kibana.space}`"

    async def items(self, list_id: str, namespace_type: str) -> tuple[dict[str, Any], ...] | None:
        """The items of an exception list, those that have expired among them; None if there is no such list."""
        found: dict[str, dict[str, Any]] = {}
        expected = 0
        action = f"read the exception list `{list_id}`"
        # In this order what is added meanwhile comes last, and moves nothing to another page.
        query = {"list_id": list_id, "namespace_type": namespace_type, "sort_field": "created_at", "sort_order": "asc"}
        for page in range(1, _MOST // _PAGE + 1):
            path = f"/api/exception_lists/items/_find?{urlencode({**query, 'page': page, 'per_page': _PAGE})}"
            answer = await self._kibana.request("GET", path, action=action, privilege=self._privilege)
            if answer is None:
                return None
            data, total = self._page(answer, action)
            found |= {str(item.get("id") or item.get("item_id")): dict(item) for item in data}
            if total > _MOST:
                return await self._exported(list_id, namespace_type)
            expected = total if page == 1 else expected
            if total != expected or (not data and total):
                break  # pages that move hide an item
            if len(found) >= total:
                return tuple(found.values())
        raise ClusterError(f"{self.place} could not {action}: it was changed while it was read", status=200)

    async def _exported(self, list_id: str, namespace_type: str) -> tuple[dict[str, Any], ...] | None:
        """The items of a list of any length, which Kibana streams. Not every reader may export, and it takes longer."""
        action = f"export the exception list `{list_id}`"
        query = {"list_id": list_id, "namespace_type": namespace_type}
        path = f"/api/exception_lists?{urlencode(query)}"
        answer = await self._kibana.request("GET", path, action=action, privilege=self._privilege)
        if answer is None:
            return None
        query |= {"id": str(self._object(answer, action).get("id")), "include_expired_exceptions": "true"}
        path = f"/api/exception_lists/_export?{urlencode(query)}"
        answer = await self._kibana.request("POST", path, action=action, privilege=self._privilege)
        if answer is None:
            return None
        lines = [self._object(line, action) for line in answer.splitlines() if line.strip()]
        items = tuple(line for line in lines if line.get("type") == "simple")
        told = next((line[_COUNT] for line in lines[-1:] if _COUNT in line), None)
        if told != len(items):
            raise self._wrong(action, f"has {counted(len(items), 'item')}, and not as many as its last line says")
        return items

    async def values(self, list_id: str) -> tuple[str, ...] | None:
        """The values of a value list, each once; None if there is no such list."""
        path = f"/api/lists/items/_export?{urlencode({'list_id': list_id})}"
        action = f"read the value list `{list_id}`"
        answer = await self._kibana.request("POST", path, action=action, privilege=self._privilege)
        if answer is None:
            return None
        try:
            lines = answer.decode().split("\n")
        except UnicodeDecodeError as error:
            raise self._wrong(action, f"is not UTF-8: {error.reason}") from None
        return tuple(dict.fromkeys(filter(None, map(str.strip, lines))))

    async def close(self) -> None:
        """Close all connections."""
        await self._kibana.close()

    def _page(self, answer: bytes, action: str) -> tuple[list[Mapping[str, Any]], int]:
        body = self._object(answer, action)
        data, total = body.get("data"), body.get("total")
        if not isinstance(data, list) or not isinstance(total, int) or not all(isinstance(one, dict) for one in data):
            raise self._wrong(action, "has not the items and their number in `data` and `total`")
        return data, total

    def _object(self, text: bytes, action: str) -> dict[str, Any]:
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise self._wrong(action, "is not JSON") from None
        if not isinstance(found, dict):
            raise self._wrong(action, "is no JSON object")
        return found

    def _wrong(self, action: str, fault: str) -> WrongAnswerError:
        return WrongAnswerError(f"{self.place} could not {action}: the answer {fault}")
