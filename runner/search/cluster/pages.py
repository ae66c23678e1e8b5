"""Pages of candidates: the answer to one search as lines for the engine, with the key of each document.

A page is some hundred thousand small lists, which live only until the lines are written. Traversed by the garbage
collector, they cost many times what reading them does; so it is off meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from runner.errors import SearchError
from runner.events.fields.schema import Field
from runner.garbage_collection import without_collecting


@dataclass(frozen=True, slots=True)
class Page:
    """One page: a line for each hit, with the values of the wanted fields, and the hit's index and id.

    `about` is what the answer says beside the hits, `last` the sort values of the last hit.
    """

    about: Mapping[str, Any]
    lines: list[bytes] = field(default_factory=list)
    indices: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    last: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)


def read_answer(answer: bytes) -> dict[str, Any]:
    """The JSON object of an answer. Raises SearchError if it is none."""
    try:
        read = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise SearchError(f"the answer to a search is not JSON: {error}") from None
    if not isinstance(read, dict):
        raise SearchError("the answer to a search is not a JSON object")
    return read


def hits_of(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hits of an answer; none if it has no `hits`."""
    return (answer.get("hits") or {}).get("hits") or []


def read_page(answer: bytes, fields: Mapping[str, Field]) -> Page:
    """The page of an answer; `fields` are the wanted ones by name. Raises SearchError if it is no JSON object."""
    # Most of them stand at the top of a document, see `field_caps`.
    places = {name: wanted.source_path for name, wanted in fields.items() if "." not in wanted.source_path}
    deeper = {name: wanted.source_path.rpartition(".") for name, wanted in fields.items() if name not in places}
    with without_collecting():
        about = read_answer(answer)
        page = Page({name: value for name, value in about.items() if name != "hits"})
        hits = hits_of(about)
        for hit in hits:
            document: dict[str, Any] = {}
            for name, values in (hit.get("fields") or {}).items():
                value = values[0] if len(values) == 1 else values
                if (place := places.get(name)) is not None:
                    document[place] = value
                elif name in deeper:
                    parent, _, key = deeper[name]
                    document.setdefault(parent, {})[key] = value
            page.lines.append(orjson.dumps(document))
            page.indices.append(sys.intern(hit["_index"]))
            page.ids.append(hit["_id"])
        if hits:
            page.last.extend(hits[-1]["sort"])
        # The lists are freed here, while the collector is off.
        del about, hits
    return page
