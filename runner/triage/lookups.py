"""What is looked up beside an alert's own documents: ancestors of its processes, events that it has counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from runner.alerts.bursts import RESULT
from runner.alerts.event_fields import text_at, value_at, values_at
from runner.search.lookup.event_lookup import EventLookup
from runner.triage.ancestors import looked_up_ancestors
from runner.triage.next_searches import kql_literal

SECONDS: Final = 5.0
"""Time for all look-ups of one alert."""
_MOST_EXAMPLES: Final = 5


class SeenDocument(Protocol):
    """A stored alert's document."""

    @property
    def document(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Supplement:
    """Events that complete an alert, and what is to be said of the look-ups."""

    ancestors: tuple[Mapping[str, Any], ...] = ()
    examples: tuple[Mapping[str, Any], ...] = ()
    """Some of the events that a threshold rule has counted, in the order of time: the newest that there are."""
    notes: tuple[str, ...] = ()


async def look_up(
    head: SeenDocument, blocks: Sequence[SeenDocument], lookup: EventLookup | None, *, seconds: float = SECONDS
) -> Supplement:
    """What completes an alert, found in at most `seconds`; without a `lookup` only what is missing is said."""
    documents = [block.document for block in blocks] or [head.document]
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    examples, said = await _examples(head.document, lookup, seconds=seconds)
    ancestors = await looked_up_ancestors(documents, lookup, seconds=max(0.0, deadline - clock()))
    return Supplement(ancestors.documents, examples, tuple(filter(None, (said, ancestors.note))))


async def _examples(
    document: Mapping[str, Any], lookup: EventLookup | None, *, seconds: float
) -> tuple[tuple[Mapping[str, Any], ...], str]:
    """Some events that a threshold rule has counted, and why there are none; "" for any other alert."""
    query = counted_query(document)
    if not query or lookup is None:
        return (), "the counted events are not shown: give --events, or the settings of a cluster" if query else ""
    answer = await lookup.newest(query, size=_MOST_EXAMPLES, seconds=seconds)
    if answer.documents:
        return tuple(reversed(answer.documents)), ""
    return (), f"no counted event was found: {answer.incomplete or 'none has the values of the alert'}"


def counted_query(document: Mapping[str, Any]) -> str:
    """The query in KQL for the events that the alert of a threshold rule has counted; "" for any other alert.

    A rule's query in another language is left out of it: then it finds the events of these values and times.
    """
    result = value_at(document, RESULT)
    if not isinstance(result, Mapping):
        return ""
    parameters = "kibana.alert.rule.parameters"
    query, language = text_at(document, f"{parameters}.query"), text_at(document, f"{parameters}.language")
    clauses = [f"({query.strip()})"] if query.strip() and language == "kuery" else []
    clauses += [
        f"{text_at(term, 'field')} : {kql_literal(value_at(term, 'value'))}"
        for term in values_at(result, "terms")
        if isinstance(term, Mapping) and value_at(term, "value") is not None
    ]
    start, end = text_at(result, "from"), text_at(document, "kibana.alert.original_time")
    clauses += [f'@timestamp >= "{start}"'] if start else []
    clauses += [f'@timestamp <= "{end}"'] if end else []
    return " and ".join(clauses)
