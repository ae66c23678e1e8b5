"""What is doubtful in a query in ES|QL, as far as it shows without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from runner.esql.query import DOCUMENT_COLUMNS, Command, EsqlQuery
from runner.esql.tokens import EsqlToken
from runner.messages.query_errors import QueryFinding

LISTS = frozenset({"event.category", "event.type", "host.ip", "host.mac", "process.args", "tags", "related.ip"})
"""Fields that usually hold several values."""
_ONE_IN_DEFEND = frozenset({"event.category", "event.type"})
"""Those that hold one value in the events of Elastic Defend."""
_DEFEND = "logs-endpoint.events."
_NEWER_COMMANDS = {"inlinestats": "INLINE STATS", "fork": "FORK", "fuse": "FUSE", "rerank": "RERANK", "ts": "TS"}
_NEWER_FUNCTIONS = frozenset({"url_decode", "url_encode", "json_extract", "mv_contains", "contains", "mv_intersection"})
_COMPARED = frozenset({"==", "!=", "<", ">", "<=", ">=", "in", "like", "rlike"})


def doubts(query: EsqlQuery) -> Iterator[QueryFinding]:
    """Every finding, in no particular order."""
    yield from _documents(query)
    yield from _newer(query)
    yield from _lists(query)
    for command in query.named("limit", "sample"):
        if command.name == "limit" and _is_sorted(query, command):
            continue
        text = f"which rows {command.name.upper()} leaves differs from run to run: alerts may come twice, or be missed"
        yield QueryFinding(command.span, text, code="esql-row-limit")


def _is_sorted(query: EsqlQuery, limit: Command) -> bool:
    """Whether the command before it sorts the rows."""
    place = query.commands.index(limit)
    return place > 0 and query.commands[place - 1].name == "sort"


def _documents(query: EsqlQuery) -> Iterator[QueryFinding]:
    if query.is_aggregating or query.keeps_document:
        return
    wanted = ", ".join(DOCUMENT_COLUMNS)
    if "_id" not in query.metadata:
        text = f"a query without STATS needs `METADATA {wanted}` behind FROM"
        text += ": without it the alerts have no events"
        yield QueryFinding(query.commands[0].span, text, code="esql-no-document")
        return
    *_, last = query.named("keep", "drop", "rename")
    text = f"the answer has no `_id`: KEEP has to name {wanted}, or the alerts have no events"
    yield QueryFinding(last.span, text, code="esql-no-document")


def _newer(query: EsqlQuery) -> Iterator[QueryFinding]:
    """What Elasticsearch 8.19 refuses."""
    for command in query.commands:
        if name := _NEWER_COMMANDS.get(command.name):
            text = f"{name} is of Elasticsearch 9: clusters of version 8 refuse the query"
            yield QueryFinding(command.span, text, code="esql-newer-version")
        elif command.name == "completion":
            text = "COMPLETION needs a language model that the cluster has been given"
            yield QueryFinding(command.span, text, code="esql-language-model")
    words = [token for token in query.tokens if token.is_word]
    for name_, opened in pairwise(words):
        if name_.kind == "name" and opened.text == "(" and name_.text.lower() in _NEWER_FUNCTIONS:
            text = f"{name_.text.upper()} is of Elasticsearch 9: clusters of version 8 refuse the query"
            yield QueryFinding(name_.span, text, code="esql-newer-version")


def _lists(query: EsqlQuery) -> Iterator[QueryFinding]:
    """Comparisons of fields that usually hold several values, outside of functions that take these."""
    told = set(_ONE_IN_DEFEND) if all(name.startswith(_DEFEND) for name in query.indices) else set()
    expanded = set(query.expanded)
    for command in query.named("where"):
        words = command.arguments
        for number, token in enumerate(words):
            field, after = _field_at(words, number)
            if field not in LISTS or field in told | expanded or _compares(words[after : after + 2]) is None:
                continue
            told.add(field)
            text = f"`{field}` often holds several values; a comparison with these is null, and leaves the row out"
            hint = f'; `{field} : "value"` finds any of them'
            yield QueryFinding(token.span.to(words[after - 1].span), text, hint, "esql-multi-value")


def _field_at(words: tuple[EsqlToken, ...], start: int) -> tuple[str, int]:
    """The dotted name that begins at a word, and where it ends; "" if none begins there."""
    if words[start].kind not in ("name", "quoted") or (start and words[start - 1].text == "."):
        return "", start + 1
    end = start + 1
    while end + 1 < len(words) and words[end].text == "." and words[end + 1].kind in ("name", "quoted"):
        end += 2
    return "".join(token.text.strip("`") for token in words[start:end]), end


def _compares(words: tuple[EsqlToken, ...]) -> str | None:
    texts = [token.text.lower() for token in words]
    texts = texts[1:] if texts[:1] == ["not"] else texts
    return texts[0] if texts and texts[0] in _COMPARED else None
