"""Indicators of rules of type threat_match over files: read before the events, kept while their files stay as they are.

Which indicators a rule takes may depend on the time of its window, so a table is made for each answer to its query.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner import eql
from runner.engine.filter.predicates import Conjuncts
from runner.engine.repeats import Repeats
from runner.engine.sequence.open_matches import FoundRows
from runner.errors import EventsError, UnreadableEventError
from runner.events.fields.schema import Schema
from runner.events.fields.values import Canonical
from runner.events.files.event_files import EventFiles, ReadProgress, ReadReport, TimeWanted, unreported
from runner.exceptions.item import ExceptionItem
from runner.file_formats.inner_events import InnerEvents
from runner.garbage_collection import rarely_collecting
from runner.messages.quantities import counted
from runner.messages.query_errors import QueryError
from runner.rules.threat_match import threat_match_of
from runner.search.filter_conditions import filtered
from runner.search.indicators.pairs import PairGroup, pair_groups
from runner.search.indicators.programs import TIME, clock_of, indicator_program
from runner.search.indicators.table import IndicatorTable
from runner.search.protocol import Hit, MatchedIndicator, SearchRequest, hit_of

_LOG = logging.getLogger("runner.search")
_NAME_THEM = "so that the rule finds nothing: name files of indicators with --indicators"

_TableKey = tuple[str, tuple[ExceptionItem, ...], object]


@dataclass(frozen=True, slots=True)
class IndicatorAnswer:
    """The indicators of one request."""

    table: IndicatorTable | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A table that is wanted: of which mapping, and what is asked for its indicators."""

    key: _TableKey
    groups: tuple[PairGroup, ...]
    ask: eql.Ask


@dataclass(frozen=True, slots=True)
class IndicatorPass:
    """The indicators for the requests of one pass over the events."""

    answers: Mapping[int, IndicatorAnswer] = field(default_factory=dict)
    """By the identity of the request."""
    is_whole: bool = True
    """Whether all files of indicators could be read."""
    warnings: tuple[str, ...] = ()
    none: str = ""
    """Why a rule without an indicator has none."""
    is_new: bool = False
    """Whether there are tables that no pass before had."""

    def ask(self, request: SearchRequest, ask: eql.Ask) -> eql.Ask:
        """What is asked of the engine for the request: the events that an indicator may match."""
        answer = self.answers.get(id(request))
        if answer is None:
            return ask
        condition = False if answer.table is None else answer.table.condition()
        return replace(ask, plan=filtered(ask.plan, condition))

    def is_whole_for(self, request: SearchRequest) -> bool:
        """Whether the request knows all indicators that it should."""
        return self.is_whole or id(request) not in self.answers

    def told(self, request: SearchRequest) -> tuple[str, ...]:
        """What is wrong with the indicators of the request."""
        answer = self.answers.get(id(request))
        if answer is None or answer.table is None:
            return ()
        return self.warnings if answer.table.count else (*self.warnings, self.none)


