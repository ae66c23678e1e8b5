"""`RuleStatus` and `Gap`: the state of every rule, a pure function of the rules, the ledger and the time.

A rule owes what a service started now would search: the spans since its first window that were not searched to the end,
up to the beginning of its current window. What is older than the horizon is given up: only a replay searches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from runner.rule_run import RuleRun
from runner.rules.load import LoadedRules
from runner.rules.rule import Rule
from runner.schedule.schedule import CATCH_UP_CHUNK, Schedule, owed
from runner.search.compiled_rule import Reach
from runner.store.protocol import RuleState
from runner.windows import Window, subtract

Presence = Literal["enabled", "disabled", "broken", "gone"]
"""The state of a rule in the rule files: it runs, is disabled, its file has an error, or it is in none of them."""
GapKind = Literal["never searched", "failed", "left over", "late events", "given up"]
"""Why a span was not searched to the end: no run covered it; the last one that did failed, or left matches over the
cap for the next; events came after it was searched; it is older than the horizon."""

_NOTHING = timedelta(0)
_NEVER_SEARCHED: Mapping[Presence, str] = {
    "gone": "the rule is no longer in the rule files",
    "disabled": "the rule is disabled",
    "broken": "the file of the rule has an error",
    "enabled": "no run has covered it yet",
}
_LATE = "events of this time came after it was searched"


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """The status of one rule: its last run, how far it was searched, what is owed and what is given up."""

    rule_id: str
    name: str
    presence: Presence
    last: RuleRun | None
    searched_to: datetime | None
    next_due: datetime | None
    """None for a rule that is not run."""
    owed: tuple[Window, ...] = ()
    given_up: tuple[Window, ...] = ()
    late: tuple[Window, ...] = ()
    """Spans among them that were searched before events of their time came."""

    @property
    def owed_length(self) -> timedelta:
        return sum((span.length for span in self.owed), _NOTHING)

    @property
    def given_up_length(self) -> timedelta:
        return sum((span.length for span in self.given_up), _NOTHING)

    @property
    def owed_windows(self) -> int:
        """Least number of runs that search what is owed."""
        return sum(-(-span.length // CATCH_UP_CHUNK) for span in self.owed)

    def lag(self, now: datetime) -> timedelta | None:
        """The time from the newest searched moment to now; None if nothing was searched yet."""
        return max(now - self.searched_to, _NOTHING) if self.searched_to is not None else None


@dataclass(frozen=True, slots=True)
class Gap:
    """One span of one rule that was not searched to the end."""

    rule_id: str
    name: str
    span: Window
    kind: GapKind
    reason: str
    """For a person: the messages of the last run over it, or why there was none."""
    due_since: datetime | None
    """When the run was due that should have searched its beginning; None for a rule that is not in the rule files."""


def standings_of(
    loaded: LoadedRules, states: Mapping[str, RuleState], schedule: Schedule, *, now: datetime, is_lasting: bool = True
) -> tuple[RuleStatus, ...]:
    """The status of every rule of the rule files, in their order, then of those that only the ledger has, by name.

    With `is_lasting=False` the source has come to an end: no time is owed beyond the last window.
    """
    known = [
        standing_of(rule, states.get(rule.rule_id), schedule, now=now, is_lasting=is_lasting) for rule in loaded.rules
    ]
    here = {rule.rule_id for rule in loaded.known}
    broken = {problem.rule_id for problem in loaded.errors if problem.rule_id is not None}
    others = [
        _standing_without_rule(state, "broken" if rule_id in broken else "gone", schedule, now=now)
        for rule_id, state in states.items()
        if rule_id not in here
    ]
    return (*known, *sorted(others, key=lambda standing: (standing.name, standing.rule_id)))


def standing_of(
    rule: Rule,
    state: RuleState | None,
    schedule: Schedule,
    *,
    now: datetime,
    reach: Reach | None = None,
    is_lasting: bool = True,
) -> RuleStatus:
    """The status of a rule of the rule files; `reach` is its query's, if the query was compiled."""
    last = state.last if state is not None else None
    ends = [last.window.end] if last is not None else []
    if rule.enabled and state is not None and is_lasting:
        ends.append(schedule.live(rule, reach or Reach(), now).start)
    spans, given_up = _missing(state, max(ends, default=None), horizon_start=now - schedule.horizon)
    return RuleStatus(
        rule_id=rule.rule_id,
        name=rule.name,
        presence="enabled" if rule.enabled else "disabled",
        last=last,
        searched_to=_searched_to(state),
        next_due=schedule.next_start(rule, now) if rule.enabled else None,
        owed=spans,
        given_up=given_up,
        late=state.late if state is not None else (),
    )


