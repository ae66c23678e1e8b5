"""From text in Lucene's syntax to plan, and to Query DSL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runner.engine.plan import EventProgram, event_plan
from runner.events.fields.schema import DataType, Field, Schema
from runner.lucene.ast import LuceneGroup, LuceneNode, LuceneRange, LuceneTerm
from runner.lucene.conditions import LuceneConditions
from runner.lucene.parser import parse as parse_text
from runner.messages.text_positions import Source


@dataclass(frozen=True, slots=True)
class LuceneQuery:
    """A text and its syntax tree; None for a blank text, which every event meets."""

    source: Source
    tree: LuceneGroup | None

    def names(self) -> tuple[str, ...]:
        """The fields that the text names, with their stars, each once."""
        return () if self.tree is None else tuple(dict.fromkeys(_names(self.tree)))

    @property
    def needs_all_fields(self) -> bool:
        """Whether it depends on which fields there are: a text without a field, or names with stars."""
        return self.tree is not None and _is_wide(self.tree)


def parse_query(text: str) -> LuceneQuery:
    """The syntax tree of a text. Raises LuceneSyntaxError."""
    return LuceneQuery(Source(text), parse_text(text) if text.strip() else None)


def resolve_query(
    query: LuceneQuery, schema: Schema, *, timestamp_field: str = "@timestamp", tiebreaker_field: str | None = None
) -> EventProgram:
    """The program of a parsed text over events of the schema. Raises LuceneFieldError."""
    condition = True if query.tree is None else LuceneConditions(query.source, schema).of(query.tree)
    plan = event_plan(
        condition,
        timestamp=schema.find(timestamp_field) or Field(timestamp_field, DataType.DATE),
        tiebreaker=schema.find(tiebreaker_field) if tiebreaker_field else None,
    )
    return EventProgram(query.source, plan)


def query_dsl(query: LuceneQuery) -> dict[str, Any]:
    """The query of a search, as Kibana sends it."""
    if query.tree is None:
        return {"match_all": {}}
    return {"query_string": {"query": query.source.text, "analyze_wildcard": True, "time_zone": "Zulu"}}


def _names(node: LuceneNode) -> list[str]:
    if isinstance(node, LuceneGroup):
        return [name for clause in node.clauses for name in _names(clause.part)]
    if node.field == "_exists_" and isinstance(node, LuceneTerm):
        return [node.text]
    return [node.field] if node.field is not None and node.field != "*" else []


def _is_wide(node: LuceneNode) -> bool:
    if isinstance(node, LuceneGroup):
        return any(_is_wide(clause.part) for clause in node.clauses)
    if isinstance(node, LuceneRange):
        return node.field is None or "*" in node.field
    return (node.field is None or "*" in node.field) and node.kind != "any"
