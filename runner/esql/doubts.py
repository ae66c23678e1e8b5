"""What is doubtful in a query in ES|QL, as far as it shows without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from runner.esql.query import DOCUMENT_COLUMNS, EsqlQuery
from runner.esql.tokens import EsqlToken
from runner.messages.query_errors import QueryFinding

LISTS = frozenset({"event.category", "event.type", "host.ip", "host.mac", "process.args", "tags", "related.ip"})
"""Fields that usually hold several values."""
_NEWER_COMMANDS = {"inlinestats": "INLINE STATS", "fork": "FORK", "fuse": "FUSE", "rerank": "RERANK", "ts": "TS"}
_NEWER_FUNCTIONS = frozenset({"url_decode", "url_encode", "json_extract", "mv_contains", "contains", "mv_intersection"})
_COMPARED = frozenset({"==", "!=", "<", ">", "<=", ">=", "in", "like", "rlike"})


def doubts(query: EsqlQuery) -> Iterator[QueryFinding]:
    """Every finding, in no particular order."""
    yield from _documents(query)
    yield from _newer(query)
    yield from _lists(query)
    for command in query.named("limit", "sample"):
        text = f"which rows {command.name.upper()} leaves differs from run to run: alerts may come twice, or be missed"
        yield QueryFinding(command.span, text)


def _documents(query: EsqlQuery) -> Iterator[QueryFinding]:
    if query.is_aggregating or query.keeps_document:
        return
    wanted = ", ".join(DOCUMENT_COLUMNS)
    if "_id" not in query.metadata:
        text = f"a query without STATS needs `METADATA {wanted}` behind FROM"
        yield QueryFinding(query.commands[0].span, f"{text}: without it the alerts have no events")
        return
    *_, last = query.named("keep", "drop", "rename")
    yield QueryFinding(last.span, f"the answer has no `_id`: KEEP has to name {wanted}, or the alerts have no events")


def _newer(query: EsqlQuery) -> Iterator[QueryFinding]:
    """What Elasticsearch 8.19 refuses."""
    for command in query.commands:
        if name := _NEWER_COMMANDS.get(command.name):
            yield QueryFinding(command.span, f"{name} is of Elasticsearch 9: clusters of version 8 refuse the query")
        elif command.name == "completion":
            yield QueryFinding(command.span, "COMPLETION needs a language model that the cluster has been given")
    words = [token for token in query.tokens if token.is_word]
    for name_, opened in pairwise(words):
        if name_.kind == "name" and opened.text == "(" and name_.text.lower() in _NEWER_FUNCTIONS:
            text = f"{name_.text.upper()} is of Elasticsearch 9: clusters of version 8 refuse the query"
            yield QueryFinding(name_.span, text)


def _lists(query: EsqlQuery) -> Iterator[QueryFinding]:
    """Comparisons of fields that usually hold several values, outside of functions that take these."""
    told: set[str] = set()
    expanded = set(query.expanded)
    for command in query.named("where"):
        words = command.arguments
        for number, token in enumerate(words):
            field, after = _field_at(words, number)
            if field not in LISTS or field in told | expanded or _compares(words[after : after + 2]) is None:
                continue
            told.add(field)
            text = f"`{field}` often holds several values; a comparison with these is null, and leaves the row out"
            yield QueryFinding(token.span.to(words[after - 1].span), text, f'; `{field} : "value"` finds any of them')


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
