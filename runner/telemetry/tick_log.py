"""`TickLog`: the runs of a tick, in one line for all rules and one for each with news; outages and their ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from runner.errors import RunnerError
from runner.messages.quantities import counted, in_whole_units
from runner.rule_run import COUNTS, RuleRun, has_news, shared_messages
from runner.telemetry.logs import log_run
from runner.windows import iso

_LOG = structlog.get_logger("runner.service")
_RUNS = structlog.get_logger("runner.run")
_TROUBLE_EVERY = timedelta(minutes=5)
"""How often a trouble that does not change is logged."""
_SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class _Outage:
    """Since when nothing could be searched; `of_store`: nothing could be recorded either."""

    since: datetime
    of_store: bool


class TickLog:
    """The log of a service's ticks."""

    def __init__(self, now: Callable[[], datetime], owed: Callable[[], tuple[int, timedelta]], *, store: str) -> None:
        """`owed` is how many rules owe how much time in all; `store` is what alerts and state are kept in."""
        self._now = now
        self._owed = owed
        self._store = store
        self._runs: list[RuleRun] = []
        self._outage: _Outage | None = None
        self._trouble = ""
        self._told: datetime | None = None

    def add(self, run: RuleRun) -> None:
        """Keep a run for the lines of its tick."""
        self._runs.append(run)

    def trouble(self, error: Exception) -> None:
        """Log why a tick failed; the same reason again only every few minutes."""
        now, text = self._now(), f"{type(error).__name__}: {error}"
        if text == self._trouble and self._told is not None and timedelta(0) <= now - self._told < _TROUBLE_EVERY:
            return
        self._trouble, self._told = text, now
        unexpected = None if isinstance(error, RunnerError) else error  # only that one with its traceback
        _LOG.error(f"the search stopped: {error}; what was not searched stays due", exc_info=unexpected)

    def flush(self) -> None:
        """Log the runs of a tick that was cut off."""
        runs, self._runs = self._runs, []
        log_runs(runs)

    def tick_over(self, trouble: Exception | None) -> None:
        """Log the runs of the tick that is over, and the beginning or the end of an outage."""
        runs, self._runs = self._runs, []
        log_runs(runs)
        failed = bool(runs) and all(run.status == "failed" for run in runs)
        if trouble is not None or failed:
            if self._outage is None:
                self._outage = _Outage(self._now(), trouble is not None)
        elif self._outage is not None and (runs or self._outage.of_store):
            self._recovered(self._outage)

    def _recovered(self, outage: _Outage) -> None:
        self._outage, self._trouble = None, ""
        rules, owed = self._owed()
        what = f"{self._store} can be reached again" if outage.of_store else "the events can be searched again"
        owes = "nothing is owed"
        if rules:
            length = in_whole_units(owed // _SECOND * 1_000) or "less than 1s"
            owes = f"{counted(rules, 'rule')} {'owes' if rules == 1 else 'owe'} {length} in all, searched oldest first"
        lasted = in_whole_units((self._now() - outage.since) // _SECOND * 1_000) or "less than 1s"
        _LOG.info(f"{what} after {lasted}: {owes}")


def log_runs(runs: Sequence[RuleRun]) -> None:
    """Log the runs of a tick: those with news in a line each, all others, and what concerns several rules, in one."""
    if not runs:
        return
    shared = shared_messages(runs)
    news = [run for run in runs if has_news(run, shared)]
    for run in news:
        log_run(replace(run, messages=tuple(text for text in run.messages if text not in shared)))
    if len(news) == len(runs) and not shared:
        return
    quiet = len({run.rule_id for run in runs}) - len({run.rule_id for run in news})
    counts: dict[str, Any] = {name: sum(run.counts[name] for run in runs) for name in COUNTS}
    concerned = [f"{count} rules: {text}" for text, count in shared.items()]
    parts = [f"{counts['created']} created"]
    if quiet:
        failed = any(run.status == "failed" for run in runs if not has_news(run, shared))
        parts.append(f"{counted(quiet, 'rule')} {'could not be searched to the end' if failed else 'found nothing'}")
    worst = max((run.status for run in runs), key=("succeeded", "warning", "failed").index)
    level = {"succeeded": "info", "warning": "warning", "failed": "error"}[worst if concerned else "succeeded"]
    fields: dict[str, Any] = {
        "event.kind": "event",
        "event.provider": "rule-runner",
        "event.dataset": "rule-runner.tick",
        "event.action": "rule-runs",
        "runner.rules": len({run.rule_id for run in runs}),
        "runner.window.from": iso(min(run.window.start for run in runs)),
        "runner.window.to": iso(max(run.window.end for run in runs)),
        **{f"runner.{name}": count for name, count in counts.items()},
    }
    subject = counted(len({run.rule_id for run in runs}), "rule")
    to = max(run.window.end for run in runs)
    getattr(_RUNS, level)("; ".join((f"{subject} searched up to {iso(to)}: {', '.join(parts)}", *concerned)), **fields)
