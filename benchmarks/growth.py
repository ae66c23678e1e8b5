"""What grows while the service runs: `python benchmarks/growth.py`.

350 rules run every 5 minutes over a folder of logs, one of them with a broken line. Each 5 minutes a log is begun, and
one that is half an hour old is removed, as rotation does. The real `Service`, files, SQLite file and log run by a
simulated clock that skips the waits. What is there at the beginning of the last hour and at its end is compared, and
drawn out in a straight line to 30 days; where the program itself sets an end, that is shown.

Exits with 1 if a run failed, or if what has no such end grew: objects in memory, files of the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import orjson
from day import EVERY, FIRST_TICK, START, DayClock, write_rules

from runner.alerts.build import AlertContext
from runner.garbage_collection import HeapFreezer
from runner.rule_run import RuleRun
from runner.schedule.schedule import Schedule
from runner.search.files.file_search import FileSearch
from runner.service.execution import Execution
from runner.service.rules_in_use import ActiveRules, RuleSources
from runner.service.service import Pace, Service, ServiceObserver
from runner.settings.settings import load_settings
from runner.store.memory import KEPT_RUNS
from runner.store.sqlite.retention import Retention
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.telemetry.logs import configure_logging, log_run

MEASURED = timedelta(hours=1)
"""What is compared; the time before is for caches to fill, and for the first logs to be removed."""
KEPT_LOGS = timedelta(minutes=30)
MONTH = timedelta(days=30)
MOST_OBJECTS_PER_HOUR = 2_000
"""What caches with an end still take up in the first hours. An object kept for each run would be 4,200 more."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What there is at a moment of the simulation."""

    objects: int
    """Those that Python's collector knows."""
    memory: int
    """Resident bytes of the process."""
    state: int
    """Bytes of the SQLite file, without its log."""
    runs: int
    run_bytes: int
    """Those of the runs, with their index; likewise of alerts."""
    alerts: int
    alert_bytes: int
    log_lines: int
    log_bytes: int
    files: int
    """Event files in the folder."""


class Reporter(ServiceObserver):
    """Logs as the service does, and remembers what failed."""

    def __init__(self) -> None:
        self.heap, self.runs = HeapFreezer(), 0
        self.failed: list[str] = []

    def on_run(self, run: RuleRun) -> None:
        log_run(run)
        self.runs += 1
        if run.status == "failed":
            self.failed.append(f"{run.name}: {'; '.join(run.messages)}")

    def on_rules(self, active: ActiveRules) -> None:
        self.heap.rules_changed()

    def on_tick(self, trouble: Exception | None) -> None:
        self.heap.tick_done()

    def on_trouble(self, error: Exception) -> None:
        self.failed.append(str(error))


class Logs:
    """The folder of logs: one with a broken line that is always written to, and others that come and go.

    The events are made by another process, since what makes them grows, too.
    """

    def __init__(self, folder: Path, sample: Path) -> None:
        self._folder, self._steady = folder, folder / "steady.ndjson"
        self._events = sample.open("rb")
        self._next = self._events.readline()
        self._steady.write_bytes(b'{"broken\n')

    def write_until(self, now: datetime) -> None:
        lines: list[bytes] = []
        while self._next and datetime.fromisoformat(orjson.loads(self._next)["@timestamp"]) <= now:
            lines.append(self._next)
            self._next = self._events.readline()
        with self._steady.open("ab") as file:
            file.writelines(lines[:1])
        (self._folder / f"events-{now:%d-%H%M}.ndjson").write_bytes(b"".join(lines))
        for path in self._folder.iterdir():
            if path == self._steady or path.stat().st_mtime > now.timestamp():
                os.utime(path, (now.timestamp(), now.timestamp()))
            elif path.stat().st_mtime < (now - KEPT_LOGS).timestamp():
                path.unlink()

    def close(self) -> None:
        self._events.close()


