"""Rules whose matches depend on where the window lies: whatever the ticks, each run's own window is searched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from runner.rule_run import RuleRun
from runner.rules.rule import Rule
from runner.schedule.schedule import DueWindow, Schedule, due_live, due_marks, due_owed
from runner.search.compiled_rule import CompiledRule, compile_rule
from runner.store.protocol import RuleState, state_after, state_with_mark
from runner.windows import Window

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
EVERY, BACK = timedelta(minutes=5), timedelta(minutes=60)
TOGETHER = Schedule(together=True)


def counting() -> CompiledRule:
    named = {"rule_id": "r", "name": "r", "description": "d", "severity": "low", "risk_score": 1}
    kind = {"type": "esql", "language": "esql", "query": "from logs-* | stats c = count(*) by host.id"}
    return compile_rule(Rule.model_validate({**named, **kind, "from": "now-60m", "interval": "5m"}))


def recorded(item: DueWindow, *, complete: bool) -> RuleRun:
    shown = item.compiled.reach.shown(item.window)
    status = "succeeded" if complete else "failed"
    return RuleRun("r", "r", "x", status, item.window, item.window.end, complete=complete, shown=shown)  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.lists(st.booleans(), max_size=6))
def test_the_windows_of_all_runs_are_searched_each_as_it_would_have_been(
    pauses: Sequence[int], failing: Sequence[bool]
) -> None:
    compiled, failures = counting(), list(failing)
    (begin,) = due_marks(TOGETHER, [compiled], {}, now=START)
    states: dict[str, RuleState] = {"r": state_with_mark(None, begin)}
    now, tried, done = START, dict[str, datetime](), list[Window]()
    for pause in (*pauses, *[5] * 40):
        now += timedelta(minutes=pause)
        items = due_live(TOGETHER, [compiled], states, now=now, tried=tried)
        items = (*items, *due_owed(TOGETHER, [compiled], states, now=now, tried=tried, most=1))
        for item in items:
            complete = not (failures and failures.pop())
            states["r"] = state_after(states["r"], recorded(item, complete=complete), "f")
            tried["r"] = max(tried.get("r", now - BACK), item.window.end)
            done += [item.window] if complete else []
    last = TOGETHER.last_start(compiled.rule, now)
    first = TOGETHER.last_start(compiled.rule, START)
    ends = [first + number * EVERY for number in range((last - first) // EVERY + 1)]
    assert set(done) == {Window(end - BACK, end) for end in ends}
