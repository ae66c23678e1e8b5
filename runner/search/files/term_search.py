"""New-terms rules over files: what a pass reads for them, and what is new by their tables.

A pass reads the window of a request, and as much of the history before it as the rule's table does not cover: all of
it at the first run. What was seen is added to the table before anything is alerted, and what is new depends on the
times of all sightings alone, so that windows may be searched in any order and repeated.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from runner import eql
from runner.engine.plan import KeyField, with_keys
from runner.engine.terms.seen_terms import SeenTerms, Term
from runner.engine.terms.term_table import MOST_STRETCHES, TermTable, TimeSpan, read_table
from runner.errors import StoreError, UnreadableEventError
from runner.events.fields.schema import DataType, Field, Schema
from runner.events.files.read_report import ReadReport
from runner.exceptions.item import ExceptionEntry, ExceptionItem
from runner.rules.new_terms import new_terms_of
from runner.search.compiled_rule import CompiledRule, time_fields
from runner.search.own_alerts import filters_of
from runner.search.protocol import Match, SearchRequest, hit_of
from runner.search.term_store import MemoryTerms, TermRecord, TermStore
from runner.search.term_windows import KnownHistory, TermWindows, first_match

_LOG = logging.getLogger("runner.search")
_OTHERS = 10
"""Most events of a new term that are looked at, to find which of them was alerted."""
_CONFLICTS = 20
"""Most times that a table is merged anew because others write it, too."""
_MICRO = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class NewTerm:
    """A term that is new in a window, with the times and the numbers of its first events there."""

    values: Term
    events: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class TermAnswer:
    """What is new in the window of one request."""

    found: Sequence[NewTerm] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(slots=True)
class _RuleTerms:
    """The requests of one rule in a pass."""

    compiled: CompiledRule
    key: str
    definition: str
    table: TermTable
    record: TermRecord | None = None
    requests: list[SearchRequest] = field(default_factory=list)
    windows: list[TermWindows] = field(default_factory=list)

    @property
    def shown(self) -> TimeSpan:
        """From the first to the last event that a window has."""
        return min(one.shown[0] for one in self.windows), max(one.shown[1] for one in self.windows)

    def covered(self) -> TimeSpan:
        """The span of time that a pass looks at as a whole: the windows, and the history that the table lacks."""
        start, end = self.shown
        for one in self.windows:
            if parts := self.table.uncovered((one.span[0], one.shown[0] - 1)):
                start = min(start, parts[0][0])
        return start, end

    def read(self) -> TimeSpan:
        """The span of time that a pass has to read: beyond its windows it may find what was alerted of a term."""
        start, end = self.covered()
        return start, end + max(one.reach for one in self.windows)


class TermPass:
    """The new-terms requests of one pass: what is asked for them, and what was found."""

    def __init__(self, rules: Sequence[_RuleTerms], failed: Mapping[int, str], learn: timedelta) -> None:
        """`failed`: why a request cannot be searched, by its identity."""
        self._rules = {one.compiled: one for one in rules}
        self._learn = learn
        self.answers = {number: TermAnswer(error=error) for number, error in failed.items()}
        """By the identity of the request."""

    def start_ns(self, request: SearchRequest) -> int:
        """Since when events are read for the request, in nanoseconds since 1970."""
        rule = self._rules.get(request.compiled)
        return request.window.start_ns if rule is None else min(rule.read()[0], request.window.start_ns)

    def ask(self, request: SearchRequest, ask: eql.Ask, schema: Schema) -> eql.Ask:
        """What is asked of the engine for the request: once for all windows of a rule, and nothing for the others."""
        rule = self._rules.get(request.compiled)
        if rule is None or not rule.requests:
            return ask
        if rule.requests[0] is not request:
            stages = tuple(replace(stage, empty=True) for stage in ask.plan.stages)
            return replace(ask, plan=replace(ask.plan, stages=stages))
        condition = new_terms_of(request.rule)
        plan = with_keys(ask.plan, [KeyField(term_field(schema, name)) for name in condition.fields])
        counted = None
        if all(one.counted is not None for one in rule.requests):
            counted = tuple((w.start_ns, w.end_ns) for one in rule.requests for w in one.counted or ())
        else:
            counted = tuple(one.shown for one in rule.windows)
        scope = replace(ask.scope, span=rule.read())
        return replace(ask, plan=plan, scope=scope, counted=counted, history=(rule.shown[0], rule.table.gap))

    def settle(self, found: Mapping[int, eql.Found], oldest: int | None, *, whole: bool) -> list[_RuleTerms]:
        """Answer the requests by what the engine has found for each, by its identity; the rules with a new table.

        Of a pass that could not read everything nothing is new, and nothing counts as covered.
        """
        changed: list[_RuleTerms] = []
        for rule in self._rules.values():
            answer = found[id(rule.requests[0])]
            if answer.error is not None or not whole:
                for request in rule.requests:
                    self.answers[id(request)] = TermAnswer(error=answer.error)
                continue
            seen = SeenTerms(answer.matches)
            rule.table = rule.table.with_sightings(seen.sightings, [rule.covered()], oldest)
            for request, windows in zip(rule.requests, rule.windows, strict=True):
                self.answers[id(request)] = _answer(rule.table, seen, windows, self._learn)
            changed.append(rule)
        return changed


def _answer(table: TermTable, seen: SeenTerms, windows: TermWindows, learn: timedelta) -> TermAnswer:
    known = KnownHistory(windows, table.oldest, learn)
    found: list[NewTerm] = []
    start, end = windows.shown
    for one in table.appearances((start, end)):
        values = seen.value(one.term)
        if values is None or not windows.is_new(one.time, one.before) or not known.is_known(one.time):
            continue
        found.append(NewTerm(values, seen.events(one.term, one.time, one.time + windows.reach - 1, most=_OTHERS)))
    return TermAnswer(found, known.warnings(), known.notes())


class TermSearch:
    """The tables of all new-terms rules of a search, and where they are kept: in memory unless `keep_in` is called.

    `learn`: see `KnownHistory`. `kept`: how long sightings are kept beyond the history of a rule.
    """

    def __init__(self, learn: timedelta = timedelta(0)) -> None:
        self.learn = learn
        self._store: TermStore = MemoryTerms()
        self._source = ""
        self._kept = timedelta(days=8)
        self._tables: dict[str, tuple[TermRecord, TermTable]] = {}

    def keep_in(self, store: TermStore, source: str, *, learn: timedelta, kept: timedelta) -> None:
        """Keep the tables in a store, under the digest of the source of events."""
        self._store, self._source, self.learn, self._kept = store, source, learn, kept

    async def begun(self, requests: Sequence[SearchRequest]) -> TermPass:
        """The new-terms requests among these, with the tables of their rules. Raises StoreError."""
        rules: dict[CompiledRule, _RuleTerms] = {}
        failed: dict[int, str] = {}
        for request in requests:
            if request.rule.type != "new_terms":
                continue
            try:
                condition = new_terms_of(request.rule)
                windows = TermWindows(condition, request.rule, request.window)
            except ValueError as error:
                failed[id(request)] = str(error)
                continue
            rule = rules.get(request.compiled)
            if rule is None:
                gap = condition.least_gap(request.rule) // _MICRO * 1_000
                key = hashlib.sha256(f"{self._source}\n{request.rule.rule_id}".encode()).hexdigest()[:32]
                rule = _RuleTerms(request.compiled, key, _definition(request.compiled, gap), TermTable(gap))
                rules[request.compiled] = rule
            rule.requests.append(request)
            rule.windows.append(windows)
        for key, record in (await self._store.read_terms([one.key for one in rules.values()])).items():
            self._read(record, next(one for one in rules.values() if one.key == key))
        return TermPass(tuple(rules.values()), failed, self.learn)

    async def end(
        self, one: TermPass, requests: Sequence[SearchRequest], found: Sequence[eql.Found], report: ReadReport
    ) -> None:
        """Answer the requests of a pass by what it has found for all of its requests, and store the tables. Raises
        StoreError."""
        answers = {id(request): answer for request, answer in zip(requests, found, strict=True)}
        await self._keep(one.settle(answers, report.oldest_ns, whole=report.is_whole))

    async def _keep(self, rules: Sequence[_RuleTerms]) -> None:
        """Store the tables of these rules; one that another process has written meanwhile is merged. Raises
        StoreError."""
        waiting = list(rules)
        for _ in range(_CONFLICTS):
            if not waiting:
                return
            records = {one.key: self._record(one) for one in waiting}
            outcome = await self._store.replace_terms(list(records.values()))
            waiting = [one for one in waiting if outcome.get(one.key) is None]
            for key in outcome.keys() & records.keys():
                if (stored := outcome[key]) is not None:
                    self._tables[key] = stored, read_table(stored.table)
            again = await self._store.read_terms([one.key for one in waiting]) if waiting else {}
            for one in waiting:
                one.record = None
                if one.key in again:
                    self._read(again[one.key], one)
        raise StoreError(
            f"the table of terms of rule {waiting[0].compiled.rule.rule_id} is written by others all the time"
        )

    def _read(self, record: TermRecord, rule: _RuleTerms) -> None:
        """Take over a stored table, as far as it is of the same search; one that cannot be read is made anew."""
        rule.record = record
        if record.definition != rule.definition:
            return
        known = self._tables.get(record.key)
        try:
            table = known[1] if known is not None and known[0] == record else read_table(record.table)
        except ValueError as error:
            name = rule.compiled.rule.name
            _LOG.warning("%s: its stored terms cannot be read, the history is read anew: %s", name, error)
            return
        self._tables[record.key] = record, table
        rule.table = rule.table.merged(table) if len(rule.table) or rule.table.covered else table

    def _record(self, rule: _RuleTerms) -> TermRecord:
        """The record of a table, without what no window that may be owed can need."""
        history = max(one.shown[1] - one.span[0] for one in rule.windows)
        newest = max([last for _, last in rule.table.covered], default=0)
        if len(rule.table) > MOST_STRETCHES:
            _LOG.warning(
                "%s: more than %s sightings of terms: the oldest are not kept, so that each run reads a part of the "
                "history again", rule.compiled.rule.name, f"{MOST_STRETCHES:,}",
            )  # fmt: skip
        table = rule.table.kept(newest - history - self._kept // _MICRO * 1_000)
        version = None if rule.record is None else rule.record.version
        return TermRecord(rule.key, rule.compiled.rule.rule_id, rule.definition, table.written(), version)


def term_match(found: NewTerm, fetch: Callable[[int], Mapping[str, Any]]) -> Match:
    """The match of a new term; `fetch` gives a document by its number."""
    try:
        hits = [hit_of(fetch(number)) for _, number in found.events]
    except UnreadableEventError as error:
        return Match((), False, found.values, unreadable=str(error))
    return first_match(hits, [time for time, _ in found.events], found.values)


def term_field(schema: Schema, name: str) -> Field:
    """The field whose values are the terms: that of single words of a text field, if it has one."""
    found = schema.find(name) or Field(name, DataType.NULL)
    if found.type is DataType.TEXT and found.exact is not None:
        return schema.find(found.exact) or Field(found.exact, DataType.KEYWORD, path=found.source_path)
    return found


def _definition(compiled: CompiledRule, gap: int) -> str:
    """A digest of all that decides which terms a rule sees."""
    rule = compiled.rule
    parts = {
        "query": (rule.language, rule.query, filters_of(rule), rule.index),
        "times": time_fields(rule),
        "terms": new_terms_of(rule).fields,
        "gap": gap,
        "exceptions": sorted(map(_exception, (one for one in compiled.exceptions if one.scope == "event"))),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _exception(item: ExceptionItem) -> str:
    return json.dumps((item.os, item.where_text, [_entry(entry) for entry in item.entries]), default=str)


def _entry(entry: ExceptionEntry) -> list[Any]:
    listed = None if entry.value_list is None else entry.value_list.values
    inner = [_entry(one) for one in entry.entries]
    return [entry.field, entry.type, entry.included, entry.values, listed, entry.of_spans, entry.any_case, inner]
