"""`WriteTarget`: the alias or data stream that alerts or runs are written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runner.cluster import answer_shapes
from runner.cluster.elasticsearch import Elastic
from runner.cluster.transport import ApiCall, path_part
from runner.errors import ClusterError


@dataclass(frozen=True, slots=True)
class WriteTarget:
    """An alias or a data stream, with the indices behind it and the one that is written to ("" if there is none)."""

    kind: Literal["alias", "data_stream"]
    indices: tuple[str, ...]
    write_index: str


async def read_target(client: Elastic, name: str) -> WriteTarget | None:
    """What stands behind the name; None if it is neither an alias nor a data stream. Raises the errors of `Elastic`."""
    behind = await client.read_alias(name)
    if behind is not None:
        written = sorted(index for index, is_written in behind.items() if is_written)
        return WriteTarget("alias", tuple(sorted(behind)), written[0] if written else "")
    indices = await _stream_indices(client, name)
    return WriteTarget("data_stream", indices, indices[-1]) if indices else None


async def mapping_version(client: Elastic, index: str, *, product: str) -> int:
    """The version of the product's mapping in an index; 0 if the mapping is not the product's."""
    path = f"/{path_part(index)}/_mapping"
    call = ApiCall("GET", path, f"read the mapping of {index}", ignore=(404,), expects=answer_shapes.MAPPINGS)
    answer = await client.transport.send(call)
    found: Any = answer.get(index) if isinstance(answer, dict) else None
    meta = ((found or {}).get("mappings") or {}).get("_meta") or {}
    return version_in(meta) if meta.get("managed_by") == product else 0


def version_in(meta: Mapping[str, Any]) -> int:
    """The version in the `_meta` of an object; 0 if there is none that is a number."""
    found = str(meta.get("version"))
    return int(found) if found.isdecimal() else 0


async def create_stream(client: Elastic, name: str) -> bool:
    """True if the data stream was created, False if it was there already."""
    try:
        await client.transport.send(
            ApiCall(
                "PUT",
                f"/_data_stream/{path_part(name)}",
                f"create the data stream {name}",
                expects=answer_shapes.DONE,
            )
        )
    except ClusterError as error:
        if error.type == "resource_already_exists_exception":
            return False
        raise
    return True


async def roll_over(client: Elastic, alias: str, conditions: dict[str, str]) -> str:
    """The name of the new index, if one of the conditions holds; "" if none does."""
    body, expected = {"conditions": conditions}, answer_shapes.ROLLOVER
    call = ApiCall("POST", f"/{path_part(alias)}/_rollover", f"roll over {alias}", body=body, expects=expected)
    answer = await client.transport.send(call)
    return str(answer["new_index"]) if answer.get("rolled_over") else ""


async def _stream_indices(client: Elastic, name: str) -> tuple[str, ...]:
    """The backing indices of a data stream in their order; none if there is no such data stream."""
    path, expected = f"/_data_stream/{path_part(name)}", answer_shapes.STREAMS
    call = ApiCall("GET", path, f"read the data stream {name}", ignore=(404,), expects=expected)
    try:
        answer = await client.transport.send(call)
    except ClusterError as error:
        if error.no_such_api:
            return ()
        raise
    streams = (answer.get("data_streams") or []) if isinstance(answer, dict) else []
    return tuple(index["index_name"] for stream in streams for index in stream["indices"])
