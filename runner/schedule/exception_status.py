"""`ExceptionStatus`: what each exception has removed so far, from the ledger's counts by rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Literal

from runner.events.fields.schema import Schema, shipped_schema
from runner.exceptions.conditions import resolve_items
from runner.exceptions.item import ExceptionItem
from runner.exceptions.load import Exceptions
from runner.rules.rule import Rule
from runner.store.protocol import RuleState

ExceptionState = Literal["active", "expired", "no rule", "refused", "unread", "gone"]
"""It counts; its time is over; no rule that is here is one of its rules; its fields have types for which it means
nothing; its list in Kibana cannot be read; it is nowhere any more."""


@dataclass(frozen=True, slots=True)
class ExceptionStatus:
    """One exception: for how many rules it is, and what it has removed from them."""

    id: str
    name: str
    state: ExceptionState
    item: ExceptionItem | None
    """None for one that only the ledger has."""
    rules: int
    events: int
    newest: datetime | None
    """The newest time of an event that it removed."""


def exception_statuses(
    exceptions: Exceptions, rules: Iterable[Rule], states: Mapping[str, RuleState], now: datetime
) -> tuple[ExceptionStatus, ...]:
    """The status of every exception, in their order, then of those that only the ledger has."""
    applied: dict[str, int] = {item.id: 0 for item in exceptions.items}
    for rule in rules:
        for item in exceptions.all_for_rule(rule):
            applied[item.id] += 1
    events: dict[str, int] = {}
    newest: dict[str, datetime] = {}
    for state in states.values():
        for count in state.excepted:
            events[count.exception] = events.get(count.exception, 0) + count.events
            if count.newest is not None:
                newest[count.exception] = max(count.newest, newest.get(count.exception, count.newest))
    here = {item.id: item for item in exceptions.items}
    unread = tuple(f"{list_id}/" for list_id, _ in exceptions.unread)
    return tuple(
        ExceptionStatus(
            id_,
            here[id_].name if id_ in here else id_,
            _state(here[id_], applied[id_], now) if id_ in here else "unread" if id_.startswith(unread) else "gone",
            here.get(id_),
            applied.get(id_, 0),
            events.get(id_, 0),
            newest.get(id_),
        )
        for id_ in (*here, *sorted(events.keys() - here.keys()))
    )


def _state(item: ExceptionItem, rules: int, now: datetime) -> ExceptionState:
    if item.is_over(now):
        return "expired"
    if resolve_items([item], _schema()).refused:
        return "refused"
    return "active" if rules else "no rule"


@cache
def _schema() -> Schema:
    return Schema(shipped_schema().fields, lenient=True)
