"""`SavedQuery`: a query stored in Kibana (a saved object of type `query`), which rules of type saved_query run.

Kibana takes its query, its language and its filters in the place of the rule's own; the time filter is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

KIND = "query"
"""The type of these saved objects."""


@dataclass(frozen=True, slots=True)
class SavedQuery:
    """The query of one saved object, and the file that it was read from; line 0 if that is no file."""

    id: str
    title: str
    query: str
    language: Literal["kuery", "lucene"]
    filters: tuple[Mapping[str, Any], ...]
    file: Path
    line: int = 0


def is_saved_query(document: Mapping[str, Any]) -> bool:
    """Whether a document is a saved object of type `query`; a rule of type query has no `attributes`."""
    return document.get("type") == KIND and isinstance(document.get("attributes"), Mapping)


def read_saved_query(document: Mapping[str, Any], file: Path, line: int = 0) -> SavedQuery:
    """The query of a saved object. Raises ValueError, saying what is wrong with it."""
    attributes = document["attributes"]
    stored = attributes.get("query")
    if not isinstance(stored, Mapping) or not isinstance(stored.get("query"), str):
        raise ValueError("its `attributes.query.query` is no text")
    language = stored.get("language")
    if language not in ("kuery", "lucene"):
        raise ValueError(f"its `attributes.query.language` is {str(language)[:40]!r}, expected kuery or lucene")
    filters = attributes.get("filters") or []
    if not isinstance(filters, list) or not all(isinstance(one, Mapping) for one in filters):
        raise ValueError("its `attributes.filters` is no list of objects")
    title = str(attributes.get("title") or document.get("id"))
    return SavedQuery(str(document.get("id")), title, stored["query"], language, tuple(filters), file, line)
