"""The service: wires rules, schedule, search and stores together, tick after tick. It decides nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from runner.clock import Clock, ClockSteps
from runner.errors import RunnerError
from runner.rule_run import RuleRun
from runner.rules.rule import Rule
from runner.schedule.catch_up import RuleStates
from runner.schedule.schedule import DueWindow, Schedule, due_marks, edited
from runner.service.due_requests import requests_for
from runner.service.execution import Execution
from runner.service.rules_in_use import ActiveRules, load_active
from runner.service.ticker import Ticker
from runner.store.leases import EveryRule, Leases
from runner.store.protocol import RuleState
from runner.windows import iso

OWED_AT_A_TIME = 50
"""Backlog windows begun in one tick, if there is time for so many."""
LONGEST_PAUSE = timedelta(minutes=5)
"""How long the service waits at most before it tries again after a tick that failed."""
_EDITED = (
    "the rule was edited since its last run: from now on it is searched as it is; what was searched before stays so"
)


class Service:
    """Runs every rule on its schedule until it is told to stop."""

    def __init__(
        self,
        rule_paths: Sequence[Path],
        execution: Execution,
        *,
        clock: Clock,
        schedule: Schedule,
        on_run: Callable[[RuleRun], None],
        on_rules: Callable[[ActiveRules], None],
        on_trouble: Callable[[Exception], None],
        on_tick: Callable[[Exception | None], None] = lambda trouble: None,
        on_held: Callable[[int, int], None] = lambda held, rules: None,
        on_remark: Callable[[str], None] = lambda text: None,
        leases: Leases | None = None,
        tick: timedelta = timedelta(seconds=10),
        renewal: timedelta | None = None,
        at_once: int = 4,
    ) -> None:
        """`on_run` is called for every finished run, `on_rules` whenever the set of rules has changed, `on_trouble`
        when the cluster or the store is away: the service then waits, longer each time, and goes on. `on_tick` is
        called at the end of every tick with what keeps the service from searching, also while it waits; `on_held` with
        how many rules the service leads, of how many, when that changes; `on_remark` when the clock was set back.
        `leases` are renewed every `renewal`, or only with the ticks. `at_once` windows of backlog are searched before
        it is looked whether there is time for more."""
        self._rule_paths = rule_paths
        self._execution = execution
        self._clock = clock
        self._schedule = schedule
        self._on_run, self._on_rules, self._on_trouble, self._on_tick = on_run, on_rules, on_trouble, on_tick
        self._on_held, self._on_remark = on_held, on_remark
        self._leases = leases or EveryRule()
        self._tick, self._renewal, self._at_once = tick, renewal, max(1, at_once)
        self._active: ActiveRules | None = None
        self._progress = RuleStates()
        self._steps = ClockSteps()
        self._trusted: dict[str, datetime] = {}
        self._held: frozenset[str] = frozenset()
        self._current: frozenset[str] = frozenset()
        self._told = (0, 0)
        self._stopping = asyncio.Event()
        self._in_tick = asyncio.Lock()
        self._failed_ticks = 0
        self._trouble: Exception | None = None
        self._not_before: timedelta | None = None

    @property
    def active(self) -> ActiveRules:
        """The rules in use since the last tick; none before the first."""
        return self._active or ActiveRules()

    @property
    def held(self) -> frozenset[str]:
        """The ids of the rules in use that this service leads, as of the last renewal of its leases."""
        return frozenset(rule.rule_id for rule in self.active.rules if rule.rule_id in self._held)

    @property
    def states(self) -> Mapping[str, RuleState]:
        """What the ledger says of every rule that this service leads, by rule id; empty before the first tick."""
        states = self._progress.states
        return {rule_id: states[rule_id] for rule_id in self._current if rule_id in states}

    @property
    def schedule(self) -> Schedule:
        """The schedule, with the reaches of the rules in use."""
        return self._schedule

    def stop(self) -> None:
        """Finish the window in hand, then let `run` return."""
        self._stopping.set()

    async def run(self) -> None:
        """Tick until `stop` is called, then give the leases back."""
        jobs = {self.tick: self._tick} | ({self.renew: self._renewal} if self._renewal is not None else {})
        ticker = Ticker(jobs)
        try:
            await ticker.run(self._stopping)
            async with self._in_tick:
                pass  # the tick that is under way has finished its window; a shutdown before that would cancel it
        finally:
            ticker.close()
        try:
            await self._leases.release()
        except RunnerError as error:
            self._on_trouble(error)  # the others take over all the same, once they have not heard of it for a while

    async def tick(self) -> None:
        """Everything that is due now: changed rule files, live windows, then a fair share of the backlog."""
        async with self._in_tick:
            if self._stopping.is_set():
                return
            if self._not_before is None or self._clock.elapsed() >= self._not_before:
                await self._try(self._work)
            self._on_tick(self._trouble)

    async def renew(self) -> None:
        """Renew the leases, also while a tick takes long; after a failed tick the next one does."""
        if self._active is not None and self._trouble is None and not self._stopping.is_set():
            await self._try(self._hold)

    async def _try(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            self._failed_ticks, self._trouble, self._not_before = 0, None, None
        except Exception as error:  # noqa: BLE001 - the loop goes on, whatever one tick met; the caller logs it
            self._failed_ticks += 1
            self._trouble = error
            pause = min(self._tick * 2 ** min(self._failed_ticks, 6), LONGEST_PAUSE)
            self._not_before = self._clock.elapsed() + pause
            self._on_trouble(error)

    async def _work(self) -> None:
        begun = self._clock.elapsed()
        await self._reload()
        self._look_at_clock()
        now = self._clock.now()
        self._progress.see(self.active.rules, self._schedule, now=now)
        await self._hold()
        await self._take_over()
        await self._mark(now)
        await self._execute(self._progress.live(self._schedule, self._led(), now))
        await self._catch_up(now, begun)

    async def _reload(self) -> None:
        active = await load_active(self._rule_paths, self._execution.search, self._active)
        if active is not self._active:
            self._active = active
            self._schedule = replace(self._schedule, reaches=active.reaches)
            self._on_rules(active)

    def _look_at_clock(self) -> None:
        if (step := self._steps.check(self._clock)) is None:
            return
        self._trusted = self._progress.set_back(step.right_until, now=self._clock.now())
        since = f"since {iso(step.right_until)}" if step.right_until is not None else "since this service was started"
        self._on_remark(
            f"the clock was set back by {step.by.total_seconds():.0f} s: what was recorded {since} was searched too "
            "early, and is searched again"
        )

    async def _hold(self) -> None:
        """Renew the leases. Of a rule that was led by somebody else meanwhile, the state has to be read anew."""
        self._held = await self._leases.hold([rule.rule_id for rule in self.active.told])
        self._current &= self._held
        if (told := (len(self.held), len(self.active.rules))) != self._told:
            self._told = told
            self._on_held(*told)

    async def _take_over(self) -> None:
        if gained := self._held - self._current:
            self._progress.take_over(gained, await self._execution.ledger.read())
            self._current |= gained

    async def _mark(self, now: datetime) -> None:
        told = [rule for rule in self.active.told if rule.rule_id in self._current]
        progress = self._progress
        marks = due_marks(self._schedule, told, progress.states, now=now, first=progress.first, trusted=self._trusted)
        if marks:
            await self._execution.ledger.add_marks(marks)
            progress.mark(marks)
        self._trusted = {}

    def _led(self) -> list[Rule]:
        return [rule for rule in self.active.rules if rule.rule_id in self._current]

    async def _catch_up(self, now: datetime, begun: timedelta) -> None:
        """Backlog for as long as the next tick is not due, and at least for one round."""
        # One pass over files serves every rule; a cluster is asked once for each.
        together = self._schedule.together
        due = self._progress.backlog(
            self._schedule, self._led(), now, passed=begun, most=0 if together else OWED_AT_A_TIME
        )
        size = len(due) if together else self._at_once
        for first in range(0, len(due), max(1, size)):
            if first and self._clock.elapsed() - begun >= self._tick:
                return
            part = [item for item in due[first : first + size] if item.rule.rule_id in self._current]
            self._progress.serve(part)
            await self._execute(part)

    async def _execute(self, due: Sequence[DueWindow]) -> None:
        if not due or self._stopping.is_set():
            return
        rules = {item.rule.rule_id: item.rule for item in due}
        kind = due[0].kind
        remarks = dict.fromkeys(edited(rules.values(), self._progress.states), (_EDITED,))
        execution = replace(self._execution, remarks=remarks)
        async with aclosing(execution.run(requests_for(due, self._schedule))) as runs:
            async for run in runs:
                self._progress.note(run, rules[run.rule_id], kind, passed=self._clock.elapsed())
                self._on_run(run)
                if self._stopping.is_set():
                    return
