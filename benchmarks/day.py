"""A simulated day of the service: `python benchmarks/day.py`.

1,000 rules run every 5 minutes over a folder to which events are written, with the real `Service`, files and SQLite
file, and a simulated clock. The clock advances by the time that the service's work takes on this machine, skips the
waits for the next tick, and stops while the generator writes its events. Lateness is thus that of a real day, and the
simulation takes as long as the work.

Exits with 1 if a window is missing or was searched twice, or if a planted attack was not found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from memory import peak_kilobytes, reset_peak

from runner.alerts.build import AlertContext
from runner.errors import Problem
from runner.garbage_collection import HeapFreezer
from runner.rule_run import RuleRun
from runner.rules.load import load_rules
from runner.rules.rule import Rule
from runner.sample_data.generate import Sample, generate
from runner.schedule.rule_status import standing_of
from runner.schedule.schedule import Schedule
from runner.search.compiled_rule import CompiledRule, compile_rules
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest, SearchResult
from runner.service.execution import Execution
from runner.service.rules_in_use import ActiveRules, RuleSources
from runner.service.service import Pace, Service, ServiceObserver
from runner.store.protocol import AlertFilter, RuleState
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import nanoseconds

ROOT = Path(__file__).resolve().parent.parent
SEED_RULES = ROOT / "rules" / "linux"
CORPUS = ROOT.parent / "shared" / "corpus" / "detection-rules"
START = datetime(2026, 3, 2, tzinfo=UTC)
EVERY, LOOK_BACK, TICK = timedelta(minutes=5), timedelta(minutes=9), timedelta(seconds=10)
FIRST_TICK = timedelta(seconds=3, milliseconds=700)
"""After midnight, so that ticks do not fall on the rules' start times by luck."""


class DayClock:
    """The clock of the simulated day: it runs in real time except while stopped."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._resumed = time.perf_counter()

    def now(self) -> datetime:
        return self._now + timedelta(seconds=time.perf_counter() - self._resumed)

    def elapsed(self) -> timedelta:
        return self.now() - START

    @contextmanager
    def stopped(self, at_least: datetime) -> Iterator[datetime]:
        """Advance to `at_least` if that is later, and stop the clock in the context."""
        self._now = max(self.now(), at_least)
        try:
            yield self._now
        finally:
            self._resumed = time.perf_counter()


class Writer:
    """Writes the events of the day at their times, a file per hour with the simulated modification time."""

    def __init__(self, folder: Path, sample: Sample) -> None:
        self._folder = folder
        self._events = sample.events
        self._next = next(self._events, None)
        self.seconds = 0.0
        """Processor time of the writing."""
        self.written = 0

    def write_until(self, now: datetime) -> None:
        started = time.process_time()
        lines: list[bytes] = []
        limit = nanoseconds(now)
        while self._next is not None and self._next.at <= limit:
            lines.append(orjson.dumps(self._next.document, option=orjson.OPT_APPEND_NEWLINE))
            self._next = next(self._events, None)
        if lines:
            path = self._folder / f"events-{now:%Y-%m-%dT%H}.ndjson"
            with path.open("ab") as file:
                file.writelines(lines)
            os.utime(path, (now.timestamp(), now.timestamp()))
            self.written += len(lines)
        self.seconds += time.process_time() - started


@dataclass(slots=True)
class Measured:
    """The measurements of the day."""

    late_starts: list[float] = field(default_factory=list)
    """Seconds from each window's due time to the start of its search."""
    late_ends: list[float] = field(default_factory=list)
    """The same to the end of its run, with alerts and ledger written."""
    windows: Counter[tuple[str, datetime]] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    idle_ticks: int = 0
    idle_seconds: float = 0.0
    """Processor time of ticks with nothing due."""
    search_seconds: float = 0.0
    """Processor time of the passes over the files."""
    passes: int = 0


class Observer(ServiceObserver):
    """Counts what the service does."""

    def __init__(self, clock: DayClock, measured: Measured) -> None:
        self._clock, self._measured, self._heap = clock, measured, HeapFreezer()

    def on_run(self, run: RuleRun) -> None:
        self._measured.windows[(run.rule_id, run.window.end)] += 1
        self._measured.late_ends.append((self._clock.now() - run.window.end).total_seconds())
        if run.status == "failed":
            self._measured.failed.append(f"{run.name}, {run.window}: {'; '.join(run.messages)}")

    def on_rules(self, active: ActiveRules) -> None:
        self._heap.rules_changed()

    def on_tick(self, trouble: Exception | None) -> None:
        self._heap.tick_done()

    def on_trouble(self, error: Exception) -> None:
        self._measured.troubles.append(str(error))


