"""`RuleStates`: what the service knows of its rules between two ticks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from runner.rule_run import RuleRun
from runner.rules.rule import Rule
from runner.schedule.schedule import CatchUpState, DueWindow, Schedule, chunk_of, due_live, due_owed, pause_after
from runner.store.protocol import Mark, RuleState, state_after, state_with_mark

WindowKind = Literal["live", "owed"]


class RuleStates:
    """The states of the rules as the ledger has them, and what matters for the next ticks alone.

    Nothing here has to outlive the process: from the ledger, another one goes on.
    """

    def __init__(self) -> None:
        self.states: dict[str, RuleState] = {}
        self.first: dict[str, datetime] = {}
        """Where the first window of a rule begins, as of when it was first seen: also if it could not be searched."""
        self.tried: dict[str, datetime] = {}
        """The end of the newest window that was tried of each rule."""
        self._believed: dict[str, datetime] = {}
        self._waits: dict[str, _Wait] = {}
        self._footings: dict[str, CatchUpState] = {}
        self._rounds = 0

    def see(self, rules: Iterable[Rule], schedule: Schedule, *, now: datetime) -> None:
        """Remember since when each rule is due."""
        for rule in rules:
            if rule.rule_id not in self.first:
                self.first[rule.rule_id] = schedule.shown(rule, schedule.live(rule, now)).start

    def take_over(self, rule_ids: Collection[str], states: Mapping[str, RuleState]) -> None:
        """Go by the ledger for these rules, as it is now, and forget what was known of them."""
        for rule_id in rule_ids:
            for known in (self.states, self.tried, self._believed, self._waits, self._footings):
                known.pop(rule_id, None)
            if (state := states.get(rule_id)) is not None:
                self.states[rule_id] = state
                if state.searched:
                    self._believed[rule_id] = state.searched[-1].end

    def mark(self, marks: Iterable[Mark]) -> None:
        """What the ledger was told."""
        for mark in marks:
            self.states[mark.rule_id] = state_with_mark(self.states.get(mark.rule_id), mark)

    def set_back(self, right_until: datetime | None, *, now: datetime) -> dict[str, datetime]:
        """The clock was set back. Returns up to when the ledger can be believed, by rule id.

        Where the clock was never right since this process began, that is what the ledger said when it began.
        """
        self.tried.clear()
        self.first = {rule_id: start for rule_id, start in self.first.items() if start <= now}
        return dict(self._believed) if right_until is None else dict.fromkeys(self.states, right_until)

    def live(self, schedule: Schedule, rules: Iterable[Rule], now: datetime) -> tuple[DueWindow, ...]:
        """The live windows that are due."""
        return due_live(schedule, rules, self.states, now=now, tried=self.tried)

    def backlog(
        self, schedule: Schedule, rules: Iterable[Rule], now: datetime, *, passed: timedelta, most: int
    ) -> tuple[DueWindow, ...]:
        """The backlog whose turn it is, of rules that need not wait; at most `most` windows, all if that is 0."""
        waits = {rule_id for rule_id, wait in self._waits.items() if wait.until > passed}
        ready = [rule for rule in rules if rule.rule_id not in waits]
        return due_owed(
            schedule,
            ready,
            self.states,
            now=now,
            tried=self.tried,
            most=most or len(ready),
            footings=self._footings,
        )

    def serve(self, due: Sequence[DueWindow]) -> None:
        """The backlog windows that are searched next."""
        self._rounds += 1
        for item in due:
            footing = self._footings.get(item.rule.rule_id, CatchUpState())
            self._footings[item.rule.rule_id] = replace(footing, turn=self._rounds)

    def note(self, run: RuleRun, rule: Rule, kind: WindowKind, *, passed: timedelta) -> None:
        """A run that was recorded; `passed` is the time by which waits are measured."""
        rule_id = rule.rule_id
        before = self.states.get(rule_id)
        self.states[rule_id] = state_after(before, run, rule.fingerprint)
        newest = self.tried.get(rule_id)
        self.tried[rule_id] = run.window.end if newest is None else max(newest, run.window.end)
        if before is not None and before.fingerprint not in ("", rule.fingerprint):
            self._waits.pop(rule_id, None)  # what failed before was another rule
            self._footings.pop(rule_id, None)
        if kind == "owed":
            self._footings[rule_id] = _footing_after(self._footings.get(rule_id, CatchUpState()), run, rule)
        wait = self._waits.get(rule_id)
        if run.complete:
            # A live window that is well says nothing of a backlog that fails by itself.
            if wait is not None and (kind == "owed" or wait.kind == "live"):
                del self._waits[rule_id]
        elif run.status != "failed":
            # More matches than the cap lets through: the next of them after an interval, as a run of its own.
            self._waits[rule_id] = _Wait(kind, 0, passed + rule.every)
        else:
            failures = 1 + (wait.failures if wait is not None else 0)
            self._waits[rule_id] = _Wait(kind, failures, passed + pause_after(rule, failures))


@dataclass(frozen=True, slots=True)
class _Wait:
    """Until when the backlog of a rule waits, after so many failures of windows of that kind in a row."""

    kind: WindowKind
    failures: int
    until: timedelta


def _footing_after(footing: CatchUpState, run: RuleRun, rule: Rule) -> CatchUpState:
    if run.status != "failed":
        return replace(footing, failures=0)
    if chunk_of(rule, footing.failures + 1) < chunk_of(rule, footing.failures):
        return replace(footing, failures=footing.failures + 1)
    return replace(footing, failures=0, beyond=run.window.end)
