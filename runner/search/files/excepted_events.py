"""What exceptions left out in a pass over files, by exception."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runner.engine.exclusions import Excluded
from runner.errors import UnreadableEventError
from runner.events.fields.timestamp_column import NO_TIME
from runner.exceptions.conditions import ResolvedItems
from runner.search.protocol import ExceptedEvents, Hit, hit_of
from runner.windows import from_nanoseconds

_LOG = logging.getLogger("runner.search")


def excepted_events(
    resolved: ResolvedItems, excluded: Sequence[Excluded], fetch: Callable[[int], Mapping[str, Any]]
) -> tuple[ExceptedEvents, ...]:
    """The events that a rule's exceptions have kept from it; `fetch` gives a document by its number."""
    return tuple(
        ExceptedEvents(
            resolved.item_of(one),
            one.events,
            None if one.newest_ns == NO_TIME else from_nanoseconds(one.newest_ns),
            tuple(hit for number in one.numbers if (hit := _read(number, fetch)) is not None),
        )
        for one in excluded
    )


def _read(number: int, fetch: Callable[[int], Mapping[str, Any]]) -> Hit | None:
    try:
        return hit_of(fetch(number))
    except UnreadableEventError as error:
        _LOG.warning("an excepted event cannot be shown: %s", error)
        return None
