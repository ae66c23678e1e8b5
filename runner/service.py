"""The service: wires rules, schedule, search and stores together, tick after tick. It decides nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]

from runner.clock import Clock
from runner.errors import Problem
from runner.execution import Execution, size_for
from runner.report import RuleRun
from runner.rules.load import LoadedRules, reload
from runner.rules.rule import Rule
from runner.schedule import DueWindow, Schedule, due_live, due_owed, oldest_owed, owed
from runner.search.edges import reach_of
from runner.search.search import Reach, Search, SearchRequest
from runner.store.store import RuleState, state_after
from runner.windows import Window

OWED_AT_A_TIME = 50
"""Backlog windows started in one tick, so that catching up leaves room for the live windows of the next."""
LONGEST_PAUSE = timedelta(minutes=5)
"""How long the service waits at most before it tries again after a tick that failed."""


@dataclass(frozen=True, slots=True)
class ActiveRules:
    """The rules that can be run, and every problem of the files and of the queries."""

    loaded: LoadedRules = field(default_factory=LoadedRules)
    rules: tuple[Rule, ...] = ()
    problems: tuple[Problem, ...] = ()
    reaches: Mapping[str, Reach] = field(default_factory=dict)
    """How far the matches of each rule reach in time, by rule id."""


async def load_active(paths: Sequence[Path], search: Search, previous: ActiveRules | None = None) -> ActiveRules:
    """The rules of the paths as they are now, checked by the search; `previous` itself if no file changed.

    A rule whose query was broken by an edit stays in its last good version, and the problem says so.
    """
    before = previous or ActiveRules()
    loaded = await asyncio.to_thread(reload, before.loaded, paths)
    if previous is not None and loaded == before.loaded:
        return previous
    wanted = [rule for rule in loaded.rules if rule.enabled]
    problems = list(await search.prepare(wanted))
    broken = {problem.rule_id for problem in problems if problem.severity == "error"}
    last_good = {rule.rule_id: rule for rule in before.rules if rule.rule_id in broken}
    rules = tuple(last_good.get(rule.rule_id, rule) for rule in wanted if rule.rule_id not in broken - last_good.keys())
    if last_good:
        await search.prepare(rules)  # what was searched for these rules before is searched for again
        kept = "; the last good version of the rule stays in use"
        problems = [replace(p, message=p.message + kept) if p.rule_id in last_good else p for p in problems]
    reaches = {rule.rule_id: reach_of(rule.query) for rule in rules}
    return ActiveRules(loaded, rules, (*loaded.problems, *problems), reaches)


def requests_for(due: Sequence[DueWindow], schedule: Schedule) -> list[SearchRequest]:
    """What to ask of a search for windows that are due."""
    return [SearchRequest(item.rule, item.window, size_for(item.rule), schedule.reach(item.rule)) for item in due]


def requests_at(rules: Sequence[Rule], now: datetime, schedule: Schedule) -> list[SearchRequest]:
    """One request per rule for its window at `now`, whatever was searched before."""
    return requests_for([DueWindow(rule, schedule.window(rule, now), "live") for rule in rules], schedule)


def requests_before(
    current: Sequence[SearchRequest], states: Mapping[str, RuleState], schedule: Schedule
) -> list[SearchRequest]:
    """The oldest part of each rule's backlog that lies before its current window."""
    due: list[DueWindow] = []
    for request in current:
        spans = owed(states.get(request.rule.rule_id), request.window.start, horizon=schedule.horizon)
        due.extend(oldest_owed(schedule, request.rule, spans))
    return requests_for(due, schedule)


