"""The syntax tree of Lucene's query syntax, as the `query_string` query of Elasticsearch reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from runner.messages.text_positions import Span

TermKind: TypeAlias = Literal["words", "phrase", "prefix", "wildcard", "regexp", "fuzzy", "any"]
Occurrence: TypeAlias = Literal["should", "must", "must not"]


@dataclass(frozen=True, slots=True)
class LuceneTerm:
    r"""One text to be found. `text` has no escapes, except for a wildcard, where `\` stays before a literal character.

    `any` is a `*` alone. `edits` are those of a fuzzy text (None: by its length) or the slop of a phrase.
    """

    span: Span
    field: str | None
    kind: TermKind
    text: str
    edits: int | None = None


@dataclass(frozen=True, slots=True)
class LuceneRange:
    """`field:[low TO high]`; None is an open end."""

    span: Span
    field: str | None
    low: str | None
    high: str | None
    with_low: bool
    with_high: bool


@dataclass(frozen=True, slots=True)
class LuceneClause:
    """A part of a group, and whether it must, may or must not be met."""

    occurrence: Occurrence
    part: LuceneNode


@dataclass(frozen=True, slots=True)
class LuceneGroup:
    """Clauses beside each other, of the whole text or in brackets."""

    span: Span
    clauses: tuple[LuceneClause, ...]


LuceneNode: TypeAlias = LuceneTerm | LuceneRange | LuceneGroup
