"""What exceptions left out in a pass over files, by exception."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runner.engine.exclusions import Excluded
from runner.errors import UnreadableEventError
from runner.events.fields.schema import Schema
from runner.events.fields.timestamp_column import NO_TIME
from runner.search.compiled_rule import CompiledRule
from runner.search.protocol import ExceptedEvents, Hit, hit_of
from runner.windows import from_nanoseconds

_LOG = logging.getLogger("runner.search")


def excepted_events(
    compiled: CompiledRule, schema: Schema, excluded: Sequence[Excluded], fetch: Callable[[int], Mapping[str, Any]]
) -> tuple[ExceptedEvents, ...]:
    """The events that the rule's exceptions have kept from it; `fetch` gives a document by its number."""
    if not excluded:
        return ()
    resolved = compiled.excepted(schema)
    return tuple(
        ExceptedEvents(
            resolved.item_of(one),
            one.events,
            None if one.newest_ns == NO_TIME else from_nanoseconds(one.newest_ns),
            tuple(hit for number in one.numbers if (hit := _read(number, fetch)) is not None),
        )
        for one in excluded
    )


def refusals(compiled: CompiledRule, schema: Schema) -> tuple[str, ...]:
    """Which of the rule's exceptions remove nothing, as they mean nothing for the types of the fields."""
    if not compiled.exceptions:
        return ()
    return tuple(one.problem().text for one in compiled.excepted(schema).refused)


def _read(number: int, fetch: Callable[[int], Mapping[str, Any]]) -> Hit | None:
    try:
        return hit_of(fetch(number))
    except UnreadableEventError as error:
        _LOG.warning("an excepted event cannot be shown: %s", error)
        return None
