"""`Courier`: brings one target what it is owed, in steps that a caller repeats.

A step takes in new alerts, makes messages of what is due, and tries those that are not delivered. A message is stored
before it is tried first, and removed after the target has taken it: whoever dies in between tries it again, with the
same id. What fails is tried again, later each time; one failing try in a row holds up the target, not the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Final

from runner.errors import RunnerError
from runner.notify.message_text import shown_ids
from runner.notify.owed_item import item_maker
from runner.notify.planning import plan_messages
from runner.notify.sinks.delivery import Delivery, MessageSink
from runner.notify.target import NotificationTarget
from runner.store.outbox import Backlog, Outbox, OutboxMessage, TargetRecord
from runner.store.protocol import AlertStore, StoredAlert
from runner.windows import iso

_LOG = logging.getLogger("runner.notify")
_WAITING: Final = 5_000
"""Items looked at in one step."""
_MOST_MESSAGES: Final = 200
"""Messages that are made before earlier ones were delivered."""
_AT_ONCE: Final = 4
_FIRST_PAUSE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(minutes=5)
_REFUSED_PAUSE: Final = timedelta(seconds=30)
_LONGEST_REFUSED: Final = timedelta(hours=1)
_LEAST_TRIES: Final = 3
"""Before a message is given up, however old it is."""
_MOST_DOCUMENTS: Final = 200
"""Documents of alerts that are held at a time."""
_PAGES: Final = 20
_NOW: Final = timedelta(0)


@dataclass(frozen=True, slots=True)
class CourierView:
    """Where a target stands, for metrics and messages."""

    target: str
    record: TargetRecord
    backlog: Backlog = field(default_factory=Backlog)
    is_closed: bool = False


class Courier:
    """The one sender to a target. `may_send` says whether a try that begins now is this process's to make; `cleaned`
    masks secrets in what is logged and stored."""

    def __init__(
        self,
        target: NotificationTarget,
        sink: MessageSink,
        outbox: Outbox,
        alerts: AlertStore,
        *,
        now: Callable[[], datetime],
        cleaned: Callable[[str], str],
        may_send: Callable[[timedelta], bool] = lambda length: True,
        random: Random | None = None,
    ) -> None:
        self.target = target
        self.sink = sink
        self.view = CourierView(target.name, TargetRecord(now()))
        self.is_idle = False
        """Whether the last step left nothing that is due, whatever the outcome of the tries."""
        self._outbox, self._alerts = outbox, alerts
        self._now, self._cleaned, self._may_send = now, cleaned, may_send
        self._random = random or Random()
        self._item_of = item_maker(target, now)
        self._record: TargetRecord | None = None
        self._pending: dict[str, OutboxMessage] = {}
        self._settled: list[tuple[OutboxMessage, Delivery]] = []
        self._noting = asyncio.Lock()
        self._is_closed = False
        self.is_stopping = False
        """Set to begin no more tries."""

    async def begin(self) -> None:
        """Open the target: what is created from now on is owed to it, unless it was opened before."""
        self._record = await self._outbox.open(self.target.name, self._now())
        self._pending = {message.id: message for message in await self._outbox.pending(self.target.name)}
        self.view = replace(self.view, record=self._record)

    def forget(self) -> None:
        """Read everything anew in the next step: another process may have sent meanwhile."""
        self._record, self._pending = None, {}

    async def step(self) -> datetime | None:
        """Do what is due, then the time at which more may be; None if nothing waits for a time.

        Raises what the outbox and the store of the alerts raise.
        """
        self.is_idle = False
        if self._record is None:
            await self.begin()
        await self._note()
        for _ in range(_PAGES):
            if not await self._outbox.take_in(self.target.name, self._item_of):
                break
        later = await self._make()
        await self._send()
        assert self._record is not None
        backlog = await self._outbox.backlog(self.target.name)
        self.view = CourierView(self.target.name, self._record, backlog, self._is_closed)
        return self._next(later)

    async def _make(self) -> datetime | None:
        """Make messages of what is due; the time at which more is."""
        assert self._record is not None
        room = _MOST_MESSAGES - len(self._pending)
        waiting = await self._outbox.waiting(self.target.name, _WAITING) if room > 0 else ()
        if not waiting:
            return None
        now = self._now()
        plan = plan_messages(self.target, waiting, self._record, now, room=room)
        if plan.messages:
            record = replace(self._record, sent=plan.sent)
            await self._outbox.make(self.target.name, plan.messages, record)
            self._record = record
            self._pending.update((message.id, message) for message in plan.messages)
            if len(waiting) == _WAITING or len(plan.messages) >= room:
                return now
        return plan.next_at

    def _due(self, now: datetime) -> list[OutboxMessage]:
        """The messages to try now, those that were tried least first: one that always fails is passed by."""
        assert self._record is not None
        if self._is_closed or (self._record.not_before is not None and now < self._record.not_before):
            return []
        due = [one for one in self._pending.values() if one.not_before is None or one.not_before <= now]
        return sorted(due, key=lambda one: one.tries) if not self.target.is_stream else due

    async def _send(self) -> None:
        """Try what is due until the target fails. Tries that have begun are waited for, whatever else fails."""
        for part in self._parts(self._due(self._now())):
            ids = [id_ for message in part for id_ in shown_ids(self.target, message)]
            found = await self._alerts.by_ids(ids) if ids else {}
            if not await self._send_part(part, found):
                return

    def _parts(self, due: Sequence[OutboxMessage]) -> Iterator[list[OutboxMessage]]:
        """The messages in parts for whose alerts' documents there is room."""
        part, room = list[OutboxMessage](), _MOST_DOCUMENTS
        for message in due:
            room -= len(shown_ids(self.target, message))
            if part and room < 0:
                yield part
                part, room = [], _MOST_DOCUMENTS
            part.append(message)
        if part:
            yield part

    async def _send_part(self, part: Sequence[OutboxMessage], found: Mapping[str, StoredAlert]) -> bool:
        """Whether more can be sent to the target."""
        assert self._record is not None
        due, errors = iter(part), list[RunnerError]()
        stop = False

        async def work() -> None:
            nonlocal stop
            for message in due:
                stop = stop or self.is_stopping or not self._may_send(self.target.timeout)
                if stop:
                    return
                outcome = await self.sink.send(message, found, self._now())
                self._settled.append((message, outcome))
                stop = stop or not (outcome.ok or outcome.is_refused)
                try:
                    async with self._noting:  # what is settled while another note is written goes with the next one
                        await self._note()
                except RunnerError as error:
                    errors.append(error)
                    stop = True

        count = 1 if self.target.is_stream or self._record.failures else _AT_ONCE
        await asyncio.gather(*(work() for _ in range(count)))
        if errors:
            raise errors[0]
        return not stop

    async def _note(self) -> None:
        """Record what became of the tries that ended; what cannot be recorded is again before the next try."""
        settled = tuple(self._settled)
        if not settled:
            return
        assert self._record is not None
        record, now = self._record, self._now()
        done: list[OutboxMessage] = []
        kept: list[OutboxMessage] = []
        for message, outcome in settled:
            if outcome.ok:
                record = self._delivered(record, message, now)
                done.append(message)
                continue
            record, again = self._failed(record, message, outcome, now=now)
            (kept if again is not None else done).append(again or message)
        await self._outbox.note(self.target.name, done, kept, record)
        del self._settled[: len(settled)]
        self._record = record
        for message in done:
            self._pending.pop(message.id, None)
        self._pending.update((message.id, message) for message in kept)

    def _delivered(self, record: TargetRecord, message: OutboxMessage, now: datetime) -> TargetRecord:
        if record.failures:
            _LOG.info("target %s takes messages again, after %d failed tries", self.target.name, record.failures)
        told = sum(not item.is_health for item in message.items)
        return replace(
            record,
            messages=record.messages + 1,
            alerts=record.alerts + told,
            failures=0,
            not_before=None,
            last_success=now,
        )

    def _failed(
        self, record: TargetRecord, message: OutboxMessage, outcome: Delivery, *, now: datetime
    ) -> tuple[TargetRecord, OutboxMessage | None]:
        """The record after a failed try, and the message with its next time; None for one that is given up."""
        reason = self._cleaned(outcome.reason)
        self._is_closed = self._is_closed or outcome.is_closed
        tries = message.tries + 1
        record = replace(record, failed_tries=record.failed_tries + 1, last_failure=now, last_error=reason)
        if outcome.is_refused:
            pause = min(_REFUSED_PAUSE * 2 ** min(tries - 1, 10), _LONGEST_REFUSED)
            at = now + max(pause, outcome.retry_after or _NOW)
            _LOG.warning("target %s refused message %s: %s", self.target.name, message.id, reason)
        else:
            at = None
            if not record.failures:
                _LOG.warning("target %s: %s; what it is owed is sent later", self.target.name, reason)
            pause = min(_FIRST_PAUSE * 2 ** min(record.failures, 10), _LONGEST_PAUSE)
            pause = outcome.retry_after or pause * self._random.uniform(0.75, 1.0)
            before = max(now + pause, record.not_before or now)
            record = replace(record, failures=record.failures + 1, not_before=before)
        again = replace(message, tries=tries, not_before=at, error=reason)
        if tries < _LEAST_TRIES or now - message.oldest < self.target.max_age:
            return record, again
        ids = ", ".join(item.id for item in message.items[:10])
        more = f" and {len(message.items) - 10:,} more" if len(message.items) > 10 else ""
        _LOG.error(
            "target %s: given up after %d tries since %s: %d alerts were not sent (%s%s): %s",
            *(self.target.name, tries, iso(message.oldest), len(message.items), ids, more, reason),
        )
        return replace(record, given_up=record.given_up + len(message.items)), None

    def _next(self, later: datetime | None) -> datetime | None:
        """When the next step may have something to do."""
        assert self._record is not None
        if self._is_closed:
            self.is_idle = True
            return None
        now = self._now()
        times = [] if later is None else [later]
        opens = self._record.not_before
        times += [max(one.not_before or now, opens or now) for one in self._pending.values()]
        found = min(times, default=None)
        self.is_idle = found is None or found > now
        return found


async def quietly(courier: Courier) -> datetime | RunnerError | None:
    """The result of a step, an error of the outbox among them."""
    try:
        return await courier.step()
    except RunnerError as error:
        return error
