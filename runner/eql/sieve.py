"""`Sieve`: which events of a batch meet which of many stages, in one pass.

Each event is told by its kind first (`Kinds`): what the kinds leave open is known for all events of a kind at once
(`Prospects`). Of the events whose prospect leaves something open, just the fields that it depends on are read; of their
values counts only which conditions they meet (`Signatures`). So what an event costs depends little on how many stages
there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.eql.evaluate import Evaluator
from runner.eql.guard import Guard
from runner.eql.plan import Identity
from runner.eql.predicates import Junction, Negation, Predicate, fields_of
from runner.eql.prospects import Prospect, Prospects, Stage
from runner.eql.scope import Scope, ScopeMasks
from runner.events.batch import STREAM_FIELDS, Columns, EventBatch, Rows
from runner.events.decode import Row
from runner.events.kinds import Kinds
from runner.events.looks import Look, slices

_KINDS = 50_000
"""More kinds than this are too many to remember."""
_VALUES = 200_000
"""So many values are remembered with their signatures."""
_KEPT, _LARGE = 4, 100_000
"""So many sieves are kept for later passes, none that has learnt more than so many kinds and values."""

_Met: TypeAlias = dict[int, list[NDArray[np.intp]]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stage whose events are looked for: all `predicates` within the scope. `carried` names the fields that are read
    of the events which are found."""

    predicates: tuple[Predicate, ...]
    scope: Scope
    carried: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Telling:
    """One choice of telling fields, and what is known by it."""

    columns: Columns
    kinds: Kinds
    prospects: Prospects


@dataclass(frozen=True, slots=True)
class _Seen:
    """Some rows, and what a look has read of them: these fields."""

    rows: list[int]
    names: frozenset[str]
    look: Look
    decoded: Sequence[Row]


class Sieve:
    """Finds the events of all wanted stages, batch by batch; what it learns serves the batches to come."""

    def __init__(self, wanted: Sequence[Wanted], *, most_kinds: int = _KINDS, most_values: int = _VALUES) -> None:
        """`most_kinds` and `most_values` are how many of each are remembered."""
        self._most_kinds, self._most_values = most_kinds, most_values
        same: dict[Identity, Predicate] = {}
        self._wanted = wanted
        self._stages = [_stage(number, one, same) for number, one in enumerate(wanted)]
        self._evaluator = Evaluator(part for stage in self._stages for part in (*stage.conditions, *stage.scripts))
        self._scopes = ScopeMasks(one.scope for one in wanted)
        streams = [field.name for field in STREAM_FIELDS] if self._scopes.any_indices else []
        self._guard = Guard([stage.conditions for stage in self._stages], self._evaluator, streams)
        self._telling: _Telling | None = None

    @property
    def columns(self) -> Columns | None:
        """The columns that it has learnt on: what it knows serves for no others. None before the first batch."""
        return None if self._telling is None else self._telling.columns

    def looks_for(self, wanted: Sequence[Wanted]) -> bool:
        """Whether these are the same stages in the same indices: the very same predicates, not equal ones."""
        return len(wanted) == len(self._wanted) and all(
            one.predicates is other.predicates
            and one.scope.indices == other.scope.indices
            and one.carried == other.carried
            for one, other in zip(wanted, self._wanted, strict=True)
        )

    def turn_to(self, wanted: Sequence[Wanted]) -> None:
        """Go on with the same stages in other times."""
        self._wanted = wanted
        self._scopes.turn_to(one.scope for one in wanted)

    def rest(self) -> None:
        """Let go of the last batch."""
        self._scopes.turn_to(())

    def learnt(self) -> int:
        """How many kinds and values are remembered."""
        told = self._telling
        return 0 if told is None else len(told.kinds) + told.prospects.remembered() + told.columns.remembered()

    def sift(self, batch: EventBatch) -> Iterator[tuple[int, Rows | ValueError]]:
        """The stages that events of the batch meet, by number, with those events.

        A ValueError in their place says that a script failed on a value.
        """
        rows = np.flatnonzero(self._scopes.begin(batch))
        if not len(rows) or not self._stages:
            return
        told = self._told_by(batch)
        prospects = told.prospects
        numbers = prospects.of(batch.kinds(told.kinds)[rows])
        met: _Met = {}
        following = [(prospects.made[number], rows[members]) for number, members in _grouped(numbers)]
        for prospect, members in sorted(following, key=lambda one: -len(one[0].read)):
            self._follow(batch, prospect, members, met)
        for number in sorted(met):
            found = met[number]
            yield from self._checked(batch, number, found[0] if len(found) == 1 else np.sort(np.concatenate(found)))
        if prospects.remembered() > self._most_values:
            prospects.forget()

    def _told_by(self, batch: EventBatch) -> _Telling:
        """What tells the kinds of the batch. What is chosen anew serves from the next batch on, if it can wait."""
        before, columns = self._telling, batch.columns
        full = before is not None and len(before.kinds) > self._most_kinds
        if full:
            self._guard.be_stricter()
        if self._guard.look(batch) or full or before is None or columns is not before.columns:
            kinds = Kinds(columns.fields[name] for name in self._guard.fields)
            prospects = Prospects(self._stages, kinds, columns, self._evaluator, self._scopes)
            self._telling = _Telling(columns, kinds, prospects)
            columns.tell_apart(kinds)
            if before is None or not batch.is_told_by(before.kinds):
                return self._telling
        assert before is not None
        return before

    def _follow(self, batch: EventBatch, prospect: Prospect, rows: Rows, met: _Met) -> None:
        """Add the stages that these rows meet, all of which have the same prospect."""
        for stage in prospect.met:
            met.setdefault(stage, []).append(rows)
        names = batch.unread(prospect.read)
        if not names and not prospect.asked:
            return
        for part in slices(rows) if names else (rows,):
            look, decoded = batch.look(names, part) if names else (batch.columns.whole, [])
            self._ask(batch, prospect, _Seen(part.tolist(), names, look, decoded), met)

    def _ask(self, batch: EventBatch, prospect: Prospect, seen: _Seen, met: _Met) -> None:
        """Note what the stages that are met carry, and go on to what is open."""
        for name in prospect.carried & seen.names:
            batch.note(name, seen.rows, seen.look.take(name, seen.decoded))
        if not prospect.asked:
            return
        columns = [
            signatures.of(seen.look.take(name, seen.decoded) if name in seen.names else batch.held(name, seen.rows))
            for name, signatures in prospect.asked
        ]
        further: dict[int, tuple[Prospect, list[int]]] = {}
        for place, found in enumerate(prospect.answers(columns)):
            if found is not None:
                further.setdefault(id(found), (found, []))[1].append(place)
        for found, places in further.values():
            rows = [seen.rows[place] for place in places]
            decoded = [seen.decoded[place] for place in places] if seen.names else []
            for stage in found.met:
                met.setdefault(stage, []).append(np.array(rows, dtype=np.intp))
            self._ask(batch, found, _Seen(rows, seen.names, seen.look, decoded), met)

    def _checked(self, batch: EventBatch, number: int, rows: Rows) -> Iterator[tuple[int, Rows | ValueError]]:
        """Of the events that meet a stage's conditions, those in its time that its scripts let pass."""
        rows = self._scopes.inside(self._wanted[number].scope, rows)
        for script in self._stages[number].scripts:
            if len(rows):
                try:
                    rows = rows[self._evaluator.mask(batch, script, rows)]
                except ValueError as error:
                    yield number, error
                    return
        if len(rows):
            yield number, rows


