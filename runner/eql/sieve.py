"""`Sieve`: which events of a batch meet which of many stages, in one pass.

Each event is told by its kind first (`Kinds`): what the kinds leave open is known for all events of a kind at once
(`Prospects`). Of the events whose prospect leaves something open, just the fields that it depends on are read; of their
values counts only which conditions they meet (`Signatures`). So what an event costs depends little on how many stages
there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.eql.evaluate import meeting
from runner.eql.outlooks import Outlooks, Stage, group_fields
from runner.eql.plan import Identity
from runner.eql.predicates import Junction, Negation, Predicate, fields_of
from runner.eql.prospects import Prospect, Prospects, Question
from runner.eql.scope import Scope, ScopeMasks
from runner.eql.signatures import FieldSignatures
from runner.events.batch import Columns, EventBatch, Rows
from runner.events.decode import Canonical, Row
from runner.events.kinds import Kinds
from runner.events.looks import SLICE, Look
from runner.events.schema import DataType

_KINDS = 50_000
"""Most groups of events remembered. With more of them, the group field with the most values is dropped."""
_FIELD_VALUES = 5_000
"""Most distinct values of a group field. One with more is dropped: too many groups would be of one event each."""
_VALUES = 200_000
"""So many values are remembered with their signatures."""
_SIGNATURES = 50_000
"""More signatures than this are too many to have numbers: then all is learnt anew."""
_KEPT, _LARGE = 4, 100_000
"""So many sieves are kept for later passes, none that has learnt more than so many kinds and values."""

EVERY_STAGE = -1
"""Has the bits of all stages."""

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
    signatures: FieldSignatures
    prospects: Prospects

    def remembered(self) -> int:
        """How much is remembered of values, by the room that a value with its signature takes."""
        return len(self.signatures) + self.prospects.remembered()

    def forget(self) -> None:
        """Forget all of that."""
        self.signatures.forget()
        self.prospects.forget()


@dataclass(frozen=True, slots=True)
class _Seen:
    """Some rows, and what a further look has read of them: these fields. No look: nothing."""

    rows: list[int]
    names: frozenset[str] = frozenset()
    look: Look | None = None
    decoded: Sequence[Row] = ()

    def at(self, places: Sequence[int]) -> _Seen:
        """Some of the rows."""
        decoded = [self.decoded[place] for place in places] if self.names else ()
        return _Seen([self.rows[place] for place in places], self.names, self.look, decoded)

    def take(self, batch: EventBatch, name: str) -> list[Canonical]:
        """The field's value in each of the rows."""
        if self.look is not None and name in self.names:
            return self.look.take(name, self.decoded)
        return batch.held(name, self.rows)

    def note(self, batch: EventBatch, carried: frozenset[str]) -> None:
        """Have the values of these fields remembered, as far as they have been looked up."""
        for name in carried & self.names:
            batch.note(name, self.rows, self.take(batch, name))


