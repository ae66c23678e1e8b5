"""The crash campaign: real processes killed in the middle of their work, and what has come of it in the end.

A round is one set of events and one store. Processes work on it, one after the other, and are killed; the last one is
left in peace until nothing is owed. Then the alerts must be those of a run that nothing disturbed, none of them twice,
and the ledger must have no gap.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from runner.rules.load import load_rules
from runner.windows import iso
from tests.scenarios.incidents import (
    ENOUGH,
    GROUPED,
    Incident,
    Live,
    Plan,
    earlier_events,
    last_moment,
    live_plan,
    past_plan,
    write_live_rules,
    write_past_rules,
)
from tests.scenarios.places import Moment, Place
from tests.scenarios.snapshot import Snapshot
from tests.scenarios.starter import Started, Starter

CATCH_UP_SECONDS, WORK_SECONDS = 150.0, 900.0
COLD, ON_CONDITION, WITH_TROUBLE = 0.1, 0.45, 0.6
"""Shares of the starts: those that load every module anew, those killed at a chosen moment, those with other faults."""
LONGEST_LIFE = 2.0
"""Seconds that a service lives at most before it is killed."""
PAST = timedelta(minutes=60)


@dataclass(slots=True)
class Report:
    """What one round came to."""

    place: str
    shape: str
    seed: int
    kills: int = 0
    ended: int = 0
    """Processes that were done before they were to be killed: these do not count."""
    phases: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    alerts: int = 0
    incidents: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    """What should not be; empty is what is to be shown."""

    def line(self) -> str:
        told = "as undisturbed" if not self.faults else f"{len(self.faults)} FAULTS"
        counts = (
            f"{self.kills:4} kills, {self.troubles.total():3} other faults, {self.ended:3} ended before, "
            f"{self.incidents:4} to find, {self.alerts:5} alerts"
        )
        return f"{self.place:13} {self.shape:6} seed {self.seed:<10} {counts}, {self.seconds:5.1f} s: {told}"


def live_round(place: Place, starter: Starter, folder: Path, *, seed: int, kills: int) -> Report:
    """Services and single runs over events that happen meanwhile."""
    round_ = _Round(place, starter, Report(place.name, "live", seed), rng=Random(seed))
    write_live_rules(folder / "rules")
    place.write(earlier_events(datetime.now(UTC), round_.rng))
    round_.work("once")  # the promise begins with the first window that the ledger knows
    start = datetime.now(UTC) + timedelta(seconds=0.1)
    plan = live_plan(start, timedelta(seconds=15 + kills), round_.rng)
    live = Live(plan, place.write)
    live.start()
    longest = {"once": round_.measured("once"), "run": LONGEST_LIFE}
    try:
        while round_.goes_on(kills):
            command = round_.rng.choice(("once", "run", "run"))
            round_.disturb([command, *_TICK[command]], longest[command])
    finally:
        live.stop()
    round_.catch_up(folder / "rules", until=last_moment(live.written))
    first = min(spans[0].start for spans in round_.last.spans.values())
    last = max(spans[-1].end for spans in round_.last.spans.values())
    ids, open_ = [event.id for event in live.written], plan.undecidable(live.visible)
    round_.compare(plan, ids, span=("--from", iso(first), "--to", iso(last)), open_=open_)
    return round_.report


def past_round(
    place: Place, starter: Starter, folder: Path, *, seed: int, kills: int, length: timedelta = PAST
) -> Report:
    """Replays of events that lie behind; a replay that was killed begins anew."""
    round_ = _Round(place, starter, Report(place.name, "past", seed), rng=Random(seed))
    write_past_rules(folder / "rules")
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    plan = past_plan(end, length, round_.rng)
    place.write(plan.events)
    span = ("--from", iso(end - length), "--to", iso(end + timedelta(minutes=1)))
    longest = round_.measured("replay", *span, calm=True)
    round_.work("once", "--now", iso(end - length))  # a replay counts in the ledger from a rule's first window on
    round_.last = place.snapshot()
    while round_.goes_on(kills):
        round_.disturb(["replay", *span], longest)
    round_.work("replay", *span)
    made = len(place.snapshot().alerts)
    round_.work("replay", *span)
    round_.last = place.snapshot()
    if len(round_.last.alerts) != made:
        round_.report.faults.append(f"a replay after the last made {len(round_.last.alerts) - made} alerts more")
    round_.report.faults += round_.last.gaps(_rule_ids(folder / "rules"), end)
    round_.compare(plan, [event.id for event in plan.events], span=None)
    planned = sum(str(event.document.get("process", {}).get("name")).startswith("campaign-") for event in plan.events)
    for rule_id in GROUPED:
        counted = sum(count for (of, _), count in round_.last.grouped().items() if of == rule_id)
        if counted != planned:
            round_.report.faults.append(f"{rule_id} has counted {counted} of {planned} matches")
    return round_.report


_LISTENS = "rule-runner starts"
_TICK = {"once": (), "run": ("--tick", "1s")}


class _Round:
    """What the two kinds of rounds do alike."""

    def __init__(self, place: Place, starter: Starter, report: Report, *, rng: Random) -> None:
        self.report, self.rng = report, rng
        self._place, self._starter = place, starter
        self._started = time.monotonic()
        self.last = Snapshot()

    def goes_on(self, kills: int) -> bool:
        """Whether there are kills to come; not if processes keep ending before they can be killed."""
        return self.report.kills < kills and self.report.kills + self.report.ended < 10 + 4 * kills

    def start(self, *arguments: object, calm: bool = False, cold: bool = False) -> Started:
        command, *rest = arguments
        flags = self._place.arguments(calm=calm)
        return self._starter.start(command, *flags, *rest, env=self._place.env, cold=cold)

    def work(self, *arguments: object, calm: bool = False) -> None:
        """One process that nothing disturbs."""
        self._place.calm_down()
        started = self.start(*arguments, calm=calm)
        if started.code(WORK_SECONDS) != 0:
            self.report.faults.append(f"{arguments[0]} ended with {started.code()}: {started.text()[-2000:]}")

    def measured(self, *arguments: object, calm: bool = False) -> float:
        """How many seconds an undisturbed process takes."""
        begin = time.monotonic()
        self.work(*arguments, calm=calm)
        return time.monotonic() - begin

    def disturb(self, arguments: Sequence[object], longest: float) -> None:
        """Start a process and kill it, by chance or at a moment, with other faults or without."""
        rng, report = self.rng, self.report
        moment = self._place.moment(rng) if rng.random() < ON_CONDITION else _by_chance(rng, longest)
        trouble = self._place.trouble(rng) if rng.random() < WITH_TROUBLE else ""
        started = self.start(*arguments, cold=rng.random() < COLD)
        moment.wait(started)
        self._place.look(started)
        if not started.kill():
            report.ended += 1
            self._note_end(started, trouble)
            self._place.calm_down()
            return
        if rng.random() < 0.5:
            self._place.calm_down()  # else the dead process's request arrives while the next one works
        after = self._place.snapshot()
        report.kills += 1
        report.phases[self._place.phase(self.last, after)] += 1
        report.moments[moment.name] += 1
        if trouble:
            report.troubles[trouble] += 1
        report.faults += [f"kill {report.kills}: {fault}" for fault in after.faults()]
        self.last = after

    def catch_up(self, rules: Path, *, until: datetime) -> None:
        """A service that nothing disturbs, until nothing is owed up to that moment."""
        self._place.calm_down()
        service = self.start("run", "--tick", "1s")
        wanted = _rule_ids(rules)

        def gaps() -> list[str]:
            self.last = self._place.snapshot()
            # Before it says so, a signal would end it as any other program.
            listens = _LISTENS in service.text()
            return [*self.last.gaps(wanted, until), *([] if listens else ["the service has not begun"])]

        left = _until_empty(gaps, service)
        self.report.faults += [f"owed for ever: {gap}" for gap in left]
        service.signal(signal.SIGTERM)
        if service.code() != 0:
            self.report.faults.append(f"the last service ended with {service.code()}: {service.text()[-2000:]}")
        self.last = self._place.snapshot()

    def compare(
        self,
        plan: Plan,
        written: Collection[str],
        *,
        span: Sequence[object] | None,
        open_: Collection[Incident] = (),
    ) -> None:
        """Compare what there is in the end with what was planned, and with an undisturbed replay of the span; None:
        there was one already. Of the incidents that are `open_` there may be an alert."""
        if span is not None:
            self.work("replay", *span, calm=True)
        calm = self._place.snapshot(calm=True)
        report, last = self.report, self.last
        report.faults += last.faults()
        report.faults += _differences(last, calm, besides=last.about(open_))
        if last.grouped() != calm.grouped():
            report.faults.append(f"counted {last.grouped()}, undisturbed {calm.grouped()}")
        expected, found = plan.among(written), last.incidents()
        report.faults += [f"missed: {_told(one)}" for one in sorted(expected - found.keys())]
        report.faults += [f"not planned: {_told(one)}" for one in sorted(found.keys() - expected - set(open_))]
        report.faults += _of_counts(plan, set(written), last)
        report.faults += _of_terms(plan, set(written), last, whole=span is None)
        things = len(expected) + sum(len(ids) >= ENOUGH for ids in plan.counted.values()) + len(plan.terms)
        report.incidents, report.alerts = things, len(last.alerts)
        report.seconds = time.monotonic() - self._started

    def _note_end(self, started: Started, trouble: str) -> None:
        """A process may end by itself with an error only where something else went wrong."""
        if started.code() not in (0, -signal.SIGKILL) and not trouble:
            self.report.faults.append(f"ended with {started.code()} by itself: {started.text()[-2000:]}")
        if "Traceback" in started.text():
            self.report.faults.append(f"a traceback: {started.text()[-2000:]}")


def _by_chance(rng: Random, longest: float) -> Moment:
    life = rng.uniform(0.0, longest * 1.05)

    def wait(started: Started) -> None:
        started.ended(life)

    return Moment("by chance", wait)


def _until_empty(left: Callable[[], list[str]], service: Started) -> list[str]:
    """What is left when nothing is, the service has ended, or the time is over."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while found := left():
        if service.ended(0.25) or time.monotonic() > deadline:
            return [*found, service.text()[-2000:]]
    return []


