"""Replay: the live path over a past span, window by window."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import datetime

from runner.execution import Execution, size_for
from runner.report import RuleRun
from runner.rules.rule import Rule
from runner.schedule import Schedule
from runner.search.search import SearchRequest
from runner.windows import Window

WINDOWS_AT_A_TIME = 2_000
"""Windows that one pass over files answers: enough for a day of a few rules, few enough to keep in mind."""


def replay_windows(schedule: Schedule, rule: Rule, span: Window) -> Iterator[Window]:
    """The windows that a service would have searched for the rule, oldest first, so that all of the span is covered.

    They end every interval from the start of the span on, the last one at its end.
    """
    moment = span.start
    while moment < span.end:
        moment = min(moment + rule.every, span.end)
        yield schedule.window(rule, moment)


def replay_requests(schedule: Schedule, rules: Sequence[Rule], span: Window) -> list[SearchRequest]:
    """All windows of all rules over the span, oldest first."""
    requests = [
        SearchRequest(rule, window, size_for(rule), schedule.reach(rule))
        for rule in rules
        for window in replay_windows(schedule, rule, span)
    ]
    return sorted(requests, key=lambda request: (request.window.end, request.rule.rule_id))


async def replay(execution: Execution, requests: Sequence[SearchRequest]) -> AsyncGenerator[RuleRun, None]:
    """Run the requests in their order, in parts; a window with more matches than the cap lets through is run again.

    Each run is yielded, those that were capped with what they left for the next one.
    """
    for first in range(0, len(requests), WINDOWS_AT_A_TIME):
        waiting = list(requests[first : first + WINDOWS_AT_A_TIME])
        while waiting:
            by_window = {(request.rule.rule_id, request.window): request for request in waiting}
            waiting = []
            async for run in execution.run(list(by_window.values())):
                yield run
                if run.capped and not run.complete and run.created:
                    waiting.append(by_window[(run.rule_id, run.window)])


def hour_of(moment: datetime) -> datetime:
    """The full hour that a moment is in."""
    return moment.replace(minute=0, second=0, microsecond=0)