class Sieve:
    """Finds the events of all wanted stages, batch by batch; what it learns serves the batches to come."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        *,
        most_kinds: int = _KINDS,
        most_values: int = _VALUES,
        most_signatures: int = _SIGNATURES,
        most_field_values: int = _FIELD_VALUES,
    ) -> None:
        """`most_kinds`, `most_values` and `most_signatures` are how many of each are remembered; a group field has at
        most `most_field_values`."""
        self._most_field_values = most_field_values
        self._most_kinds, self._most_values, self._most_signatures = most_kinds, most_values, most_signatures
        same: dict[Identity, Predicate] = {}
        self._wanted = wanted
        self._stages = [_stage(number, one, same) for number, one in enumerate(wanted)]
        self._scopes = ScopeMasks(one.scope for one in wanted)
        self._group_fields = group_fields(self._stages, self._scopes.stream_fields())
        self._dropped: set[str] = set()
        """The group fields that had too many values."""
        self._telling: _Telling | None = None
        self._told: _Telling | None = None  # what the last batch is told by

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
        return 0 if told is None else len(told.kinds) + told.remembered()

    def sift(
        self, batch: EventBatch, looked_for: int = EVERY_STAGE, rows: Rows | None = None
    ) -> Iterator[tuple[int, Rows | ValueError]]:
        """The stages that events of the batch meet, by number, with those events.

        Only these stages are looked for (by their numbers, as bits), and only among these rows. A ValueError in the
        place of the rows says that a script failed on a value.
        """
        within, is_whole = self._scopes.begin(batch), rows is None
        rows = np.flatnonzero(within) if rows is None else rows[within[rows]]
        if not len(rows) or not self._stages:
            return
        if is_whole or self._told is None or self._telling is None:
            self._told = self._told_by(batch.columns)
        told = self._told
        met: _Met = {}
        self._follow(batch, told, looked_for, rows, met)
        for number in sorted(met):
            yield from self._checked(batch, number, _united(met[number]), told.signatures)
        if told.remembered() > self._most_values:
            told.forget()
        if told.signatures.numbered() > self._most_signatures:
            self._telling = None

    def prepare(self, columns: Columns) -> None:
        """Group the events of batches of these columns, from the first batch on."""
        self._telling = self._grouped_by(columns)

    def _grouped_by(self, columns: Columns) -> _Telling:
        """What is known of events of these columns: nothing yet; their groups are read from the next batch on."""
        kinds = Kinds(columns.fields[name] for name in self._group_fields if name not in self._dropped)
        signatures = self._signatures(columns)
        outlooks = Outlooks(self._stages, kinds, signatures, self._scopes)
        columns.tell_apart(kinds)
        return _Telling(columns, kinds, signatures, Prospects(outlooks, signatures, kinds.fields.keys()))

    def _told_by(self, columns: Columns) -> _Telling:
        """The groups of the columns. A group field with too many values is dropped."""
        told = self._telling
        if told is not None and told.columns is columns:
            crowded = told.kinds.crowded(self._most_field_values, self._most_kinds)
            if not crowded and len(told.kinds) <= self._most_kinds:
                return told
            self._dropped |= crowded
        self._telling = self._grouped_by(columns)
        return self._telling

    def _signatures(self, columns: Columns) -> FieldSignatures:
        parts = [part for stage in self._stages for part in (*stage.conditions, *stage.scripts)]
        return FieldSignatures(parts, lambda name: columns.fields[name].type is DataType.NULL)

    def _follow(self, batch: EventBatch, told: _Telling, looked_for: int, rows: Rows, met: _Met) -> None:
        """Add the stages that these rows meet, of those that are looked for.

        Events of which the same is asked are looked at together.
        """
        numbers = told.prospects.outlooks.of(batch.kinds(told.kinds)[rows])
        prospects: dict[int, Prospect] = {}
        asked: dict[Question, list[NDArray[np.intp]]] = {}
        for number, places in _grouped(numbers):
            prospect = told.prospects.of(number, looked_for)
            if prospect is None:
                continue
            prospects[number] = prospect
            if prospect.question is not None:
                asked.setdefault(prospect.question, []).append(places)
            if prospect.met:
                here = rows[places]
                for stage in prospect.met:
                    met.setdefault(stage, []).append(here)
                if prospect.question is None:
                    for seen in self._seen(batch, prospect.carried, prospect.carried, here.tolist()):
                        seen.note(batch, prospect.carried)
        for question, parts in asked.items():
            places = _united(parts)
            owners = list(map(prospects.__getitem__, numbers[places].tolist()))
            wanted, read = _fields_of(set(owners))
            rest = iter(owners)
            for seen in self._seen(batch, wanted.union(question.names), read, rows[places].tolist()):
                self._ask(batch, question, list(islice(rest, len(seen.rows))), seen, met)

    def _seen(
        self, batch: EventBatch, wanted: frozenset[str], read: frozenset[str], rows: list[int]
    ) -> Iterator[_Seen]:
        """The rows, a few at a time, looked at if that must be for the wanted fields; then all these are read."""
        unread = batch.unread(wanted)
        if not unread:
            yield _Seen(rows)
            return
        names = batch.unread(read)
        for start in range(0, len(rows), SLICE):
            part = rows[start : start + SLICE]
            yield _Seen(part, names, *batch.look(names, part))

    def _ask(
        self, batch: EventBatch, question: Question, prospects: Sequence[Prospect], seen: _Seen, met: _Met
    ) -> None:
        """Note what the stages that are met carry, and go on to what is open."""
        for carrying in {prospect for prospect in set(prospects) if prospect.carried}:
            places = [place for place, prospect in enumerate(prospects) if prospect is carrying]
            seen.at(places).note(batch, carrying.carried)
        answers = question.answers(prospects, [seen.take(batch, name) for name in question.names])
        further: dict[Prospect, list[int]] = {}
        for place, found in [(place, found) for place, found in enumerate(answers) if found]:
            further.setdefault(found, []).append(place)
        asked: dict[Question, tuple[list[Prospect], list[int]]] = {}
        for found, places in further.items():
            if found.met:
                rows = np.array([seen.rows[place] for place in places], dtype=np.intp)
                for stage in found.met:
                    met.setdefault(stage, []).append(rows)
            if found.question is not None:
                owners, members = asked.setdefault(found.question, ([], []))
                owners.extend([found] * len(places))
                members.extend(places)
            elif found.carried:
                for part in self._seen_again(batch, found.carried, seen.at(places)):
                    part.note(batch, found.carried)
        for following, (owners, members) in asked.items():
            wanted, _ = _fields_of(set(owners))
            rest = iter(owners)
            for part in self._seen_again(batch, wanted.union(following.names), seen.at(members)):
                self._ask(batch, following, list(islice(rest, len(part.rows))), part, met)

    def _seen_again(self, batch: EventBatch, wanted: frozenset[str], seen: _Seen) -> Iterator[_Seen]:
        """The same rows, looked at once more if that must be for the wanted fields."""
        if batch.unread(wanted) <= seen.names:
            yield seen
        else:
            yield from self._seen(batch, wanted, wanted, seen.rows)

    def _checked(
        self, batch: EventBatch, number: int, rows: Rows, truths: FieldSignatures
    ) -> Iterator[tuple[int, Rows | ValueError]]:
        """Of the events that meet a stage's conditions, those in its time that its scripts let pass."""
        rows = self._scopes.inside(self._wanted[number].scope, rows)
        for script in self._stages[number].scripts:
            if len(rows):
                try:
                    rows = rows[meeting(batch, script, rows, truths)]
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


def _grouped(numbers: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each of the numbers with the places where it stands, ascending; they are counted from zero on."""
    counts = np.bincount(numbers)
    order = np.argsort(numbers.astype(np.uint16) if len(counts) < 1 << 16 else numbers, kind="stable")
    ends = counts.cumsum().tolist()
    for number in np.flatnonzero(counts).tolist():
        yield number, order[ends[number] - counts[number] : ends[number]]


def _united(parts: Sequence[Rows]) -> Rows:
    return parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts))


def _fields_of(prospects: Collection[Prospect]) -> tuple[frozenset[str], frozenset[str]]:
    """The fields that any of the prospects carries, and those that any of them may come to read."""
    carried: frozenset[str] = frozenset().union(*(prospect.carried for prospect in prospects))
    return carried, frozenset().union(*(prospect.read for prospect in prospects))