class IndicatorSearch:
    """The indicators in files for the rules of a search."""

    def __init__(
        self,
        paths: Sequence[str | Path],
        events: Sequence[str | Path] = (),
        *,
        progress: ReadProgress = unreported,
        inner: InnerEvents | None = None,
    ) -> None:
        """`paths` are the files of indicators. Without any they are looked for among the `events`, as far as these are
        files: a folder that is written to would have to be read whole in each run."""
        among = not paths and all(str(path) != "-" and not Path(path).is_dir() for path in events)
        self._paths = tuple(events) if among else tuple(paths)
        self._is_among = among
        self._progress: ReadProgress = lambda _: progress(0)  # the bytes are not among those that are expected
        self._inner = inner or InnerEvents()
        self._files: EventFiles | None = None
        self._can_change = True
        """Whether the files can be read again: a pipe cannot."""
        self._tables: dict[_TableKey, IndicatorTable] = {}
        self._report = ReadReport()

    def begun(self, requests: Sequence[SearchRequest], schema: Schema) -> IndicatorPass:
        """The indicators for those of the requests that want some; what has not been read before is read now."""
        asked = [request for request in requests if request.rule.type == "threat_match"]
        if not asked:
            return IndicatorPass()
        answers: dict[int, IndicatorAnswer] = {}
        wanted: dict[_TableKey, _Wanted] = {}
        keys: dict[int, _TableKey] = {}
        for request in asked:
            try:
                one = self._wanted(request, schema)
            except QueryError as error:
                answers[id(request)] = IndicatorAnswer(error="; ".join(found.text for found in error.findings))
                continue
            keys[id(request)] = one.key
            wanted.setdefault(one.key, one)
        try:
            is_new = self._update(wanted)
        except (EventsError, OSError) as error:
            failed = {id(request): IndicatorAnswer(error=f"its indicators: {error}") for request in asked}
            return IndicatorPass(failed | answers, is_whole=False)
        answers |= {number: IndicatorAnswer(self._tables[key]) for number, key in keys.items()}
        warnings = tuple(f"indicators: {text}" for text in self._report.warnings())
        return IndicatorPass(answers, self._report.is_whole, warnings, self._none(), is_new)

    def _none(self) -> str:
        """Why a rule has no indicator, although the files were read."""
        if not self._paths:
            return f"no indicators are known, {_NAME_THEM}"
        if self._is_among:
            return f"no document of the events is an indicator of the rule, {_NAME_THEM}"
        count = counted(self._report.events, "document")
        return f"of the {count} in the files of indicators none is one of the rule's, so that it finds nothing"

    def _wanted(self, request: SearchRequest, schema: Schema) -> _Wanted:
        compiled, now_ns = request.compiled, request.window.end_ns
        condition = threat_match_of(compiled.rule)
        assert condition is not None
        plan = indicator_program(compiled, schema).plan
        key = compiled.rule.fingerprint, compiled.exceptions, clock_of(plan, now_ns)
        return _Wanted(
            key, pair_groups(condition, schema, schema), eql.Ask(plan, eql.Scope(condition.index), now_ns=now_ns)
        )

    def _update(self, wanted: Mapping[_TableKey, _Wanted]) -> bool:
        """Have a table for all that is wanted, and no other; whether one was made. Raises EventsError."""
        if self._files is None or self._can_change:
            files = EventFiles(self._paths, progress=self._progress, inner=self._inner)
            if self._files is None or files.states() != self._files.states():
                self.close()
                self._files, self._tables = files, {}
                self._can_change = len(files.states()) == len(files.paths)
            else:
                files.close()
        if is_new := not self._tables.keys() >= wanted.keys():
            self._tables = self._read(list(wanted.values()))  # all of them: numbers are those of the last reading
        self._tables = {key: self._tables[key] for key in wanted}
        return is_new

    def _read(self, wanted: Sequence[_Wanted]) -> dict[_TableKey, IndicatorTable]:
        """All tables, by one reading of the files. Raises EventsError."""
        assert self._files is not None
        pairs = (pair for one in wanted for group in one.groups for pair in group.pairs)
        fields = list(dict.fromkeys(pair.indicator for pair in pairs))
        names = [one.name for one in fields]
        values: dict[int, tuple[Canonical, ...]] = {}
        conjuncts = Conjuncts()
        with rarely_collecting():
            matcher = eql.Matcher([one.ask for one in wanted], conjuncts=conjuncts, field=TIME, repeats=Repeats())
            columns = matcher.columns([*fields, wanted[0].ask.plan.timestamp])
            for batch in self._files.batches(columns, wanted=TimeWanted((TIME,)), progress=self._progress):
                rows = matcher.feed(batch)
                self._files.keep(batch, rows)
                if len(rows) and fields:
                    batch.load(frozenset(names), rows)
                    numbers = (rows + batch.base).tolist()
                    values.update(
                        zip(numbers, zip(*(batch.values(name, rows) for name in names), strict=True), strict=True)
                    )
            matcher.close()
            self._report = self._files.report()
            return _tables(wanted, matcher.found(), names, values)

    def of_event(self, table: IndicatorTable, source: Mapping[str, Any]) -> tuple[MatchedIndicator, ...]:
        """The indicators of a table that an event matches, given as the content of `_source`, with their documents."""
        return tuple(MatchedIndicator(one.field, one.value, self._hit(one.number)) for one in table.matches(source))

    def _hit(self, number: int) -> Hit | None:
        assert self._files is not None
        try:
            return hit_of(self._files.fetch(number))
        except (UnreadableEventError, EventsError) as error:
            _LOG.warning("an indicator cannot be read again: its alerts show the value alone: %s", error)
            return None

    def close(self) -> None:
        if self._files is not None:
            self._files.close()
            self._files = None


def _tables(
    wanted: Sequence[_Wanted],
    found: Iterable[eql.Found],
    names: Sequence[str],
    values: Mapping[int, tuple[Canonical, ...]],
) -> dict[_TableKey, IndicatorTable]:
    """The tables of what was found, with the values of the fields of each indicator by its number; tables of the same
    rule with the same indicators are one. Raises EventsError for a query that failed."""
    made: dict[object, IndicatorTable] = {}
    tables: dict[_TableKey, IndicatorTable] = {}
    for one, answer in zip(wanted, found, strict=True):
        if answer.error is not None:
            raise EventsError(answer.error)
        numbers = answer.matches.columns()[1].tolist() if isinstance(answer.matches, FoundRows) else []
        same = one.key[:2], tuple(numbers)
        table = made.get(same)
        if table is None:
            table = made[same] = IndicatorTable(one.groups)
            for number in numbers:
                if (known := values.get(number)) is not None:
                    table.add(number, dict(zip(names, known, strict=True)))
        tables[one.key] = table
    return tables
