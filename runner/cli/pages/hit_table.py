"""The matches of a search as a table: a row for each event, with chosen fields or those that its category has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from runner.alerts.event_fields import value_at
from runner.cli.console import table
from runner.events.documents import flatten

_ALWAYS = ("@timestamp", "host.name", "user.name")
_BY_CATEGORY = {
    "process": ("process.parent.name", "process.name", "process.command_line"),
    "network": ("process.name", "source.ip", "destination.ip", "destination.port"),
    "dns": ("process.name", "dns.question.name"),
    "file": ("process.name", "event.action", "file.path"),
    "registry": ("process.name", "event.action", "registry.path"),
    "library": ("process.name", "dll.path"),
    "driver": ("dll.path",),
    "authentication": ("source.ip", "event.action", "event.outcome"),
    "iam": ("event.action", "event.outcome", "user.target.name"),
}
_OTHERS = ("event.dataset", "event.action", "message")
_MOST_COLUMNS = 9


def hit_table(answer: Mapping[str, Any], columns: Sequence[str]) -> Table | None:
    """The events of an answer of `_eql/search` or `_search`; None without any.

    Events of a sequence have its number and their stage before them, and its join keys once.
    """
    rows = list(_rows(answer["hits"]))
    if not rows:
        return None
    documents = [dict(flatten(source)) for _, source in rows]
    names = list(columns) or _usual(documents)
    is_sequence = any(mark for mark, _ in rows)
    made = table(*(["match"] if is_sequence else []), *names)
    for (mark, _), document in zip(rows, documents, strict=True):
        made.add_row(*([mark] if is_sequence else []), *(_shown(value_at(document, name)) for name in names))
    return made


def empty_columns(answer: Mapping[str, Any], columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The columns that no event of an answer has, each with the fields that there are."""
    documents = [dict(flatten(source)) for _, source in _rows(answer["hits"])]
    for name in columns if documents else ():
        if all(value_at(document, name) is None for document in documents):
            yield name, sorted({field for document in documents for field in document})


def _rows(hits: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each event with its mark, as `2.1` for the first event of the second sequence."""
    for number, sequence in enumerate(hits.get("sequences", ()), 1):
        for place, event in enumerate(sequence["events"], 1):
            yield f"{number}.{place}", {} if event.get("missing") else event.get("_source") or {}
    for event in hits.get("events", hits.get("hits", ())):
        yield "", event.get("_source") or {}


def _usual(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns of the categories that the events have, those without any value left out."""
    filled: Counter[str] = Counter()
    wanted: dict[str, None] = dict.fromkeys(_ALWAYS)
    for document in documents:
        found = value_at(document, "event.category")
        categories = found if isinstance(found, list) else [found]
        known = [name for one in categories for name in _BY_CATEGORY.get(str(one), ())]
        wanted.update(dict.fromkeys(known or _OTHERS))
        filled.update(name for name in wanted if value_at(document, name) is not None)
    return [name for name in wanted if filled[name]][:_MOST_COLUMNS] or ["@timestamp"]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
