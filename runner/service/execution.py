"""One rule, one window: from the search's result to alerts in the store and a line in the ledger."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any, Literal

import structlog

from runner.alerts.alert import Alert, AlertGroup
from runner.alerts.build import AlertContext, build_alerts, original_time_of
from runner.alerts.cap import Candidate, Selection, candidate_for, take_new
from runner.alerts.groups import Suppressing
from runner.errors import RunnerError
from runner.json_text import deep_stack
from runner.rule_run import COUNTS, ExceptedCount, RuleRun
from runner.rules.rule import Rule
from runner.schedule.window_edges import decided_matches, halves_of
from runner.search.compiled_rule import CompiledRule
from runner.search.protocol import ExceptedEvents, Match, Search, SearchRequest, SearchResult
from runner.search.withheld import searched
from runner.service.counted_bursts import Remembering, with_bursts
from runner.service.excepted_alerts import ExceptedAlerts
from runner.service.kept_events import ExceptedKeeper
from runner.service.result_order import in_order
from runner.service.suppressed_writes import SuppressedWrites
from runner.service.written import OF_A_DOCUMENT, Written, reason_against
from runner.store.protocol import AlertStore, Ledger
from runner.windows import Window, iso

LARGEST_SIZE = 10_000
"""Most matches of one search (Elasticsearch's `index.max_result_window`)."""
COUNTED_OVER_CAP = 10_000
"""Most matches over the cap that are counted, to report how many are left for the next run."""
MOST_PARTS = 64
"""Most searches, beyond the first, that a window with more matches than `LARGEST_SIZE` takes in one run."""
_LOG = structlog.get_logger("runner.execution")
_PART = 500
"""Matches whose ids are looked up in the store with one request."""
_SUPPRESSED_PART = 2_000
"""The same with alert suppression, where a group is stored anew with each."""
_KEPT_AT_MOST = timedelta(days=3_650)


def size_for(rule: Rule) -> int:
    """The matches wanted of the first search: one more than may become alerts, which shows whether there are more.

    With alert suppression all of them count, however many alerts they become.
    """
    return LARGEST_SIZE if rule.alert_suppression is not None else min(rule.max_signals + 1, LARGEST_SIZE)


@dataclass(frozen=True, slots=True)
class Execution:
    """What the execution of a rule needs beside the rule: the search, the stores, and the alerts' common fields.

    `clock` gives the detection time of the alerts and the start of the run. `manual` marks replays.
    """

    search: Search
    alerts: AlertStore
    ledger: Ledger
    clock: Callable[[], datetime]
    context: AlertContext
    """The parts of the alert documents that are the same in every run; time and execution id are filled in."""
    on_cap: Literal["carry", "drop"] = "carry"
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Messages to add to the next run of a rule, by rule id."""
    groups_kept: timedelta = timedelta(days=8)
    """How long a group of alert suppression is remembered after its last match: longer than windows are owed."""
    on_created: Callable[[Sequence[Alert]], None] = lambda alerts: None
    """Called with the alerts of every write that were not stored before."""
    keeper: ExceptedKeeper | None = None
    """Keeps events that exceptions left out, if that is wanted."""

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncGenerator[RuleRun, None]:
        """One run per request, searched, written and recorded, as they are done.

        A request whose search stopped at its size before `max_signals` new alerts were found is searched again for
        more; at the largest size, in parts, earliest first. If those do not reach the end of the window, it makes two
        runs: one over the parts that are done, and one over the remaining time, which stays owed.
        A failing rule yields a failed run. Raises StoreError if the ledger cannot be written.
        """
        waiting = list(requests)
        while waiting:
            again: list[SearchRequest] = []
            crowded: list[tuple[RuleRun, SearchRequest]] = []
            async for result in in_order(searched(self.search, waiting), waiting):
                request = result.request
                finished = await self._finish(result, limit=request.rule.max_signals, window=request.window)
                if not finished.is_short:
                    await self.ledger.record(finished.run, request.rule.fingerprint)
                    yield finished.run
                elif request.size < LARGEST_SIZE:
                    again.append(replace(request, size=min(request.size * 4, LARGEST_SIZE)))
                else:
                    crowded.append((finished.run, request))
            for whole, request in crowded:
                for run in await self._in_parts(whole, request):
                    await self.ledger.record(run, request.rule.fingerprint)
                    yield run
            waiting = again

    async def _in_parts(self, whole: RuleRun, request: SearchRequest) -> list[RuleRun]:
        """The runs of a window with more matches than one search returns, nearly all of which are stored already.

        Bisection: its halves are searched, the earlier one first, and halved again where they still have too many,
        until the cap is full. `whole` is the run of the search over the whole window.
        """
        waiting = [*reversed(halves_of(request) or ())]
        if not waiting:
            return [_failed(whole, _UNREACHED)]
        limit, done, stopped = request.rule.max_signals, list[RuleRun](), False
        counts_all = request.rule.alert_suppression is not None
        for _ in range(MOST_PARTS):
            if not waiting or stopped or (limit <= 0 and not counts_all):
                break
            part = waiting.pop()
            (result,) = [result async for result in self.search.run([part])]
            finished = await self._finish(result, limit=limit, window=request.window)
            run = finished.run
            if finished.is_short:
                if halves := halves_of(part):
                    waiting.extend(reversed(halves))
                    continue
                run = _failed(run, _UNREACHED)
            done.append(run)
            limit -= run.created
            stopped = finished.is_broken or finished.is_short
        return self._joined(whole, done, request=request, waiting=waiting, is_full=limit <= 0)

    def _joined(
        self,
        whole: RuleRun,
        done: Sequence[RuleRun],
        *,
        request: SearchRequest,
        waiting: Sequence[SearchRequest],
        is_full: bool,
    ) -> list[RuleRun]:
        """One run for all parts if they are complete, else one for the complete ones and one for the remaining time.

        `waiting` are the parts that were not searched, the earliest last.
        """
        crowded = f"over {LARGEST_SIZE:,} matches in one window: it was searched in parts ({len(done)} done)"
        whole = replace(whole, messages=(*whole.messages, crowded))
        dropped = self.on_cap == "drop"
        if all(run.complete for run in done) and (not waiting or (is_full and dropped)):
            return [_sum(whole, done, more=_over_cap(0, 1, dropped=True) if waiting else None)]
        head = list(takewhile(lambda run: run.complete, done))
        remaining = done[len(head) :]
        start = remaining[0].window.start if remaining else waiting[-1].window.start
        runs = []
        if head:
            window = Window(whole.window.start, head[-1].window.end)
            runs.append(_sum(replace(whole, window=window, shown=request.reach.shown(window)), head))
        reason = _over_cap(0, 1, dropped=dropped) if is_full else _TOO_MANY_PARTS
        window = Window(start, whole.window.end)
        open_run = replace(whole, window=window, shown=request.reach.shown(window), complete=False, status="warning")
        open_run = replace(open_run, messages=(), execution_id=str(uuid.uuid4()), excepted=())
        runs.append(_sum(open_run, remaining, more=None if remaining else reason))
        return runs

    async def _finish(self, result: SearchResult, *, limit: int, window: Window) -> _Finished:
        """The run of a result, with at most `limit` new alerts; `window` is the one that the result is a part of."""
        request = result.request
        started = time.perf_counter()
        run = RuleRun(
            rule_id=request.rule.rule_id,
            name=request.rule.name,
            execution_id=str(uuid.uuid4()),
            status="warning" if result.warnings else "succeeded",
            window=request.window,
            started=self.clock(),
            shown=request.reach.shown(request.window),
            blind=result.blind,
            messages=(*self.remarks.get(request.rule.rule_id, ()), *result.warnings, *result.notes),
            excepted=tuple(map(_count_of, result.excepted)),
        )
        if result.error is not None:
            return _Finished(replace(_failed(run, result.error), took_ms=round(result.took_ms)), is_broken=True)
        is_broken = False
        try:
            with deep_stack():
                result, run = _decided(result, run, window)
                how = Remembering(self.context.space, run.started, self.groups_kept)
                result, over = await with_bursts(result, self.alerts.groups, how, limit=limit)
                impossible, excepted = list[str](), ExceptedAlerts(request)
                matches = excepted.others(result.matches)
                candidates: Iterable[Candidate] = _candidates(matches, request.rule, how.space, impossible)
                if not result.exhausted:
                    candidates = list(candidates)
                    if await self._is_short(candidates, request.rule, limit):
                        return _Finished(run, is_short=True)
                left_out = _LeftOut(impossible, excepted, over)
                run = await self._write(result, candidates, run, limit=limit, left_out=left_out, at=window.end)
                run = replace(run, excepted=(*run.excepted, *map(_count_of, excepted.found)))
                if self.keeper is not None:
                    found = (*result.excepted, *excepted.found)
                    run = await self.keeper.keep(self.alerts.excepted, found, request.rule, run, context=self.context)
        except RunnerError as error:
            run, is_broken = _failed(run, str(error)), True
        except Exception as error:  # noqa: BLE001
            # A document or a rule that the code cannot handle stops no other rule: its window stays owed.
            _LOG.exception(f"{run.name}: unexpected error", rule_id=run.rule_id)
            run, is_broken = _failed(run, f"unexpected error: {type(error).__name__}: {error}"), True
        if not result.complete:
            run = replace(run, status="failed", complete=False)
        took = result.took_ms + (time.perf_counter() - started) * 1000
        return _Finished(replace(run, took_ms=round(took)), is_broken=is_broken)

    async def _is_short(self, candidates: Sequence[Candidate], rule: Rule, limit: int) -> bool:
        """Whether fewer than `limit` of the matches are new, so that matches beyond the search's size count.

        With alert suppression they always do: those of a group count in one alert.
        """
        if rule.alert_suppression is not None:
            return True
        known = await self._stored_ids(candidates, rule)
        return take_new(candidates, known, limit=limit).created < limit

    async def _stored_ids(self, candidates: Sequence[Candidate], rule: Rule) -> frozenset[str]:
        """The ids of the candidates' alerts that are stored, those under the id of an earlier version included."""
        ids = {id_ for one in candidates for id_ in (*one.ids, one.former_head, *one.rivals) if id_}
        known = await self.alerts.existing_ids(ids)
        found = set(known).union(*(one.ids for one in candidates if not known.isdisjoint(one.rivals)))
        for candidate in candidates:
            if candidate.former_head in known and candidate.head not in known:
                # That id did not tell events apart that share an `event.id`: the time has to be the same, too.
                stored = await self.alerts.get(candidate.former_head)
                times = {str(original_time_of(hit, rule)) for hit in candidate.match.hits if not hit.missing}
                if any(str(one.document.get("kibana.alert.original_time")) in times for one in stored):
                    found.update(candidate.ids)
        return frozenset(found)

    async def _write(
        self,
        result: SearchResult,
        candidates: Iterable[Candidate],
        run: RuleRun,
        *,
        limit: int,
        left_out: _LeftOut,
        at: datetime,
    ) -> RuleRun:
        """The run with its counts, after the earliest new alerts were written, at most `limit`.

        `at` is the nominal end of the run, of which the result may be a part.
        """
        rule, remaining = result.request.rule, iter(candidates)
        context = replace(self.context, now=run.started, execution_id=run.execution_id)
        seen: set[str] = set()
        suppressed = self._suppressed(result.request.compiled, context, at)
        written = Written()
        read = over = 0
        try:
            while part := list(islice(remaining, _PART if suppressed is None else _SUPPRESSED_PART)):
                read += len(part)
                known = await self._stored_ids(part, rule)
                if suppressed is not None:
                    mine, part, impossible_ones = suppressed.split(part)
                    written = written.plus(impossible_ones)
                done, more, limit = await self._write_part(part, known, rule, context, limit=limit, seen=seen)
                written, over = written.plus(done), over + more
                if suppressed is not None:
                    done = await suppressed.write(mine, known, limit=limit)
                    written, limit = written.plus(done), limit - done.created
                elif over >= COUNTED_OVER_CAP:
                    break
        finally:
            if suppressed is not None and suppressed.created:
                self.on_created(suppressed.created)
        over += left_out.over + (suppressed.over if suppressed is not None else 0)
        written = written.plus(Written(impossible=tuple(left_out.impossible)))
        left = max(len(result.matches) - read - left_out.count, 0 if result.exhausted else 1)
        return self._counted(run, written, over=over, left=left, matches=left_out.kept(result.matches))

    async def _write_part(
        self,
        part: list[Candidate],
        known: frozenset[str],
        rule: Rule,
        context: AlertContext,
        *,
        limit: int,
        seen: set[str],
    ) -> tuple[Written, int, int]:
        """What was written of matches that become an alert each, how many are over the cap, and what is left of it.

        `seen` holds the heads of earlier parts and gets those of this one.
        """
        written, over = Written(), 0
        selection = take_new(part, known, limit=limit, seen=seen)
        while part:
            groups, unmade = _groups(selection, rule, context)
            while unmade:  # what can become no alert takes no place under the cap
                written = written.plus(Written(impossible=tuple(unmade.values())))
                part = [one for one in part if one.head not in unmade]
                selection = take_new(part, known, limit=limit, seen=seen)
                groups, unmade = _groups(selection, rule, context)
            done, refused = await self._create(groups)
            limit += refused - selection.created
            again = selection.capped if refused else ()  # nor does what the store rejects
            seen |= selection.heads - {one.head for one in again}
            over += len(selection.capped) - len(again)
            # Matches on the same events, of a document that was read twice, are one alert.
            repeats = len(part) - len(selection.taken) - len(selection.capped)
            written = written.plus(done).plus(Written(duplicates=repeats))
            part = list(again)
            selection = take_new(part, known, limit=limit, seen=seen)
        return written, over, limit

    def _suppressed(self, compiled: CompiledRule, context: AlertContext, at: datetime) -> SuppressedWrites | None:
        """The writes of a run whose nominal end is `at`, with alert suppression or of rows without a document, which
        overlapping windows find again; None for others."""
        rule, same_for = compiled.rule, compiled.same_for
        suppression = rule.alert_suppression
        if suppression is None and not same_for:
            return None
        lasts = suppression.lasts if suppression is not None else None
        lasts = max(lasts or timedelta(0), same_for) if same_for else lasts
        kept = min(max(self.groups_kept, lasts or timedelta(0)), _KEPT_AT_MOST)
        return SuppressedWrites(self.alerts, rule, context, Suppressing(at, lasts, context.now, kept))

    async def _create(self, groups: Sequence[AlertGroup]) -> tuple[Written, int]:
        """What was written, and how many heads the store has rejected."""
        if not groups:
            return Written(), 0
        alerts = [alert for group in groups for alert in group.alerts]
        result = await self.alerts.create(alerts)
        self.on_created([alert for alert in alerts if alert.id in result.created])
        heads = {group.head.id for group in groups}
        rejected = result.rejected or {}
        reasons = tuple(f"alert {id_}: {reason}" for id_, reason in rejected.items())
        written = Written(len(heads & result.created), len(heads & result.duplicates), reasons)
        return written, len(heads & rejected.keys())

    def _counted(self, run: RuleRun, written: Written, *, over: int, left: int, matches: int) -> RuleRun:
        counts: dict[str, Any] = {
            "created": written.created,
            "duplicates": written.duplicates,
            "suppressed": written.suppressed,
        }
        run = replace(run, matches=matches, **counts, capped=over)
        if over or left:
            dropped = self.on_cap == "drop"
            messages = (*run.messages, _over_cap(over, left, dropped=dropped))
            run = replace(run, status="warning", complete=dropped, messages=messages)
        if written.impossible:
            run = replace(run, status="warning", messages=(*run.messages, _impossible(written.impossible)))
        if written.rejected:
            run = replace(run, status="warning", messages=(*run.messages, _rejected(written.rejected, run.window)))
        return run


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """The matches that are not among the candidates; complete once those were read."""

    impossible: list[str]
    """Why a match can become no alert, for each of them."""
    excepted: ExceptedAlerts
    over: int = 0
    """Bursts of a threshold rule that are over the cap: no match was made of them."""

    @property
    def count(self) -> int:
        return len(self.impossible) + self.excepted.dropped

    def kept(self, matches: Sequence[Match]) -> int:
        """How many of the matches no exception has dropped."""
        return len(matches) - self.excepted.dropped


@dataclass(frozen=True, slots=True)
class _Finished:
    """A run, and whether its search stopped at its size too early, or it could not be done at all."""

    run: RuleRun
    is_short: bool = False
    is_broken: bool = False


_UNREACHED = (
    f"over {LARGEST_SIZE:,} matches in one window, nearly all known, and it cannot be searched in shorter parts: those "
    "after them cannot be reached"
)
_TOO_MANY_PARTS = f"{MOST_PARTS} searches did not reach the end of the window: the rest is left for the next run"


def _sum(run: RuleRun, parts: Sequence[RuleRun], *, more: str | None = None) -> RuleRun:
    """The run with the counts and messages of the parts, and `more`; its status is the worst of all."""
    texts = (*run.messages, *(text for part in parts for text in part.messages), *([more] if more else ()))
    worst = max((run.status, *(part.status for part in parts)), key=("succeeded", "warning", "failed").index)
    counts: Any = {name: sum(part.counts[name] for part in parts) for name in COUNTS}
    return replace(
        run,
        status="warning" if more and worst == "succeeded" else worst,
        **counts,
        took_ms=run.took_ms + sum(part.took_ms for part in parts),
        complete=run.complete and all(part.complete for part in parts),
        messages=tuple(dict.fromkeys(texts)),
    )


def _over_cap(over: int, left: int, *, dropped: bool) -> str:
    """The message of new matches over the cap, of which `over` were counted and `left` were not read."""
    found = f"{'at least ' if left else ''}{over:,} more new match{'es' * (over != 1)}"
    if not over:
        found = "there may be more matches, which"
    verb = "is" if over == 1 and not left else "are"
    outcome = "dropped (RUNNER_ON_CAP=drop)" if dropped else "left for the next run"
    return f"max_signals reached: {found} {verb} {outcome}"


def _decided(result: SearchResult, run: RuleRun, window: Window) -> tuple[SearchResult, RuleRun]:
    """The result without the matches that its window cannot decide; the run has a message with their number."""
    request, found = result.request, result.matches
    settled = decided_matches(found, request)
    if len(settled) < len(found):  # what one part of a window cannot decide, another one can
        held = len(found) - len(decided_matches(found, replace(request, window=window)))
        run = replace(run, messages=(*run.messages, _held(held))) if held else run
    return replace(result, matches=settled), run


def _held(count: int) -> str:
    """The message of matches that rest on the absence of an event which may still come."""
    what = "1 match rests" if count == 1 else f"{count:,} matches rest"
    return f"{what} on the absence of an event, held until the window shows all of the time in which it could be"


def _count_of(excepted: ExceptedEvents) -> ExceptedCount:
    return ExceptedCount(excepted.item.id, excepted.events, excepted.newest)


def _failed(run: RuleRun, message: str) -> RuleRun:
    """The run, failed with this message: its window was not searched to the end."""
    return replace(run, status="failed", complete=False, messages=(message, *run.messages))


def _candidates(matches: Iterable[Match], rule: Rule, space: str, impossible: list[str]) -> Iterator[Candidate]:
    """The matches with the ids of their alerts; why the others can become none is added to `impossible`."""
    for match in matches:
        try:
            if match.unreadable:
                raise ValueError(match.unreadable)
            candidate = candidate_for(match, rule, space)
        except OF_A_DOCUMENT as error:
            impossible.append(reason_against(match, error))
            continue
        yield candidate


def _groups(selection: Selection, rule: Rule, context: AlertContext) -> tuple[list[AlertGroup], dict[str, str]]:
    """The alert documents of the selected matches, and why the others can become none, by the id of the head.

    Matches on alerts of this same rule make none.
    """
    groups: list[AlertGroup] = []
    unmade: dict[str, str] = {}
    for candidate in selection.taken:
        try:
            group = build_alerts(candidate, rule, context)
        except OF_A_DOCUMENT as error:
            unmade[candidate.head] = reason_against(candidate.match, error)
            continue
        if group is not None:
            groups.append(group)
    return groups, unmade


_MOST_REASONS = 5


def _rejected(reasons: Sequence[str], window: Window) -> str:
    """The message of alerts that the store has rejected: their number, the first of the reasons, and what helps."""
    what = "1 alert was" if len(reasons) == 1 else f"{len(reasons):,} alerts were"
    more = f"; and {len(reasons) - _MOST_REASONS:,} more" if len(reasons) > _MOST_REASONS else ""
    again = f"`rule-runner replay --from {iso(window.start)} --to {iso(window.end)}`"
    return (
        f"{what} rejected by the index, all others are written: {'; '.join(reasons[:_MOST_REASONS])}{more}. They are "
        f"not tried again; once the mapping takes them, {again} writes them"
    )


def _impossible(reasons: Sequence[str]) -> str:
    """The message on matches that can become no alert: their number, and the first of the reasons."""
    what, them = ("1 match", "it") if len(reasons) == 1 else (f"{len(reasons):,} matches", "them")
    return f"{what} rejected, since no alert can be made of {them}: {'; '.join(reasons[:_MOST_REASONS])}"
