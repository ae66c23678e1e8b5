"""Several targets and several runners: who sends, who takes over, what a busy loop does to an answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runner.clock import FakeClock
from runner.errors import StoreError
from runner.notify.dispatcher import Dispatcher
from runner.notify.incidents import HealthObservation
from runner.notify.target import NotificationTarget
from runner.store.leases import LeaseBoard, SharedLeases
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.elasticsearch.loop_time import skip
from tests.notify.owing import HOOK, an_alert
from tests.notify.receiver import Receiver, Reply
from tests.store.alerts import START, alert_id
from tests.store.memory_board import MemoryBoard

LEASE = timedelta(seconds=200)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state.db")
    yield store
    await store.close()


def runner_of(
    store: SqliteStore, target: NotificationTarget, clock: FakeClock, board: LeaseBoard, name: str
) -> Dispatcher:
    leases = SharedLeases(board, name, duration=LEASE, elapsed=clock.elapsed)
    return Dispatcher([target], store.outbox, store, clock=clock, leases=leases, duration=LEASE)


def told(receiver: Receiver) -> Counter[str]:
    return Counter(alert["id"] for request in receiver.taken for alert in request.json["alerts"])


async def test_of_two_runners_one_sends_and_the_other_takes_over_when_it_dies(
    store: SqliteStore, receiver: Receiver
) -> None:
    clock, board = FakeClock(START), MemoryBoard()
    target = replace(HOOK, url=receiver.url)
    one, two = runner_of(store, target, clock, board, "one"), runner_of(store, target, clock, board, "two")
    await one.begin()
    await two.begin()
    await one._renew()
    await two._renew()
    senders = [runner for runner in (one, two) if runner._may_send("soc", timedelta(0))]
    assert len(senders) == 1
    await store.create([an_alert("a")])
    for runner in (one, two):
        if runner._may_send("soc", target.timeout):
            await runner._couriers["soc"].step()
    assert told(receiver) == {alert_id("a"): 1}
    (dead,), (other,) = senders, [runner for runner in (one, two) if runner not in senders]
    await store.create([an_alert("b")])
    clock.advance(LEASE / 2)
    await other._renew()
    assert not other._may_send("soc", timedelta(0))
    clock.advance(LEASE / 2 + timedelta(seconds=1))
    await other._renew()
    assert not dead._may_send("soc", timedelta(0))  # its lease is over, although it does not know
    assert other._may_send("soc", target.timeout)
    await other._couriers["soc"].step()
    assert told(receiver) == {alert_id("a"): 1, alert_id("b"): 1}
    for runner in (one, two):
        await runner._close_sinks()


async def test_a_try_that_could_outlast_the_lease_is_not_begun(store: SqliteStore, receiver: Receiver) -> None:
    clock = FakeClock(START)
    runner = runner_of(store, replace(HOOK, url=receiver.url), clock, MemoryBoard(), "one")
    await runner._renew()
    clock.advance(LEASE - timedelta(seconds=59))
    assert runner._may_send("soc", timedelta(0)) and not runner._may_send("soc", timedelta(seconds=60))
    await runner._close_sinks()


@pytest.mark.slow
async def test_an_answer_that_came_while_the_loop_was_busy_counts(store: SqliteStore, receiver: Receiver) -> None:
    """A search may hold the loop for longer than the time limit of a target."""
    target = replace(HOOK, url=receiver.url, timeout=timedelta(seconds=4))
    runner = Dispatcher([target], store.outbox, store, clock=FakeClock(START))
    await runner.begin()
    await store.create([an_alert("a")])
    stepping = asyncio.create_task(runner._couriers["soc"].step())
    while not receiver.requests:
        await asyncio.sleep(0.01)
    time.sleep(5)
    await stepping
    assert runner.views[0].record.messages == 1
    assert len(receiver.requests) == 1
    await runner._close_sinks()


async def test_other_targets_from_the_next_reload_on(store: SqliteStore, receiver: Receiver) -> None:
    one, two = (replace(HOOK, name=name, url=f"{receiver.url}/{name}") for name in ("one", "two"))
    runner = Dispatcher([one], store.outbox, store, clock=FakeClock(START))
    await runner.begin()
    runner.start()
    await store.create([an_alert("a")])
    runner.wake()
    while not receiver.taken:
        await asyncio.sleep(0.01)
    await runner.replace([two])
    await store.create([an_alert("b")])
    runner.wake()
    while len(receiver.taken) < 2:
        await asyncio.sleep(0.01)
    await runner.stop()
    assert [(request.path, request.json["alerts"][0]["id"]) for request in receiver.taken] == [
        ("/one", alert_id("a")),
        ("/two", alert_id("b")),
    ]


class AwayOutbox:
    """An outbox of a store that is away."""

    def __init__(self, inner: object) -> None:
        self._inner = inner

    async def set_incident(self, *arguments: object) -> None:
        raise StoreError("the cluster is away")

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


async def test_an_outage_of_the_store_itself_is_told_directly(store: SqliteStore, receiver: Receiver) -> None:
    target = replace(HOOK, url=receiver.url, health=True)
    outbox: object = AwayOutbox(store.outbox)
    runner = Dispatcher([target], outbox, store, clock=FakeClock(START))  # type: ignore[arg-type]
    await runner.begin()
    runner.start()
    runner.observe(HealthObservation("service", "nothing can be searched", "the cluster is away"))
    while not receiver.taken:
        await asyncio.sleep(0.01)
    await runner.stop()
    (request,) = receiver.taken
    assert (request.json["type"], request.json["title"]) == ("health", "[rule-runner] nothing can be searched")


async def test_a_drain_ends_although_a_target_hangs(store: SqliteStore, receiver: Receiver) -> None:
    receiver.reply = lambda request: Reply(-1 if "hangs" in request.path else 200)
    good = replace(HOOK, name="good", url=receiver.url)
    hangs = replace(HOOK, name="hangs", url=f"{receiver.url}/hangs", timeout=timedelta(seconds=60))
    runner = Dispatcher([good, hangs], store.outbox, store, clock=FakeClock(START))
    await runner.begin()
    await store.create([an_alert(number) for number in range(5)])
    draining = asyncio.create_task(runner.drain(600))
    while len(told(receiver)) < 5 or not any("hangs" in request.path for request in receiver.requests):
        await asyncio.sleep(0.01)
    skip(600)
    await draining
    assert told(receiver) == {alert_id(number): 1 for number in range(5)}
    assert (await store.outbox.backlog("hangs")).items == 5