class TimedSearch:
    """The search, with a record of each window's start and of the time of all passes."""

    def __init__(self, search: FileSearch, clock: DayClock, measured: Measured) -> None:
        self._search, self._clock, self._measured = search, clock, measured

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        return await self._search.prepare(rules)

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        now = self._clock.now()
        self._measured.late_starts.extend((now - request.window.end).total_seconds() for request in requests)
        self._measured.passes += 1
        started = time.process_time()
        async for result in self._search.run(requests):
            self._measured.search_seconds += time.process_time() - started
            yield result
            started = time.process_time()

    async def close(self) -> None:
        await self._search.close()


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="rule-runner-day-") as name:
        folder = Path(name)
        rules = write_rules(folder / "rules", options.rules)
        (folder / "events").mkdir()
        _say(f"{rules} rules; {options.hours:g} hours, {options.events_per_minute} events a minute")
        report, complaints = asyncio.run(_day(folder, rules, options))
    for label, value in report.items():
        print(f"{label:66} {value:>12}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    for complaint in complaints:
        print(f"WRONG: {complaint}", file=sys.stderr)
    sys.exit(1 if complaints else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=1_000, help="how many (default: 1,000)")
    parser.add_argument("--hours", type=float, default=24.0, help="of the day (default: 24)")
    parser.add_argument("--events-per-minute", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--smoke", action="store_true", help="half an hour with 100 rules: shows that everything works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, too")
    options = parser.parse_args()
    if options.smoke:
        options.rules, options.hours = 100, 0.5
    return options


def write_rules(folder: Path, count: int) -> int:
    """Write `count` rules, a file each: the shipped ones, those of a checkout of detection-rules beside the project,
    and copies of them under new ids."""
    folder.mkdir()
    sources = [SEED_RULES, *([CORPUS] if CORPUS.is_dir() else [])]
    search = FileSearch([])
    rules, _ = compile_rules(rule for rule in load_rules(sources).rules if rule.language == "eql")
    problems = asyncio.run(search.prepare(rules))
    bad = {problem.rule_id for problem in problems if problem.severity == "error"}
    good = [one.rule for one in rules if one.rule.rule_id not in bad]
    for number in range(count):
        rule, copy = good[number % len(good)], number // len(good)
        text = rule.path.read_text(encoding="utf-8")
        if copy:
            text = _set(text, "rule_id", f"{rule.rule_id}-{copy}")
            text = _set(text, "name", f"{rule.name} ({copy})".replace('"', "'"))
        text = _set(_set(text, "interval", "5m"), "from", "now-9m")
        (folder / f"{number:04}.toml").write_text(text, encoding="utf-8")
    return count


def _set(text: str, key: str, value: str) -> str:
    """The rule file with another value of a key of `[rule]`, which is added if missing."""
    head, table, rest = text.partition("[rule]\n")
    line = f"{key} = {json.dumps(value)}"
    changed, done = re.subn(rf"(?m)^{key} *= *(\"[^\"\n]*\"|'[^'\n]*')$", lambda _: line, rest, count=1)
    return head + table + (changed if done else f"{line}\n{rest}")


async def _day(folder: Path, rules: int, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    span = timedelta(hours=options.hours)
    end = START + span
    count = max(1_000, round(span / timedelta(minutes=1) * options.events_per_minute))
    sample = generate(events=count, attacks=max(2, count // 600), seed=1, end=end - timedelta(minutes=1), span=span)
    clock, measured = DayClock(START + FIRST_TICK), Measured()
    writer, store = Writer(folder / "events", sample), SqliteStore(folder / "state.db")
    files = FileSearch([folder / "events"], live=True)
    context = AlertContext(now=START, execution_id="")

    service = Service(
        RuleSources((folder / "rules",)),
        Execution(TimedSearch(files, clock, measured), store, store, clock=clock.now, context=context),
        clock=clock,
        schedule=Schedule(together=True),
        observer=Observer(clock, measured),
        pace=Pace(TICK),
    )
    commit = bare_commit_seconds(folder)
    with clock.stopped(START + FIRST_TICK):
        await service.tick()  # loads and compiles the rules, and runs the first window of each
    measured.passes, measured.search_seconds = 0, 0.0
    started, cpu, written = time.perf_counter(), time.process_time(), writer.seconds
    reset_peak()
    await _ticks(service, clock, writer, measured, end=end)
    took = time.perf_counter() - started
    cpu = time.process_time() - cpu - (writer.seconds - written)
    states = await store.read()
    size = (folder / "state.db").stat().st_size
    alerts = {rule.rule_id: 0 for rule in service.active.rules}
    async for alert in store.find(AlertFilter()):
        alerts[str(alert.document["kibana.alert.rule.rule_id"])] += 1
    await files.close()
    await store.close()
    complaints = [*measured.troubles, *measured.failed[:5]]
    unaccounted = _accounts(service.active.rules, states, measured, end=end)
    complaints += unaccounted[:10]
    planted = Counter(str(item.rule.value) for item in sample.truth if item.kind == "attack")
    complaints += [f"{id_}: {alerts[id_]} alerts, planted were {n}" for id_, n in planted.items() if alerts[id_] != n]
    runs, passes, idle = len(measured.late_ends), max(1, measured.passes), max(1, measured.idle_ticks)
    rest = cpu - measured.search_seconds - measured.idle_seconds
    report = {
        "rules": len(service.active.rules),
        "simulated hours": options.hours,
        "events": writer.written,
        "windows searched": runs,
        "windows missing or searched twice": len(unaccounted),
        "runs that failed": len(measured.failed),
        "alerts": sum(alerts.values()),
        "planted attacks found": f"{sum(min(alerts[id_], n) for id_, n in planted.items())} of {sum(planted.values())}",
        "start lateness, median (s)": _share(measured.late_starts, 0.5),
        "start lateness, p99 (s)": _share(measured.late_starts, 0.99),
        "start lateness, longest (s)": _share(measured.late_starts, 1.0),
        "end lateness, p99 (s)": _share(measured.late_ends, 0.99),
        "processor time, share of one core": f"{cpu / span.total_seconds():.2%}",
        "peak memory (MB)": round(peak_kilobytes() / 1024),
        "state file (MB)": round(size / 1e6, 1),
        "the day took (s)": round(took, 1),
        "processor time of the day (s)": round(cpu, 1),
        "of it passes over the files": f"{measured.search_seconds / cpu:.0%}",
        "of it ticks with nothing due": f"{measured.idle_seconds / cpu:.0%}",
        "of it everything else: alerts, ledger, scheduling": f"{rest / cpu:.0%}",
        "one pass over the files for all rules (ms, processor)": round(measured.search_seconds / passes * 1e3, 1),
        "one tick with nothing due (ms, processor)": round(measured.idle_seconds / idle * 1e3, 2),
        "one window, all but its pass (ms, processor)": round(rest / runs * 1e3, 3),
        "one bare commit of SQLite (ms, processor)": round(commit * 1e3, 3),
        "one window, all but its pass, in bare commits": round(rest / runs / commit, 1),
    }
    return report, complaints


async def _ticks(service: Service, clock: DayClock, writer: Writer, measured: Measured, *, end: datetime) -> None:
    """Every tick of the day as by the scheduler: every 10 s, but none while another is running."""
    due = START + FIRST_TICK + TICK
    while True:
        with clock.stopped(due) as now:
            if now > end + FIRST_TICK + TICK:
                return
            writer.write_until(now)
            if len(measured.windows) and not now.minute and now.second < 10 and sys.stderr.isatty():
                _say(f"{now:%H:%M}")
        before, started = len(measured.late_ends), time.process_time()
        await service.tick()
        if len(measured.late_ends) == before:
            measured.idle_ticks += 1
            measured.idle_seconds += time.process_time() - started
        due += TICK * (1 + max(0, (clock.now() - due) // TICK))


def _accounts(
    rules: Sequence[Rule], states: Mapping[str, RuleState], measured: Measured, *, end: datetime
) -> list[str]:
    """The faults of the ledger and the runs: due times without exactly one run, and gaps."""
    wrong: list[str] = []
    expected = {START + number * EVERY for number in range(int((end - START) / EVERY) + 1)}
    for rule in rules:
        standing = standing_of(rule, states.get(rule.rule_id), Schedule(together=True), now=end)
        spans = [span for span in states[rule.rule_id].searched if span.start < span.end]
        if standing.owed or standing.given_up or len(spans) != 1 or spans[0].end != max(expected):
            wrong.append(f"{rule.rule_id}: searched {', '.join(map(str, spans))}")
        runs = {when: measured.windows[(rule.rule_id, when)] for when in expected}
        wrong += [f"{rule.rule_id}: {count} runs at {when}" for when, count in runs.items() if count != 1]
    return wrong


def bare_commit_seconds(folder: Path, count: int = 1_000) -> float:
    """Processor seconds of the smallest durable transaction of SQLite: one short row."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (n INTEGER)")
    started = time.process_time()
    for number in range(count):
        connection.execute("INSERT INTO rows VALUES (?)", (number,))
    seconds = (time.process_time() - started) / count
    connection.close()
    return seconds


def _share(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