def _differences(last: Snapshot, calm: Snapshot, *, besides: Collection[str]) -> list[str]:
    mine, theirs = last.contents(), calm.contents()
    found = [f"only in the undisturbed run: {id_}" for id_ in sorted(theirs.keys() - mine.keys())]
    found += [f"only in the disturbed runs: {id_}" for id_ in sorted(mine.keys() - theirs.keys() - set(besides))]
    for id_ in sorted(mine.keys() & theirs.keys()):
        fields = {
            name for name in mine[id_].keys() | theirs[id_].keys() if mine[id_].get(name) != theirs[id_].get(name)
        }
        if fields:
            found.append(f"{id_} differs in {', '.join(sorted(fields))}")
    return found


def _of_counts(plan: Plan, written: set[str], last: Snapshot) -> list[str]:
    """What is wrong with the alerts of the threshold rule: each counts enough events, no event counts twice, and of no
    key enough events are left."""
    found, counts = [], last.counts()
    for key, ids in plan.counted.items():
        there, counted = len(written.intersection(ids)), counts.pop(key, [])
        if min(counted, default=ENOUGH) < ENOUGH or not sum(counted) <= there < sum(counted) + ENOUGH:
            found.append(f"of {there} events of {key} the alerts have counted {counted}")
    return [*found, *(f"not planned: counts {counted} of {key}" for key, counted in counts.items())]


def _of_terms(plan: Plan, written: set[str], last: Snapshot, *, whole: bool) -> list[str]:
    """What is wrong with the alerts of the rule of type new_terms: one for each term, of its first event if the events
    were all there from the beginning (`whole`)."""
    found, alerts = [], last.new_terms()
    for term, ids in plan.terms.items():
        there = [id_ for id_ in ids if id_ in written]
        events = alerts.pop(term, [])
        if len(events) != min(1, len(there)) or not set(events) <= set(there[:1] if whole else there):
            found.append(f"of the events {there} of the term {term} there are alerts of {events}")
    return [*found, *(f"not planned: the term {term} of {events}" for term, events in alerts.items())]


def _told(incident: Incident) -> str:
    return f"{incident[0]}: {' + '.join(incident[1])}"


def _rule_ids(folder: Path) -> set[str]:
    return {rule.rule_id for rule in load_rules([folder]).rules}
