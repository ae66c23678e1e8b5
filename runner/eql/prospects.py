"""Prospects: what an event is asked next.

Of the stages that are in an event's outlook some are looked for at the time. Their `Prospect` says on which fields most
depends; by the signatures of the values that the event has there, it has another prospect, and so on until nothing is
open. There are few prospects and few signatures, so nearly always the next one is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from runner.eql.outlooks import GROUP_FIELDS, Open, Outlooks, settled_stage
from runner.eql.partial import bound
from runner.eql.predicates import fields_of, is_selective, lookups_in
from runner.eql.signatures import FieldSignatures, Signatures, Test, all_of
from runner.events.decode import Canonical

_COMMON = frozenset(GROUP_FIELDS)
_REMEMBERED = 100_000
"""So many answers are remembered to the same question."""
_COSTLY = 5
"""A prospect that was arrived at by values takes the room of so many values."""


@dataclass(slots=True, eq=False)
class Prospect:
    """What is known of an event, and what is to be asked next: the stages that it meets, and the fields on which most
    depends of those that it may yet meet. By their values it has another prospect, and so on until nothing is open."""

    met: tuple[int, ...]
    carried: frozenset[str]
    """Fields that are read of the event, for the sake of the stages that it meets."""
    question: Question | None = None
    matters: int = 0
    """The bits of the signatures on which it depends what comes next."""
    following: Callable[[int], Prospect | None] | None = None
    """What comes next by these bits; None if no further stage can be met."""
    read: frozenset[str] = frozenset()
    """All fields that may be asked for or carried before nothing is open: a line is best looked at once."""
    _known: dict[int, Prospect | None] = field(default_factory=dict)

    def after(self, bits: int) -> Prospect | None:
        """What comes next, given the bits of the signatures."""
        assert self.following is not None
        bits &= self.matters
        if bits not in self._known:
            self._known[bits] = self.following(bits)
        return self._known[bits]


class Question:
    """Some fields, asked of events all at once, whatever prospects the events have. The answers are remembered."""

    def __init__(self, signatures: Mapping[str, Signatures]) -> None:
        self.names = tuple(signatures)
        self._signatures = tuple(signatures.values())
        self._known: dict[tuple[Any, ...], Prospect | Literal[False]] = {}

    def answers(
        self, prospects: Sequence[Prospect], columns: Sequence[Sequence[Canonical]]
    ) -> Sequence[Prospect | Literal[False] | None]:
        """What comes next for each event, given its prospect and its values, field by field; False: nothing does."""
        known = self._known
        if len(known) > _REMEMBERED:
            known.clear()
        numbers = [signatures.of(values) for signatures, values in zip(self._signatures, columns, strict=True)]
        keys = list(zip(prospects, *numbers, strict=True))
        found = list(map(known.get, keys))
        if None in found:
            for place, answer in enumerate(found):
                if answer is None:
                    found[place] = self._answer(keys[place], [values[place] for values in columns])
        return found

    def _answer(self, key: tuple[Any, ...], values: Sequence[Canonical]) -> Prospect | Literal[False]:
        """The same for one event. It is remembered if it goes by the signatures alone, none of which has a bit that
        matters but is not known yet."""
        prospect: Prospect = key[0]
        bits, is_told = 0, True
        for signatures, number, value in zip(self._signatures, key[1:], values, strict=True):
            if signatures.pending[number] & prospect.matters:
                number, is_told = signatures.settled(value, prospect.matters), False
            bits |= signatures.bits[number]
        answer: Prospect | Literal[False] = prospect.after(bits) or False
        if is_told:
            self._known[key] = answer
        return answer


@dataclass(frozen=True, slots=True)
class _Reads:
    """What a stage reads: the fields of each of its open conditions that few events meet, and all fields.

    The stage is here so that it stays: what it is known by is its `id`.
    """

    stage: Open
    telling: frozenset[frozenset[str]]
    fields: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A stage that waits for the values of some fields."""

    stage: Open
    test: Test
    """What must hold for it to be met."""
    places: Mapping[int, int]
    """The bits of the conditions that will be known, by the `id` of the lookup."""
    matters: int
    """All these bits."""
    known: dict[int, Open | None] = field(default_factory=dict)

    def after(self, bits: int) -> Open | None:
        """What is left of the stage, given these bits; None if it cannot be met."""
        bits &= self.matters
        if bits not in self.known:
            truths = {mark: bool(bits >> place & 1) for mark, place in self.places.items()}
            self.known[bits] = settled_stage(self.stage, truths) if self.test(bits) else None
        return self.known[bits]


