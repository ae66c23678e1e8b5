"""Events for the crash campaign, with what must be found in them, and the rules that find it.

Two kinds of it. `Live` events happen while the campaign goes on and are written as they happen, some of them late; the
rules start every two seconds. `past_events` lie behind and are replayed, with the rules as they are shipped.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson

from runner.sample_data.generate import generate
from runner.windows import from_nanoseconds, iso, nanoseconds
from tests.paths import ROOT
from tests.scenarios.timeline import document_of, rule_text

SHIPPED = ROOT / "rules" / "linux"
LOOK_BACK, INTERVAL = timedelta(seconds=14), timedelta(seconds=2)
LONGEST_DELAY = timedelta(seconds=3)
ABSENCE = timedelta(seconds=2)
ENOUGH = 3
"""How many events of a key make an alert of the threshold rule."""
KNOWN = tuple(f"known-{number}" for number in range(3))
"""Terms that were seen before the first window, and come again."""
RULES: dict[str, dict[str, Any]] = {
    "single": {"query": 'process where process.name == "campaign-single"'},
    "flood": {"query": 'process where process.name == "campaign-flood"', "max_signals": 6},
    "pair": {
        "query": 'sequence by process.entity_id with maxspan=20s [process where process.name == "campaign-first"] '
        '[process where process.name == "campaign-second"]'
    },
    "absent": {
        "query": f"sequence by process.entity_id with maxspan={ABSENCE.seconds}s "
        '[process where process.name == "campaign-begin"] ![process where process.name == "campaign-end"]'
    },
    "query": {"type": "query", "language": "kuery", "query": "process.name: campaign-single"},
    "threshold": {
        "type": "threshold",
        "language": "kuery",
        "query": "process.name: campaign-count",
        "threshold": {"field": ["process.entity_id"], "value": ENOUGH},
    },
    "new-terms": {
        "type": "new_terms",
        "language": "kuery",
        "query": "process.name: campaign-term",
        "new_terms_fields": ["process.entity_id"],
        "history_window_start": "now-5m",
    },
}

GROUPED: dict[str, dict[str, Any]] = {
    "grouped": {
        "query": 'process where process.name : "campaign-*"',
        "max_signals": 1,
        "alert_suppression": {"group_by": ["process.name"], "duration": {"value": 24, "unit": "h"}},
    },
    "grouped-by-run": {
        "query": 'process where process.name : "campaign-*"',
        "alert_suppression": {"group_by": ["process.entity_id"]},
    },
}
"""Rules with alert suppression: which event of a group makes its alert is left open, how many there are is not."""

Incident = tuple[str, tuple[str, ...]]
"""What must become one alert: the rule's id, and the ids of its events in the order of the stages."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, and when it is there to be read."""

    arrives: datetime
    document: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.document["event"]["id"])

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.document["@timestamp"])


@dataclass(frozen=True, slots=True)
class Plan:
    """Events in the order of their arrival, and the incidents among them."""

    events: Sequence[Event]
    incidents: Sequence[Incident]
    prevented: Mapping[Incident, str] = field(default_factory=dict)
    """What is an incident only as long as this event does not come."""

    @property
    def counted(self) -> Mapping[str, tuple[str, ...]]:
        """By key the events that the threshold rule counts, all of them within a time that is shorter than it looks
        back."""
        return self._by_entity("campaign-count")

    @property
    def terms(self) -> Mapping[str, tuple[str, ...]]:
        """By term its events, the earliest first; without those that are known."""
        found = self._by_entity("campaign-term")
        return {term: ids for term, ids in found.items() if term not in KNOWN}

    def _by_entity(self, program: str) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for event in sorted(self.events, key=lambda event: event.at):
            if (process := event.document.get("process", {})).get("name") == program:
                found[process["entity_id"]] = (*found.get(process["entity_id"], ()), event.id)
        return found

    def among(self, ids: Iterable[str]) -> frozenset[Incident]:
        """The incidents of which all events are there."""
        there = set(ids)
        found = [one for one in self.incidents if there.issuperset(one[1])]
        found += [one for one, end in self.prevented.items() if there.issuperset(one[1]) and end not in there]
        return frozenset(found)

    def undecidable(self, visible: Mapping[str, datetime]) -> frozenset[Incident]:
        """Absences whose second event could be read only when the absence was certain already; `visible` is when each
        event could be read at last."""
        began = {event.id: event.at for event in self.events}
        return frozenset(
            one for one, end in self.prevented.items() if end in visible and visible[end] > began[one[1][0]] + ABSENCE
        )


