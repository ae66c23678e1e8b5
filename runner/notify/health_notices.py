"""`HealthNotices`: what a service sees of its own health, as observations that an `IncidentBook` records."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from runner.messages.quantities import counted, in_whole_units
from runner.notify.incidents import FAILING_RUNS, HealthObservation
from runner.rule_run import RuleRun

_TROUBLED_TICKS = 3
"""Failing ticks in a row that are told."""


class HealthNotices:
    """Observes what has changed. What went on before the process began may be over: each thing is observed once."""

    def __init__(self, observe: Callable[[HealthObservation], None]) -> None:
        self._observe = observe
        self._last: dict[str, bool] = {}
        self._failing_ticks = 0

    def run(self, run: RuleRun) -> None:
        """A rule was run: it fails, or does not."""
        failed = run.status == "failed"
        key = f"rule:{run.rule_id}"
        if not failed and self._last.get(key) is False:
            return
        self._last[key] = failed
        times = f"the last {FAILING_RUNS} runs or more failed: " if failed else ""
        trouble = f"{times}{'; '.join(run.messages) or 'no reason was given'}" if failed else ""
        self._observe(HealthObservation(key, f"rule {run.name} fails", trouble, needed=FAILING_RUNS))

    def tick(self, trouble: Exception | None) -> None:
        """A tick is over; `trouble` is what keeps the service from searching."""
        self._failing_ticks = self._failing_ticks + 1 if trouble is not None else 0
        if trouble is None or self._failing_ticks >= _TROUBLED_TICKS:
            text = "" if trouble is None else str(trouble) or type(trouble).__name__
            self._changed("service", "nothing can be searched", text)

    def sight(self, ok: bool, reason: str) -> None:
        """Whether events are seen."""
        self._changed("events", "no events are seen", "" if ok else reason)

    def given_up(self, rules: int, length: timedelta) -> None:
        """How much time of how many rules was never searched, and is owed no longer."""
        self._last["gaps"] = bool(rules)
        text = ""
        if rules:
            shown = in_whole_units(length // timedelta(seconds=1) * 1_000)
            text = (
                f"{shown} of {counted(rules, 'rule')} were never searched, and are older than RUNNER_CATCH_UP; "
                "`rule-runner status --gaps` lists them, `rule-runner replay` searches them"
            )
        seen = HealthObservation("gaps", "gaps are given up", text, amount=length.total_seconds())
        self._observe(seen)

    def _changed(self, key: str, title: str, trouble: str) -> None:
        if self._last.get(key) == bool(trouble):
            return
        self._last[key] = bool(trouble)
        self._observe(HealthObservation(key, title, trouble))
