"""From text in KQL to plan, and to Query DSL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runner.engine.plan import EventProgram, event_plan
from runner.events.fields.schema import DataType, Field, Schema
from runner.kql.ast import KqlIs, KqlNested, KqlNode, KqlPattern, full_name, leaves
from runner.kql.conditions import condition_of, remarks
from runner.kql.parser import parse as parse_text
from runner.kql.query_dsl import filter_clause
from runner.messages.text_positions import Source


@dataclass(frozen=True, slots=True)
class KqlQuery:
    """A text and its syntax tree."""

    source: Source
    tree: KqlNode

    def names(self) -> tuple[str, ...]:
        """The fields that the text names, with their stars, and its nested paths; each once."""
        return tuple(dict.fromkeys(self._names()))

    def _names(self) -> Iterator[str]:
        for leaf, path in leaves(self.tree):
            if isinstance(leaf, KqlNested):
                yield full_name(leaf.path, path)
            elif leaf.field is not None:
                yield full_name(leaf.field, path)

    @property
    def needs_all_fields(self) -> bool:
        """Whether it depends on which fields there are: a text without a field, or names with stars."""
        for leaf, _ in leaves(self.tree):
            if isinstance(leaf, KqlNested) or (isinstance(leaf, KqlIs) and leaf.is_everything):
                continue
            if leaf.field is None or isinstance(leaf.field, KqlPattern):
                return True
        return False


def parse_query(text: str) -> KqlQuery:
    """The syntax tree of a text. Raises KqlSyntaxError."""
    return KqlQuery(Source(text), parse_text(text))


def resolve_query(
    query: KqlQuery, schema: Schema, *, timestamp_field: str = "@timestamp", tiebreaker_field: str | None = None
) -> EventProgram:
    """The program of a parsed text over events of the schema. Raises KqlFieldError with every finding.

    >>> from runner.events.fields.schema import shipped_schema
    >>> resolve_query(parse_query("process.name: bash and not user.id: 0"), shipped_schema()).plan.kind
    'event'
    """
    plan = event_plan(
        condition_of(query.tree, query.source, schema),
        timestamp=schema.find(timestamp_field) or Field(timestamp_field, DataType.DATE),
        tiebreaker=schema.find(tiebreaker_field) if tiebreaker_field else None,
    )
    return EventProgram(query.source, plan, tuple(remarks(query.tree, schema)))


def query_dsl(query: KqlQuery, schema: Schema | None) -> dict[str, Any]:
    """The query of a search, as Kibana makes it; without a schema all fields are of unknown type."""
    clause = filter_clause(query.tree, schema)
    return {
        "bool": {"must": [], "filter": [] if clause == {"match_all": {}} else [clause], "should": [], "must_not": []}
    }
