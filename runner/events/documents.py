"""Whole documents: a line decoded in full, and the values of a document by dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


class BrokenLine(ValueError):  # noqa: N818 - a state of the input, not a fault
    """A line that is not a JSON object; the text is the reason."""


def read_document(line: bytes) -> dict[str, Any]:
    """The document of a line. Raises BrokenLine if it is not a JSON object.

    Invalid UTF-8 is kept as replacement characters: a match must not be lost for a stray byte.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            document = orjson.loads(line.decode(errors="replace"))
        except orjson.JSONDecodeError:
            raise BrokenLine(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BrokenLine(f"a JSON {_json_name(document)} where an object was expected")
    return document


def flatten(document: Mapping[str, Any], wanted: Mapping[str, object] | None = None) -> dict[str, list[Any]]:
    """The values of a document by full dotted path, in document order, as Elasticsearch indexes them.

    Arrays of objects are merged per path. With `wanted`, only its paths are kept, with objects as values.

    >>> flatten({"a": {"b": 1}, "a.b": 2, "c": [{"d": 3}, {"d": [4, 5]}]})
    {'a.b': [1, 2], 'c.d': [3, 4, 5]}
    """
    values: dict[str, list[Any]] = {}
    # A stack of iterators, not recursion: a document may be nested deeper than Python's stack allows.
    stack: list[tuple[str, Any]] = [("", document)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            if path and wanted is not None and path in wanted:
                values.setdefault(path, []).append(value)
            prefix = f"{path}." if path else ""
            stack.extend((f"{prefix}{key}", child) for key, child in reversed(value.items()))
        elif isinstance(value, (list, tuple)):
            if value:
                stack.extend((path, child) for child in reversed(value))
        elif wanted is None or path in wanted:
            values.setdefault(path, []).append(value)
    return values


def _json_name(value: object) -> str:
    if isinstance(value, list):
        return "array"
    return {str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
