"""A run that stops at a given call of its store and waits to be killed.

`python -m tests.scenarios.killed_run FOLDER CALL`, where CALL is `create`, `created`, `record` or `recorded`: before or
after the alerts are written, before or after the ledger is.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from runner.alerts.alert import Alert
from runner.clock import FakeClock
from runner.rule_run import RuleRun
from runner.store.protocol import WriteResult
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.scenarios.timeline import at
from tests.scenarios.world import SHIPPED_RULES, World


class StoppingStore(SqliteStore):
    """A store that says where it is and then waits for ever."""

    def __init__(self, path: Path, stop_at: str) -> None:
        super().__init__(path)
        self._stop_at = stop_at

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        await self._reached("create")
        made = await super().create(alerts)
        await self._reached("created")
        return made

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        await self._reached("record")
        await super().record(run, fingerprint)
        await self._reached("recorded")

    async def _reached(self, place: str) -> None:
        if place == self._stop_at:
            sys.stdout.write(place + "\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


async def run(folder: Path, stop_at: str) -> None:
    store = StoppingStore(folder / "state.db", stop_at)
    await World(folder, store, FakeClock(at("10:05:00")), rule_paths=(SHIPPED_RULES,)).tick()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2]))