def _standing_without_rule(state: RuleState, presence: Presence, schedule: Schedule, *, now: datetime) -> RuleStatus:
    """The status of a rule that only the ledger has."""
    last = state.last
    until = last.window.end if last is not None else None
    spans, given_up = _missing(state, until, horizon_start=now - schedule.horizon)
    name = last.name if last is not None else state.rule_id
    return RuleStatus(state.rule_id, name, presence, last, _searched_to(state), None, spans, given_up, state.late)


def _searched_to(state: RuleState | None) -> datetime | None:
    """The end of the newest span that was searched; the empty span at the first window's beginning is none."""
    ends = [span.end for span in state.searched if span.start < span.end] if state is not None else []
    return max(ends, default=None)


def _missing(
    state: RuleState | None, until: datetime | None, *, horizon_start: datetime
) -> tuple[tuple[Window, ...], tuple[Window, ...]]:
    """The spans from the first window to `until` that were not searched to the end: those owed, those given up.

    The time in which the rule is disabled is neither.
    """
    if state is None or not state.searched or until is None:
        return (), ()
    until = min(until, state.paused) if state.paused is not None else until
    first = state.searched[0].start
    border = min(max(horizon_start, first), max(until, first))
    given_up = subtract(Window(first, border), state.accounted)
    return owed(state, until, horizon=max(until - horizon_start, _NOTHING)), given_up


def gaps_of(
    standings: Iterable[RuleStatus],
    rules: Mapping[str, Rule],
    schedule: Schedule,
    *,
    unfinished: Sequence[RuleRun] = (),
) -> tuple[Gap, ...]:
    """Every span that is owed or given up, rule by rule and oldest first, each with the reason.

    `unfinished` are runs that left their window unsearched, newest first, beside the last runs in the standings.
    """
    by_rule: dict[str, list[RuleRun]] = {}
    for run in unfinished:
        by_rule.setdefault(run.rule_id, []).append(run)
    gaps: list[Gap] = []
    for standing in standings:
        last = [standing.last] if standing.last is not None and not standing.last.complete else []
        runs = [*last, *by_rule.get(standing.rule_id, ())]
        rule = rules.get(standing.rule_id)
        whys = [(span, _given_up(standing, span, runs)) for span in standing.given_up]
        whys += [(span, _owed(standing, span, runs)) for span in standing.owed]
        for span, (kind, reason) in whys:
            due_since = schedule.next_start(rule, span.start) if rule is not None else None
            gaps.append(Gap(standing.rule_id, standing.name, span, kind, reason, due_since))
    return tuple(gaps)


def _owed(standing: RuleStatus, span: Window, runs: Iterable[RuleRun]) -> tuple[GapKind, str]:
    if _came_late(standing, span):
        return "late events", _LATE + _last_run(span, runs)
    if (run := _run_over(span, runs)) is None:
        return "never searched", _NEVER_SEARCHED[standing.presence]
    reason = "; ".join(run.messages) or "the run said nothing"
    return ("failed" if run.status == "failed" else "left over"), reason


def _given_up(standing: RuleStatus, span: Window, runs: Iterable[RuleRun]) -> tuple[GapKind, str]:
    late = f"; {_LATE}" if _came_late(standing, span) else ""
    text = f"older than RUNNER_CATCH_UP; a replay of the span searches it{late}"
    return "given up", text + _last_run(span, runs)


def _came_late(standing: RuleStatus, span: Window) -> bool:
    return any(late.start < span.end and span.start < late.end for late in standing.late)


def _last_run(span: Window, runs: Iterable[RuleRun]) -> str:
    """What the last run over a span said, as the end of a sentence."""
    run = _run_over(span, runs)
    return f"; the last run over it: {'; '.join(run.messages)}" if run is not None and run.messages else ""


def _run_over(span: Window, runs: Iterable[RuleRun]) -> RuleRun | None:
    """The newest of the runs over the beginning of the span or within it.

    A run whose window only overlaps the end of the span had another span to search.
    """
    for run in runs:
        window = run.window
        if window.start <= span.start < window.end or (span.start <= window.start and window.end <= span.end):
            return run
    return None
