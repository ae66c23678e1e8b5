"""Many programs over one pass of event batches: which events each of them matches.

One filter finds the events of all stages of all programs; what each program makes of them is gathered for itself.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from runner.eql.candidates import Candidates
from runner.eql.entries import Entries, joined
from runner.eql.gathered import Edge, Gathered, GatheredSamples, GatheredSequences
from runner.eql.keys import KeyNumbers
from runner.eql.needles import bits_of
from runner.eql.plan import Limit, Plan, Stage
from runner.eql.predicates import Conjuncts
from runner.eql.scope import Scope
from runner.eql.sequence import FoundSequence
from runner.eql.sieve import StageFilter, StageFilterPool, StageSearch
from runner.eql.watch import NOWHERE, Search, Watch, Watched
from runner.events.batch import Columns, EventBatch, Rows
from runner.events.schema import Field

__all__ = ["Ask", "Edge", "Found", "Matcher", "Scope"]

CROWD = 1 << 15
"""So many entries are held before it is worth while to settle them: about 1 MB, and the join keys take 8 MB more."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One plan over one scope. `limits` replace those of the plan if given."""

    plan: Plan
    scope: Scope = field(default_factory=Scope)
    limits: tuple[Limit, ...] | None = None
    max_samples_per_key: int = 1
    now_ns: int = 0
    """What `now` in date math means, in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one ask found, ascending: for each match its join keys (as the API prints them) and its event numbers.

    `error` says why there is no answer: a value that a script of the query could not work on.
    """

    matches: Sequence[FoundSequence] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Handover:
    """What the matcher of one process has gathered, for that of another, which has the same asks."""

    entries: tuple[tuple[int, Entries], ...]
    """Each with the number of its ask."""
    keys: tuple[object, ...]
    """The values of join keys by the numbers that stand in the entries."""
    errors: Mapping[int, str]


