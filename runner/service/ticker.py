"""`Ticker`: the pace of the service, from APScheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]

Job = Callable[[], Coroutine[Any, Any, None]]


class Ticker:
    """Calls each job at once and then at its pace, never twice at a time; missed calls are dropped.

    APScheduler goes by the machine's clock, and after that is set back by an hour would wait for an hour. So a task
    checks it by elapsed time, and calls a job whose next call is further away than twice its pace now.
    """

    def __init__(self, jobs: Mapping[Job, timedelta]) -> None:
        self._paces = {str(number): pace for number, pace in enumerate(jobs.values())}
        self.scheduler = AsyncIOScheduler(timezone="UTC")
        for number, (job, pace) in enumerate(jobs.items()):
            self.scheduler.add_job(
                job,
                "interval",
                id=str(number),
                seconds=pace.total_seconds(),
                next_run_time=datetime.now(UTC),
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )

    async def run(self, stopping: asyncio.Event) -> None:
        """Call the jobs until `stopping` is set, without waiting for calls that are under way then."""
        self.scheduler.start()
        looking = asyncio.create_task(self._keep_pace())
        try:
            await stopping.wait()
            self.scheduler.pause()
        finally:
            looking.cancel()

    def hurry(self) -> None:
        """Call every job now that is not under way."""
        for name in self._paces:
            if (job := self.scheduler.get_job(name)) is not None:
                job.modify(next_run_time=datetime.now(UTC))

    def close(self) -> None:
        """End the scheduler; a call that is still under way is cancelled."""
        self.scheduler.shutdown(wait=False)

    async def _keep_pace(self) -> None:
        while True:
            await asyncio.sleep(min(self._paces.values()).total_seconds())
            now = datetime.now(UTC)
            for name, pace in self._paces.items():
                job = self.scheduler.get_job(name)
                if job is not None and job.next_run_time - now > 2 * pace:
                    job.modify(next_run_time=now)
