"""`HealthState` and the reports made of it: whether the service is alive, and whether it can search.

Alive means that the loop is at work, whatever fails in it: a restart does not help a process whose cluster is away.
Ready means that what is due can be searched and written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from runner.rule_run import RuleRun
from runner.service.rules_in_use import ActiveRules
from runner.windows import iso


@dataclass(frozen=True, slots=True)
class EventsSeen:
    """What the service knows of the events in files."""

    files: int
    newest: datetime | None
    """The newest time of an event that is not ahead of the clock; None if none was read."""


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """What is known of the service at one moment."""

    at: datetime
    """When it was last at work."""
    ticked: bool = False
    """Whether a tick has ended: before the first one nothing is known of store and rules."""
    trouble: str = ""
    """Why nothing could be searched or written at the last tick."""
    rules: int | None = None
    """Rules in use; None before they were loaded."""
    errors: int = 0
    """Problems of the rule files and queries that cost a rule or its newest version."""
    runs: int = 0
    """Runs of the last tick that had any."""
    failed: int = 0
    """Those of them that failed."""
    failure: str = ""
    """The message of the first of these."""
    events: EventsSeen | None = None
    """None for a cluster, and before the first tick."""
    since: datetime | None = None
    """When the service began."""
    searched: int = 0
    """Rules that were run."""
    blind: int = 0
    """Those of them for which, at their last run, nothing was there that their index patterns name."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One check; `reason` is what is wrong, or the state found."""

    name: str
    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The answer to `/healthz` or `/readyz`."""

    checks: tuple[HealthCheck, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def as_json(self, cleaned: Callable[[str], str]) -> dict[str, Any]:
        """The body of the answer; `cleaned` masks what must not be shown."""
        return {
            "status": "ok" if self.ok else "failing",
            "checks": [{"name": check.name, "ok": check.ok, "reason": cleaned(check.reason)} for check in self.checks],
        }


class HealthState:
    """What is known of the service's health. One thread writes; any may read `snapshot`, which is replaced whole.

    `on_change` is called with every new snapshot.
    """

    def __init__(self, now: datetime, on_change: Callable[[HealthSnapshot], None] = lambda snapshot: None) -> None:
        self._snapshot = HealthSnapshot(now, since=now)
        self._on_change = on_change
        self._runs = self._failed = 0
        self._failure = ""
        self._blind: dict[str, bool] = {}

    @property
    def snapshot(self) -> HealthSnapshot:
        return self._snapshot

    def beat(self, now: datetime) -> None:
        """The service is at work."""
        self._change(at=now)

    def record_run(self, run: RuleRun) -> None:
        """A run is done."""
        self._runs += 1
        self._blind[run.rule_id] = run.blind
        if run.status == "failed":
            self._failed += 1
            self._failure = self._failure or "; ".join(run.messages)

    def record_rules(self, active: ActiveRules) -> None:
        """The rules in use have changed."""
        here = {rule.rule_id for rule in active.rules}
        self._blind = {rule_id: is_blind for rule_id, is_blind in self._blind.items() if rule_id in here}
        errors = sum(problem.severity == "error" for problem in active.problems)
        self._change(rules=len(active.rules), errors=errors)

    def record_events(self, events: EventsSeen) -> None:
        """The files were read."""
        self._change(events=events)

    def record_tick(self, now: datetime, trouble: Exception | None) -> None:
        """A tick is over; `trouble` is what keeps the service from its work."""
        text = "" if trouble is None else str(trouble) or type(trouble).__name__
        of_runs = {"runs": self._runs, "failed": self._failed, "failure": self._failure} if self._runs else {}
        of_rules = {"searched": len(self._blind), "blind": sum(self._blind.values())}
        self._change(at=now, ticked=True, trouble=text, **of_runs, **of_rules)
        self._runs = self._failed = 0
        self._failure = ""

    def _change(self, **fields: Any) -> None:
        self._snapshot = replace(self._snapshot, **fields)
        self._on_change(self._snapshot)


def liveness(snapshot: HealthSnapshot, now: datetime, patience: timedelta) -> HealthReport:
    """Whether the loop is at work: it was silent for no longer than `patience`."""
    return HealthReport((_loop(snapshot, now, patience),))


def readiness(
    snapshot: HealthSnapshot, now: datetime, patience: timedelta, *, quiet_after: timedelta = timedelta(0)
) -> HealthReport:
    """Whether what is due can be searched: rules are loaded, the store answers, not every search fails, and events are
    seen. No new event for `quiet_after` is too long; 0 for any time."""
    checks = [_loop(snapshot, now, patience), _rules(snapshot), _store(snapshot), _search(snapshot)]
    return HealthReport((*checks, *filter(None, (sight(snapshot, now, quiet_after),))))


def sight(snapshot: HealthSnapshot, now: datetime, quiet_after: timedelta) -> HealthCheck | None:
    """Whether events are seen, as far as it is known; None before the first search."""
    events, rules = snapshot.events, f"{snapshot.searched} rule{'s' * (snapshot.searched != 1)}"
    if events is not None:
        if not events.files:
            return HealthCheck("events", False, "there is no event file")
        if events.newest is None and snapshot.blind:
            return HealthCheck("events", False, f"no event was read from {events.files} files")
        last = events.newest or snapshot.since
        if quiet_after and last is not None and now - last > quiet_after:
            newest = f"the newest event is of {iso(last)}" if events.newest else f"no event came since {iso(last)}"
            limit = f"expected one within {_spoken(quiet_after)} (RUNNER_QUIET_AFTER)"
            return HealthCheck("events", False, f"{newest}, {_spoken(now - last)} ago; {limit}")
    if snapshot.searched and snapshot.blind == snapshot.searched:
        return HealthCheck("events", False, f"nothing is there that the index patterns of {rules} name")
    if not snapshot.searched:
        return None
    seen = f"newest event of {iso(events.newest)}" if events is not None and events.newest else "seen"
    some = f"; {snapshot.blind} of {rules} see none: nothing is there that their index patterns name"
    return HealthCheck("events", True, seen + (some if snapshot.blind else ""))


def _spoken(length: timedelta) -> str:
    """A length of time in seconds, minutes or hours.

    >>> _spoken(timedelta(minutes=90)), _spoken(timedelta(hours=3))
    ('90 min', '3 h')
    """
    seconds = int(length.total_seconds())
    for size, unit in ((3_600, "h"), (60, "min")):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _loop(snapshot: HealthSnapshot, now: datetime, patience: timedelta) -> HealthCheck:
    silence = now - snapshot.at
    if silence > patience:
        told = f"silent since {iso(snapshot.at)}, for {silence.total_seconds():.0f} s"
        return HealthCheck("loop", False, f"{told}; expected a sign of life every {patience.total_seconds():.0f} s")
    return HealthCheck("loop", True, "at work")


def _rules(snapshot: HealthSnapshot) -> HealthCheck:
    problems = f"{snapshot.errors} problem{'s' * (snapshot.errors != 1)} in the rule files" if snapshot.errors else ""
    if snapshot.rules is None:
        return HealthCheck("rules", False, "not loaded yet")
    if not snapshot.rules:
        return HealthCheck("rules", False, f"no rule can be run{f': {problems}' if problems else ''}")
    in_use = f"{snapshot.rules} rule{'s' * (snapshot.rules != 1)} in use"
    return HealthCheck("rules", True, f"{in_use}; {problems}" if problems else in_use)


def _store(snapshot: HealthSnapshot) -> HealthCheck:
    if not snapshot.ticked:
        return HealthCheck("store", False, "not asked yet: the first tick is not over")
    return HealthCheck("store", not snapshot.trouble, snapshot.trouble or "reachable")


def _search(snapshot: HealthSnapshot) -> HealthCheck:
    if snapshot.failed and snapshot.failed == snapshot.runs:
        told = "the last run failed" if snapshot.runs == 1 else f"the last {snapshot.runs} runs all failed"
        return HealthCheck("search", False, f"{told}: {snapshot.failure}")
    if snapshot.failed:
        return HealthCheck("search", True, f"{snapshot.failed} of the last {snapshot.runs} runs failed")
    return HealthCheck("search", True, "no failure" if snapshot.runs else "nothing searched yet")
