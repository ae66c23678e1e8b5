"""The ancestors of an alert's processes, looked up where the alert's own events do not describe them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runner.alerts.event_fields import text_at, texts_at, value_at
from runner.alerts.event_time import event_time_ns
from runner.dates.dates import date_text, read_date
from runner.messages.quantities import counted
from runner.search.lookup.event_lookup import EventLookup
from runner.triage.next_searches import kql_literal
from runner.triage.process_chain import ProcessStep, host_key, pid_at, process_chains

MOST_LEVELS: Final = 8
"""Look-ups of one alert: each finds the parents of those that the one before has found."""


_MOST_EVENTS: Final = 200
_MOST_PROCESSES: Final = 40
_STARTS: Final = 'event.category : "process" and event.type : "start" and '


@dataclass(frozen=True, slots=True)
class Ancestors:
    """Events about ancestors, and what is to be said of the look-up."""

    documents: tuple[Mapping[str, Any], ...] = ()
    note: str = ""
    """Why ancestors are still unknown; "" if none is."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A process to look up: by its entity id or, without one, by host, pid and the time when it ran."""

    step: ProcessStep
    before: str
    """The time of an event of its child, as ISO text; "" if none is known."""

    @property
    def key(self) -> tuple[str, str, int | None]:
        return self.step.entity_id, self.step.host, self.step.pid


async def looked_up_ancestors(
    documents: Sequence[Mapping[str, Any]], lookup: EventLookup | None, *, seconds: float
) -> Ancestors:
    """Events about the ancestors of the processes of an alert's events: of those that are not described, and upwards.

    Without a `lookup` nothing is found, and the note says so if an ancestor is unknown. Takes at most `seconds`.
    """
    found: list[Mapping[str, Any]] = []
    if lookup is None:
        return Ancestors((), _note(documents, found, "give --events, or the settings of a cluster, to look them up"))
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    asked: set[tuple[str, str, int | None]] = set()
    reason = ""
    for _ in range(MOST_LEVELS):
        wanted = [one for one in _wanted(documents, found) if one.key not in asked][:_MOST_PROCESSES]
        asked.update(one.key for one in wanted)
        if not wanted:
            break
        if (left := deadline - clock()) <= 0:
            reason = "the time for it was over"
            break
        answer = await lookup.newest(_STARTS + _query(wanted, documents), size=_MOST_EVENTS, seconds=left)
        new = list(_chosen(wanted, answer.documents))
        unknown = [one for one in wanted if one.step.is_unknown and not _is_among(one, new)]
        if unknown and not answer.incomplete and (left := deadline - clock()) > 0:
            entities = [one for one in unknown if one.step.entity_id]
            if entities:  # processes that were started before their events were collected
                answer = await lookup.newest(_query(entities, documents), size=_MOST_EVENTS, seconds=left)
                new += _chosen(entities, answer.documents)
        found += new
        reason = answer.incomplete or reason
        if not new or reason:
            break
    else:
        reason = f"{MOST_LEVELS} generations are looked up"
    return Ancestors(tuple(found), _note(documents, found, reason or "no event of its own was found"))


def _note(documents: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], reason: str) -> str:
    chains = process_chains(documents, found)
    count = len({step.entity_id or id(step) for chain in chains for step in chain if step.is_unknown})
    return f"{counted(count, 'process', 'processes')} of the chain not known: {reason}" if count else ""


def _wanted(documents: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> Iterator[_Wanted]:
    """The processes of the chains that are not described, and the first of each chain, whose parent is not known."""
    times: dict[tuple[str, str, int | None], int] = {}
    for document in (*found, *documents):
        if (time := event_time_ns(document)) is not None or (time := _time(document)) is not None:
            entity = text_at(document, "process.entity_id")
            for key in ((entity, "", None), ("", host_key(document), pid_at(document, "process.pid"))):
                times[key] = min(time, times.get(key, time))
    for chain in process_chains(documents, found):
        for place, step in enumerate(chain):
            if not step.is_unknown and (place or not step.is_described):
                continue
            below = [key for one in chain[place + (not step.in_match) :] for key in _keys(one)]
            before = min((times[key] for key in below if key in times), default=None)
            if step.entity_id or (step.pid is not None and before is not None):
                yield _Wanted(step, "" if before is None else date_text(before))


def _keys(step: ProcessStep) -> tuple[tuple[str, str, int | None], ...]:
    return ((step.entity_id, "", None), ("", step.host, step.pid)) if step.entity_id else (("", step.host, step.pid),)


def _time(document: Mapping[str, Any]) -> int | None:
    """The time of an event that is no alert, in nanoseconds since 1970."""
    value = value_at(document, "@timestamp")
    try:
        return read_date(value, nanos=True) if isinstance(value, (str, int, float)) else None
    except (ValueError, OverflowError):
        return None


def _query(wanted: Sequence[_Wanted], documents: Sequence[Mapping[str, Any]]) -> str:
    """The query in KQL for events of these processes."""
    entities = [one.step.entity_id for one in wanted if one.step.entity_id]
    ids = {text for document in documents for text in texts_at(document, "host.id")}
    clauses = []
    if entities:
        clauses.append(f"process.entity_id : ({' or '.join(map(kql_literal, dict.fromkeys(entities)))})")
    for one in wanted:
        if not one.step.entity_id:
            host = "host.id" if one.step.host in ids else "host.name"
            of_host = f"{host} : {kql_literal(one.step.host)} and " if one.step.host else ""
            clauses.append(f'({of_host}process.pid : {one.step.pid} and @timestamp <= "{one.before}")')
    return f"({' or '.join(clauses)})"


def _chosen(wanted: Sequence[_Wanted], documents: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The newest event of each process; `documents` are the newest first."""
    for one in wanted:
        yield from [document for document in documents if _is_of(one.step, document)][:1]


def _is_among(wanted: _Wanted, documents: Sequence[Mapping[str, Any]]) -> bool:
    return any(_is_of(wanted.step, document) for document in documents)


def _is_of(step: ProcessStep, document: Mapping[str, Any]) -> bool:
    """Whether an event is about the process."""
    if step.entity_id:
        return step.entity_id in texts_at(document, "process.entity_id")
    own = text_at(document, "process.executable").casefold()
    is_other = bool(own and step.executable) and own != step.executable.casefold()
    return pid_at(document, "process.pid") == step.pid and host_key(document) == step.host and not is_other
