"""What only the store in memory is asked for; the rest is in the contract."""

from __future__ import annotations

from runner.store.memory import KEPT_RUNS, MemoryStore
from tests.store.alerts import Made, at, found_ids, run


async def test_two_stores_share_nothing() -> None:
    one, other = MemoryStore(), MemoryStore()
    await one.create([Made().alert("a")])
    await one.record(run(), "f")
    assert await found_ids(other) == []
    assert await other.read() == {}


async def test_the_last_runs_of_a_rule_are_kept() -> None:
    store = MemoryStore()
    for number in range(KEPT_RUNS + 5):
        await store.record(run(first=number, last=number + 1, complete=False), "f")
    runs = await store.unfinished(["rule-1", "unknown"], at(0))
    assert len(runs) == KEPT_RUNS
    assert [one.execution_id for one in runs[:2]] == [f"run-{KEPT_RUNS + 4}", f"run-{KEPT_RUNS + 3}"]
