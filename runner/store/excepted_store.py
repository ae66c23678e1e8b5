"""`ExceptedStore`: where events that exceptions left out are kept for a time, beside the alerts and apart from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from runner.alerts.alert import Alert
from runner.alerts.event_time import event_order
from runner.store.alert_filter import AlertFilter
from runner.store.alert_row import alert_row

KEPT_OF_RULE: Final = 2_000
"""Most events of a rule that are kept, those that were left out last."""


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event that an exception kept from a rule, as the alert that it would have been, in its main fields."""

    id: str
    """The same for one event, rule and exception."""
    rule_id: str
    document: Mapping[str, Any]
    until: datetime
    """How long it is kept."""


class ExceptedStore(Protocol):
    """Events that exceptions left out. They are no alerts: nothing else that reads alerts finds them."""

    async def keep(self, events: Sequence[KeptEvent], now: datetime) -> None:
        """Store each whose id is not there yet. What is kept no longer than `now`, and of a rule what is more than
        `KEPT_OF_RULE`, is removed, perhaps later. Raises StoreError."""
        ...

    async def find(self, wanted: AlertFilter, now: datetime) -> Sequence[KeptEvent]:
        """Those that are kept still and meet the filter, the newest events first; status and verdicts are of alerts
        alone."""
        ...


class MemoryExcepted:
    """Excepted events in memory. Implements `ExceptedStore`."""

    def __init__(self) -> None:
        self._events: dict[str, KeptEvent] = {}

    async def keep(self, events: Sequence[KeptEvent], now: datetime) -> None:
        for event in events:
            self._events.setdefault(event.id, event)
        of_rule: dict[str, list[str]] = {}
        for event in self._events.values():
            of_rule.setdefault(event.rule_id, []).append(event.id)
        gone = {id_ for ids in of_rule.values() for id_ in ids[:-KEPT_OF_RULE]}
        self._events = {id_: one for id_, one in self._events.items() if id_ not in gone and one.until >= now}

    async def find(self, wanted: AlertFilter, now: datetime) -> Sequence[KeptEvent]:
        return chosen((one for one in self._events.values() if one.until >= now), wanted)


def chosen(events: Iterable[KeptEvent], wanted: AlertFilter) -> list[KeptEvent]:
    """Those that meet the filter, the newest events first, no more than it wants."""
    found = [one for one in events if is_wanted(one, wanted)]
    found.sort(key=lambda one: (event_order(one.document), one.id), reverse=True)
    return found[: wanted.limit]


def is_wanted(event: KeptEvent, wanted: AlertFilter) -> bool:
    """Whether an event meets a filter of alerts."""
    row = alert_row(Alert(event.id, event.rule_id, "event", event.document))
    return row.is_wanted(wanted) and wanted.admits(event.document)
