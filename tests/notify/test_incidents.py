"""What is wrong with the runner is told once when it begins, and once when it is over; also over restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.clock import FakeClock
from runner.errors import StoreError
from runner.notify.health_notices import HealthNotices
from runner.notify.incidents import HealthObservation, IncidentBook
from runner.rule_run import RuleRun
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import Window
from tests.store.alerts import START, at


class Desk:
    """A book over a file, with what a target is told."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clock = FakeClock(START)
        self.seen: list[HealthObservation] = []
        self.restart()

    def restart(self) -> None:
        self.book = IncidentBook(self.store.outbox, lambda: ["soc"], self.clock.now)
        self.notices = HealthNotices(self.seen.append)

    async def told(self) -> list[str]:
        """The titles of the notices since the last call."""
        for seen in self.seen:
            await self.book.record(seen)
            self.clock.advance(timedelta(seconds=1))
        self.seen.clear()
        items = await self.store.outbox.waiting("soc", 100)
        for item in items:
            await self.store._run(lambda c, id_=item.id: c.execute("DELETE FROM outbox_items WHERE id = ?", (id_,)))  # type: ignore[misc]
        return [item.summary["rule"] for item in sorted(items, key=lambda item: item.added)]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = SqliteStore(tmp_path / "state.db")
    await store.outbox.open("soc", START)
    yield Desk(store)
    await store.close()


def a_run(status: Any = "failed", rule_id: str = "r1") -> RuleRun:
    window = Window(at(0), at(5))
    return RuleRun(rule_id, "Netcat", "x", status, window, started=at(5), shown=window, messages=("no such field",))


async def test_a_rule_that_fails_three_times_in_a_row_is_told_once_and_its_recovery_once(desk: Desk) -> None:
    for status in ("failed", "failed", "succeeded", "failed", "failed"):
        desk.notices.run(a_run(status))
    assert await desk.told() == []
    desk.notices.run(a_run())
    desk.notices.run(a_run())
    assert await desk.told() == ["rule Netcat fails"]
    desk.notices.run(a_run("warning"))
    desk.notices.run(a_run("succeeded"))
    assert await desk.told() == ["rule Netcat fails: over"]


async def test_failures_count_over_restarts_as_cron_starts_a_process_for_each_run(desk: Desk) -> None:
    for _ in range(3):
        desk.notices.run(a_run())
        told = await desk.told()
        desk.restart()
    assert told == ["rule Netcat fails"]
    desk.notices.run(a_run("succeeded"))
    assert await desk.told() == ["rule Netcat fails: over"]


async def test_an_outage_and_blindness(desk: Desk) -> None:
    for _ in range(2):
        desk.notices.tick(StoreError("away"))
    desk.notices.tick(None)
    assert await desk.told() == []
    for _ in range(5):
        desk.notices.tick(StoreError("away"))
        desk.notices.sight(False, "the newest event is of noon")
    assert await desk.told() == ["no events are seen", "nothing can be searched"]
    desk.restart()
    desk.notices.tick(None)
    desk.notices.sight(True, "seen")
    assert await desk.told() == ["nothing can be searched: over", "no events are seen: over"]


async def test_gaps_that_were_given_up_are_told_again_when_they_have_doubled(desk: Desk) -> None:
    told = []
    for hours in (0, 1, 1, 2, 3, 6, 7):
        desk.notices.given_up(1 if hours else 0, timedelta(hours=hours))
        told.append(await desk.told())
    assert told == [[], ["gaps are given up"], [], [], ["gaps are given up"], [], ["gaps are given up"]]
    desk.notices.given_up(0, timedelta(0))
    assert await desk.told() == ["gaps are given up: over"]
