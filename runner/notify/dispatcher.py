"""`Dispatcher`: the couriers of all targets, side by side; none waits for another one, and detection for none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from runner.clock import Clock
from runner.errors import RunnerError
from runner.notify.courier import Courier, CourierView, quietly
from runner.notify.incidents import HealthObservation, IncidentBook
from runner.notify.owed_item import health_item, item_maker
from runner.notify.sinks.own_loop import LoopedSink, OwnLoop
from runner.notify.sinks.sink_for import sink_for
from runner.notify.target import NotificationTarget
from runner.store.leases import EveryRule, Leases
from runner.store.outbox import ItemOf, Outbox, OutboxMessage, message_id
from runner.store.protocol import AlertStore

_LOG = logging.getLogger("runner.notify")
_POLL: Final = timedelta(seconds=5)
"""How often a courier looks for alerts that other processes have created."""
_STORE_PAUSE: Final = timedelta(seconds=5)
_PATIENCE_S: Final = 130.0
"""Seconds in which a try may end whose target is replaced: more than the longest time limit."""
_DRAIN_TRIES: Final = 3
"""Failed tries of one target in a row that end `drain`."""
_GRACE_S: Final = 0.3
"""Seconds in which tries that are under way may end at a stop."""


@dataclass(slots=True)
class _Lease:
    """The targets that this process sends to, and until when."""

    duration: timedelta
    held: frozenset[str] = frozenset()
    at: timedelta | None = None
    """When they were asked for, in elapsed time; None: they are held for good."""


class Dispatcher:
    """Sends to targets. `leases` say to which of them this process does; each lasts `duration` after it was renewed."""

    def __init__(
        self,
        targets: Sequence[NotificationTarget],
        outbox: Outbox,
        alerts: AlertStore,
        *,
        clock: Clock,
        cleaned: Callable[[str], str] = lambda text: text,
        leases: Leases | None = None,
        duration: timedelta = timedelta(seconds=30),
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._outbox, self._alerts, self._clock, self._cleaned = outbox, alerts, clock, cleaned
        self._leases: Leases = leases or EveryRule()
        self._lease = _Lease(duration)
        self._is_shared = leases is not None
        self._on_closed = on_closed
        self._loop = OwnLoop()
        self._couriers = {target.name: self._courier(target) for target in targets}
        self._wakes: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._others: list[asyncio.Task[None]] = []
        self._seen: asyncio.Queue[HealthObservation] = asyncio.Queue()
        self._book = IncidentBook(outbox, self._of_health, clock.now)
        self._stopping = False

    @property
    def views(self) -> tuple[CourierView, ...]:
        """Where each target stands."""
        return tuple(courier.view for courier in self._couriers.values())

    @property
    def wants_health(self) -> bool:
        """Whether a target is told what is wrong with the runner."""
        return bool(self._of_health())

    def item_makers(self) -> Mapping[str, ItemOf]:
        """What an alert becomes for each target, by its name."""
        return {name: item_maker(courier.target, self._clock.now) for name, courier in self._couriers.items()}

    async def begin(self) -> None:
        """Open every target, before the first alert is created. Raises what the outbox raises."""
        for courier in self._couriers.values():
            await courier.begin()
            courier.forget()

    def observe(self, seen: HealthObservation) -> None:
        """Note what was seen of the runner's health."""
        if self.wants_health:
            self._seen.put_nowait(seen)

    def wake(self) -> None:
        """Look at once for what is new."""
        for event in self._wakes.values():
            event.set()

    def start(self) -> None:
        """Send from now on, in tasks of the loop."""
        self._others = [asyncio.create_task(self._keep_health())]
        if self._is_shared:
            self._others.append(asyncio.create_task(self._keep_leases()))
        for name in self._couriers:
            self._start_one(name)

    def wind_down(self) -> None:
        """Begin no more tries."""
        self._stopping = True
        for courier in self._couriers.values():
            courier.is_stopping = True
        self.wake()

    async def stop(self) -> None:
        """End the tasks; tries that are under way have a moment to end, what is not noted by then is tried again."""
        if not self._others:
            return
        self.wind_down()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=_GRACE_S)
        await _cancelled([*self._tasks.values(), *self._others])
        self._tasks, self._others = {}, []
        await self._close_sinks()
        if not self._couriers:
            return
        with suppress(RunnerError, TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await self._leases.release()

    async def replace(self, targets: Sequence[NotificationTarget]) -> None:
        """Send to these targets from now on. Raises SettingsError, then nothing has changed."""
        wanted = {target.name: target for target in targets}
        same = {name: one for name, one in self._couriers.items() if wanted.get(name) == one.target}
        new = {name: self._courier(target) for name, target in wanted.items() if name not in same}
        gone = [name for name in self._couriers if name not in same]
        for name in gone:
            self._couriers[name].is_stopping = True
            self._wakes[name].set()
        if ending := [self._tasks.pop(name) for name in gone if name in self._tasks]:
            await asyncio.wait(ending, timeout=_PATIENCE_S)
            await _cancelled(ending)
        for name in gone:
            await self._couriers[name].sink.close()
            self._wakes.pop(name, None)
        self._couriers = {**same, **new}
        for name, courier in new.items():
            with suppress(RunnerError):  # its first step opens it
                await courier.begin()
                courier.forget()
            self._start_one(name)

    async def drain(self, limit_s: float) -> None:
        """Send what is due until nothing is left, or every target that has something fails, or the time is over.

        A stream to standard output is waited for: its reader decides how fast it is.
        """
        await self._record_seen()
        await self._renew()
        await asyncio.gather(*(self._drain_one(courier, limit_s) for courier in self._couriers.values()))
        await self._close_sinks()
        if self._couriers:  # without a target nothing is held
            with suppress(RunnerError):
                await self._leases.release()

    async def _close_sinks(self) -> None:
        for courier in self._couriers.values():
            await courier.sink.close()
        self._loop.close()

    async def _drain_one(self, courier: Courier, limit_s: float) -> None:
        name = courier.target.name
        is_pipe = courier.target.is_stream and courier.target.url == "-"
        try:
            if not await self._is_ours(courier):
                return
            async with asyncio.timeout(None if is_pipe else limit_s):
                while True:
                    found = await quietly(courier)
                    if isinstance(found, RunnerError):
                        _LOG.error("target %s: what it is owed cannot be read: %s", name, self._cleaned(str(found)))
                        return
                    failures = courier.view.record.failures
                    if courier.view.is_closed:
                        self._on_closed()
                    if courier.is_idle and not 0 < failures < _DRAIN_TRIES:
                        return
                    if courier.is_idle:
                        wait = (courier.view.record.not_before or self._clock.now()) - self._clock.now()
                        if wait.total_seconds() > limit_s:
                            return
                        await asyncio.sleep(max(0.0, wait.total_seconds()))
        except TimeoutError:
            _LOG.warning("target %s: not everything was sent within %g s", name, limit_s)

    async def _is_ours(self, courier: Courier) -> bool:
        """Whether this process is the one that sends to the target; another one that is not at work is waited out."""
        name = courier.target.name
        begun = self._clock.elapsed()
        while not self._may_send(name, timedelta(0)):
            if self._clock.elapsed() - begun > self._lease.duration + _STORE_PAUSE:
                return False
            if not (await self._outbox.backlog(name)).items:
                return False
            await asyncio.sleep(1)
            await self._renew()
        return True

    def _courier(self, target: NotificationTarget) -> Courier:
        return Courier(
            target,
            LoopedSink(sink_for(target), self._loop),
            self._outbox,
            self._alerts,
            now=self._clock.now,
            cleaned=self._cleaned,
            may_send=lambda length: self._may_send(target.name, length),
        )

    def _of_health(self) -> list[str]:
        return [name for name, courier in self._couriers.items() if courier.target.health]

    def _may_send(self, name: str, length: timedelta) -> bool:
        """Whether a try of that length that begins now ends while this process is the one that sends."""
        if not self._is_shared:
            return True
        lease = self._lease
        if lease.at is None or name not in lease.held:
            return False
        return self._clock.elapsed() + length < lease.at + lease.duration

    async def _renew(self) -> None:
        if not self._is_shared or not self._couriers:
            return
        at = self._clock.elapsed()
        held = await self._leases.hold(list(self._couriers))
        late = self._lease.at is None or at - self._lease.at >= self._lease.duration
        for name in held if late else held - self._lease.held:
            if name in self._couriers:
                self._couriers[name].forget()
        self._lease.held, self._lease.at = held, at

    async def _keep_leases(self) -> None:
        while not self._stopping:
            try:
                await self._renew()
                if self.wants_health:
                    await self._book.read()
            except RunnerError as error:
                _LOG.debug("the leases of targets could not be renewed: %s", error)
            await asyncio.sleep(self._lease.duration.total_seconds() / 3)

    def _start_one(self, name: str) -> None:
        self._wakes[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._keep_sending(self._couriers[name], self._wakes[name]))

    async def _keep_sending(self, courier: Courier, wake: asyncio.Event) -> None:
        trouble = ""
        while not courier.is_stopping:
            wake.clear()
            wait = _POLL
            if self._may_send(courier.target.name, timedelta(0)):
                found = await quietly(courier)
                said = self._cleaned(str(found)) if isinstance(found, RunnerError) else ""
                if said and said != trouble:
                    _LOG.error("target %s: what it is owed cannot be read or noted: %s", courier.target.name, said)
                trouble = said
                if isinstance(found, RunnerError):
                    courier.forget()
                    wait = _STORE_PAUSE
                elif found is not None:
                    wait = min(max(found - self._clock.now(), timedelta(0)), _POLL)
                if courier.view.is_closed:
                    self._on_closed()
                    return
            with suppress(TimeoutError):
                async with asyncio.timeout(wait.total_seconds()):
                    await wake.wait()

    async def _keep_health(self) -> None:
        while True:
            seen = await self._seen.get()
            told: set[str] = set()
            at = self._clock.now()
            while True:
                try:
                    await self._book.record(seen)
                    break
                except RunnerError as error:
                    _LOG.warning("the runner's health could not be recorded: %s", error)
                await self._tell_directly(seen, at, told)
                if told.issuperset(self._of_health()):
                    break
                await asyncio.sleep(_STORE_PAUSE.total_seconds())
            self.wake()

    async def _tell_directly(self, seen: HealthObservation, at: datetime, told: set[str]) -> None:
        """Send a notice that cannot be stored, as when the store itself is what is wrong; adds to `told`."""
        if seen.needed > 1:
            return
        is_over = not seen.trouble
        title, text = (f"{seen.title}: over", "It is over.") if is_over else (seen.title, seen.trouble)
        item = health_item(seen.key, at, title=title, text=text, is_over=is_over)
        for name in self._of_health():
            if name not in told:
                message = OutboxMessage(message_id(name, (item,)), "health", (item,), item.added)
                outcome = await self._couriers[name].sink.send(message, {}, item.added)
                told.update({name} if outcome.ok else ())

    async def _record_seen(self) -> None:
        while not self._seen.empty():
            await self._book.record(self._seen.get_nowait())


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
