"""A target and its outbox in an SQLite file: retries, faults of target and disk, crashes at any point."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from runner.clock import FakeClock
from runner.errors import StoreError
from runner.notify.courier import Courier
from runner.notify.sinks.delivery import DELIVERED, Delivery
from runner.notify.target import NotificationTarget, TargetFilter
from runner.store.outbox import OutboxMessage, TargetRecord
from runner.store.protocol import StoredAlert
from runner.store.sqlite.outbox import SqliteOutbox
from runner.store.sqlite.retention import Retention
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.notify.owing import HOOK, an_alert
from tests.store.alerts import START, alert_id

FAILS = Delivery(False, "no connection")


class Killed(BaseException):
    """The process is gone."""


class ScriptedSink:
    """Takes messages, or fails as it is told; `before` is what happens to a try, `after` what after it was taken."""

    def __init__(self) -> None:
        self.taken: list[OutboxMessage] = []
        self.tries = 0
        self.outcome = DELIVERED
        self.kill_after = False

    async def send(self, message: OutboxMessage, alerts: Mapping[str, StoredAlert], now: datetime) -> Delivery:
        self.tries += 1
        await asyncio.sleep(0)
        if self.outcome.ok:
            self.taken.append(message)
        if self.kill_after:
            raise Killed
        return self.outcome

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def ids(self) -> Counter[str]:
        """How often each alert was taken."""
        return Counter(item.id for message in self.taken for item in message.items)


class Desk:
    """One target over one file."""

    def __init__(self, path: Path, target: NotificationTarget = HOOK) -> None:
        self.path, self.target = path, target
        self.clock = FakeClock(START)
        self.sink = ScriptedSink()
        self.open()

    def open(self) -> None:
        self.store = SqliteStore(self.path)
        self.courier = self.made(self.store.outbox)

    def made(self, outbox: SqliteOutbox) -> Courier:
        return Courier(self.target, self.sink, outbox, self.store, now=self.clock.now, cleaned=str, random=Random(1))

    async def create(self, *names: object) -> None:
        await self.store.create([an_alert(name) for name in names])

    async def pass_time(self, **by: float) -> datetime | None:
        self.clock.advance(timedelta(**by))
        return await self.courier.step()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "state.db")
    await desk.courier.step()
    yield desk
    await desk.store.close()


async def test_what_was_there_before_the_target_is_not_sent(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.create([an_alert("old")])
    await store.close()
    desk = Desk(tmp_path / "state.db")
    await desk.courier.step()
    await desk.create("new")
    await desk.courier.step()
    assert desk.sink.ids == {alert_id("new"): 1}
    await desk.store.close()


async def test_a_failing_target_is_tried_later_each_time_and_gets_all_in_the_end(desk: Desk) -> None:
    desk.sink.outcome = FAILS
    await desk.create(*range(20))
    await desk.courier.step()
    first = desk.sink.tries
    assert first <= 4  # not one try for each alert
    assert desk.courier.view.backlog.items == 20
    pauses = []
    for _ in range(12):
        at = await desk.courier.step()
        assert at is not None
        pauses.append((at - desk.clock.now()).total_seconds())
        desk.clock.advance(at - desk.clock.now())
    assert pauses == sorted(pauses) or max(pauses) <= 300
    assert 200 < pauses[-1] <= 300
    assert desk.sink.tries <= first + 12
    desk.sink.outcome = DELIVERED
    await desk.pass_time(minutes=5)
    assert desk.sink.ids == {alert_id(number): 1 for number in range(20)}
    assert desk.courier.view.record.failures == 0


async def test_what_the_target_asks_for_is_waited_also_after_a_restart(desk: Desk) -> None:
    desk.sink.outcome = Delivery(False, "answered 429", retry_after=timedelta(minutes=30))
    await desk.create("a")
    assert await desk.courier.step() == START + timedelta(minutes=30)
    await desk.store.close()
    desk.open()
    tries = desk.sink.tries
    await desk.pass_time(minutes=29)
    assert desk.sink.tries == tries
    desk.sink.outcome = DELIVERED
    await desk.pass_time(minutes=1)
    assert desk.sink.ids == {alert_id("a"): 1}
    await desk.pass_time(minutes=1)


async def test_a_message_that_is_refused_holds_up_no_other_and_is_given_up_in_the_end(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    bad = alert_id("bad")

    async def send(message: OutboxMessage, alerts: Mapping[str, StoredAlert], now: datetime) -> Delivery:
        desk.sink.tries += 1
        if message.items[0].id == bad:
            return Delivery(False, "answered 413", is_refused=True)
        desk.sink.taken.append(message)
        return DELIVERED

    desk.sink.send = send  # type: ignore[method-assign]
    await desk.create("bad", "good", "fine")
    await desk.courier.step()
    assert desk.sink.ids == {alert_id("good"): 1, alert_id("fine"): 1}
    for _ in range(24 * 8):
        await desk.pass_time(hours=1)
    view = desk.courier.view
    assert (view.record.given_up, view.backlog.items) == (1, 0)
    (said,) = [text for text in caplog.messages if "given up" in text]
    assert bad in said and "answered 413" in said and "target soc" in said


async def test_nothing_is_given_up_before_it_was_tried(desk: Desk) -> None:
    await desk.create("a")
    desk.sink.outcome = FAILS
    await desk.courier.step()
    desk.sink.outcome = DELIVERED
    await desk.pass_time(days=30)
    assert desk.sink.ids == {alert_id("a"): 1}


async def test_only_what_the_filter_admits_is_sent(tmp_path: Path) -> None:
    wanted = TargetFilter("high", 40, rules=("net*",), tags=("os: linux",), hosts=("WEB-*",))
    desk = Desk(tmp_path / "state.db", replace(HOOK, filter=wanted))
    await desk.courier.step()
    manual = {"kibana.alert.rule.execution.type": "manual"}
    others: dict[str, dict[str, Any]] = {
        "low": {"kibana.alert.severity": "low"},
        "risk": {"kibana.alert.risk_score": 21},
        "rule": {"kibana.alert.rule.name": "Other"},
        "tags": {"kibana.alert.rule.tags": ["OS: Windows"]},
        "host": {"host": {"name": "db-01"}},
        "block": {"kibana.alert.building_block_type": "default"},
        "replay": manual,
    }
    await desk.store.create([an_alert("yes"), *(an_alert(name, **fields) for name, fields in others.items())])
    await desk.courier.step()
    assert desk.sink.ids == {alert_id("yes"): 1}
    await desk.store.close()


async def test_a_full_disk_after_a_message_was_taken_sends_nothing_again(desk: Desk) -> None:
    await desk.create(*range(3))
    outbox = FailingOutbox(desk.store)
    desk.courier = desk.made(outbox)
    outbox.fails = {"note"}
    with pytest.raises(StoreError):
        await desk.courier.step()
    with pytest.raises(StoreError):
        await desk.courier.step()
    outbox.fails = set()
    desk.courier.forget()
    await desk.courier.step()
    await desk.courier.step()
    assert desk.sink.ids == {alert_id(number): 1 for number in range(3)}
    assert desk.courier.view.backlog.items == 0


async def test_removed_documents_are_told_by_what_was_kept_of_them_and_numbers_go_on(desk: Desk) -> None:
    """Retention removes documents, and SQLite numbers the next row as if the newest were never there."""
    desk.sink.outcome = FAILS
    await desk.create("a", "b")
    await desk.courier.step()
    kept = SqliteStore(desk.path, retention=Retention(alerts=timedelta(days=1)))
    assert (await kept.prune(START + timedelta(days=400))).alerts == 2
    await kept.close()
    await desk.create("c")
    desk.sink.outcome = DELIVERED
    await desk.pass_time(minutes=5)
    await desk.pass_time(minutes=5)
    assert desk.sink.ids == {alert_id(name): 1 for name in "abc"}
    summaries = {item.id: item.summary for message in desk.sink.taken for item in message.items}
    assert summaries[alert_id("a")]["rule"] == "Netcat"


class FailingOutbox(SqliteOutbox):
    """An outbox whose calls can fail, as on a full disk."""

    def __init__(self, store: SqliteStore) -> None:
        super().__init__(store._run)
        self.fails: set[str] = set()

    def _check(self, name: str) -> None:
        if name in self.fails:
            raise StoreError("state.db cannot grow: the disk is full")

    async def make(self, target: str, messages: object, record: TargetRecord) -> None:
        self._check("make")
        await super().make(target, messages, record)  # type: ignore[arg-type]

    async def note(self, target: str, done: object, kept: object, record: TargetRecord) -> None:
        self._check("note")
        await super().note(target, done, kept, record)  # type: ignore[arg-type]


class OutboxMachine(RuleBasedStateMachine):
    """Alerts are created, sent, refused; the process dies anywhere, also between a try and its note."""

    @initialize(
        wanted=st.sampled_from(
            [HOOK, replace(HOOK, digest=timedelta(minutes=2)), replace(HOOK, group_by=("host.name",), most_items=2)]
        )
    )
    def begin(self, wanted: NotificationTarget) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.desk = Desk(Path(self.folder.name) / "state.db", wanted)
        self.created: set[str] = set()
        self.may_repeat: set[str] = set()
        self.do(self.desk.courier.step())

    def do(self, awaitable: object) -> None:
        self.loop.run_until_complete(awaitable)  # type: ignore[arg-type]

    @rule(count=st.integers(1, 6))
    def create(self, count: int) -> None:
        names = [len(self.created) + number for number in range(count)]
        self.created |= {alert_id(name) for name in names}
        self.do(self.desk.create(*names))

    @rule(outcome=st.sampled_from([DELIVERED, DELIVERED, FAILS, Delivery(False, "bad", is_refused=True)]))
    def step(self, outcome: Delivery) -> None:
        self.desk.sink.outcome = outcome
        self.do(self.desk.courier.step())
        self.desk.sink.outcome = DELIVERED

    @rule(seconds=st.sampled_from([1, 30, 400, 4_000]))
    def wait(self, seconds: int) -> None:
        self.desk.clock.advance(timedelta(seconds=seconds))

    @rule()
    def die_after_a_try(self) -> None:
        """Everything that was taken and not noted is sent again."""
        before = len(self.desk.sink.taken)
        self.desk.sink.kill_after = True
        with suppress(Killed):
            self.do(self.desk.courier.step())
        self.desk.sink.kill_after = False
        self.end_tasks()
        taken = self.desk.sink.taken[before:]
        self.may_repeat |= {item.id for message in taken for item in message.items}
        self.restart()

    @rule()
    def restart(self) -> None:
        """What could not be noted until then, since the disk was full, is sent again."""
        self.may_repeat |= {item.id for message, _ in self.desk.courier._settled for item in message.items}
        self.do(self.desk.store.close())
        self.desk.open()

    @rule(name=st.sampled_from(["make", "note"]))
    def fill_the_disk(self, name: str) -> None:
        outbox = FailingOutbox(self.desk.store)
        courier = self.desk.courier
        courier._outbox, before = outbox, courier._outbox
        outbox.fails = {name}
        with suppress(StoreError):
            self.do(courier.step())
        courier._outbox = before

    def end_tasks(self) -> None:
        async def ended() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.do(ended())

    @invariant()
    def nothing_is_repeated_but_for_a_crash(self) -> None:
        if hasattr(self, "desk"):
            again = {id_ for id_, count in self.desk.sink.ids.items() if count > 1}
            assert again <= self.may_repeat

    def teardown(self) -> None:
        if not hasattr(self, "desk"):
            return
        for _ in range(30):
            self.desk.clock.advance(timedelta(minutes=70))
            self.do(self.desk.courier.step())
        assert self.desk.sink.ids.keys() == self.created
        messages: dict[str, set[str]] = {}
        for message in self.desk.sink.taken:
            for item in message.items:
                messages.setdefault(item.id, set()).add(message.id)
        assert all(len(ids) == 1 for ids in messages.values()), "an alert has one id at each try"
        self.do(self.desk.store.close())
        self.loop.close()
        self.folder.cleanup()


OutboxMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=20)
TestOutbox = pytest.mark.slow(OutboxMachine.TestCase)
