"""What only the store in memory is asked for; the rest is in the contract."""

from __future__ import annotations

from runner.store.memory import KEPT_RUNS, MemoryStore
from tests.store.alerts import Made, found_ids, run


async def test_two_stores_share_nothing() -> None:
    one, other = MemoryStore(), MemoryStore()
    await one.create([Made().alert("a")])
    await one.record(run(), "f")
    assert await found_ids(other) == []
    assert await other.read() == {}


async def test_the_last_runs_of_a_rule_are_kept() -> None:
    store = MemoryStore()
    for number in range(KEPT_RUNS + 5):
        await store.record(run(first=number, last=number + 1), "f")
    runs = await store.runs("rule-1")
    assert len(runs) == KEPT_RUNS
    assert [one.execution_id for one in runs[:2]] == [f"run-{KEPT_RUNS + 4}", f"run-{KEPT_RUNS + 3}"]
    assert len(await store.runs("rule-1", limit=3)) == 3
    assert await store.runs("unknown") == ()