class Prospects:
    """The prospects of the outlooks of one choice of telling fields."""

    def __init__(self, outlooks: Outlooks, signatures: FieldSignatures, telling: Collection[str]) -> None:
        self.outlooks = outlooks
        self._signatures, self._telling = signatures, telling
        self._questions: dict[tuple[str, ...], Question] = {}
        self._by_outlook: dict[tuple[int, int], Prospect] = {}
        self._shared: dict[tuple[int, ...], Prospect] = {}
        self._reads: dict[int, _Reads] = {}
        self._waiting: dict[tuple[int, tuple[str, ...]], _Waiting] = {}
        self._pivots = lru_cache(_REMEMBERED)(_pivots)
        self._followed = 0

    def of(self, outlook: int, looked_for: int) -> Prospect | None:
        """What an outlook comes to if these stages are looked for, by their numbers as bits; None: to nothing."""
        wanted = self.outlooks.made[outlook].bits & looked_for
        if not wanted:
            return None
        known = self._by_outlook.get((outlook, wanted))
        if known is None:
            stages = [one for one in self.outlooks.made[outlook].stages if wanted >> one[0].number & 1]
            known = self._by_outlook[outlook, wanted] = self._prospect(stages)
            self._followed += 1
        return known

    def remembered(self) -> int:
        """How much is remembered, by the room that a value with its signature takes."""
        return _COSTLY * self._followed

    def forget(self) -> None:
        """Forget all of that."""
        self._questions.clear()
        self._by_outlook.clear()
        self._shared.clear()
        self._reads.clear()
        self._waiting.clear()
        self._followed = 0

    def _prospect(self, stages: Sequence[Open]) -> Prospect:
        """The prospect of events that may meet these stages; the same one for the same stages with the same parts
        open."""
        key = tuple(map(id, stages))  # they are kept by what has made them
        known = self._shared.get(key)
        if known is None:
            known = self._shared[key] = self._made(stages)
        return known

    def _made(self, stages: Sequence[Open]) -> Prospect:
        met = tuple(stage.number for stage, parts in stages if not parts)
        carried = frozenset(name for stage, parts in stages if not parts for name in stage.carried)
        own = carried.difference(self._telling)
        left = [stage for stage in stages if stage[1]]
        if not left:
            return Prospect(met, own, read=own)
        reads = [self._reads_of(stage) for stage in left]
        fields: frozenset[str] = frozenset().union(*(one.fields for one in reads))
        pivots = self._pivots(frozenset(one.telling for one in reads))
        waiting = [self._waiting_for(stage, pivots) for stage in left]

        def following(bits: int) -> Prospect | None:
            found = [after for one in waiting if (after := one.after(bits)) is not None]
            self._followed += bool(found)
            return self._prospect(found) if found else None

        matters = 0
        for one in waiting:
            matters |= one.matters
        read = own.union(fields).difference(self._telling)
        return Prospect(met, own, self._question(pivots), matters, following, read)

    def _reads_of(self, stage: Open) -> _Reads:
        known = self._reads.get(id(stage))
        if known is None:
            parts = [part for part in stage[1] if is_selective(part)] or stage[1]
            every_telling = frozenset(frozenset(fields_of(part)) for part in parts)
            telling = frozenset(names for names in every_telling if not names <= _COMMON) or every_telling
            every = stage[0].carried.union(name for part in stage[1] for name in fields_of(part))
            known = self._reads[id(stage)] = _Reads(stage, telling, every)
        return known

    def _waiting_for(self, stage: Open, pivots: tuple[str, ...]) -> _Waiting:
        """The stage as it waits for the values of these fields."""
        known = self._waiting.get((id(stage), pivots))
        if known is None:
            lookups = {id(one): one for part in stage[1] for one in lookups_in(part)}
            places = {mark: self._signatures.places[mark] for mark, one in lookups.items() if one.field in pivots}
            bounds = [found for part in stage[1] if not isinstance(found := bound(part, pivots), bool)]
            matters = sum(1 << place for place in places.values())
            known = self._waiting[id(stage), pivots] = _Waiting(stage, all_of(bounds, places), places, matters)
        return known

    def _question(self, names: tuple[str, ...]) -> Question:
        """The question for these fields."""
        if names not in self._questions:
            self._questions[names] = Question({name: self._signatures.by_field[name] for name in names})
        return self._questions[names]


def _pivots(waiting: frozenset[frozenset[frozenset[str]]]) -> tuple[str, ...]:
    """Fields, as few as may be, that decide a condition of each stage: most events fail them all.

    Given, for each kind of stage, the fields that each of some of its conditions reads.
    """
    chosen: frozenset[str] = frozenset()
    while waiting:
        wanted = Counter(names for reads in waiting for names in reads)
        best: frozenset[str] = min(wanted, key=lambda names: (len(names), -wanted[names], sorted(names)))
        chosen |= best
        rests = (frozenset(names - chosen for names in reads) for reads in waiting)
        waiting = frozenset(rest for rest in rests if frozenset() not in rest)
    return tuple(sorted(chosen))
