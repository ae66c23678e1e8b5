"""Prospects: what an event is asked next.

Of the stages that are in an event's outlook some are looked for at the time. Their `Prospect` says on which fields most
depends; by the signatures of the values that the event has there, it has another prospect, and so on until nothing is
open. There are few prospects and few signatures, so nearly always the next one is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.eql.outlooks import Open, Outlooks, settled_stages
from runner.eql.partial import bound
from runner.eql.predicates import fields_of, is_selective, lookups_in
from runner.eql.signatures import FieldSignatures, Signatures, all_of
from runner.events.decode import Canonical

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
        self._known: dict[tuple[Any, ...], Prospect | None] = {}

    def answers(self, prospects: Sequence[Prospect], columns: Sequence[Sequence[Canonical]]) -> list[Prospect | None]:
        """What comes next for each event, given its prospect and its values, field by field."""
        known = self._known
        if len(known) > _REMEMBERED:
            known.clear()
        numbers = [signatures.of(values) for signatures, values in zip(self._signatures, columns, strict=True)]
        keys = list(zip(prospects, *numbers, strict=True))
        try:
            return list(map(known.__getitem__, keys))
        except KeyError:
            return [
                known[key] if key in known else self._answer(key, [values[place] for values in columns])
                for place, key in enumerate(keys)
            ]

    def _answer(self, key: tuple[Any, ...], values: Sequence[Canonical]) -> Prospect | None:
        """The same for one event. It is remembered if it goes by the signatures alone, none of which has a bit that
        matters but is not known yet."""
        prospect: Prospect = key[0]
        bits, is_told = 0, True
        for signatures, number, value in zip(self._signatures, key[1:], values, strict=True):
            if signatures.pending(number) & prospect.matters:
                number, is_told = signatures.settled(value, prospect.matters), False
            bits |= signatures.bits[number]
        answer = prospect.after(bits)
        if is_told:
            self._known[key] = answer
        return answer


class Prospects:
    """The prospects of the outlooks of one choice of telling fields."""

    def __init__(self, outlooks: Outlooks, signatures: FieldSignatures, telling: Collection[str]) -> None:
        self.outlooks = outlooks
        self._signatures, self._telling = signatures, telling
        self._questions: dict[tuple[str, ...], Question] = {}
        self._by_outlook: dict[tuple[int, int], Prospect] = {}
        self._shared: dict[tuple[tuple[int, tuple[int, ...]], ...], Prospect] = {}
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

    def note_dull(self, looked_for: int) -> None:
        """Have the outlooks noted as dull of whose events nothing is asked or carried if these stages are looked
        for."""
        dull = []
        for number, outlook in enumerate(self.outlooks.made):
            wanted = outlook.bits & looked_for
            known = self._by_outlook.get((number, wanted))
            dull.append(not wanted or (known is not None and not known.read))
        self.outlooks.note_dull(dull)

    def remembered(self) -> int:
        """How much is remembered, by the room that a value with its signature takes."""
        return _COSTLY * self._followed

    def forget(self) -> None:
        """Forget all of that."""
        self._questions.clear()
        self._by_outlook.clear()
        self._shared.clear()
        self._followed = 0

    def _prospect(self, stages: Sequence[Open]) -> Prospect:
        """The prospect of events that may meet these stages; the same one for the same stages with the same parts
        open."""
        key = tuple((stage.number, tuple(map(id, parts))) for stage, parts in stages)
        known = self._shared.get(key)
        if known is None:
            known = self._shared[key] = self._made(stages)
        return known

    def _made(self, stages: Sequence[Open]) -> Prospect:
        met = tuple(stage.number for stage, parts in stages if not parts)
        carried = frozenset(name for stage, parts in stages if not parts for name in stage.carried)
        own = carried.difference(self._telling)
        left = [(stage, parts) for stage, parts in stages if parts]
        if not left:
            return Prospect(met, own, read=own)
        pivots = _pivots(left)
        bounds = [[found for part in parts if not isinstance(found := bound(part, pivots), bool)] for _, parts in left]
        lookups = {id(one): one for _, parts in left for part in parts for one in lookups_in(part)}
        places = {mark: self._signatures.places[mark] for mark, one in lookups.items() if one.field in pivots}
        tests = [all_of(parts, places) for parts in bounds]

        def following(bits: int) -> Prospect | None:
            alive = [one for one, test in zip(left, tests, strict=True) if test(bits)]
            found = settled_stages(alive, {mark: bool(bits >> place & 1) for mark, place in places.items()})
            self._followed += bool(found)
            return self._prospect(found) if found else None

        later = {name for _, parts in left for part in parts for name in fields_of(part)}
        later = later.union(*(stage.carried for stage, _ in left)).difference(self._telling)
        matters = sum(1 << place for place in places.values())
        return Prospect(met, own, self._question(pivots), matters, following, own | later)

    def _question(self, names: Sequence[str]) -> Question:
        """The question for these fields."""
        key = tuple(sorted(names))
        if key not in self._questions:
            self._questions[key] = Question({name: self._signatures.by_field[name] for name in key})
        return self._questions[key]


def _pivots(stages: Sequence[Open]) -> list[str]:
    """Fields, as few as may be, of which each of the stages has a condition: most events fail them all."""
    waiting: Counter[frozenset[frozenset[str]]] = Counter()
    for _, parts in stages:
        telling = [part for part in parts if is_selective(part)] or parts
        waiting[frozenset(frozenset(fields_of(part)) for part in telling)] += 1
    chosen: frozenset[str] = frozenset()
    while waiting:
        wanted: Counter[frozenset[str]] = Counter()
        for reads, count in waiting.items():
            for names in reads:
                wanted[names] += count
        best: frozenset[str] = min(wanted, key=lambda names: (len(names), -wanted[names], sorted(names)))
        chosen |= best
        left: Counter[frozenset[frozenset[str]]] = Counter()
        for reads, count in waiting.items():
            rest = frozenset(names.difference(chosen) for names in reads)
            if frozenset() not in rest:
                left[rest] += count
        waiting = left
    return sorted(chosen)
