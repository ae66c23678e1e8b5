"""What every store remembers of runs that left their window unsearched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import open_client
from runner.rule_run import RuleRun, RunCost
from runner.store.memory import MemoryStore
from runner.store.protocol import Stores
from runner.store.source import EventSource
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import Window
from tests.store.alerts import at
from tests.store.conftest import store_in


@dataclass(frozen=True, slots=True)
class Backend:
    """A store, and what makes all that was written visible to its readers."""

    store: Stores
    settle: Callable[[], Awaitable[None]]


async def _nothing() -> None:
    """What is written is visible at once."""


@pytest.fixture(params=["memory", "sqlite", pytest.param("elasticsearch", marks=pytest.mark.slow)])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    if request.param == "memory":
        memory = MemoryStore()
        yield Backend(Stores(memory, memory, memory, memory, memory), _nothing)
    elif request.param == "sqlite":
        sqlite = SqliteStore(tmp_path / "alerts.db")
        yield Backend(Stores(sqlite, sqlite, sqlite, sqlite, sqlite), _nothing)
        await sqlite.close()
    else:
        name = request.getfixturevalue("namespace")
        client = open_client(Connection(hosts=(request.getfixturevalue("elasticsearch_url"),)))
        yield Backend(store_in(client, name), partial(client.refresh, f"{name}-runs"))
        await client.close()


def failed(rule_id: str, minute: int, **changes: Any) -> RuleRun:
    window = Window(at(minute - 9), at(minute))
    facts: dict[str, Any] = {"complete": False, "took_ms": 3, "messages": ("no", "route")}
    return RuleRun(rule_id, rule_id.upper(), f"e{minute}", "failed", window, at(minute), **facts | changes)


async def test_unfinished_runs_come_newest_first_and_as_they_were(backend: Backend) -> None:
    runs = [
        failed("a", 10),
        failed("b", 11, capped=3, matches=5, created=2, duplicates=1),
        replace(failed("a", 15), status="succeeded", complete=True, messages=()),
        failed("a", 20),
        failed("c", 21),
    ]
    store = backend.store
    for run in runs:
        await store.ledger.record(run, "f")
    await backend.settle()
    assert list(await store.run_log.unfinished(["a", "b"], at(0))) == [runs[3], runs[1], runs[0]]
    assert list(await store.run_log.unfinished(["a"], at(10))) == [runs[3]]
    assert list(await store.run_log.unfinished([], at(0))) == []
    assert list(await store.run_log.unfinished(["z"], at(0))) == []


async def test_a_store_without_runs_has_none_unfinished(backend: Backend) -> None:
    assert list(await backend.store.run_log.unfinished(["a"], at(0) - timedelta(days=9))) == []


async def test_what_runs_took_is_summed_by_rule_over_all_sources(backend: Backend) -> None:
    store = backend.store
    assert await store.ledgers.costs(None) == {}
    other = store.of(EventSource("files", ("/a",), "here"))
    await store.ledger.record(replace(failed("a", 10), status="succeeded", complete=True, matches=2, took_ms=30), "f")
    await other.ledger.record(failed("a", 20, matches=3, suppressed=4, took_ms=50), "f")
    await store.ledger.record(failed("b", 5, took_ms=7), "f")
    await backend.settle()
    assert await store.ledgers.costs(None) == {"a": RunCost(2, 1, 5, 4, 80), "b": RunCost(1, 1, 0, 0, 7)}
    assert await store.ledgers.costs(at(20)) == {"a": RunCost(1, 1, 3, 4, 50)}
