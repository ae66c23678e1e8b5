"""`RuleStates`: the states of the rules between two ticks, and the pace of each rule's catch-up."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from runner.rule_run import RuleRun
from runner.rules.rule import Rule
from runner.schedule.schedule import (
    CatchUpState,
    DueWindow,
    Schedule,
    WindowKind,
    chunk_of,
    due_live,
    due_marks,
    due_owed,
    pause_after,
)
from runner.search.compiled_rule import CompiledRule
from runner.store.protocol import Mark, RuleState, state_after, state_with_mark


class RuleStates:
    """The states of the rules as the ledger has them, and what matters for the next ticks alone.

    Nothing here has to outlive the process: another one continues from the ledger.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.states: dict[str, RuleState] = {}
        self._first: dict[str, datetime] = {}
        """Where the first window of a rule begins, as of when it was first seen: also if it could not be searched."""
        self._tried: dict[str, datetime] = {}
        """The end of the newest window that was tried of each rule."""
        self._ledger_ends: dict[str, datetime] = {}
        """The end of what the ledger had as searched when the rule was taken over."""
        self._trusted: dict[str, datetime] = {}
        """After the clock was set back: up to when the ledger is right, by rule id."""
        self._waits: dict[str, _Wait] = {}
        self._catch_ups: dict[str, CatchUpState] = {}
        self._rounds = 0

    def add_rules(self, rules: Iterable[CompiledRule], now: datetime) -> None:
        """Remember since when each new rule is due."""
        for compiled in rules:
            if compiled.rule.rule_id not in self._first:
                self._first[compiled.rule.rule_id] = self.schedule.first_owed(compiled, now)

    def take_over(self, rule_ids: Collection[str], states: Mapping[str, RuleState]) -> None:
        """Replace everything about these rules by the ledger's states of now."""
        for rule_id in rule_ids:
            for by_id in (self.states, self._tried, self._ledger_ends, self._waits, self._catch_ups):
                by_id.pop(rule_id, None)
            if (state := states.get(rule_id)) is not None:
                self.states[rule_id] = state
                if state.searched:
                    self._ledger_ends[rule_id] = state.searched[-1].end

    def due_marks(self, rules: Iterable[CompiledRule], disabled: Iterable[Rule], now: datetime) -> tuple[Mark, ...]:
        """The marks that the ledger needs now."""
        known = {"first": self._first, "trusted": self._trusted}
        return due_marks(self.schedule, rules, self.states, now=now, disabled=disabled, **known)

    def record_marks(self, marks: Iterable[Mark]) -> None:
        """Add marks that are in the ledger."""
        for mark in marks:
            self.states[mark.rule_id] = state_with_mark(self.states.get(mark.rule_id), mark)
        self._trusted = {}

    def set_back(self, right_until: datetime | None, now: datetime) -> None:
        """The clock was set back: what was recorded after `right_until` is doubted in the next marks.

        Where the clock was never right since this process began, that is what was recorded since the take-over.
        """
        self._tried.clear()
        self._first = {rule_id: start for rule_id, start in self._first.items() if start <= now}
        self._trusted = dict(self._ledger_ends) if right_until is None else dict.fromkeys(self.states, right_until)

    def live(self, rules: Iterable[CompiledRule], now: datetime) -> tuple[DueWindow, ...]:
        """The live windows that are due."""
        return due_live(self.schedule, rules, self.states, now=now, tried=self._tried)

    def backlog(
        self, rules: Iterable[CompiledRule], now: datetime, *, passed: timedelta, most: int
    ) -> tuple[DueWindow, ...]:
        """The backlog of rules that need not wait, whose turn it is; at most `most` windows, all if that is 0."""
        waits = {rule_id for rule_id, wait in self._waits.items() if wait.until > passed}
        ready = [compiled for compiled in rules if compiled.rule.rule_id not in waits]
        tried, most = self._tried, most or len(ready)
        return due_owed(self.schedule, ready, self.states, now=now, tried=tried, most=most, catch_ups=self._catch_ups)

    def record_turns(self, due: Sequence[DueWindow]) -> None:
        """These backlog windows are searched next."""
        self._rounds += 1
        for item in due:
            catch_up = self._catch_ups.get(item.rule.rule_id, CatchUpState())
            self._catch_ups[item.rule.rule_id] = replace(catch_up, turn=self._rounds)

    def record_run(self, run: RuleRun, rule: Rule, kind: WindowKind, *, passed: timedelta) -> None:
        """Add a run that is in the ledger; `passed` is the elapsed time by which waits are measured."""
        rule_id = rule.rule_id
        before = self.states.get(rule_id)
        self.states[rule_id] = state_after(before, run, rule.fingerprint)
        newest = self._tried.get(rule_id)
        self._tried[rule_id] = run.window.end if newest is None else max(newest, run.window.end)
        if before is not None and before.fingerprint not in ("", rule.fingerprint):
            self._waits.pop(rule_id, None)  # what failed before was another rule
            self._catch_ups.pop(rule_id, None)
        if kind == "owed":
            self._catch_ups[rule_id] = _catch_up_after(self._catch_ups.get(rule_id, CatchUpState()), run, rule)
        wait = self._waits.get(rule_id)
        if run.complete:
            # A live window that succeeds does not show that the backlog would.
            if wait is not None and (kind == "owed" or wait.kind == "live"):
                del self._waits[rule_id]
        elif run.status != "failed":
            # More matches than the cap allows: the next of them after an interval, as a run of its own.
            self._waits[rule_id] = _Wait(kind, 0, passed + rule.every)
        else:
            failures = 1 + (wait.failures if wait is not None else 0)
            self._waits[rule_id] = _Wait(kind, failures, passed + pause_after(rule, failures))


@dataclass(frozen=True, slots=True)
class _Wait:
    """Until when the backlog of a rule waits, after `failures` windows of that kind failed in a row."""

    kind: WindowKind
    failures: int
    until: timedelta


def _catch_up_after(catch_up: CatchUpState, run: RuleRun, rule: Rule) -> CatchUpState:
    if run.status != "failed":
        return replace(catch_up, failures=0)
    if chunk_of(rule, catch_up.failures + 1) < chunk_of(rule, catch_up.failures):
        return replace(catch_up, failures=catch_up.failures + 1)
    return replace(catch_up, failures=0, beyond=run.window.end)
