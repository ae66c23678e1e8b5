"""The campaign on untidy files: what happens to logs and disks meanwhile, and what has come of it in the end.

A process writes logs, services and single runs read them, and incidents happen at random moments. When all of it has
come to rest, the alerts must be those of an undisturbed run over all events that were ever written.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import orjson

from runner.rules.load import load_rules
from runner.windows import iso, nanoseconds
from tests.scenarios.incidents import ABSENCE, LOOK_BACK, Event, Incident, Plan, events_of, live_plan, write_live_rules
from tests.scenarios.log_writer import LogWriter, Written
from tests.scenarios.snapshot import Snapshot
from tests.scenarios.starter import Started, Starter
from tests.scenarios.untidy_place import UntidyPlace

ROTATIONS: Mapping[str, Mapping[str, Any]] = {
    "renamed": {},
    "renamed, reopened later": {"reopen": 0.6},
    "renamed with a date": {"style": "date"},
    "renamed with a date before the ending": {"style": "stamp"},
    "renamed, gzip": {"packing": "gz"},
    "renamed, gzip a rotation later": {"packing": "gz", "later": True},
    "renamed with a date, gzip": {"style": "date", "packing": "gz"},
    "renamed, bzip2": {"packing": "bz2"},
    "renamed, xz": {"packing": "xz"},
    "renamed, zstd": {"packing": "zst"},
}
COPIES: Mapping[str, bool] = {"copied and truncated": False, "copied and truncated, leaves a hole": True}
LATE = ("late file", "late lines")
"""Deliveries of events that are 5 minutes to an hour old."""
FAULTS = ("killed", "stopped", "full state disk", "full temporary folder", "lost mount", "line cut in half")
KINDS: tuple[str, ...] = (*ROTATIONS, *COPIES, *LATE, *FAULTS)
_OFTEN = {
    "killed": 6,
    "stopped": 3,
    "line cut in half": 2,
    "full state disk": 2,
    "lost mount": 2,
    **dict.fromkeys(COPIES, 3),
}
_LOGS = ("endpoint.ndjson", "network.ndjson")
LOOK_BACKS = (timedelta(seconds=2), timedelta(seconds=4), LOOK_BACK)
"""With the first two an event is in one or two windows: what one pass misses no other finds by chance."""
_HISTORY = timedelta(minutes=75)
LONGEST_PAUSE_S = 1.4
_LASTS_S = (0.1, 2.0)
"""How long a disk is full, a mount lost, a line incomplete."""
_READING_WITHIN_S = 1.5
_CATCH_UP_S, _WORK_S = 240.0, 900.0
_LISTENS = "rule-runner starts"


@dataclass(slots=True)
class UntidyReport:
    """What one round came to."""

    seed: int
    kinds: Counter[str] = field(default_factory=Counter)
    """The incidents."""
    reading: int = 0
    """Those of them at a moment at which events were being read."""
    processes: int = 0
    events: int = 0
    expected: int = 0
    """What had to be found."""
    early: int = 0
    """What was found while incidents went on."""
    undecidable: int = 0
    """Absences that came to an end so late that both results are right."""
    missed: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Tracebacks, processes that ended by themselves, windows that are owed for ever."""
    seconds: float = 0.0

    @property
    def incidents(self) -> int:
        return self.kinds.total()

    @property
    def faults(self) -> list[str]:
        """What should not be."""
        titles = {"": self.others, "missed": self.missed, "double": self.double, "wrong": self.wrong}
        return [f"{title}: {one}".removeprefix(": ") for title, found in titles.items() for one in found]

    def line(self) -> str:
        told = f"{len(self.missed)} missed, {len(self.double)} double, {len(self.wrong)} wrong"
        return (
            f"seed {self.seed:<10} {self.incidents:4} incidents ({self.reading} while events were read), "
            f"{self.processes:3} processes, {self.events:5} events, {self.expected:4} to find ({self.early} by then), "
            f"{self.seconds:5.1f} s: {told}{f', {len(self.others)} OTHER FAULTS' if self.others else ''}"
        )


