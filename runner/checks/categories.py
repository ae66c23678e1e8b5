"""What is doubtful in event categories: names that ECS has not, and fields that no event of a category has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from runner.eql.syntax import ast
from runner.expressions import nodes
from runner.messages.query_errors import QueryFinding
from runner.messages.suggestions import did_you_mean
from runner.messages.text_positions import Source, Span

CATEGORIES = frozenset(
    {
        *("api", "authentication", "configuration", "database", "driver", "email", "file", "host", "iam"),
        *("intrusion_detection", "library", "malware", "network", "package", "process", "registry", "session"),
        *("threat", "vulnerability", "web"),
    }
)
"""The values of `event.category` in ECS: https://www.elastic.co/docs/reference/ecs/ecs-allowed-values-event-category"""

_DEFEND = re.compile(r"logs-endpoint\.events\.(\*|\w+)?")
_NETWORK = frozenset({"destination", "dns", "http", "network", "source", "tls", "url"})
_NEVER: dict[str, frozenset[str]] = {
    "process": _NETWORK | {"dll", "file", "registry"},
    "file": _NETWORK | {"dll", "registry"},
    "network": frozenset({"dll", "file", "registry"}),
    "registry": _NETWORK | {"dll", "file"},
    "library": _NETWORK | {"registry"},
}
"""The sets of fields that no event of Elastic Defend has, by its category."""
_STREAMS = frozenset({"process", "file", "network", "registry"})
"""Data sets of Elastic Defend whose events are all of the category of that name."""


def category_findings(
    query: ast.EventQuery, source: Source, indices: Sequence[str], *, of_ecs: bool
) -> Iterator[QueryFinding]:
    """Every finding about one `category where condition`. `of_ecs`: the category is that of `event.category`."""
    category = query.category
    if category is None or not of_ecs:
        return
    start = query.span.start
    quotes = 2 if source.text.startswith('"', start) else 0
    span = Span(start, start + len(category) + quotes)
    if category not in CATEGORIES:
        near = did_you_mean(category, CATEGORIES)
        text = f"`{category}` is no category of events in ECS: it finds events only whose source has its own"
        yield QueryFinding(span, text, near, "unknown-category")
        return
    streams = defend_streams(indices)
    if streams and category not in streams and streams <= _STREAMS:
        text = f"the indices of the rule hold events of the category {', '.join(sorted(streams))} only"
        yield QueryFinding(span, text, "; `index` has to name those that it is about", "category-not-in-index")
    if streams is not None:
        absent = _NEVER.get(category, frozenset())
        seen: set[str] = set()
        for node in nodes.walk(query.condition):
            if isinstance(node, nodes.Name) and node.name.split(".")[0] in absent and node.name not in seen:
                seen.add(node.name)
                text = f"events of the category {category} have no `{node.name}` in the data of Elastic Defend"
                yield QueryFinding(node.span, text, "; is it of another stage or category?", "field-never-there")


def key_findings(term: ast.Term, shared: Sequence[ast.KeyExpression], indices: Sequence[str]) -> Iterator[QueryFinding]:
    """Join keys that no event of the stage has a value of: no sequence gets through it."""
    category = term.query.category
    if defend_streams(indices) is None or category is None:
        return
    for key in (*shared, *term.keys):
        if isinstance(key, nodes.Name) and not key.optional and key.name.split(".")[0] in _NEVER.get(category, ()):
            text = (
                f"no event of the category {category} has the key `{key.name}` in the data of Elastic Defend: without "
                "a value nothing is joined"
            )
            yield QueryFinding(key.span, text, "; name a key that events of every stage have", "key-never-there")


def defend_streams(indices: Sequence[str]) -> frozenset[str] | None:
    """The data sets of Elastic Defend's events that the indices are about, empty for any of them; None if there are
    others."""
    found = set()
    for pattern in indices:
        match = _DEFEND.match(pattern)
        if match is None:
            return None
        found.add(match[1] or "*")
    return frozenset() if not found or "*" in found else frozenset(found)
