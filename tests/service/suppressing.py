"""Runs of a rule with alert suppression over matches that are there, with stores that stop at any call."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from runner.alerts.build import AlertContext
from runner.alerts.event_fields import value_at
from runner.errors import Problem
from runner.rule_run import RuleRun
from runner.rules.rule import Rule
from runner.search.compiled_rule import CompiledRule
from runner.search.protocol import Hit, Match, SearchRequest, SearchResult
from runner.service.execution import Execution
from runner.store.protocol import AlertFilter, AlertStore, Ledger
from runner.windows import Window, iso
from tests.compiled import compiled

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
EVERY = timedelta(minutes=5)
COUNT = "kibana.alert.suppression.docs_count"


def suppressing(**fields: Any) -> Rule:
    """A rule that groups by `host.name`."""
    suppression = {"group_by": ["host.name"], **fields.pop("suppression", {})}
    return Rule.model_validate(
        {
            "rule_id": "r",
            "name": "r",
            "description": "r",
            "type": "eql",
            "language": "eql",
            "query": "any where true",
            "severity": "low",
            "risk_score": 1,
            "from": "now-9m",
            "alert_suppression": suppression,
            **fields,
        }
    )


@dataclass(frozen=True)
class Event:
    """An event of a host; `minute` from `START`."""

    number: int
    minute: float
    host: str | None = "a"
    more: tuple[tuple[str, Any], ...] = ()

    @property
    def time(self) -> datetime:
        return START + timedelta(minutes=self.minute)

    def hit(self) -> Hit:
        host = {} if self.host is None else {"host": {"name": self.host}}
        source = {"@timestamp": iso(self.time), "event": {"id": f"e{self.number}"}, **host, **dict(self.more)}
        return Hit("logs-x", f"e{self.number}", source)

    def match(self) -> Match:
        return Match((self.hit(),), is_sequence=False)


@dataclass
class Shelf:
    """A search that finds the events in a window."""

    events: Sequence[Event]

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        return ()

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        for request in requests:
            window = request.window
            found = [one for one in self.events if window.start < one.time <= window.end]
            found.sort(key=lambda one: (one.minute, one.number))
            yield SearchResult(request, [one.match() for one in found[: request.size]], len(found) <= request.size)

    async def close(self) -> None: ...


class KilledError(BaseException):
    """The end of a process."""


Gate = Callable[[], Awaitable[None]]


class Gated:
    """A store, or the groups of one, that passes a gate before each of its calls and after it."""

    def __init__(self, inner: Any, gate: Gate) -> None:
        self._inner, self._gate = inner, gate

    @property
    def groups(self) -> Any:
        return Gated(self._inner.groups, self._gate)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)

        async def gated(*arguments: Any, **named: Any) -> Any:
            await self._gate()
            result = await call(*arguments, **named)
            await self._gate()
            return result

        return gated


@dataclass
class Place:
    """Alerts and ledger that several runners share."""

    alerts: AlertStore
    ledger: Ledger
    runs: list[RuleRun] = field(default_factory=list)

    async def run(self, rule: Rule, events: Sequence[Event], end: float, *, gate: Gate | None = None) -> RuleRun:
        """The run whose window ends at that minute."""
        end_time = START + timedelta(minutes=end)
        request = SearchRequest(compiled(rule), Window(end_time - timedelta(minutes=9), end_time), 10_000)
        alerts: Any = self.alerts if gate is None else Gated(self.alerts, gate)
        ledger: Any = self.ledger if gate is None else Gated(self.ledger, gate)
        context = AlertContext(now=end_time, execution_id="")
        execution = Execution(Shelf(events), alerts, ledger, clock=lambda: end_time, context=context)
        (run,) = [run async for run in execution.run([request])]
        self.runs.append(run)
        return run

    async def counts(self) -> dict[str, int | None]:
        """What each alert stands for, by the id of its event."""
        return {
            str(value_at(one.document, "kibana.alert.original_event.id")): value_at(one.document, COUNT)
            async for one in self.alerts.find(AlertFilter())
        }


def expected_counts(events: Sequence[Event], ends: Sequence[float], lasts: float | None) -> dict[str, int]:
    """The alerts with their counts after undisturbed runs in the order of `ends`, by the rules alone."""
    alerts: dict[str, int] = {}
    newest: dict[str | None, tuple[float, str]] = {}
    done: set[int] = set()
    for end in ends:
        for one in sorted(events, key=lambda one: (one.minute, one.number)):
            if one.number in done or not end - 9 < one.minute <= end:
                continue
            done.add(one.number)
            created, head = newest.get(one.host, (float("-inf"), ""))
            if end - created <= (0 if lasts is None else lasts):
                alerts[head] += 1
            else:
                newest[one.host] = end, f"e{one.number}"
                alerts[f"e{one.number}"] = 0
    return alerts


@dataclass
class Runner:
    """One process that makes runs one after another, and begins the current one anew after it was killed."""

    place: Place
    rule: Rule
    events: Sequence[Event]
    ends: Sequence[float]
    done: int = 0
    calls: int = 0
    kill_at: frozenset[int] = frozenset()
    may_go: asyncio.Event = field(default_factory=asyncio.Event)
    waits: asyncio.Event = field(default_factory=asyncio.Event)

    async def gate(self) -> None:
        self.calls += 1
        if self.calls in self.kill_at:
            raise KilledError
        self.may_go.clear()
        self.waits.set()
        await self.may_go.wait()

    async def work(self) -> None:
        while self.done < len(self.ends):
            try:
                run = await self.place.run(self.rule, self.events, self.ends[self.done], gate=self.gate)
            except KilledError:
                continue
            assert run.status != "failed", run.messages
            self.done += run.complete
        self.waits.set()


async def interleaved(runners: Sequence[Runner], turns: Sequence[int]) -> None:
    """Let the runners work, a store call at a time: by `turns` first, then in turn, until all are done."""
    tasks = [asyncio.create_task(runner.work()) for runner in runners]
    number = 0
    while not all(task.done() for task in tasks):
        chosen = turns[number] % len(runners) if number < len(turns) else number % len(runners)
        number += 1
        runner, task = runners[chosen], tasks[chosen]
        if task.done():
            continue
        waiting = asyncio.create_task(runner.waits.wait())
        await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        runner.waits.clear()
        runner.may_go.set()
    for task in tasks:
        task.result()


def totals(runs: Sequence[RuleRun]) -> Counter[str]:
    """The counts of all runs."""
    return Counter({name: sum(run.counts[name] for run in runs) for name in ("created", "suppressed", "capped")})