def untidy_round(
    folder: Path,
    starter: Starter,
    *,
    seed: int,
    incidents: int,
    kinds: Sequence[str] = KINDS,
    longest_pause: float = LONGEST_PAUSE_S,
) -> UntidyReport:
    """So many incidents of these kinds, each of them once before any comes again, then rest; at most `longest_pause`
    seconds between two, and the time until events are read."""
    started = time.monotonic()
    rng = Random(seed)
    write_live_rules(folder / "rules", rng.choice(LOOK_BACKS))
    with UntidyPlace(folder) as place:
        round_ = _Round(folder, place, starter, rng=rng, report=UntidyReport(seed))
        begin = datetime.now(UTC).replace(microsecond=0) - _HISTORY
        (place.logs / _LOGS[0]).touch()
        round_.work("once", "--now", iso(begin))  # the promise begins with the first window that the ledger knows
        round_.work("replay", "--from", iso(begin), "--to", iso(datetime.now(UTC) - timedelta(minutes=1)))
        round_.go(incidents, kinds, begin=begin, longest_pause=longest_pause)
        round_.catch_up()
        round_.compare()
        round_.report.seconds = time.monotonic() - started
        return round_.report


class _Round:
    """Processes, the logs that they read, and what happens to both."""

    def __init__(
        self, folder: Path, place: UntidyPlace, starter: Starter, *, rng: Random, report: UntidyReport
    ) -> None:
        self._folder, self._place, self._starter, self._rng = folder, place, starter, rng
        self.report = report
        self._plan = Plan((), ())
        self._written: list[Written] = []
        self._process: Started | None = None
        self._command = ""
        self._is_troubled = False
        """Whether the process had to do with a full disk or a lost mount."""
        self._ends: dict[str, tuple[float, Callable[[], None]]] = {}
        """What is amiss for a while: when it ends, and how."""
        self._deliveries = 0
        self._left: list[Event] = []
        """Late events whose first halves have been delivered."""

    def work(self, *arguments: object, calm: bool = False) -> None:
        """One process that nothing disturbs."""
        command, *rest = arguments
        started = self._starter.start(command, *self._place.arguments(calm=calm), *rest, env=self._place.env)
        if started.code(_WORK_S) != 0 or "Traceback" in started.text():
            self.report.others.append(f"{command} ended with {started.code()}: {started.text()[-2000:]}")

    def go(self, incidents: int, kinds: Sequence[str], *, begin: datetime, longest_pause: float) -> None:
        """Let events and incidents happen."""
        length = timedelta(seconds=20 + 2 * incidents)
        self._plan = live_plan(datetime.now(UTC) + timedelta(seconds=0.2), length, self._rng)
        plan = self._folder / "plan.ndjson"
        plan.write_bytes(b"".join(orjson.dumps(_order(event)) + b"\n" for event in self._plan.events))
        weights = [_OFTEN.get(kind, 1) for kind in kinds]
        coming = self._rng.sample(kinds, len(kinds))
        with LogWriter(self._place.logs, plan=plan, journal=self._place.journal) as writer:
            while self.report.incidents < incidents:
                self._keep_running()
                self._await_moment(longest_pause)
                kind = coming[-1] if coming else self._rng.choices(kinds, weights)[0]
                if self._happens(kind, writer, begin):
                    self.report.kinds[kind] += 1
                    self._note(kind)
                    coming = coming[:-1]
                else:
                    coming = [*coming[-1:], *coming[:-1]]  # later
            if self._left:
                writer.ask("lines", events=[_order(event) for event in self._left])
            self._calm_down()
            self._written = writer.finish()
        if self._process is not None:
            self._stop()
        self.report.events = len(self._written)

    def catch_up(self) -> None:
        """Let a service work that nothing disturbs, until nothing is owed."""
        self.report.early = sum(self._place.snapshot().incidents().values())
        service = self._start("run")
        until = datetime.now(UTC) + ABSENCE + timedelta(seconds=2)  # its windows come after its look at the files
        wanted = {rule.rule_id for rule in load_rules([self._folder / "rules"]).rules}
        deadline = time.monotonic() + _CATCH_UP_S
        while left := [
            *self._place.snapshot().gaps(wanted, until),
            *(() if _LISTENS in service.text() else ("starts",)),
        ]:
            if service.ended(0.3) or time.monotonic() > deadline:
                self.report.others += [f"owed for ever: {gap}" for gap in left] + [service.text()[-2000:]]
                break
        self._stop()

    def compare(self) -> None:
        """Count what is missed, double or wrong, measured by an undisturbed run over all events ever written."""
        report, last = self.report, self._place.snapshot()
        spans = last.spans.values()
        first, end = min(one[0].start for one in spans), max(one[-1].end for one in spans)
        self.work("replay", "--from", iso(first), "--to", iso(end), calm=True)
        calm = self._place.snapshot(calm=True)
        found, right = last.incidents(), calm.incidents()
        planned = self._plan.among(event.id for event in self._written)
        report.others += [
            f"the undisturbed run and the plan differ: {self._told(one)}" for one in planned ^ right.keys()
        ]
        open_ = self._plan.undecidable({event.id: event.visible for event in self._written})
        report.expected, report.undecidable = len(right), len(found.keys() & open_)
        report.missed = [self._told(one) for one in sorted(right.keys() - found.keys())]
        report.double = [f"{count} of {self._told(one)}" for one, count in sorted(found.items()) if count > 1]
        report.wrong = [self._told(one) for one in sorted(found.keys() - right.keys() - open_)]
        report.wrong += _differences(last, calm)
        report.others += last.faults()

    def _told(self, one: Incident) -> str:
        """A match with the time of each event, its log, and by how much later it could be read."""
        events = {event.id: event for event in self._plan.events}
        visible = {event.id: event.visible for event in self._written}
        parts = [
            f"{id_} of {events[id_].at:%H:%M:%S.%f} in {_log_of(events[id_])}, "
            f"+{(visible[id_] - events[id_].at).total_seconds():.3f} s"
            for id_ in one[1]
            if id_ in visible
        ]
        return f"{one[0]}: {'; '.join(parts)}"

    def _happens(self, kind: str, writer: LogWriter, begin: datetime) -> bool:
        """Let an incident happen; false if it cannot now."""
        rng = self._rng
        log = rng.choice(_LOGS)
        if kind in ROTATIONS:
            order = {"style": "number", "reopen": 0.0, "packing": "", "later": False, **ROTATIONS[kind]}
            return writer.ask("rename", log=log, **order)
        if kind in COPIES:
            return writer.ask("copytruncate", log=log, hole=COPIES[kind])
        if kind in LATE:
            return self._deliver(writer, begin, is_file=kind == LATE[0])
        place = self._place
        match kind:
            case "killed":
                return self._process is not None and self._kill()
            case "stopped":
                return self._process is not None and self._stop()
            case "full state disk":
                return self._amiss(kind, lambda: place.disk.fill(self._process), place.disk.free)
            case "full temporary folder":
                return self._amiss(kind, lambda: place.temporary.fill(self._process), place.temporary.free)
            case "lost mount":
                return self._amiss(kind, place.lose_mount, place.mount)
            case _:
                return writer.ask("cut", log=log, seconds=rng.uniform(*_LASTS_S))

    def _deliver(self, writer: LogWriter, begin: datetime, *, is_file: bool) -> bool:
        """Write events that happened long ago, as lines of a log or as a file of their own."""
        rng, events, incidents = self._rng, self._left, list[Incident]()
        for _ in range(rng.randint(1, 3)):
            self._deliveries += 1
            at = datetime.now(UTC) - timedelta(seconds=rng.uniform(300, 3_600))
            kind = rng.choice(("single", "pair"))
            made, found = events_of(
                kind, f"late-{kind}-{self._deliveries}", max(at, begin + timedelta(minutes=5)), rng=rng
            )
            events, incidents = [*events, *made], [*incidents, *found]
        self._left = []
        if len(events) > 1 and rng.random() < 0.3:
            *events, last = events
            self._left = [last]
        known = self._plan
        self._plan = replace(
            known, events=[*known.events, *events, *self._left], incidents=[*known.incidents, *incidents]
        )
        orders = [_order(event) for event in events]
        if not is_file:
            return writer.ask("lines", events=orders)
        packing = rng.choice(("", "", "gz", "zst"))
        name = f"late-{self._deliveries}.ndjson{'.' * bool(packing)}{packing}"
        modified = min(orders, key=lambda order: order["at"])["at"] if rng.random() < 0.5 else None
        return writer.ask("file", name=name, events=orders, packing=packing, modified=modified)

    def _amiss(self, what: str, begin: Callable[[], None], end: Callable[[], None]) -> bool:
        """Let something be amiss for a while, unless it is already."""
        if what in self._ends:
            return False
        begin()
        self._is_troubled = True
        self._ends[what] = time.monotonic() + self._rng.uniform(*_LASTS_S), end
        return True

    def _calm_down(self, *, until: float = float("inf")) -> None:
        for what in [what for what, (due, _) in self._ends.items() if due <= until]:
            _, end = self._ends.pop(what)
            end()
            self._note(f"{what}: over")

    def _wait(self, seconds: float) -> None:
        """Let time pass, in which what is amiss comes to its end."""
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            self._calm_down(until=now)
            time.sleep(min(0.02, deadline - now))

    def _await_moment(self, longest_pause: float) -> None:
        """Wait for a random time, and in half of the cases until the process reads events."""
        self._wait(self._rng.uniform(0.0, longest_pause))
        started = self._process
        if started is None or self._rng.random() < 0.5:
            return
        deadline = time.monotonic() + _READING_WITHIN_S
        while not started.ended(0.001) and time.monotonic() < deadline:
            if self._place.reads_events(started):
                self.report.reading += 1
                return
            self._calm_down(until=time.monotonic())

    def _keep_running(self) -> None:
        """Have a process that reads: mostly a service, now and then a single run."""
        if self._process is not None and self._process.ended():
            self._note_end()
        if self._process is None:
            self._start(self._rng.choice(("run", "run", "run", "once")))

    def _start(self, command: str) -> Started:
        tick = ("--tick", "1s") if command == "run" else ()
        arguments = (command, *self._place.arguments(), *tick)
        self._process, self._command = self._starter.start(*arguments, env=self._place.env), command
        self._is_troubled = bool(self._ends)
        self.report.processes += 1
        self._note(f"starts {command}, output-{self._process.output.stem.rpartition('-')[2]}")
        return self._process

    def _note(self, text: str) -> None:
        """Keep the order of what happened, for whoever looks into the folder of a round."""
        with (self._folder / "timeline.txt").open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%H:%M:%S.%f} {text}\n")

    def _kill(self) -> bool:
        assert self._process is not None
        was_alive = self._process.kill()
        self._note_end()
        return was_alive

    def _stop(self) -> bool:
        assert self._process is not None
        self._process.signal(signal.SIGTERM)
        code = self._process.code()
        self._note_end()
        return code in (0, -signal.SIGTERM, 128 + signal.SIGTERM)

    def _note_end(self) -> None:
        """A service ends when it is asked to; a single run says by its code whether all could be read."""
        assert self._process is not None
        started, self._process = self._process, None
        code, text = started.code(), started.text()
        fine = {0, -signal.SIGKILL, *(() if _LISTENS in text else (-signal.SIGTERM,))}
        if self._command == "once":
            fine |= {2, -signal.SIGTERM, 128 + signal.SIGTERM}
        if code not in fine and not self._is_troubled:
            self.report.others.append(f"{self._command} ended with {code} by itself: {text[-2000:]}")
        if "Traceback" in text:
            self.report.others.append(f"{self._command} with a traceback: {text[-4000:]}")


def _order(event: Event) -> dict[str, Any]:
    at = nanoseconds(event.arrives) / 1e9
    return {"at": at, "log": _log_of(event), "id": event.id, "document": event.document}


def _log_of(event: Event) -> str:
    """Events of the same time are in the same log, for their order is that of their lines."""
    return _LOGS[crc32(event.document["@timestamp"].encode()) % len(_LOGS)]


def _differences(last: Snapshot, calm: Snapshot) -> list[str]:
    """Alerts of the same id that do not say the same."""
    mine, theirs = last.contents(), calm.contents()
    both = sorted(id_ for id_ in mine.keys() & theirs.keys() if mine[id_] != theirs[id_])
    return [f"{id_} differs in {_fields(mine[id_], theirs[id_])}" for id_ in both]


def _fields(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    return ", ".join(sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)))
