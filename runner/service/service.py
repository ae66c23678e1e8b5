"""The service: wires rules, schedule, search and stores together, tick after tick. It decides nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from runner.clock import Clock, ClockSteps
from runner.errors import RunnerError, StoppedError
from runner.rule_run import RuleRun
from runner.schedule.catch_up import RuleStates
from runner.schedule.schedule import DueWindow, Schedule, edited
from runner.search.compiled_rule import CompiledRule
from runner.service.arrivals import ArrivalWatch, Looked
from runner.service.due_requests import requests_for
from runner.service.execution import Execution
from runner.service.rules_in_use import ActiveRules, RuleSources, load_active
from runner.service.ticker import Ticker
from runner.store.leases import EveryRule, Leases
from runner.store.protocol import RuleState
from runner.windows import iso

OWED_AT_A_TIME = 50
"""Most backlog windows begun in one tick."""
LONGEST_PAUSE = timedelta(seconds=30)
"""The longest wait after a failed tick before the next one: how late the end of an outage is noticed."""
_RELEASE_S = 0.4
_EDITED = (
    "the rule was edited since its last run: from now on it is searched as it is; what was searched before stays so"
)


class ServiceObserver:
    """Receives what the service does; this one ignores it."""

    def on_run(self, run: RuleRun) -> None:
        """A run is finished and recorded."""

    def on_rules(self, active: ActiveRules) -> None:
        """The set of rules has changed."""

    def on_trouble(self, error: Exception) -> None:
        """A tick failed, as when the cluster or the store is away. The service waits, longer each time."""

    def on_tick(self, trouble: Exception | None) -> None:
        """A tick is over, or was left out in a wait; `trouble` is what keeps the service from searching."""

    def on_held(self, held: int, rules: int) -> None:
        """The number of rules that the service leads, or that of all rules, has changed."""

    def on_remark(self, text: str) -> None:
        """The clock was set back, or a window could not be finished before the stop."""

    def on_look(self, looked: Looked) -> None:
        """The event files were looked at."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the service does what. Leases are renewed with each tick, and every `renewal` if it is given.

    `at_once` backlog windows are searched before the service looks whether the tick has time for more. `grace` is the
    time after `stop` in which the window in hand may be finished; after it the window stays due.
    """

    tick: timedelta = timedelta(seconds=10)
    renewal: timedelta | None = None
    at_once: int = 4
    grace: timedelta = timedelta(seconds=0.8)


class _Leadership:
    """The rules that this service leads, by its leases; `current` are those whose states were read since then."""

    def __init__(self, leases: Leases) -> None:
        self.leases = leases
        self.held: frozenset[str] = frozenset()
        self.current: frozenset[str] = frozenset()
        self.counts = (0, 0)

    async def renew(self, active: ActiveRules) -> bool:
        """Renew the leases; whether the number of rules in use, or of those that are led, has changed.

        A rule that another runner led meanwhile is no longer current.
        """
        self.held = await self.leases.hold([rule.rule_id for rule in (*active.rules, *active.disabled)])
        self.current &= self.held
        before, self.counts = self.counts, (sum(rule.rule_id in self.held for rule in active.rules), len(active.rules))
        return self.counts != before


class _Backoff:
    """The error of the last tick if it failed, and the wait before the next one, doubled with each failure."""

    def __init__(self, tick: timedelta) -> None:
        self.trouble: Exception | None = None
        self._tick = tick
        self._failures = 0
        self._until = timedelta.min

    def is_over(self, passed: timedelta) -> bool:
        return passed >= self._until

    def clear(self) -> None:
        self._failures, self.trouble, self._until = 0, None, timedelta.min

    def fail(self, error: Exception, passed: timedelta) -> None:
        self._failures += 1
        self.trouble = error
        self._until = passed + min(self._tick * 2 ** min(self._failures, 6), LONGEST_PAUSE)


class Service:
    """Runs every rule on its schedule until `stop` is called."""

    def __init__(
        self,
        sources: RuleSources,
        execution: Execution,
        *,
        clock: Clock,
        schedule: Schedule,
        observer: ServiceObserver,
        leases: Leases | None = None,
        pace: Pace = Pace(),
        arrivals: ArrivalWatch | None = None,
    ) -> None:
        self._sources = sources
        self._execution = execution
        self._clock = clock
        self._steps = ClockSteps()
        self._observer = observer
        self._pace = pace
        self._arrivals = arrivals
        self._has_looked = False
        self._active: ActiveRules | None = None
        self._states = RuleStates(schedule)
        self._leadership = _Leadership(leases or EveryRule())
        self._backoff = _Backoff(pace.tick)
        self._stopping = asyncio.Event()
        self._in_tick = asyncio.Lock()
        self._ticker: Ticker | None = None
        self._is_reloaded = False

    @property
    def schedule(self) -> Schedule:
        """The schedule as of now."""
        return self._states.schedule

    @property
    def active(self) -> ActiveRules:
        """The rules in use since the last tick; none before the first."""
        return self._active or ActiveRules()

    @property
    def held(self) -> frozenset[str]:
        """The ids of the rules in use that this service leads, as of the last renewal of its leases."""
        return frozenset(rule.rule_id for rule in self.active.rules if rule.rule_id in self._leadership.held)

    @property
    def states(self) -> Mapping[str, RuleState]:
        """The ledger's state of every rule that this service leads, by rule id; empty before the first tick."""
        states = self._states.states
        return {rule_id: states[rule_id] for rule_id in self._leadership.current if rule_id in states}

    def stop(self) -> None:
        """Finish the window in hand if that takes no longer than the grace of the pace, then let `run` return."""
        self._stopping.set()

    def reload(self, sources: RuleSources, *, on_cap: Literal["carry", "drop"], horizon: timedelta) -> None:
        """Use these settings from the next tick on, which comes at once, also in a wait after a failed one."""
        before = self._sources  # the connections stay
        self._sources = replace(sources, lists=before.lists, queries=before.queries, own_alerts=before.own_alerts)
        self._execution = replace(self._execution, on_cap=on_cap)
        self._states.schedule = replace(self._states.schedule, horizon=horizon)
        self._backoff.clear()
        self._is_reloaded = True  # a tick that is under way is followed by another one
        if self._ticker is not None and not self._in_tick.locked():
            self._ticker.hurry()

    async def run(self) -> None:
        """Tick until `stop` is called, then give the leases back."""
        renewal = self._pace.renewal
        jobs = {self.tick: self._pace.tick} | ({self.renew: renewal} if renewal is not None else {})
        ticker = Ticker(jobs)
        try:
            self._ticker = ticker
            await ticker.run(self._stopping)
            async with asyncio.timeout(self._pace.grace.total_seconds()), self._in_tick:
                pass  # the tick that is under way has finished its window; a shutdown before that would cancel it
        except TimeoutError:
            self._observer.on_remark("the window in hand could not be finished in time: it stays due")
        finally:
            ticker.close()
        try:
            async with asyncio.timeout(_RELEASE_S):
                await self._leadership.leases.release()
        except TimeoutError:
            self._observer.on_remark("the leases could not be given back in time: they expire by themselves")
        except RunnerError as error:
            self._observer.on_trouble(error)  # other runners take over all the same once the leases expire

    async def tick(self) -> None:
        """Everything that is due now: changed rule files, live windows, then a fair share of the backlog."""
        async with self._in_tick:
            self._is_reloaded = True
            while self._is_reloaded and not self._stopping.is_set():
                self._is_reloaded = False
                if self._backoff.is_over(self._clock.elapsed()):
                    await self._try(self._work)
                self._observer.on_tick(self._backoff.trouble)

    async def renew(self) -> None:
        """Renew the leases, also while a tick takes long; after a failed tick the next one does."""
        if self._active is not None and self._backoff.trouble is None and not self._stopping.is_set():
            await self._try(self._renew_leases)

    async def _try(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            self._backoff.clear()
        except StoppedError as error:
            if not self._stopping.is_set():
                self._backoff.fail(error, self._clock.elapsed())
                self._observer.on_trouble(error)
        except Exception as error:  # noqa: BLE001 - the loop goes on, whatever one tick met; the observer logs it
            self._backoff.fail(error, self._clock.elapsed())
            self._observer.on_trouble(error)

    async def _work(self) -> None:
        begun = self._clock.elapsed()
        await self._reload()
        self._check_clock()
        now = self._clock.now()
        self._states.add_rules(self.active.compiled, now)
        await self._renew_leases()
        await self._take_over()
        await self._mark(now)
        live = self._states.live(self._led(), now)
        await self._look(live, now)
        await self._execute(live)
        await self._catch_up(now, begun)

    async def _reload(self) -> None:
        active = await load_active(self._sources, self._execution.search, self._active, at=self._clock.now())
        if active is not self._active:
            self._active = active
            self._observer.on_rules(active)

    def _check_clock(self) -> None:
        if (step := self._steps.check(self._clock)) is None:
            return
        self._states.set_back(step.right_until, self._clock.now())
        since = f"since {iso(step.right_until)}" if step.right_until is not None else "since this service was started"
        self._observer.on_remark(
            f"the clock was set back by {step.by.total_seconds():.0f} s: what was recorded {since} was searched too "
            "early, and is searched again"
        )

    async def _renew_leases(self) -> None:
        if await self._leadership.renew(self.active):
            self._observer.on_held(*self._leadership.counts)

    async def _take_over(self) -> None:
        if gained := self._leadership.held - self._leadership.current:
            self._states.take_over(gained, await self._execution.ledger.read())
            self._leadership.current |= gained

    async def _mark(self, now: datetime) -> None:
        disabled = [rule for rule in self.active.disabled if rule.rule_id in self._leadership.current]
        if marks := self._states.due_marks(self._led(), disabled, now):
            await self._execution.ledger.add_marks(marks)
        self._states.record_marks(marks)

    async def _look(self, live: Sequence[DueWindow], now: datetime) -> None:
        """Look for late events, at the start and before live windows: these find all that is not late."""
        if self._arrivals is None or not (live or not self._has_looked):
            return
        looked = await self._arrivals.look(self._led(), self._states.states, now)
        self._states.record_marks(looked.late.marks)
        self._has_looked = True
        self._observer.on_look(looked)

    def _led(self) -> list[CompiledRule]:
        return [compiled for compiled in self.active.compiled if compiled.rule.rule_id in self._leadership.current]

    async def _catch_up(self, now: datetime, begun: timedelta) -> None:
        """Search backlog for as long as the next tick is not due, and at least for one round."""
        # One pass over files serves every rule; in a cluster each has a search of its own.
        together = self._states.schedule.together
        due = self._states.backlog(self._led(), now, passed=begun, most=0 if together else OWED_AT_A_TIME)
        size = len(due) if together else self._pace.at_once
        for first in range(0, len(due), max(1, size)):
            if first and self._clock.elapsed() - begun >= self._pace.tick:
                return
            led = self._leadership.current
            part = [item for item in due[first : first + max(1, size)] if item.rule.rule_id in led]
            self._states.record_turns(part)
            await self._execute(part)

    async def _execute(self, due: Sequence[DueWindow]) -> None:
        if not due or self._stopping.is_set():
            return
        rules = {item.rule.rule_id: item.rule for item in due}
        kind = due[0].kind
        remarks = dict.fromkeys(edited(rules.values(), self._states.states), (_EDITED,))
        execution = replace(self._execution, remarks=remarks)
        async with aclosing(execution.run(requests_for(due, self._states.states))) as runs:
            async for run in runs:
                self._states.record_run(run, rules[run.rule_id], kind, passed=self._clock.elapsed())
                self._observer.on_run(run)
                if self._stopping.is_set() and not self._states.schedule.together:
                    return  # in a cluster each window is a search of its own; of files all were searched in one pass
