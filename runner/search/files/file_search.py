"""Search in NDJSON files: all rules in one pass of the local engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, overload

from runner import eql
from runner.engine.filter.predicates import Conjuncts
from runner.engine.filter.stage_filter import StageFilterPool
from runner.engine.sequence.sequence_matcher import FoundSequence
from runner.errors import EventsError, Problem, RunnerError
from runner.events.columns.batch import Columns
from runner.events.fields.schema import DATES, DataType, Field, Schema, shipped_schema
from runner.events.files.event_files import EventFiles, ReadProgress, ReadReport, TimeWanted, newest_timestamp
from runner.events.files.time_index import TimeIndex
from runner.garbage_collection import rarely_collecting
from runner.rules.rule import Rule
from runner.search.cluster.request_body import has_filters
from runner.search.compiled_rule import CompiledRule, time_fields
from runner.search.files.file_pass import matched
from runner.search.protocol import Hit, Match, SearchRequest, SearchResult
from runner.windows import from_nanoseconds

_WORTH_WORKERS = 1 << 30
"""Bytes from which on workers save more than they cost: with hundreds of rules each takes a second to be ready."""
_MODIFIED_MARGIN_S = 3600.0
"""How much older than the window a file of a live folder may be and still be read: clocks differ, writers buffer."""


class FileSearch:
    """Answers requests from files. Types come from the shipped field table; other fields keep the types of their
    values.

    `live`: folders are still written to, so files untouched since before every window are left out.
    """

    def __init__(
        self, paths: Sequence[str | Path], *, live: bool = False, progress: ReadProgress | None = None, workers: int = 1
    ) -> None:
        self._paths = tuple(paths)
        self._live = live
        self._progress = progress
        self._workers = workers
        self._schema: Schema = Schema(shipped_schema().fields, lenient=True)
        self._programs: dict[str, eql.Program] = {}
        self._resolved: dict[CompiledRule, tuple[eql.Program | None, list[Problem]]] = {}
        self._conjuncts, self._filters = Conjuncts(), StageFilterPool()
        self._files: EventFiles | None = None
        self._index = TimeIndex()
        self._times: tuple[str, ...] = ("@timestamp",)
        # Rules whose sequences have to wait for all events, since the files are not in the order that they seem to be.
        self._unordered: set[str] = set()
        self.report = ReadReport()
        """What the last pass read."""

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        """Resolve the queries of all rules; returns every problem with its place in the rule's file."""
        with rarely_collecting():
            return self._prepared(rules)

    def _prepared(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        resolved = {rule: self._resolved.get(rule) or self._resolve(rule) for rule in rules}
        programs = {rule.rule.rule_id: program for rule, (program, _) in resolved.items() if program is not None}
        if programs != self._programs:
            self._conjuncts, self._filters = Conjuncts(), StageFilterPool()
        ran = programs.values() if self._paths else ()
        for stage in (stage for program in ran for stage in program.plan.all_stages()):
            self._conjuncts.of(stage.conjuncts, 0)
        self._programs, self._resolved = programs, resolved
        times = {name for compiled in rules for name in time_fields(compiled.rule)}
        self._times = ("@timestamp", *sorted(times - {"@timestamp"}))
        return [problem for _, problems in resolved.values() for problem in problems]

    def _resolve(self, compiled: CompiledRule) -> tuple[eql.Program | None, list[Problem]]:
        program, problems = compiled.resolved(self._schema)
        if self._paths and has_filters(compiled.rule):
            return None, [*problems, _unfiltered(compiled.rule)]
        return program, problems

    async def newest(self) -> datetime | None:
        """The time of the newest event; None if there is none with a readable timestamp. Reads everything once."""
        files = self._opened()
        columns = Columns([date_field(self._schema, name) for name in self._times])
        newest = await asyncio.to_thread(newest_timestamp, files, columns, TimeWanted(self._times), self._progress)
        self.report = files.report()
        return None if newest is None else from_nanoseconds(newest)

    def bytes_to_read(self) -> int:
        """Bytes of all files, as they are stored: what one pass tells the progress callback in all."""
        return self._opened().size()

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        """One pass over the files for all requests; matches fetch their documents when they are reached."""
        if not requests:
            return
        started = time.perf_counter()
        try:
            found = await asyncio.to_thread(self._pass, requests)
        except (RunnerError, OSError) as error:
            for request in requests:
                yield SearchResult(request, error=str(error))
            return
        took_ms = (time.perf_counter() - started) * 1000
        warnings = self.report.warnings()
        files = self._opened()
        for request, answer in zip(requests, found, strict=True):
            is_sequence = self._programs[request.rule.rule_id].plan.kind != "event"
            matches = FoundMatches(answer.matches, files.fetch, is_sequence=is_sequence)
            whole = not self.report.unread
            yield SearchResult(request, matches, True, warnings, answer.error, took_ms=took_ms, complete=whole)

    def _pass(self, requests: Sequence[SearchRequest]) -> list[eql.Found]:
        if self._live:
            self._close_files()
            after = min(request.window.start for request in requests).timestamp() - _MODIFIED_MARGIN_S
            self._files = EventFiles(self._paths, modified_after=after, index=self._index)
        files = self._opened()
        found, unordered = matched(
            files,
            [self._ask(request) for request in requests],
            [date_field(self._schema, name) for name in self._times],
            wanted=TimeWanted(self._times, tuple((one.window.start_ns, one.window.end_ns) for one in requests)),
            progress=self._progress,
            unordered=[place for place, request in enumerate(requests) if request.rule.rule_id in self._unordered],
            conjuncts=self._conjuncts,
            filters=self._filters,
            workers=self._workers if self._pays(files, self._part_of(requests)) else 1,
        )
        self._unordered.update(requests[place].rule.rule_id for place in unordered)
        self.report = files.report()
        return found

    def _part_of(self, requests: Sequence[SearchRequest]) -> float:
        """About which part of the files a pass has to read: what is known of them is of other times."""
        newest, oldest = self.report.newest_ns, self.report.oldest_ns
        if not self._index or newest is None or oldest is None or newest == oldest:
            return 1.0
        start = max(oldest, min(request.window.start_ns for request in requests))
        end = min(newest, max(request.window.end_ns for request in requests))
        return max(0, end - start) / (newest - oldest)

    def _pays(self, files: EventFiles, part: float) -> bool:
        """Whether several workers would be faster: not if little is to be read."""
        return self._workers > 1 and not self._live and files.size() * part >= _WORTH_WORKERS

    def _opened(self) -> EventFiles:
        if self._files is None:
            self._files = EventFiles(self._paths, index=self._index)
        return self._files

    def _ask(self, request: SearchRequest) -> eql.Ask:
        rule, window = request.rule, request.window
        program = self._programs.get(rule.rule_id)
        if program is None:
            raise EventsError(f"rule {rule.rule_id} was not prepared")
        scope = eql.Scope(rule.index, time_fields(rule), (window.start_ns, window.end_ns))
        return eql.Ask(program.plan, scope, now_ns=window.end_ns)

    async def close(self) -> None:
        self._close_files()

    def _close_files(self) -> None:
        if self._files is not None:
            self._files.close()
            self._files = None


class FoundMatches(Sequence[Match]):
    """The matches of one request; each is made, and its documents read, when it is asked for."""

    def __init__(
        self, found: Sequence[FoundSequence], fetch: Callable[[int], Mapping[str, Any]], *, is_sequence: bool
    ) -> None:
        self._found = found
        self._fetch = fetch
        self._is_sequence = is_sequence

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, place: int) -> Match: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Match]: ...
    def __getitem__(self, place: int | slice) -> Match | Sequence[Match]:
        if isinstance(place, slice):
            return FoundMatches(self._found[place], self._fetch, is_sequence=self._is_sequence)
        found = self._found[place]
        return Match(tuple(map(self._hit, found.events)), self._is_sequence, found.key)

    def __iter__(self) -> Iterator[Match]:
        return map(self.__getitem__, range(len(self)))

    def _hit(self, number: int | None) -> Hit:
        if number is None:
            return Hit("", "", {}, missing=True)
        document = self._fetch(number)
        source = document.get("_source")
        if isinstance(source, dict):
            return Hit(str(document.get("_index") or ""), str(document.get("_id") or ""), source)
        return Hit("", "", document)


def date_field(schema: Schema, name: str) -> Field:
    """The field of a timestamp: that of the schema if it is a date there, else a date in Elasticsearch's default
    formats."""
    found = schema.find(name)
    return found if found is not None and found.type in DATES else Field(name, DataType.DATE)


def _unfiltered(rule: Rule) -> Problem:
    """Why a rule with filters is not run over files: without them it would find what its author has ruled out."""
    message = "`filters` are Query DSL, which only a cluster can apply: over files the rule is not run"
    return Problem(rule.path, rule.query_line, rule.query_column, "error", message, rule.rule_id)
