"""Where an event belongs: names of data streams and backing indices, and the index patterns that select them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from runner.events.fields.values import Canonical

# Backing indices of data streams are `.ds-<stream>-<yyyy.MM.dd>-<generation>` (the date is there since 7.11). Index
# lifecycle management puts `partial-`, `restored-` and `shrink-<random>-` before the whole name when it mounts or
# shrinks an index; the upgrade assistant puts `reindexed-v<N>-` or `migrated-` after the leading dot.
_BACKING_INDEX = re.compile(
    r"(?:partial-|restored-|shrink-[^.:]+?-)*"
    r"\.(?:reindexed-v\d+-|migrated-)*ds-(?P<stream>.+?)(?:-\d{4}\.\d{2}\.\d{2})?-\d{6,}"
)


def data_stream_of(index: str) -> str:
    """The data stream of a backing index, any other index name as it is; the `cluster:` of a remote index is kept.

    >>> data_stream_of("partial-.ds-logs-endpoint.events.process-default-2026.03.01-000009")
    'logs-endpoint.events.process-default'
    >>> data_stream_of("berlin:.ds-logs-endpoint.events.process-default-2026.03.01-000009")
    'berlin:logs-endpoint.events.process-default'
    """
    cluster, colon, name = index.rpartition(":")
    backing = _BACKING_INDEX.fullmatch(name)
    return cluster + colon + (backing["stream"] if backing else name)


_MOUNTED = re.compile(r"(?:(?:partial|restored)-|shrink-[^.:]+?-)+(?=\.|[a-z])")


def first_name_of(index: str) -> str:
    """The name that an index had before index lifecycle management mounted or shrank it.

    >>> first_name_of("partial-.ds-logs-endpoint.events.process-default-2026.03.01-000009")
    '.ds-logs-endpoint.events.process-default-2026.03.01-000009'
    """
    cluster, colon, name = index.rpartition(":")
    return cluster + colon + _MOUNTED.sub("", name, count=1) if _BACKING_INDEX.fullmatch(name) else index


def stream_name(kind: Canonical, dataset: Canonical, namespace: Canonical) -> str | None:
    """`type-dataset-namespace` of a document's `data_stream` fields; None if it names no dataset.

    Type and namespace default to `logs` and `default`, as they do in Elastic Agent.
    """
    first = [value[0] if isinstance(value, tuple) and value else value for value in (kind, dataset, namespace)]
    if not isinstance(first[1], str):
        return None
    return f"{first[0] or 'logs'}-{first[1]}-{first[2] or 'default'}"


def index_selector(patterns: Sequence[str]) -> Callable[[str | None], bool]:
    """A function that says whether an index or data stream is among those that the patterns name.

    As in Elasticsearch, `*` stands for any run of characters, a pattern with a leading `-` takes away from those before
    it, and commas separate patterns. An event that names no index (None) is selected by every list of patterns.
    """
    steps: list[tuple[bool, Callable[[str], bool]]] = []
    for pattern in (part.strip() for given in patterns for part in given.split(",")):
        if not pattern:
            continue
        exclude = pattern.startswith("-") and bool(steps)
        text = pattern.removeprefix("-") if exclude else pattern
        text = "*" if text == "_all" else text
        steps.append((exclude, _glob(text)))

    def selected(index: str | None) -> bool:
        if index is None or not steps:
            return True
        names = {index, data_stream_of(index)}
        chosen = False
        for exclude, matches in steps:
            if any(map(matches, names)):
                chosen = not exclude
        return chosen

    return selected


def depends_on_namespace(patterns: Sequence[str]) -> bool:
    """Whether the namespace of a data stream may decide if one of the patterns names it.

    It does not for `logs-endpoint.events.*` and the like: what stands before the `*` ends within the type and the
    dataset, whatever these are.

    >>> depends_on_namespace(["logs-endpoint.events.*", "auditbeat-*", "logs-system.auth-*"])
    False
    >>> depends_on_namespace(["logs-*-default"]), depends_on_namespace(["logs-endpoint.events.process-prod*"])
    (True, True)
    """
    for pattern in (part.strip().removeprefix("-") for given in patterns for part in given.split(",")):
        start, star, rest = ("*" if pattern == "_all" else pattern).partition("*")
        ends_early = start.count("-") < 2 or (start.count("-") == 2 and start.endswith("-"))
        if pattern and not (star and not rest and ends_early):
            return True
    return False


def _glob(pattern: str) -> Callable[[str], bool]:
    """A matcher of whole names, `*` being any run of characters; each piece is searched for once, so none can hang."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern.__eq__
    *middle, last = rest

    def matches(name: str) -> bool:
        if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
            return False
        position, end = len(first), len(name) - len(last)
        for piece in middle:
            found = name.find(piece, position, end)
            if found < 0:
                return False
            position = found + len(piece)
        return True

    return matches
