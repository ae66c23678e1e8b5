"""The conditions of many stages as one tree, so that what several stages ask is asked once.

Every path from the root is one stage: its conditions in an order that is the same for all stages, hence shared as far
as possible. Conditions on fields that many stages ask for come first: they rule out whole branches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeAlias, TypeVar

from runner.eql.plan import Identity
from runner.eql.predicates import Junction, Lookup, Negation, Predicate, fields_of

Sink = TypeVar("Sink")
Rank: TypeAlias = tuple[object, ...]


@dataclass(slots=True)
class Node(Generic[Sink]):
    """What follows a condition: the stages that are met when all conditions up to here are, and further conditions."""

    sinks: list[Sink] = field(default_factory=list)
    lookups: dict[str, list[tuple[Lookup, Node[Sink]]]] = field(default_factory=dict)
    """Conditions on one field, by the field."""
    others: list[tuple[Predicate, Node[Sink]]] = field(default_factory=list)


def plant(stages: Iterable[tuple[Sequence[Predicate], Sink]], places: Mapping[str, int]) -> Node[Sink]:
    """The tree of all stages; `places` orders the fields."""
    root: Node[Sink] = Node()
    known: dict[tuple[int, int], Node[Sink]] = {}
    order = _Order(places)
    for predicates, sink in stages:
        node = root
        for predicate in order.of(predicates):
            key = (id(node), order.number(predicate))
            child = known.get(key)
            if child is None:
                child = known[key] = Node()
                if isinstance(predicate, Lookup):
                    node.lookups.setdefault(predicate.field, []).append((predicate, child))
                else:
                    node.others.append((order.within(predicate), child))
            node = child
        node.sinks.append(sink)
    return root


class _Order:
    """The order in which conditions are asked: by the field, then by the cost; what reads several fields comes after
    what reads one."""

    def __init__(self, places: Mapping[str, int]) -> None:
        self._places = places
        # Most conditions stand in several stages, and to spell an identity takes longer than all the rest.
        self._known: dict[int, tuple[Predicate, Rank, int]] = {}
        self._numbers: dict[Identity, int] = {}

    def number(self, predicate: Predicate) -> int:
        """A number that equal predicates have."""
        return self._looked_up(predicate)[2]

    def of(self, predicates: Iterable[Predicate]) -> list[Predicate]:
        """The predicates in this order."""
        return sorted(predicates, key=lambda predicate: self._looked_up(predicate)[1])

    def within(self, predicate: Predicate) -> Predicate:
        """The predicate with the parts of every junction in this order."""
        match predicate:
            case Junction(parts=parts):
                return replace(predicate, parts=tuple(map(self.within, self.of(parts))))
            case Negation(part=part):
                return replace(predicate, part=self.within(part))
            case _:
                return predicate

    def _looked_up(self, predicate: Predicate) -> tuple[Predicate, Rank, int]:
        known = self._known.get(id(predicate))
        if known is None:
            number = self._numbers.setdefault(predicate.identity, len(self._numbers))
            known = self._known[id(predicate)] = predicate, self._ranked(predicate), number
        return known

    def _ranked(self, predicate: Predicate) -> Rank:
        if isinstance(predicate, Lookup):
            return 0, self._places[predicate.field], predicate.cost, repr(predicate.identity)
        worst = max((self._places[name] for name in fields_of(predicate)), default=-1)
        return 1, worst, predicate.cost, repr(predicate.identity)