def requests_due(
    rules: Sequence[Rule], states: Mapping[str, RuleState], now: datetime, *, schedule: Schedule
) -> list[SearchRequest]:
    """For a single run from cron: the window at `now` of each rule whose interval has passed, and each rule's backlog.

    An interval counts as passed at nine tenths of it: cron does not start on the second.
    """
    due: list[DueWindow] = []
    for rule in rules:
        state = states.get(rule.rule_id)
        newest = state.searched[-1].end if state is not None and state.searched else None
        if newest is None or now - newest >= rule.every * 0.9:
            due.append(DueWindow(rule, schedule.window(rule, now), "live"))
    tried = {state.rule_id: state.last.window.end for state in states.values() if state.last is not None}
    backlog = due_owed(schedule, rules, states, now=now, tried=tried, most=len(rules))
    return requests_for([*due, *backlog], schedule)


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
        tick: timedelta = timedelta(seconds=10),
    ) -> None:
        """`on_run` is called for every finished run, `on_rules` whenever the set of rules has changed, `on_trouble`
        when the cluster or the store is away: the service then waits, longer each time, and goes on. `on_tick` is
        called at the end of every tick with what keeps the service from searching, also while it waits."""
        self._rule_paths = rule_paths
        self._execution = execution
        self._clock = clock
        self._schedule = schedule
        self._on_run, self._on_rules, self._on_trouble, self._on_tick = on_run, on_rules, on_trouble, on_tick
        self._tick = tick
        self._active: ActiveRules | None = None
        self._states: dict[str, RuleState] | None = None
        self._first_due: dict[str, datetime] = {}
        self._tried: dict[str, datetime] = {}
        self._wait_until: dict[str, datetime] = {}
        self._stopping = asyncio.Event()
        self._in_tick = asyncio.Lock()
        self._failed_ticks = 0
        self._trouble: Exception | None = None
        self._not_before: datetime | None = None

    @property
    def active(self) -> ActiveRules:
        """The rules in use since the last tick; none before the first."""
        return self._active or ActiveRules()

    @property
    def states(self) -> Mapping[str, RuleState]:
        """What the ledger says of every rule, by rule id, as far as this service knows; empty before the first tick."""
        return self._states or {}

    @property
    def schedule(self) -> Schedule:
        """The schedule, with the reaches of the rules in use."""
        return self._schedule

    def stop(self) -> None:
        """Finish the window in hand, then let `run` return."""
        self._stopping.set()

    async def run(self) -> None:
        """Tick until `stop` is called."""
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.add_job(
            self.tick,
            "interval",
            seconds=self._tick.total_seconds(),
            next_run_time=datetime.now(UTC),  # the scheduler goes by the machine's clock, whatever ours says
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        scheduler.start()
        try:
            await self._stopping.wait()
            scheduler.pause()
            async with self._in_tick:
                pass  # the tick that is under way has finished its window; a shutdown before that would cancel it
        finally:
            scheduler.shutdown(wait=False)

    async def tick(self) -> None:
        """Everything that is due now: changed rule files, live windows, then a fair share of the backlog."""
        async with self._in_tick:
            now = self._clock.now()
            if self._stopping.is_set():
                return
            if self._not_before is None or now >= self._not_before:
                await self._try(now)
            self._on_tick(self._trouble)

    async def _try(self, now: datetime) -> None:
        try:
            await self._work(now)
            self._failed_ticks, self._trouble, self._not_before = 0, None, None
        except Exception as error:  # noqa: BLE001 - the loop goes on, whatever one tick met; the caller logs it
            self._failed_ticks += 1
            self._trouble = error
            self._not_before = now + min(self._tick * 2 ** min(self._failed_ticks, 6), LONGEST_PAUSE)
            self._on_trouble(error)

    async def _work(self, now: datetime) -> None:
        active = await load_active(self._rule_paths, self._execution.search, self._active)
        if active is not self._active:
            self._active = active
            self._schedule = replace(self._schedule, reaches=active.reaches)
            self._on_rules(active)
        for rule in active.rules:
            if rule.rule_id not in self._first_due:
                self._first_due[rule.rule_id] = self._schedule.live(rule, now).start
        states = self._known(await self._execution.ledger.read() if self._states is None else self._states)
        live = due_live(self._schedule, active.rules, states, now=now, tried=self._tried)
        await self._execute(live, states)
        ready = [rule for rule in active.rules if self._wait_until.get(rule.rule_id, now) <= now]
        # One pass over files serves every rule; a cluster is asked once for each, which must leave room for live ones.
        most = len(ready) if self._schedule.together else OWED_AT_A_TIME
        backlog = due_owed(self._schedule, ready, states, now=now, tried=self._tried, most=most)
        await self._execute(backlog, states)

    def _known(self, states: Mapping[str, RuleState]) -> dict[str, RuleState]:
        """The states; a rule that never ran owes all time since its first window was due, should that have failed."""
        if states is not self._states:
            self._states = dict(states)
        for rule_id, start in self._first_due.items():
            self._states.setdefault(rule_id, RuleState(rule_id, (Window(start, start),)))
        return self._states

    async def _execute(self, due: Sequence[DueWindow], states: dict[str, RuleState]) -> None:
        if not due or self._stopping.is_set():
            return
        rules = {item.rule.rule_id: item.rule for item in due}
        async with aclosing(self._execution.run(requests_for(due, self._schedule))) as runs:
            async for run in runs:
                self._note(run, rules[run.rule_id], states)
                self._on_run(run)
                if self._stopping.is_set():
                    return

    def _note(self, run: RuleRun, rule: Rule, states: dict[str, RuleState]) -> None:
        states[rule.rule_id] = state_after(states.get(rule.rule_id), run, rule.fingerprint)
        newest = self._tried.get(rule.rule_id)
        self._tried[rule.rule_id] = run.window.end if newest is None else max(newest, run.window.end)
        if not run.complete:
            # Asked again after an interval: a window that failed, and one with more matches than the cap lets through.
            self._wait_until[rule.rule_id] = self._clock.now() + rule.every