def write_live_rules(folder: Path, look_back: timedelta = LOOK_BACK) -> None:
    """The campaign's rules and the shipped ones, all of them with a short interval and look-back."""
    folder.mkdir(exist_ok=True)
    times = {"from": f"now-{look_back.seconds}s", "interval": f"{INTERVAL.seconds}s"}
    for name, fields in RULES.items():
        (folder / f"{name}.toml").write_text(rule_text(name, fields | times), encoding="utf-8")
    for path in SHIPPED.glob("*.toml"):
        text = re.sub(r'^(from|interval) = ".*"\n', "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        given = "".join(f'{name} = "{value}"\n' for name, value in times.items())
        (folder / path.name).write_text(text.replace("[rule]\n", f"[rule]\n{given}", 1), encoding="utf-8")


def write_past_rules(folder: Path) -> None:
    """The shipped rules as they are, one that finds more than a run may write, and some with alert suppression."""
    folder.mkdir(exist_ok=True)
    for path in SHIPPED.glob("*.toml"):
        (folder / path.name).write_bytes(path.read_bytes())
    for name, most in (("flood", 4), ("single", 100), ("query", 100), ("threshold", 100), ("new-terms", 100)):
        more = {"history_window_start": "now-4h"} if name == "new-terms" else {}
        text = rule_text(name, RULES[name] | {"max_signals": most} | more)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    for name, fields in GROUPED.items():
        (folder / f"{name}.toml").write_text(rule_text(name, fields), encoding="utf-8")


def live_plan(start: datetime, length: timedelta, rng: Random) -> Plan:
    """What happens in that time: a fleet's ordinary life, attacks for the shipped rules, incidents of every kind."""
    seconds = length.total_seconds()
    attacks = max(2, round(seconds))
    events, incidents = _sample(start + length, length, count=round(seconds * 40), attacks=attacks, rng=rng)
    prevented: dict[Incident, str] = {}
    for number in range(round(seconds * 5)):
        # A flood every six seconds is more than the cap lets through while processes are killed, and no more than it
        # lets through in the end.
        kinds = ("single", "single", "pair", "absent", "near-absent", "count", "term")
        kind = "flood" if number % 30 == 7 else rng.choice(kinds)
        at = start + timedelta(seconds=rng.uniform(0.2, max(1.0, seconds - 3)))
        made, incident = events_of(kind, f"{kind}-{number}", at, rng=rng)
        events += made
        incidents += incident
        if kind == "near-absent":
            prevented[("absent", (made[0].id,))] = made[1].id
    events += [_event(f"{name}-again", "term", name, start + timedelta(seconds=rng.uniform(1, 9))) for name in KNOWN]
    return Plan(sorted(events, key=lambda event: event.arrives), incidents, prevented)


def earlier_events(now: datetime, rng: Random) -> Sequence[Event]:
    """Events from before the first window of any rule, which give an index its fields, and make some terms known."""
    known = [_event(f"{name}-before", "term", name, now - timedelta(minutes=1)) for name in KNOWN]
    return [*past_plan(now - timedelta(minutes=10), timedelta(minutes=4), rng).events, *known]


def past_plan(end: datetime, length: timedelta, rng: Random) -> Plan:
    """An hour or so of the same, all of which has arrived."""
    minutes = length.total_seconds() / 60
    events, incidents = _sample(end, length, count=round(minutes * 25), attacks=round(minutes / 2), rng=rng)
    for number in range(round(minutes)):
        kind = rng.choice(("single", "flood", "count", "term"))
        at = end - length + timedelta(minutes=rng.uniform(0.5, minutes - 1))
        made, incident = events_of(kind, f"past-{kind}-{number}", at, rng=rng)
        events += made
        incidents += incident
    return Plan(sorted(events, key=lambda event: event.at), incidents)


def _sample(
    end: datetime, length: timedelta, *, count: int, attacks: int, rng: Random
) -> tuple[list[Event], list[Incident]]:
    sample = generate(
        events=max(count, attacks * 8), attacks=attacks, seed=rng.randrange(2**31), end=end, span=length, near_misses=5
    )
    events = [Event(from_nanoseconds(event.at), event.document) for event in sample.events]
    incidents: list[Incident] = [(item.rule.value, item.event_ids) for item in sample.truth if item.kind == "attack"]
    return events, incidents


def events_of(kind: str, name: str, at: datetime, *, rng: Random) -> tuple[list[Event], list[Incident]]:
    """The events of one incident; a `near-absent` is none once its second event has come."""

    def event(role: str, program: str, *, after: float = 0.0, late: bool = False) -> Event:
        delay = rng.uniform(0, LONGEST_DELAY.total_seconds()) if late and rng.random() < 0.3 else 0.0
        return _event(f"{name}-{role}", program, name, at + timedelta(seconds=after), delay=delay)

    match kind:
        case "single":
            made = [event("one", "single", late=True)]
            return made, [("single", (made[0].id,)), ("query", (made[0].id,))]
        case "count":
            times = [rng.uniform(0, 2.0) for _ in range(rng.randint(1, 2 * ENOUGH + 2))]
            return [event(str(number), "count", after=time, late=True) for number, time in enumerate(times)], []
        case "term":
            return [
                event(str(number), "term", after=number * 0.7, late=True) for number in range(rng.randint(1, 3))
            ], []
        case "flood":
            made = [event(str(number), "flood", after=number * 0.05) for number in range(rng.randint(4, 9))]
            return made, [("flood", (one.id,)) for one in made]
        case "pair":
            made = [event("first", "first"), event("second", "second", after=rng.uniform(0.01, 2.5))]
        case "absent":
            made = [event("begin", "begin")]
        case _:
            return [event("begin", "begin"), event("end", "end", after=rng.uniform(0.01, 0.8))], []
    return made, [(kind, tuple(one.id for one in made))]


def _event(id_: str, program: str, entity: str, at: datetime, *, delay: float = 0.0) -> Event:
    line = f"{id_} exec 00:00:00.000 name=campaign-{program} entity={entity}"
    return Event(at + timedelta(seconds=delay), document_of(line) | {"@timestamp": iso(at)})


class Live:
    """Writes the events of a plan as they arrive, from a thread of its own, until it is told to stop."""

    def __init__(self, plan: Plan, write: Callable[[Sequence[Event]], None]) -> None:
        self._plan = plan
        self._write = write
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._failure: BaseException | None = None
        self.visible: dict[str, datetime] = {}
        """By when each event that was written could be read."""
        self.written: list[Event] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let nothing more happen; raises what went wrong in the thread."""
        self._stopping.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            for batch in self._batches():
                self._write(batch)
                self.visible |= dict.fromkeys((event.id for event in batch), datetime.now(UTC))
                self.written += batch
        except BaseException as error:  # noqa: BLE001 - raised again by `stop`, in the thread that waits
            self._failure = error

    def _batches(self) -> Iterator[Sequence[Event]]:
        left = list(self._plan.events)
        while left and not self._stopping.wait(0.05):
            now = datetime.now(UTC)
            count = next((place for place, event in enumerate(left) if event.arrives > now), len(left))
            if count:
                yield left[:count]
                del left[:count]


def lines_of(events: Iterable[Event]) -> bytes:
    """The events as NDJSON."""
    return b"".join(orjson.dumps(event.document) + b"\n" for event in events)


def last_moment(events: Iterable[Event]) -> datetime:
    """When the last of them happened; an absence is certain that much later."""
    return max(from_nanoseconds(nanoseconds(event.at)) for event in events) + ABSENCE
