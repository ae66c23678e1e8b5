"""Threshold rules over time that is cut in any way: each event counts once at most, and no burst is missed.

`RUNNER_FUZZ=1000000` tries 50,000 examples of each property instead of the 60 of a usual run.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.alerts.alert import Alert
from runner.alerts.build import AlertContext
from runner.rules.rule import Rule
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest
from runner.service.execution import Execution
from runner.service.replay import ReplayPlan, replay
from runner.store.memory import MemoryStore
from runner.store.protocol import AlertFilter, WriteResult
from runner.windows import Window, iso
from tests.compiled import compiled

pytestmark = pytest.mark.slow

EXAMPLES = max(60, int(os.environ.get("RUNNER_FUZZ", "0")) // 20)
START = datetime(2026, 3, 1, tzinfo=UTC)
RESULT = "kibana.alert.threshold_result"
Event = tuple[int, str, str]
"""Second, host and user."""
EVENTS = st.lists(
    st.tuples(st.integers(0, 2_400), st.sampled_from("ab"), st.sampled_from("uvw")), min_size=1, max_size=30
)


class Killed(BaseException):
    """The end of the process."""


class MortalStore(MemoryStore):
    """A store whose process dies before or after it has written alerts, at certain of its calls."""

    def __init__(self, deaths: Collection[int]) -> None:
        super().__init__()
        self._deaths, self._moments = set(deaths), 0

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        self._pass()
        made = await super().create(alerts)
        self._pass()
        return made

    def _pass(self) -> None:
        self._moments += 1
        if self._moments in self._deaths:
            raise Killed


@dataclass(frozen=True)
class Counting:
    """A rule of the property: least events, least users, look-back in minutes, cap."""

    value: int
    users: int
    look_back: int
    cap: int = 100

    def rule(self) -> Rule:
        cardinality = [{"field": "user.name", "value": self.users}] if self.users else []
        fields: dict[str, Any] = {
            "rule_id": "r", "name": "r", "description": "r", "type": "threshold", "language": "kuery", "query": "*",
            "severity": "low", "risk_score": 1, "interval": "5m", "from": f"now-{self.look_back}m",
            "max_signals": self.cap,
            "threshold": {"field": ["host.name"], "value": self.value, "cardinality": cardinality},
        }  # fmt: skip
        return Rule.model_validate(fields)


COUNTINGS = st.builds(Counting, st.integers(1, 4), st.integers(0, 2), st.integers(5, 12))


def line_of(event: Event) -> bytes:
    second, host, user = event
    time = iso(START + timedelta(seconds=second))
    return orjson.dumps({"@timestamp": time, "host": {"name": host}, "user": {"name": user}}) + b"\n"


def write(path: Path, events: Sequence[Event]) -> None:
    path.write_bytes(b"".join(map(line_of, events)))


async def search(path: Path, rule: Rule, store: MemoryStore, requests: Any) -> None:
    """What some requests, again until nothing is over the cap, come to in the store."""
    files = FileSearch([path])
    await files.prepare([compiled(rule)])
    execution = Execution(files, store, store, clock=lambda: START, context=AlertContext(now=START, execution_id=""))
    try:
        async for _ in replay(execution, requests):
            pass
    finally:
        await files.close()


async def counted(store: MemoryStore) -> list[dict[str, Any]]:
    found = [alert.document async for alert in store.find(AlertFilter())]
    return [{**document[RESULT], "end": document["kibana.alert.original_time"]} for document in found]


async def bursts(store: MemoryStore) -> dict[str, list[tuple[str, str, int]]]:
    """By host the first time, the last time and the count of each alert."""
    found: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for one in await counted(store):
        found[one["terms"][0]["value"]].append((one["from"], one["end"], one["count"]))
    return found


async def check(events: Sequence[Event], counting: Counting, store: MemoryStore) -> None:
    """No event counted twice, by the store's own records; and no span as long as the look-back is left to count."""
    keys = list(store.groups._records.values())
    for record in keys:
        digests = Counter(digest for group in record.groups for digest in group.counted)
        assert not digests or max(digests.values()) == 1
    alerts = {one.alert_id: len(one.counted) for record in keys for one in record.groups}
    assert sum(alerts.values()) == sum(one["count"] for one in await counted(store)), "an alert for each burst"
    by_host = await bursts(store)
    for host in "ab":
        of_host = sorted(event for event in events if event[1] == host)
        total = sum(count for _, _, count in by_host[host])
        assert total <= len(of_host)
        spans = [(first, last) for first, last, _ in by_host[host]]
        # Only events that lie in no counted span are surely uncounted: of those no burst may be left.
        free = [
            event
            for event in of_host
            if not any(first <= iso(START + timedelta(seconds=event[0])) <= last for first, last in spans)
        ]
        for place, event in enumerate(free):
            near = [one for one in free[place:] if one[0] - event[0] <= counting.look_back * 60]
            users = len({one[2] for one in near})
            assert len(near) < counting.value or users < counting.users, f"{near} were not counted"


