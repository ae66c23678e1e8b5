"""`IncidentBook`: what is wrong with the runner itself, told once when it begins and once when it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from runner.notify.owed_item import health_item
from runner.store.outbox import Incident, Outbox, OutboxItem

_LOG = logging.getLogger("runner.notify")
FAILING_RUNS: Final = 3
"""Failed runs of a rule in a row that are an incident."""


@dataclass(frozen=True, slots=True)
class HealthObservation:
    """What was seen of one thing that may be wrong: `trouble` is "" if nothing is."""

    key: str
    """Of the thing: `rule:ID`, `events`, `service`, `gaps`."""
    title: str
    trouble: str = ""
    needed: int = 1
    """How often in a row it has to be wrong to be told."""
    amount: float = 0.0
    """How bad it is, where that can grow: it is told again when it has doubled."""


class IncidentBook:
    """The incidents that are not over, as the outbox has them. `targets` are those that are told of them."""

    def __init__(self, outbox: Outbox, targets: Callable[[], Sequence[str]], now: Callable[[], datetime]) -> None:
        self._outbox, self._targets, self._now = outbox, targets, now
        self._open: dict[str, Incident] | None = None

    async def read(self) -> None:
        """Read what other processes have recorded. Raises StoreError, and what a cluster's client raises."""
        self._open = dict(await self._outbox.incidents())

    async def record(self, seen: HealthObservation) -> None:
        """Record what was seen, and owe notices to the targets if that is news. Raises what `read` raises."""
        if self._open is None:
            await self.read()
        assert self._open is not None
        known = self._open.get(seen.key)
        if not seen.trouble:
            if known is not None:
                await self._over(known, seen)
            return
        now = self._now()
        incident = replace(known or Incident(seen.key), seen=(known.seen if known else 0) + 1, text=seen.trouble)
        if incident.seen < seen.needed:
            await self._keep(incident, None)
        elif incident.began is None or seen.amount > 2 * incident.amount > 0:
            incident = replace(incident, began=now, amount=seen.amount)
            _LOG.info("%s: told to %d targets", seen.title, len(self._targets()))
            await self._keep(incident, health_item(seen.key, now, title=seen.title, text=seen.trouble))

    async def _over(self, known: Incident, seen: HealthObservation) -> None:
        assert self._open is not None
        items: dict[str, list[OutboxItem]] = {}
        if known.began is not None:
            text = f"It is over. It began at {known.began.isoformat(timespec='seconds')}: {known.text}"
            notice = health_item(seen.key, self._now(), title=f"{seen.title}: over", text=text, is_over=True)
            items = {target: [notice] for target in self._targets()}
        await self._outbox.set_incident(seen.key, None, items)
        del self._open[seen.key]

    async def _keep(self, incident: Incident, notice: OutboxItem | None) -> None:
        assert self._open is not None
        items = {target: [notice] for target in self._targets()} if notice is not None else {}
        await self._outbox.set_incident(incident.key, incident, items)
        self._open[incident.key] = incident