class Matcher:
    """Runs asks over the batches that it is given, then says what each found."""

    def __init__(
        self,
        asks: Sequence[Ask],
        *,
        room: int = CROWD,
        numbers: int = CROWD,
        conjuncts: Conjuncts | None = None,
        filters: StageFilterPool | None = None,
        field: str = "@timestamp",
        patient: Collection[int] = (),
    ) -> None:
        """`room` is how many entries may be held before it is worth while to settle them, `numbers` how many values of
        join keys before it is looked which of them are needed. `conjuncts` and `filters` keep what other passes can use
        again; who gives `filters` feeds batches of `columns`, and calls `close` at the end.

        `field` is the timestamp field that the edges given to `feed` and `settle` are meant of. Sequences that go by
        another one wait for all events, and so do those asks that are `patient`.
        """
        self._conjuncts = conjuncts = conjuncts if conjuncts is not None else Conjuncts()
        self._asks = asks
        self._errors: dict[int, str] = {}
        self._key_numbers = KeyNumbers()
        self._gathered: list[Gathered] = []
        self._sinks: list[Candidates] = []
        wanted: list[StageSearch] = []
        watched: list[Watched] = []
        self._field, self._patient = field, frozenset(patient)
        self._least_room = self._room = room
        self._most_numbers = numbers
        for number, ask in enumerate(asks):
            gathered = _gathered(ask)
            self._gathered.append(gathered)
            for place, stage in enumerate(ask.plan.all_stages()):
                if not stage.empty and not (ask.plan.kind == "sequence" and _never_complete(ask.plan)):
                    sink = _candidates(number, place, stage, ask, gathered)
                    self._sinks.append(sink)
                    carried = [key.exact for key in stage.keys if key is not None]
                    carried += [] if ask.plan.tiebreaker is None else [ask.plan.tiebreaker]
                    names = frozenset(field.name for field in carried)
                    predicates = conjuncts.of(stage.conjuncts, ask.now_ns)
                    wanted.append(StageSearch(predicates, ask.scope, names))
                    watched.append(Watched(number, place, ask.plan, any(part.scripted for part in predicates)))
        self._equals = _equals(wanted)
        self._watch = Watch(watched, field=field, patient=self._patient)
        self._filters = filters
        self._wanted = wanted
        self._filter = StageFilter(wanted) if filters is None else filters.take(wanted)

    def fields(self) -> frozenset[Field]:
        """Every field that the asks read."""
        return frozenset().union(*(self._conjuncts.fields(ask.plan) for ask in self._asks))

    def columns(self, fields: Iterable[Field] = ()) -> Columns:
        """Columns for the batches: with every field that the asks read, and these. Those of an earlier pass where they
        are the same."""
        wanted = (*self.fields(), *fields)
        known = self._filter.columns
        if known is not None and known.are_of(wanted):
            return known
        if known is not None:
            self._filter = StageFilter(self._wanted)
        columns = Columns(wanted)
        self._filter.prepare(columns)
        return columns

    def close(self) -> None:
        """Leave what was learnt of the events to later passes; no batch comes any more."""
        if self._filters is not None:
            self._filters.give_back(self._filter)
            self._filters = None

    def feed(self, batch: EventBatch, edge: Edge | None = None) -> Rows:
        """Take in the next batch; returns the rows that may become part of a match, so that their documents are kept.

        The caller says that with this batch all events within the edge have come; None: nothing is known of that.
        """
        kept = np.zeros(len(batch), dtype=np.bool_)
        if not self._watch.sleepers():
            for number, met in self._filter.filter(batch):
                kept[self._taken(batch, number, met)] = True
            return np.flatnonzero(kept)
        turn = self._watch.turn(batch.timestamps(self._field), batch.base, NOWHERE if edge is None else edge)
        everywhere: dict[int, Rows | ValueError] = {}  # of all rows those that meet a stage, by any of its equals
        for search in turn.searches():
            for number, met in self._met(batch, search, everywhere):
                rows = self._taken(batch, number, met)
                kept[rows] = True
                turn.note(number, rows)
        return np.flatnonzero(kept)

    def _met(
        self, batch: EventBatch, search: Search, everywhere: dict[int, Rows | ValueError]
    ) -> Iterator[tuple[int, Rows | ValueError]]:
        """What a search finds. Stages whose equals have been looked for `everywhere` are not looked for again."""
        if search.rows is None:
            for number, met in self._filter.filter(batch, search.stages):
                everywhere[self._equals[number]] = met
                yield number, met
            return
        known = [number for number in bits_of(search.stages) if self._equals[number] in everywhere]
        inside = np.zeros(len(batch), dtype=np.bool_)
        inside[search.rows] = True
        for number in known:
            met = everywhere[self._equals[number]]
            yield number, met if isinstance(met, ValueError) else met[inside[met]]
        rest = search.stages & ~sum(1 << number for number in known)
        if rest:
            yield from self._filter.filter(batch, rest, search.rows)

    def _taken(self, batch: EventBatch, number: int, met: Rows | ValueError) -> Rows:
        """Take in what meets a stage; returns the rows that may become part of a match."""
        sink = self._sinks[number]
        if isinstance(met, ValueError):
            self._errors.setdefault(sink.ask, str(met))
            return np.zeros(0, dtype=np.intp)
        return sink.add(batch, met, self._key_numbers)

    def found(self) -> Iterator[Found]:
        """What each ask found, in the order of the asks."""
        for number, ask in enumerate(self._asks):
            if number in self._errors:
                yield Found(error=self._errors[number])
            else:
                yield Found(_limited(self._gathered[number].found(self._key_numbers), ask))

    def settle(self, edges: Iterable[Edge]) -> None:
        """Work off what is held, if that is much: the caller says that all events within the edge have come.

        `edges` are tried one after the other, as long as too much is left.
        """
        able = [
            gathered
            for number, gathered in enumerate(self._gathered)
            if number not in self._patient
            and (gathered.plan.kind == "sample" or gathered.plan.timestamp.name == self._field)
        ]
        if sum(gathered.settled + gathered.fresh for gathered in able) < self._room:
            return
        least = sum(gathered.fresh for gathered in able) // (2 * len(able))
        grown = [gathered for gathered in able if gathered.fresh and gathered.fresh >= least]
        for edge in edges:
            for gathered in grown:
                gathered.settle(edge, self._key_numbers)
            if sum(gathered.settled + gathered.fresh for gathered in able) < self._room // 2:
                break
        held = sum(gathered.settled + gathered.fresh for gathered in able)
        self._room = max(self._least_room, 2 * held)
        if len(self._key_numbers) > self._most_numbers:
            self._forget_numbers()

    def hand_over(self) -> Handover:
        """What was gathered since the last call; it is let go of here."""
        entries = tuple(
            (number, joined(gathered.parts)) for number, gathered in enumerate(self._gathered) if gathered.parts
        )
        keys = tuple(self._key_numbers.known())
        self._key_numbers.forget_but(np.zeros(0, dtype=np.int32))
        for gathered in self._gathered:
            gathered.parts, gathered.fresh = [], 0
        return Handover(entries, keys, dict(self._errors))

    def take_over(self, handover: Handover) -> None:
        """Go on with what another matcher has gathered. No batch may be fed any more: what was met elsewhere wakes
        nothing here."""
        numbers = self._key_numbers.numbered(handover.keys)
        for number, entries in handover.entries:
            self._gathered[number].add(replace(entries, keys=numbers[entries.keys]))
        for number, error in handover.errors.items():
            self._errors.setdefault(number, error)

    def held(self) -> int:
        """How many entries are held: events of stages that may yet become part of a match."""
        return sum(gathered.settled + gathered.fresh for gathered in self._gathered)

    def needed(self) -> list[int]:
        """The events that a match has, or may yet have, ascending: the documents of all others may be let go."""
        columns = [column for gathered in self._gathered for column in gathered.event_columns()]
        return list(np.unique(np.concatenate(columns)).tolist()) if columns else []

    def late(self) -> frozenset[int]:
        """The asks for which an event came after all that was said to be past: what they found is worth nothing."""
        return frozenset(self._watch.late).union(
            number
            for number, gathered in enumerate(self._gathered)
            if isinstance(gathered, GatheredSequences) and gathered.late
        )

    def _forget_numbers(self) -> None:
        """Forget the values of join keys that nothing which is held has."""
        columns = [column for gathered in self._gathered for column in gathered.key_columns()]
        wanted = np.unique(np.concatenate([column.ravel() for column in columns] or [np.zeros(0, dtype=np.int32)]))
        if 2 * len(wanted) < len(self._key_numbers):
            renumbered = self._key_numbers.forget_but(wanted)
            for gathered in self._gathered:
                gathered.renumber(renumbered)


