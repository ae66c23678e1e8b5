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

from runner.cluster.answer_shapes import PAGE, Shape, beginning_of, fault_of
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


def read_answer(answer: bytes, expected: Shape) -> dict[str, Any]:
    """The JSON object of an answer. Raises SearchError if it is none, or has not the expected shape."""
    try:
        read: dict[str, Any] = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise SearchError(f"the answer to a search is not JSON: {error}; it begins {beginning_of(answer)}") from None
    if fault := fault_of(read, expected):
        raise SearchError(f"the answer to a search is not one of Elasticsearch: {fault}")
    return read


def read_page(answer: bytes, fields: Mapping[str, Field]) -> Page:
    """The page of an answer; `fields` are the wanted ones by name. Raises SearchError if it has another shape."""
    # Most of them stand at the top of a document, see `field_caps`.
    places = {name: wanted.source_path for name, wanted in fields.items() if "." not in wanted.source_path}
    deeper = {name: wanted.source_path.rpartition(".") for name, wanted in fields.items() if name not in places}
    with without_collecting():
        about = read_answer(answer, PAGE)
        page = Page({name: value for name, value in about.items() if name != "hits"})
        found = about["hits"]["hits"]
        try:
            for hit in found:
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
            page.last.extend(int(value) for value in (found[-1]["sort"] if found else ()))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            place = f"hit {len(page.ids) + 1} of the answer to a search"
            raise SearchError(f"{place} is none of Elasticsearch: {error!r}; found {beginning_of(hit)}") from None
        # The lists are freed here, while the collector is off.
        del about, found
    return page
