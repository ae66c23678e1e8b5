"""Whole queries over a list of documents: event queries, sequences, samples, limits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.dates.dates import date_text
from runner.eql.syntax import ast
from runner.eql.syntax.parser import parse
from runner.events.fields.schema import DataType, Field, Schema
from runner.events.fields.values import version_key
from runner.expressions import nodes
from tests.reference import readings as rd
from tests.reference.conditions import Conditions, Constant, Test
from tests.reference.functions import ScriptError, address

Key = tuple[Any, ...]
Answer = list[tuple[tuple[Any, ...], tuple[int | None, ...]]]
"""For each match its join keys as the API prints them, and the numbers of its documents; None is a missing event."""


class FailedSearchError(Exception):
    """Some document makes a script of the query fail."""


@dataclass(frozen=True)
class Event:
    """A document with its place in the order: (time, tiebreaker, number)."""

    number: int
    time: int
    place: tuple[Any, ...]


@dataclass(frozen=True)
class Hit:
    """An event that meets a stage under one combination of join keys."""

    event: Event
    key: Key


@dataclass
class Stage:
    matching: list[Event]
    hits: list[Hit]
    keys: list[Field | None]
    missing: bool


@dataclass
class Partial:
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """Those of the search that change its answer."""

    size: int = 10
    result_position: str = "tail"
    timestamp_field: str = "@timestamp"
    event_category_field: str = "event.category"
    tiebreaker_field: str | None = None
    max_samples_per_key: int = 1
    now: int = 0


def answer_of(query: str, sources: Sequence[Mapping[str, Any]], schema: Schema, options: Options) -> Answer:
    """The matches of a valid query. Raises FailedSearchError if a script of it fails on some document."""
    try:
        return _Search(sources, schema, options).answer(parse(query))
    except ScriptError as error:
        raise FailedSearchError(str(error)) from None


class _Search:
    def __init__(self, sources: Sequence[Mapping[str, Any]], schema: Schema, options: Options) -> None:
        self._sources = sources
        self._schema = schema
        self._options = options
        self._conditions = Conditions(schema, options.now)
        self._events = [self._event(number) for number in range(len(sources))]

    def _event(self, number: int) -> Event:
        source = self._sources[number]
        timestamp = self._schema.find(self._options.timestamp_field)
        times = rd.values_of(source, timestamp) if timestamp is not None else []
        ties: list[Any] = []
        if self._options.tiebreaker_field is not None:
            tiebreaker = self._schema.find(self._options.tiebreaker_field)
            assert tiebreaker is not None
            ties = rd.values_of(source, tiebreaker)
        time = times[0] if times else None
        place = (time is None, time or 0, not ties, ties[0] if ties else 0, number)
        return Event(number, -1 if time is None else time, place)

    def answer(self, statement: ast.Statement) -> Answer:
        body = statement.body
        if isinstance(body, ast.EventQuery):
            found: Answer = [((), (event.number,)) for event in sorted(self._matching(body), key=lambda e: e.place)]
        elif isinstance(body, ast.SequenceQuery):
            found = self._sequences(body)
        else:
            found = self._samples(body)
        return self._limited(found, statement)

    def _limited(self, found: Answer, statement: ast.Statement) -> Answer:
        is_head = self._options.result_position == "head" or isinstance(statement.body, ast.SampleQuery)
        limits: list[tuple[str, int]] = [(pipe.name, pipe.count) for pipe in statement.pipes]
        limits = limits or [("head" if is_head else "tail", self._options.size)]
        limits[0] = (limits[0][0], min(limits[0][1], self._options.size))
        for side, count in limits:
            found = found[:count] if side == "head" else found[max(0, len(found) - count) :]
        return found

    def _matching(self, query: ast.EventQuery) -> list[Event]:
        tests: list[Constant | Test] = [self._conditions.condition(query.condition)]
        if query.category is not None:
            category = nodes.Name(query.span, self._options.event_category_field)
            wanted = nodes.Constant(query.span, query.category)
            tests.append(self._conditions.condition(nodes.Comparison(query.span, "==", category, wanted)))

        def met(test: Constant | Test, source: Mapping[str, Any]) -> bool:
            return test.value is True if isinstance(test, Constant) else test(source)

        return [
            event for event in self._events if False not in [met(test, self._sources[event.number]) for test in tests]
        ]

    # Stages and keys.

    def _stage(self, term: ast.Term, shared: tuple[ast.KeyExpression, ...], *, timed: bool) -> Stage:
        names = [*shared, *term.keys]
        keys: list[Field | None] = []
        for name in names:
            assert isinstance(name, nodes.Name)
            found = self._schema.find(name.name)
            keys.append(None if found is None else rd.exact_field(found, self._schema))
        matching = [event for event in self._matching(term.query) if not timed or not event.place[0]]
        hits: list[Hit] = []
        for event in matching:
            choices = []
            for name, key in zip(names, keys, strict=True):
                values = [] if key is None else rd.values_of(self._sources[event.number], key)
                distinct = sorted(dict.fromkeys(values), key=lambda value: _order(value, key))
                assert isinstance(name, nodes.Name)
                choices.append(distinct or ([None] if name.optional else []))
            hits.extend(Hit(event, combination) for combination in itertools.product(*choices))
        return Stage(matching, hits, keys, term.missing)

    def _stages(self, body: ast.SequenceQuery | ast.SampleQuery, *, timed: bool) -> list[Stage]:
        return [self._stage(term, body.keys, timed=timed) for term in body.terms for _ in range(term.runs)]

    def _printed(self, key: Key, fields: list[Field | None], *, sample: bool) -> tuple[Any, ...]:
        shown = []
        for value, one in zip(key, fields, strict=True):
            if value is not None and one is not None and one.type in rd.DATES:
                value = value // 1_000_000 if sample else date_text(value, nanos=one.type is DataType.DATE_NANOS)
            shown.append(value)
        return tuple(shown)

    # Sequences.

    def _sequences(self, body: ast.SequenceQuery) -> Answer:
        stages = self._stages(body, timed=True)
        until = self._stage(body.until, body.keys, timed=True) if body.until else None
        maxspan = None if body.maxspan is None else body.maxspan * 1_000_000
        positive = [stage for stage in stages if not stage.missing]
        found = {hit.key for stage in positive for hit in stage.hits}
        keys = sorted(found, key=lambda key: _key_order(key, positive[-1].keys))
        complete: list[tuple[Event, Key, list[Event]]] = []
        for key in keys:
            lists = [[hit.event for hit in stage.hits if hit.key == key] for stage in positive]
            ends = [hit.event for hit in until.hits if hit.key == key] if until else []
            chains = [chain for chain in _chains(lists, ends, maxspan) if _accepted(chain, stages, key, maxspan)]
            complete.extend((chain[-1], key, chain) for chain in chains)
        complete.sort(key=lambda item: item[0].place)
        answer: Answer = []
        for _, key, sequence in complete:
            taken = iter(sequence)
            numbers = tuple(None if stage.missing else next(taken).number for stage in stages)
            answer.append((self._printed(key, stages[0].keys, sample=False), numbers))
        return answer

    # Samples.

    def _samples(self, body: ast.SampleQuery) -> Answer:
        stages = self._stages(body, timed=False)
        shared = set.intersection(*({hit.key for hit in stage.hits} for stage in stages))
        room = len(stages) + self._options.max_samples_per_key - 1
        answer: Answer = []
        for key in sorted(shared, key=lambda key: _key_order(key, stages[0].keys)):
            offered = [[hit.event.number for hit in stage.hits if hit.key == key][:room] for stage in stages]
            samples = [chosen for chosen in itertools.product(*offered) if len(set(chosen)) == len(chosen)]
            printed = self._printed(key, stages[0].keys, sample=True)
            answer.extend((printed, sample) for sample in samples[: self._options.max_samples_per_key])
        return answer


def _order(value: Any, key: Field | None) -> Any:
    if key is not None and key.type is DataType.IP:
        return address(value)
    if key is not None and key.type is DataType.VERSION:
        return version_key(value)
    return value


def _key_order(key: Key, fields: list[Field | None]) -> tuple[Any, ...]:
    """What keys are ordered by; under an unmapped key of the first stage the others may have any type."""
    return tuple(
        (0,) if value is None else (1, isinstance(value, str), isinstance(value, bool), _order(value, one))
        for value, one in zip(key, fields, strict=True)
    )


def _chains(lists: list[list[Event]], ends: list[Event], maxspan: int | None) -> list[list[Event]]:
    """The finished sequences of one key: stage after stage, an event takes the newest partial sequence before it."""
    pending = [Partial([event]) for event in sorted(lists[0], key=lambda event: event.place)]
    for stage in lists[1:]:
        grown: list[Partial] = []
        for event in sorted(stage, key=lambda event: event.place):
            before = [partial for partial in pending if partial.events[-1].place < event.place]
            if not before:
                continue
            newest = before[-1]
            pending = [partial for partial in pending if partial not in before]
            if maxspan is not None and event.time - newest.events[0].time > maxspan:
                continue
            if any(newest.events[-1].place <= end.place < event.place for end in ends):
                continue
            grown.append(Partial([*newest.events, event]))
        pending = grown
    return [partial.events for partial in pending]


def _accepted(sequence: list[Event], stages: list[Stage], key: Key, maxspan: int | None) -> bool:
    """Whether what must be missing around and between the events of a finished sequence is missing."""
    start, end = sequence[0].time, sequence[-1].time
    last_positive = max(place for place, stage in enumerate(stages) if not stage.missing)
    before: list[int] = []
    after: list[int] = []
    done = 0
    for place, stage in enumerate(stages):
        if not stage.missing:
            done += 1
            continue
        times = [hit.event.time for hit in stage.hits if hit.key == key]
        if done == 0:
            before.extend(time for time in times if time < start)
        elif place > last_positive:
            after.extend(time for time in times if time > end)
        elif any(sequence[done - 1].time < time < sequence[done].time for time in times):
            return False
    latest = max(before, default=None)
    earliest = min(after, default=None)
    first_missing, last_missing = stages[0].missing, stages[-1].missing
    if not first_missing and not last_missing:
        return True
    assert maxspan is not None
    if first_missing and last_missing:
        return latest is None or earliest is None or earliest - latest > maxspan
    if first_missing:
        return latest is None or end - latest > maxspan
    return earliest is None or earliest - start > maxspan
