"""Values of documents by dotted path: `flatten`, `remove_path`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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


def remove_path(document: dict[str, Any], path: str) -> None:
    """Remove a path in every spelling, with the objects that this empties."""
    document.pop(path, None)
    place = path.find(".")
    while place != -1:
        inner = document.get(path[:place])
        if isinstance(inner, dict):
            remove_path(inner, path[place + 1 :])
            if not inner:
                del document[path[:place]]
        place = path.find(".", place + 1)