@settings(max_examples=EXAMPLES, deadline=None)
@given(EVENTS, COUNTINGS, st.integers(0, 299), st.permutations(range(4)), st.booleans())
def test_any_cut_counts_each_event_once_and_misses_no_burst(
    events: list[Event], counting: Counting, offset: int, order: list[int], again: bool
) -> None:
    rule = counting.rule()
    span = Window(START - timedelta(minutes=10, seconds=offset), START + timedelta(minutes=50))
    requests = [*ReplayPlan([compiled(rule)], span)]
    quarter = -(-len(requests) // 4)
    parts = [requests[part * quarter : (part + 1) * quarter] for part in order]

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path, store = Path(folder) / "events.ndjson", MemoryStore()
            write(path, events)
            for part in [*parts, *(parts if again else ())]:  # owed windows come late and out of order
                await search(path, rule, store, part)
            await check(events, counting, store)

    asyncio.run(run())


@settings(max_examples=EXAMPLES, deadline=None)
@given(EVENTS, COUNTINGS, st.lists(st.integers(0, 2), min_size=30, max_size=30))
def test_late_events_count_with_what_is_left(events: list[Event], counting: Counting, delays: list[int]) -> None:
    rule = counting.rule()
    span = Window(START - timedelta(minutes=10), START + timedelta(minutes=50))

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path, store = Path(folder) / "events.ndjson", MemoryStore()
            for arrived in range(3):
                here = [event for event, delay in zip(events, delays, strict=False) if delay <= arrived]
                write(path, here)
                await search(path, rule, store, [*ReplayPlan([compiled(rule)], span)])
            keys = store.groups._records.values()
            for record in keys:
                digests = Counter(digest for group in record.groups for digest in group.counted)
                assert max(digests.values()) == 1
            assert sum(one["count"] for one in await counted(store)) <= len(events)

    asyncio.run(run())


@settings(max_examples=EXAMPLES, deadline=None)
@given(EVENTS, COUNTINGS, st.frozensets(st.integers(1, 12), max_size=6), st.integers(1, 3))
def test_deaths_and_the_cap_lose_no_alert(
    events: list[Event], counting: Counting, deaths: frozenset[int], cap: int
) -> None:
    rule = Counting(counting.value, counting.users, counting.look_back, cap).rule()
    span = Window(START - timedelta(minutes=10), START + timedelta(minutes=50))

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path, store = Path(folder) / "events.ndjson", MortalStore(deaths)
            write(path, events)
            whole = [SearchRequest(compiled(rule), span, 100)]
            for _ in range(len(deaths) + 1):
                try:
                    await search(path, rule, store, whole)
                except Killed:
                    continue
            await check(events, counting, store)

    asyncio.run(run())


@settings(max_examples=EXAMPLES, deadline=None)
@given(EVENTS, COUNTINGS)
def test_two_runners_count_each_event_once(events: list[Event], counting: Counting) -> None:
    rule = counting.rule()
    span = Window(START - timedelta(minutes=10), START + timedelta(minutes=50))

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path, store = Path(folder) / "events.ndjson", MemoryStore()
            write(path, events)
            plans = ([*ReplayPlan([compiled(rule)], span)], [SearchRequest(compiled(rule), span, 100)])
            await asyncio.gather(*(search(path, rule, store, plan) for plan in plans))
            await check(events, counting, store)

    asyncio.run(run())
