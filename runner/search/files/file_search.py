"""Search in NDJSON files: all rules in one pass of the local engine."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from runner import eql
from runner.engine.filter.predicates import Conjuncts
from runner.engine.filter.stage_filter import StageFilterPool
from runner.errors import EventsError, Problem, RunnerError, StoppedError
from runner.events.columns.batch import Columns
from runner.events.fields.schema import DATES, DataType, Field, Schema, shipped_schema
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.arrivals import Arrivals, KnownFiles, read_arrivals
from runner.events.files.event_files import EventFiles, ReadProgress, ReadReport, TimeWanted, unreported
from runner.events.files.event_times import EventTimes, read_event_times
from runner.events.files.time_index import TimeIndex
from runner.exceptions.conditions import ResolvedItems
from runner.file_formats.inner_events import InnerEvents
from runner.garbage_collection import rarely_collecting
from runner.messages.quantities import counted
from runner.rules.rule import Rule
from runner.search.buckets import file_buckets
from runner.search.compiled_rule import CompiledRule, RuleProgram, UnknownFields, time_fields
from runner.search.files.excepted_events import excepted_events
from runner.search.files.field_watch import FieldWatch, look_back
from runner.search.files.file_pass import matched
from runner.search.files.found_matches import crowded_text
from runner.search.files.indicator_search import IndicatorSearch
from runner.search.files.left_out_files import LeftOutFiles
from runner.search.files.local_program import checked_program, local_program
from runner.search.files.pass_limit import PassLimit
from runner.search.files.seen_streams import SeenStreams
from runner.search.files.side_tables import SideTables
from runner.search.files.term_search import TermSearch
from runner.search.own_alerts import WithAlerts, alerts_last
from runner.search.protocol import SearchRequest, SearchResult

_LOG = logging.getLogger("runner.search")
_WORTH_WORKERS = 1 << 30
"""Least bytes for which workers save more than they cost: with hundreds of rules each takes a second to start."""
_MOST_NAMED = 20
"""Unknown fields that one warning names."""
_ATTEMPTS = 3
"""Passes over a folder whose files are renamed between listing and opening; after that its windows stay owed."""
_WRITING_S, _WRITING_LIVE_S = 60.0, 600.0
"""Seconds since the last write, in a single run and in a service, for which the rest of a file's last line is waited
for; later that line is broken."""
_NEVER = 2**63 - 1
_MODIFIED_MARGIN_S = 3600.0
"""Seconds by which a file of a live folder may be older than the window: clocks differ, writers buffer."""


class FileSearch:
    """Rules searched in files, by one pass of the local engine for all requests. Implements `Search`.

    Types come from the shipped field table; other fields keep the types of their values. `live`: folders are still
    written to, so files not modified since before every window are left out. `names_unknown`: fields that neither the
    table nor the events have are logged. `keeps_excluded`: results show some of the excepted events. A pass that takes
    longer than the `time_limit`, or whose `progress` raises StoppedError, ends there: the matches that are certain by
    then are its answer, and the windows stay owed. `indicators`: the files of those of rules of type threat_match;
    without any they are looked for among the events.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        live: bool = False,
        progress: ReadProgress = unreported,
        time_limit: timedelta | None = None,
        workers: int = 1,
        names_unknown: bool = True,
        inner: InnerEvents | None = None,
        keeps_excluded: bool = False,
        indicators: Sequence[str | Path] = (),
    ) -> None:
        self._paths = tuple(paths)
        self._inner = inner or InnerEvents()
        self._keeps_excluded = keeps_excluded
        self._live = live
        self._progress = PassLimit(progress, time_limit, lambda: "" if self._files is None else self._files.at)
        self._workers = workers
        self._schema: Schema = Schema(shipped_schema().fields, lenient=True)
        self._resolved: dict[CompiledRule, tuple[RuleProgram | None, list[Problem]]] = {}
        self._conjuncts, self._filters = Conjuncts(), StageFilterPool()
        self._files: EventFiles | None = None
        self._index = TimeIndex()
        # Rules whose sequences wait for all events, since some event was older than the watermark.
        self._unordered: set[str] = set()
        self._folders_with_files: set[str] = set()
        self._left_out = LeftOutFiles()
        self._excepted: dict[CompiledRule, ResolvedItems] = {}
        self._unknown: dict[CompiledRule, UnknownFields] = {}
        self._found_fields: set[str] = set()
        self._new_fields: set[str] = set()
        self._seen = SeenStreams()
        self._has_named_unknown = not names_unknown
        self._has_read = False
        self._looked_back: set[str] = set()
        self.report = ReadReport()
        """What the last pass read."""
        self.terms = TermSearch()
        """The tables of new-terms rules."""
        self.indicators = IndicatorSearch(indicators, paths, progress=progress, inner=self._inner)
        self._tables = SideTables()
        self.stored_alerts: WithAlerts | None = None

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        """Resolve the queries of all rules that can be run here; returns every problem with its place in its file."""
        with rarely_collecting():
            resolved = {one: self._resolved.get(one) or self._resolve(one) for one in rules if one.is_local}
            programs = [program for program, _ in resolved.values() if program is not None]
            if programs != [program for program, _ in self._resolved.values() if program is not None]:
                self._conjuncts, self._filters = Conjuncts(), StageFilterPool()
            for program in programs if self._paths else ():
                for stage in program.plan.all_stages():
                    self._conjuncts.of(stage.conjuncts, 0)
        self._resolved = resolved
        self._excepted = {rule: rule.excepted(self._schema) for rule in resolved if rule.exceptions}
        self._unknown = {rule: self._unknown[rule] for rule in resolved if rule in self._unknown}
        return [problem for _, problems in resolved.values() for problem in problems]

    @property
    def _times(self) -> tuple[str, ...]:
        """The time fields of all rules, `@timestamp` first."""
        names = {name for compiled in self._resolved for name in time_fields(compiled.rule)}
        return ("@timestamp", *sorted(names - {"@timestamp"}))

    def _resolve(self, compiled: CompiledRule) -> tuple[RuleProgram | None, list[Problem]]:
        if not self._paths:
            return checked_program(compiled, self._schema)
        unknown = self._unknown[compiled] = compiled.unknown_fields(self._schema)
        program, problems = compiled.resolved(replace(self._schema, absent=unknown.doubtful - self._found_fields))
        # Whether an unknown field is one is known when the events were read: `_name_unknown`.
        problems = [problem for problem in problems if problem.severity == "error"]
        return local_program(compiled, program, problems, self._schema)

    async def times(self, selecting: Collection[tuple[str, ...]]) -> EventTimes:
        """The times of all events by each of the `selecting`: a time field and its fallbacks. Reads everything once."""
        others = {name for names in selecting for name in names}.difference(self._times)
        files, names = self._opened(), (*self._times, *sorted(others))
        columns = Columns([date_field(self._schema, name) for name in names])
        kinds = sorted(selecting) or [("@timestamp",)]
        found = await asyncio.to_thread(read_event_times, files, columns, TimeWanted(names), kinds, self._progress)
        self.report = files.report()
        return found

    async def arrivals(
        self, known: KnownFiles, limits: Mapping[tuple[str, ...], int], *, now: datetime, kept: timedelta
    ) -> Arrivals:
        """The events that came into the files since they were as `known`; see `read_arrivals`.

        A folder that has files in the record and is empty is a lost mount for the search, too.
        """
        recorded = (str(path) for path in self._paths if known.marks(os.path.abspath(path)))  # noqa: PTH100
        self._folders_with_files.update(recorded)
        others = {name for names in limits for name in names}.difference(self._times)
        fields = [date_field(self._schema, name) for name in (*self._times, *sorted(others))]
        seconds, kept_s = int(now.timestamp()), int(kept.total_seconds())
        more: dict[str, Any] = {"now": seconds, "kept_s": kept_s, "progress": self._progress, "inner": self._inner}
        return await asyncio.to_thread(read_arrivals, self._paths, known, limits, fields, **more)

    @property
    def only_folders(self) -> bool:
        """Whether the events are in folders alone, where something writes to; no file was named."""
        return all(Path(path).is_dir() for path in self._paths)

    def bytes_to_read(self) -> int:
        """Bytes of all files, as they are stored: the sum of what one pass reports to the progress callback."""
        return self._opened().size()

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        """One pass over the files for all requests; matches fetch their documents when they are reached."""
        async for result in alerts_last(self._over_files(requests), self.stored_alerts):
            yield result

    async def _over_files(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        if not requests:
            return
        started = time.perf_counter()
        try:
            self._tables = await self._tables_for(requests)
            with self._progress.one_pass():
                found = await asyncio.to_thread(self._tried, requests)
            await self.terms.end(self._tables.terms, requests, found, self.report)
        except (RunnerError, OSError) as error:
            for request in requests:
                yield SearchResult(request, error=str(error))
            return
        took_ms = (time.perf_counter() - started) * 1000
        warnings = (*self.report.warnings(), *self._left_out.warning(self.report.left_out))
        files, digests = self._opened(), dict[int, bytes]()
        pairs = list(zip(requests, found, strict=True))
        if self._progress.is_stopped:  # there may be little time: what was found goes first
            pairs.sort(key=lambda pair: not pair[1].matches)
        for request, answer in pairs:
            plan, whole, tables = self._program(request.compiled).plan, self.report.is_whole, self._tables
            unseen = self._unseen(request.rule)
            resolved = self._excepted.get(request.compiled)
            of_items = () if resolved is None else resolved.warnings
            told = (*warnings, *of_items, *filter(None, (unseen, crowded_text(answer))), *tables.warnings(request))
            yield SearchResult(
                request,
                tables.matches(request, answer, plan, files.fetch, known=self.indicators, whole=whole),
                True, told, answer.error or tables.error(request), took_ms=took_ms,
                complete=whole and tables.is_whole(request), blind=bool(unseen), notes=tables.notes(request),
                excepted=() if resolved is None else excepted_events(resolved, answer.excluded, files.fetch),
                buckets=file_buckets(answer.matches, request.rule, files.fetch, digests),
            )  # fmt: skip

    async def _tables_for(self, requests: Sequence[SearchRequest]) -> SideTables:
        terms = await self.terms.begun(requests)
        indicators = await asyncio.to_thread(self.indicators.begun, requests, self._schema)
        if indicators.is_new:  # conditions on those before are of no use any more
            self._conjuncts, self._filters = Conjuncts(), StageFilterPool()
        return SideTables(terms, indicators)

    def _tried(self, requests: Sequence[SearchRequest]) -> list[eql.Found]:
        for attempt in range(_ATTEMPTS):
            if self._live or attempt:
                self._close_files()
                after = min(map(self._tables.terms.start_ns, requests)) / 1e9 - _MODIFIED_MARGIN_S
                self._files = self._found_files(modified_after=after if self._live else None)
                self._index.keep_only({state[:2] for state in self._files.states()})
            files = self._opened()
            found = self._matches_in(files, requests)
            if self._progress.is_stopped:
                break
            if self._resolved_anew():
                found = self._matches_in(self._opened(), requests)
            # A file of a folder that was renamed after the listing is found under its new name, one that was truncated
            # in its copy.
            if not self.report.moved or not files.only_folders:
                break
        else:
            if self.report.is_whole:
                text = f"files were renamed or truncated while they were read, {_ATTEMPTS} times in a row"
                self.report = replace(self.report, unread=(text,))
        return found

    def _resolved_anew(self) -> bool:
        """Whether a pass has found fields that optional names were taken not to be; their rules are resolved anew."""
        changed = [
            rule
            for rule, unknown in self._unknown.items()
            if rule in self._resolved and not unknown.doubtful.isdisjoint(self._new_fields)
        ]
        self._found_fields |= self._new_fields
        for rule in changed:
            self._resolved[rule] = self._resolve(rule)
        if changed:
            self._conjuncts, self._filters = Conjuncts(), StageFilterPool()
        return bool(changed)

    def _watch(self) -> FieldWatch:
        """A watch for the unknown fields that a pass should know of."""
        unknown = [self._unknown.get(rule, UnknownFields()) for rule in self._resolved]
        names = {name for one in unknown for name in one.required} if not self._has_named_unknown else set()
        return FieldWatch(names, thorough={name for one in unknown for name in one.doubtful} - self._found_fields)

    def _name_unknown(self, watch: FieldWatch) -> None:
        """Log which fields neither the table nor the events have, once, after the first pass with events."""
        if self._has_named_unknown or not self.report.events:
            return
        self._has_named_unknown = True
        missing = {rule.rule.rule_id: self._unknown[rule].required - watch.found for rule in self._unknown}
        if text := _unknown_names(missing.values(), is_whole=watch.is_whole):
            _LOG.warning(text)

    def _matches_in(self, files: EventFiles, requests: Sequence[SearchRequest]) -> list[eql.Found]:
        times, watch = self._times, self._watch()
        asks = [self._tables.ask(request, self._ask(request), self._schema) for request in requests]
        found, unordered = matched(
            files,
            asks,
            [date_field(self._schema, name) for name in times],
            wanted=TimeWanted(times, tuple(one.scope.span for one in asks if one.scope.span is not None)),
            progress=self._progress,
            watch=watch,
            unordered=[place for place, request in enumerate(requests) if request.rule.rule_id in self._unordered],
            conjuncts=self._conjuncts,
            filters=self._filters,
            keeps_excluded=self._keeps_excluded,
            workers=self._workers if self._is_much(files, requests) else 1,
        )
        if not self._progress.is_stopped and not watch.missing <= self._looked_back:
            paths = files.unread_paths(all_of_them=self._has_read)  # the first pass reads what is not too old
            wanted = set(watch.missing)
            with suppress(StoppedError):  # what the pass has found stays found
                look_back(watch, paths, date_field(self._schema, times[0]), self._inner, progress=self._progress)
                self._looked_back |= wanted
        self._has_read = True
        self._unordered.update(requests[place].rule.rule_id for place in unordered)
        self.report = files.report()
        if lost := sorted(self._folders_with_files.intersection(files.empty_folders)):
            self.report = replace(self.report, unread=(*self.report.unread, *map(_lost_text, lost)))
        self._folders_with_files.update(files.folders.difference(files.empty_folders))
        self._new_fields = watch.found - self._found_fields
        self._seen.add(watch.streams)
        patterns = {names for one in self._resolved for names in (one.rule.index, one.rule.threat_index) if names}
        if said := self._seen.unnamed(watch.counts(), patterns):
            _LOG.warning(said)
        if not self._progress.is_stopped:
            self._name_unknown(watch)
        return found

    def _unseen(self, rule: Rule) -> str:
        """Why the rule could not have seen any event; an empty text if it could."""
        read = self._seen or self.newest_ns() is not None  # files of a live folder may be too old for the window
        return self._seen.why_unseen(rule.index, "" if read else _places(self._paths, self.report.files))

    def newest_ns(self, limit: int = _NEVER) -> int | None:
        """The newest time of an event up to `limit`, in nanoseconds since 1970, as far as it is known; None without."""
        ends = [latest for latest in self._index.peeked.values() if NO_TIME < latest < _NEVER]
        known = [time for time in (self.report.newest_ns, *ends) if time is not None and time <= limit]
        return max(known, default=None)

    def _is_much(self, files: EventFiles, requests: Sequence[SearchRequest]) -> bool:
        """Whether several workers would be faster."""
        size = files.size() * (_part_of(self.report, requests) if self._index else 1.0)
        return self._workers > 1 and not self._live and size >= _WORTH_WORKERS

    def _opened(self) -> EventFiles:
        if self._files is None:
            self._files = self._found_files()
        return self._files

    def _found_files(self, modified_after: float | None = None) -> EventFiles:
        more = {"written_after": time.time() - (_WRITING_LIVE_S if self._live else _WRITING_S)}
        more |= {} if modified_after is None else {"modified_after": modified_after}
        return EventFiles(self._paths, index=self._index, progress=self._progress, inner=self._inner, **more)

    def _ask(self, request: SearchRequest) -> eql.Ask:
        rule, window = request.rule, request.window
        scope = eql.Scope(rule.index, time_fields(rule), (window.start_ns, window.end_ns))
        counted = None if request.counted is None else tuple((one.start_ns, one.end_ns) for one in request.counted)
        return eql.Ask(self._program(request.compiled).plan, scope, now_ns=window.end_ns, counted=counted)

    def _program(self, compiled: CompiledRule) -> RuleProgram:
        program, _ = self._resolved.get(compiled, (None, ()))
        if program is None:
            raise EventsError(f"rule {compiled.rule.rule_id} was not prepared")
        return program

    async def close(self) -> None:
        self._close_files()
        self.indicators.close()

    def _close_files(self) -> None:
        if self._files is not None:
            self._files.close()
            self._files = None


def _lost_text(folder: str) -> str:
    return f"{folder}: had event files and has none now; is a file system not mounted?"


def _places(paths: Sequence[str | Path], files: int) -> str:
    """Where no event is."""
    names = ", ".join(map(str, paths))
    return f"there is no event file in {names}" if not files else f"none is in {counted(files, 'file')} of {names}"


def _unknown_names(missing: Collection[Collection[str]], *, is_whole: bool) -> str:
    """The warning about the fields that each rule names and no event has; "" without any."""
    names = sorted(set().union(*missing))
    if not names:
        return ""
    rules = sum(map(bool, missing))
    subject = f"{rules:,} rules name" if rules > 1 else "1 rule names"
    fields = f"{len(names):,} fields" if len(names) > 1 else "a field"
    where = "the events have" if is_whole else "the events looked at have"
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return (
        f"{subject} {fields} that neither the field table nor {where}: {', '.join(names[:_MOST_NAMED])}{more}; "
        "`rule-runner check` shows the places"
    )


def _part_of(report: ReadReport, requests: Sequence[SearchRequest]) -> float:
    """About which part of indexed files a pass has to read, by the times that the last pass found."""
    newest, oldest = report.newest_ns, report.oldest_ns
    if newest is None or oldest is None or newest == oldest:
        return 1.0
    start = max(oldest, min(request.window.start_ns for request in requests))
    end = min(newest, max(request.window.end_ns for request in requests))
    return max(0, end - start) / (newest - oldest)


def date_field(schema: Schema, name: str) -> Field:
    """The field of a timestamp: that of the schema if it is a date there, else a date in Elasticsearch's default
    formats."""
    found = schema.find(name)
    return found if found is not None and found.type in DATES else Field(name, DataType.DATE)
