"""The conditions of many stages as one tree, so that what several stages ask is asked once.

Every path from the root is one stage: its conditions in an order that is the same for all stages, hence shared as far
as possible. Conditions on fields that many stages ask for come first: they rule out whole branches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    known: dict[tuple[int, Identity], Node[Sink]] = {}
    for predicates, sink in stages:
        node = root
        for predicate in _ordered(predicates, places):
            key = (id(node), predicate.identity)
            child = known.get(key)
            if child is None:
                child = known[key] = Node()
                if isinstance(predicate, Lookup):
                    node.lookups.setdefault(predicate.field, []).append((predicate, child))
                else:
                    node.others.append((_arranged(predicate, places), child))
            node = child
        node.sinks.append(sink)
    return root


def _ordered(predicates: Iterable[Predicate], places: Mapping[str, int]) -> list[Predicate]:
    return sorted(predicates, key=_ranker(places))


def _ranker(places: Mapping[str, int]) -> Callable[[Predicate], Rank]:
    """By the field, then by the cost; what reads several fields comes after what reads one."""

    def rank(predicate: Predicate) -> Rank:
        if isinstance(predicate, Lookup):
            return 0, places[predicate.field], predicate.cost, repr(predicate.identity)
        worst = max((places[name] for name in fields_of(predicate)), default=-1)
        return 1, worst, predicate.cost, repr(predicate.identity)

    return rank


def _arranged(predicate: Predicate, places: Mapping[str, int]) -> Predicate:
    """The predicate with the parts of every junction in the order in which they are best tried."""
    match predicate:
        case Junction(parts=parts):
            return replace(predicate, parts=tuple(_arranged(part, places) for part in _ordered(parts, places)))
        case Negation(part=part):
            return replace(predicate, part=_arranged(part, places))
        case _:
            return predicate