class Sieves:
    """The sieves of the last passes, for passes that look for the same stages: what they have learnt of the events
    serves again. Each is taken for one pass at a time."""

    def __init__(self) -> None:
        self._kept: deque[Sieve] = deque(maxlen=_KEPT)

    def take(self, wanted: Sequence[Wanted]) -> Sieve:
        """A sieve for these stages, which is no longer kept here: the one of an earlier pass or a new one."""
        for sieve in tuple(self._kept):
            if sieve.looks_for(wanted):
                self._kept.remove(sieve)
                sieve.turn_to(wanted)
                return sieve
        return Sieve(wanted)

    def give_back(self, sieve: Sieve) -> None:
        """Keep a sieve whose pass is over; one that has learnt too much for that is let go, so that it is forgotten
        what events were like long ago."""
        sieve.rest()
        if sieve.learnt() <= _LARGE:
            self._kept.append(sieve)


def _stage(number: int, wanted: Wanted, same: dict[Identity, Predicate]) -> Stage:
    predicates = [_shared(predicate, same) for predicate in wanted.predicates]
    conditions = tuple(predicate for predicate in predicates if not predicate.scripted)
    scripts = tuple(predicate for predicate in predicates if predicate.scripted)
    carried = wanted.carried.union(name for script in scripts for name in fields_of(script))
    return Stage(number, wanted.scope.indices, conditions, scripts, carried)


def _shared(predicate: Predicate, same: dict[Identity, Predicate]) -> Predicate:
    """The predicate, or the one that is equal to it; so is every part of it."""
    known = same.get(predicate.identity)
    if known is None:
        match predicate:
            case Junction(parts=parts):
                known = replace(predicate, parts=tuple(_shared(part, same) for part in parts))
            case Negation(part=part):
                known = replace(predicate, part=_shared(part, same))
            case _:
                known = predicate
        same[predicate.identity] = known
    return known


def _grouped(numbers: NDArray[np.int32]) -> Iterable[tuple[int, NDArray[np.intp]]]:
    """Each number that occurs, with the places at which it does, ascending."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(ordered)], strict=True):
        yield int(ordered[start]), order[start:end]