def _equals(wanted: Sequence[StageSearch]) -> list[int]:
    """By number of a stage, that of the first one that is met by the very same events: `with runs` makes such."""
    firsts: dict[Hashable, int] = {}
    return [
        firsts.setdefault((tuple(part.identity for part in one.predicates), one.scope, one.carried), number)
        for number, one in enumerate(wanted)
    ]


def _candidates(number: int, place: int, stage: Stage, ask: Ask, gathered: Gathered) -> Candidates:
    plan = ask.plan
    timestamp = None if plan.kind == "sample" else plan.timestamp
    timed = plan.kind == "sequence"
    return Candidates(number, place, stage.keys, ask.scope, timestamp, plan.tiebreaker, timed, gathered)


def _gathered(ask: Ask) -> Gathered:
    limits = ask.plan.limits if ask.limits is None else ask.limits
    limit = limits[0] if limits else None
    match ask.plan.kind:
        case "event":
            return Gathered(ask.plan, limit)
        case "sample":
            return GatheredSamples(ask.plan, limit, most=ask.max_samples_per_key)
        case "sequence":
            return GatheredSequences(ask.plan, limit)


def _never_complete(plan: Plan) -> bool:
    """Whether some stage that every sequence needs can have no event."""
    return any(stage.empty and not stage.missing for stage in plan.stages)


def _limited(matches: Sequence[FoundSequence], ask: Ask) -> Sequence[FoundSequence]:
    limits = ask.plan.limits if ask.limits is None else ask.limits
    for limit in limits:
        start = 0 if limit.side == "head" else max(0, len(matches) - limit.count)
        matches = matches[start : start + limit.count]
    return matches
