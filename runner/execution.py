"""One rule, one window: from the search's answer to alerts in the store and a line in the ledger."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Literal

import structlog

from runner.alerts.alert import AlertGroup
from runner.alerts.build import AlertContext, build_alerts
from runner.alerts.identity import alert_ids
from runner.alerts.limit import Candidate, Selection, take_new
from runner.errors import RunnerError
from runner.report import RuleRun
from runner.rules.rule import Rule
from runner.search.edges import settled_of
from runner.search.search import Match, Search, SearchRequest, SearchResult
from runner.store.store import AlertStore, Ledger, WriteResult

LARGEST_SIZE = 10_000
"""The most matches that one search may be asked for (Elasticsearch's `index.max_result_window`)."""
COUNTED_OVER_CAP = 10_000
"""How many matches over the cap are looked at to say how many are left for the next run."""
_LOG = structlog.get_logger("runner.execution")
_PART = 500  # matches whose ids are looked up in the store at once


def size_for(rule: Rule) -> int:
    """How many matches to ask for at first: one more than may become alerts, to see whether there are more."""
    return min(rule.max_signals + 1, LARGEST_SIZE)


@dataclass(frozen=True, slots=True)
class Execution:
    """Everything that the execution of a rule needs beside the rule: where to write, and as what.

    `clock` gives the detection time of the alerts and the start of the run. `manual` marks replays.
    """

    search: Search
    alerts: AlertStore
    ledger: Ledger
    clock: Callable[[], datetime]
    context: AlertContext
    """The parts of the alert documents that are the same in every run; time and execution id are filled in."""
    on_cap: Literal["carry", "drop"] = "carry"

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncGenerator[RuleRun, None]:
        """Search, write and record each request; yields one run per request, as they are done.

        A request whose search stopped at its size before `max_signals` new alerts were found is searched again for
        more. A failing rule yields a failed run; only a ledger that cannot be written stops the whole (StoreError).
        """
        waiting = list(requests)
        while waiting:
            again: list[SearchRequest] = []
            async for result in self.search.run(waiting):
                run, larger = await self._finish(result)
                if larger is not None:
                    again.append(larger)
                    continue
                await self.ledger.record(run, result.request.rule.fingerprint)
                yield run
            waiting = again

    async def _finish(self, result: SearchResult) -> tuple[RuleRun, SearchRequest | None]:
        """The run that the result makes, or the same request with a larger size if it is needed first."""
        request = result.request
        started = time.perf_counter()
        settled = settled_of(result.matches, request)
        held = len(result.matches) - len(settled)
        result = replace(result, matches=settled)
        run = RuleRun(
            rule_id=request.rule.rule_id,
            name=request.rule.name,
            execution_id=str(uuid.uuid4()),
            status="warning" if result.warnings else "succeeded",
            window=request.window,
            started=self.clock(),
            messages=(*result.warnings, *([_held(held)] if held else ())),
        )
        if result.error is not None:
            return replace(_failed(run, result.error), took_ms=round(result.took_ms)), None
        try:
            short = not result.exhausted and await self._is_short(result)
            if short and request.size < LARGEST_SIZE:
                return run, replace(request, size=min(request.size * 4, LARGEST_SIZE))
            run = await self._write(result, run)
        except RunnerError as error:
            run, short = _failed(run, str(error)), False
        except Exception as error:  # noqa: BLE001
            # One document or one rule that the code cannot cope with stops no other rule: its window stays owed.
            _LOG.exception(f"{run.name}: unexpected error", rule_id=run.rule_id)
            run, short = _failed(run, f"unexpected error: {type(error).__name__}: {error}"), False
        if short:
            text = f"over {LARGEST_SIZE:,} matches in one window, nearly all known: those after them cannot be reached"
            run = _failed(run, text)
        if not result.complete:
            run = replace(run, status="failed", complete=False)
        took = result.took_ms + (time.perf_counter() - started) * 1000
        return replace(run, took_ms=round(took)), None

    async def _is_short(self, result: SearchResult) -> bool:
        """Whether fewer than `max_signals` of the matches are new, so that matches beyond the search's size count."""
        rule = result.request.rule
        candidates = [Candidate(match, alert_ids(match, rule, self.context.space)) for match in result.matches]
        known = await self.alerts.known({id_ for candidate in candidates for id_ in candidate.ids})
        return take_new(candidates, known, limit=rule.max_signals).created < rule.max_signals

    async def _write(self, result: SearchResult, run: RuleRun) -> RuleRun:
        """Write the earliest new alerts; returns the run with its counts."""
        rule = result.request.rule
        context = replace(self.context, now=run.started, execution_id=run.execution_id)
        limit = rule.max_signals
        seen: set[str] = set()
        written = _Written()
        looked_at = over = repeats = 0
        for part in _parts(result.matches):
            looked_at += len(part)
            candidates = [Candidate(match, alert_ids(match, rule, context.space)) for match in part]
            known = await self.alerts.known({id_ for candidate in candidates for id_ in candidate.ids})
            selection = take_new(candidates, known, limit=limit, seen=seen)
            seen |= selection.heads
            limit -= selection.created
            over += len(selection.capped)
            # Matches on the same events, of a document that was read twice, are one alert.
            repeats += len(candidates) - len(selection.taken) - len(selection.capped)
            written = written.plus(await self._create(_groups(selection, result.request.rule, context)))
            if over >= COUNTED_OVER_CAP:
                break
        left = len(result.matches) - looked_at
        if not result.exhausted:
            left = max(left, 1)
        return self._counted(run, written, repeats=repeats, over=over, left=left, matches=len(result.matches))

    async def _create(self, groups: Sequence[AlertGroup]) -> _Written:
        if not groups:
            return _Written()
        return _outcome(await self.alerts.create([alert for group in groups for alert in group.alerts]), groups)

    def _counted(self, run: RuleRun, written: _Written, *, repeats: int, over: int, left: int, matches: int) -> RuleRun:
        messages = list(run.messages)
        complete, status = True, run.status
        if over or left:
            complete, status = self.on_cap == "drop", "warning"
            messages.append(_over_cap(over, left, dropped=self.on_cap == "drop"))
        if written.rejected:
            complete, status = False, "failed"
            messages.extend(written.rejected)
        return replace(
            run,
            status=status,
            complete=complete,
            matches=matches,
            created=written.created,
            duplicates=repeats + written.duplicates,
            capped=over,
            messages=tuple(messages),
        )


@dataclass(frozen=True, slots=True)
class _Written:
    """Counts of heads: alerts that an analyst sees, building blocks not counted."""

    created: int = 0
    duplicates: int = 0
    rejected: tuple[str, ...] = ()

    def plus(self, other: _Written) -> _Written:
        rejected = (*self.rejected, *(text for text in other.rejected if text not in self.rejected))
        return _Written(self.created + other.created, self.duplicates + other.duplicates, rejected)


def _over_cap(over: int, left: int, *, dropped: bool) -> str:
    """What is said of new matches over the cap, of which `over` were counted and `left` not looked at."""
    if not over:
        found = "there may be more matches, which"
    elif left:
        found = f"at least {over:,} more new match{'es' * (over != 1)}"
    else:
        found = f"{over:,} more new match{'es' * (over != 1)}"
    verb = "is" if over == 1 and not left else "are"
    fate = "dropped (RUNNER_ON_CAP=drop)" if dropped else "left for the next run"
    return f"max_signals reached: {found} {verb} {fate}"


def _held(count: int) -> str:
    """What is said of matches that rest on the absence of an event which may still come."""
    what = "1 match rests" if count == 1 else f"{count:,} matches rest"
    return f"{what} on the absence of an event, held until the window shows all of the time in which it could be"


def _failed(run: RuleRun, message: str) -> RuleRun:
    """The run as one that did not search its window to the end."""
    return replace(run, status="failed", complete=False, messages=(message, *run.messages))


def _groups(selection: Selection[Match], rule: Rule, context: AlertContext) -> list[AlertGroup]:
    """The alert documents of what was selected; matches that are alerts of this same rule make none."""
    groups = (build_alerts(candidate.item, rule, context) for candidate in selection.taken)
    return [group for group in groups if group is not None]


def _outcome(result: WriteResult, groups: Sequence[AlertGroup]) -> _Written:
    heads = {group.head.id for group in groups}
    reasons = [f"alert {id_} was rejected: {reason}" for id_, reason in (result.rejected or {}).items()]
    return _Written(len(heads & result.created), len(heads & result.duplicates), tuple(reasons))


def _parts(matches: Sequence[Match]) -> Iterator[list[Match]]:
    remaining = iter(matches)
    while part := list(islice(remaining, _PART)):
        yield part
