"""Rows of an ES|QL answer as matches: their documents with the columns laid over them, or the columns alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.dates.dates import read_date
from runner.esql import EsqlQuery
from runner.esql.query import DOCUMENT_COLUMNS
from runner.events.documents import flatten, remove_path
from runner.search.compiled_rule import time_fields
from runner.search.protocol import AnswerRow, Hit, Match, SearchRequest

_DATES = frozenset({"date", "datetime", "date_nanos"})
_LATEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AnswerRows:
    """The rows of an answer as objects without nulls, and the names of all columns and of those with times."""

    rows: tuple[dict[str, Any], ...]
    columns: frozenset[str]
    dates: frozenset[str]

    def with_more(self, others: AnswerRows) -> AnswerRows:
        """These rows and those of another page."""
        return AnswerRows((*self.rows, *others.rows), self.columns, self.dates | others.dates)


def read_rows(body: Mapping[str, Any]) -> AnswerRows:
    """The rows of a finished answer."""
    columns = body.get("columns") or ()
    names = [column["name"] for column in columns]
    rows = (zip(names, values, strict=False) for values in body.get("values") or ())
    named = body.get("all_columns") or columns
    return AnswerRows(
        tuple({name: value for name, value in row if value is not None} for row in rows),
        frozenset(column["name"] for column in named),
        frozenset(column["name"] for column in columns if column["type"] in _DATES),
    )


def without_documents(rows: AnswerRows) -> list[dict[str, Any]]:
    """The filter that leaves out the documents of the rows, but that of the last one: more rows of it may follow."""
    by_index: dict[Any, list[str]] = {}
    for id_, index in dict.fromkeys((row.get("_id"), row.get("_index")) for row in rows.rows[:-1]):
        if (id_, index) != (rows.rows[-1].get("_id"), rows.rows[-1].get("_index")) and isinstance(id_, str):
            by_index.setdefault(index, []).append(id_)
    unwanted: list[dict[str, Any]] = []
    for index, ids in by_index.items():
        of_index = [] if index is None else [{"term": {"_index": index}}]
        unwanted.append({"bool": {"filter": [*of_index, {"ids": {"values": ids}}]}})
    return [{"bool": {"must_not": unwanted}}] if unwanted else []


def document_ids(rows: AnswerRows) -> list[str]:
    """The ids of the documents of the rows, each once."""
    found = (row.get("_id") for row in rows.rows)
    return list(dict.fromkeys(id_ for id_ in found if isinstance(id_, str)))


def document_matches(
    query: EsqlQuery, rows: AnswerRows, documents: Mapping[str, Sequence[Hit]], request: SearchRequest
) -> list[Match]:
    """The rows of documents, ascending in time. `documents` are those found, by their id."""
    window = request.window
    matches = []
    for row in rows.rows:
        if not isinstance(row.get("_id"), str):
            matches.append(_grouped(query, row, dict(row), rows, request))
            continue
        expanded = {name: row.get(name) for name in query.expanded}
        if expanded and any(name not in rows.columns for name in expanded):
            expanded = {"": {name: value for name, value in row.items() if name not in DOCUMENT_COLUMNS}}
        hit = _laid_over(row, documents.get(row["_id"], ()))
        matches.append(Match((hit,), is_sequence=False, row=AnswerRow(query.text, window, expanded, is_document=True)))
    return sorted(matches, key=lambda match: _sort_time(match.hits[0], request))


def grouped_matches(query: EsqlQuery, rows: AnswerRows, request: SearchRequest) -> list[Match]:
    """The rows of groups in the order of the answer.

    A row is known by the columns that it is grouped by. Where the answer lacks some of them, and so two rows would be
    one, and where it has none, it is known by all of its columns.
    """
    keys = [{name: row.get(name) for name in query.key_columns} for row in rows.rows]
    counts: dict[str, int] = {}
    for key in keys:
        counts[repr(key)] = counts.get(repr(key), 0) + 1
    return [
        _grouped(query, row, key if key and counts[repr(key)] == 1 else dict(row), rows, request)
        for row, key in zip(rows.rows, keys, strict=True)
    ]


def _grouped(
    query: EsqlQuery, row: Mapping[str, Any], key: Mapping[str, Any], rows: AnswerRows, request: SearchRequest
) -> Match:
    columns = {name: value for name, value in row.items() if name not in DOCUMENT_COLUMNS}
    is_dated = set(key) <= set(query.key_columns) and any(key.get(name) is not None for name in rows.dates & set(key))
    made = AnswerRow(query.text, request.window, _sorted_lists(key), is_dated=is_dated)
    return Match((Hit("", "", columns),), is_sequence=False, row=made)


def _sorted_lists(key: Mapping[str, Any]) -> dict[str, Any]:
    """The key with the values of lists in one order: that of VALUES() is not fixed."""
    return {name: sorted(value, key=repr) if isinstance(value, list) else value for name, value in key.items()}


def _laid_over(row: Mapping[str, Any], found: Sequence[Hit]) -> Hit:
    """The document of a row with the columns in the place of its fields; the columns alone where it is gone."""
    index = row.get("_index")
    document = next((hit for hit in found if index in (None, hit.index)), None)
    columns = {name: value for name, value in row.items() if name not in DOCUMENT_COLUMNS}
    if document is None:
        return Hit(str(index or ""), row["_id"], columns)
    source = _copy(document.source)
    for name in columns:
        remove_path(source, name)
    fields = {name: values for name, values in document.fields.items() if name not in columns}
    return Hit(document.index, document.id, {**source, **columns}, fields)


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copy(inner) for name, inner in value.items()}
    return value


def _sort_time(hit: Hit, request: SearchRequest) -> int:
    found = time_of(hit, request)
    return _LATEST if found is None else found


def time_of(hit: Hit, request: SearchRequest) -> int | None:
    """The time that a row is selected by, in nanoseconds since 1970; None without one."""
    for name in time_fields(request.rule):
        for value in (*hit.fields.get(name, ()), *flatten(hit.source, {name: None}).get(name, ())):
            try:
                return read_date(value, nanos=True)
            except (ValueError, TypeError, OverflowError):
                break
    return None