def write_events(path: Path, end: datetime, per_minute: int) -> None:
    """Events from the start to `end`, in a file."""
    span = end - START
    count = max(1_000, round(span / timedelta(minutes=1) * per_minute))
    times = ["--end", end.isoformat(), "--span", f"{round(span.total_seconds())}s"]
    numbers = ["--events", str(count), "--attacks", str(max(2, count // 600))]
    command = [sys.executable, "-m", "runner", "sample", "--out", str(path), *times, *numbers]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def main() -> None:
    options = _arguments()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rule-runner-growth-") as name:
        folder = Path(name)
        (folder / "events").mkdir()
        rules = write_rules(folder / "rules", options.rules)
        end = START + timedelta(hours=options.hours)
        write_events(folder / "sample.ndjson", end, options.events_per_minute)
        before, after, reporter = asyncio.run(_service(folder, end))
    took = time.perf_counter() - started
    print(f"{rules} rules, {options.hours:g} simulated hours, {reporter.runs:,} runs, took {took:.0f} s")
    figures = _print(before, after, rules)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    complaints = [*reporter.failed[:5], *_complaints(before, after)]
    for text in complaints:
        print(f"WRONG: {text}", file=sys.stderr)
    sys.exit(1 if complaints else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=350, help="how many (default: 350)")
    parser.add_argument("--hours", type=float, default=12.0, help="how long, at least 1 (default: 12)")
    parser.add_argument("--events-per-minute", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--smoke", action="store_true", help="20 rules for two hours: shows that everything works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, too")
    options = parser.parse_args()
    if options.smoke:
        options.rules, options.hours = 20, 2.0
    return options


async def _service(folder: Path, end: datetime) -> tuple[Sizes, Sizes, Reporter]:
    """The sizes before the last hour and at the end."""
    clock, reporter = DayClock(START + FIRST_TICK), Reporter()
    logs = Logs(folder / "events", folder / "sample.ndjson")
    settings = load_settings({}, environ={"RUNNER_LOG_FORMAT": "json"})
    retention = Retention(settings.keep_alerts, settings.keep_runs, clock.now)
    store, files = SqliteStore(folder / "state.db", retention=retention), FileSearch([folder / "events"], live=True)
    execution = Execution(files, store, store, clock=clock.now, context=AlertContext(now=START, execution_id=""))
    service = Service(
        RuleSources((folder / "rules",)),
        execution,
        clock=clock,
        schedule=Schedule(together=True),
        observer=reporter,
        pace=Pace(EVERY),
    )
    before: Sizes | None = None
    with (folder / "log.json").open("w") as log:
        configure_logging(settings, stream=log)
        due = START + FIRST_TICK
        while due <= end + FIRST_TICK:
            with clock.stopped(due):
                logs.write_until(due)
            await service.tick()
            if before is None and due >= end - MEASURED:
                before = await _sizes(folder, store, log.flush)
            due += EVERY
        after = await _sizes(folder, store, log.flush)
    logs.close()
    await files.close()
    await store.close()
    assert before is not None
    return before, after, reporter


async def _sizes(folder: Path, store: SqliteStore, flush: Callable[[], None]) -> Sizes:
    flush()
    gc.collect()
    held = await store.contents()
    with (folder / "log.json").open("rb") as log:
        lines = sum(1 for _ in log)
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return Sizes(
        objects=len(gc.get_objects()),
        memory=pages * os.sysconf("SC_PAGE_SIZE"),
        state=held.size,
        runs=held.runs,
        run_bytes=_bytes_of(folder / "state.db", "runs"),
        alerts=held.alerts,
        alert_bytes=_bytes_of(folder / "state.db", "alerts"),
        log_lines=lines,
        log_bytes=(folder / "log.json").stat().st_size,
        files=len(list((folder / "events").iterdir())),
    )


def _bytes_of(path: Path, table: str) -> int:
    """What a table of the file and its indices take up."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        query = "SELECT sum(pgsize) FROM dbstat WHERE name LIKE ? || '%' OR name LIKE 'sqlite_autoindex_' || ? || '%'"
        return int(connection.execute(query, (table, table)).fetchone()[0] or 0)


def _print(before: Sizes, after: Sizes, rules: int) -> dict[str, dict[str, float]]:
    """Print, and return, each figure: before and after the last hour, the difference, and after 30 days."""
    most_runs = rules * KEPT_RUNS
    ends = {"runs": most_runs, "run_bytes": round(after.run_bytes / after.runs * most_runs)}
    figures: dict[str, dict[str, float]] = {}
    print(f"{'':12}{'before':>16}{'after':>16}{'in an hour':>16}{'after 30 days':>18}")
    for name in Sizes.__slots__:
        first, last = getattr(before, name), getattr(after, name)
        hourly = last - first
        month = last + hourly * (MONTH / timedelta(hours=1))
        note = "" if name not in ends else f"  at most {ends[name]:,}"
        print(f"{name:12}{first:>16,}{last:>16,}{hourly:>16,}{min(month, ends.get(name, month)):>18,.0f}{note}")
        figures[name] = {"first": first, "last": last, "hourly": hourly, "month": min(month, ends.get(name, month))}
    return figures


def _complaints(before: Sizes, after: Sizes) -> Sequence[str]:
    found = []
    if after.objects - before.objects > MOST_OBJECTS_PER_HOUR:
        found.append(f"{after.objects - before.objects:,} more objects in memory after an hour")
    if after.files > KEPT_LOGS / EVERY + 3:
        found.append(f"{after.files} event files are left")
    return found


if __name__ == "__main__":
    main()
