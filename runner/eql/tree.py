"""The conjuncts of many stages as one tree, so that what several stages ask is asked once.

Every path from the root is one stage: its conditions in an order that is the same for all stages, hence shared as far
as possible. Conditions on fields that many stages ask for and that have few distinct values come first: they cost
least, and they rule out whole branches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeAlias, TypeVar

from runner.eql.plan import Identity
from runner.eql.predicates import Junction, Lookup, Negation, Predicate, fields_of
from runner.eql.scope import Scope
from runner.events.batch import EventBatch

Sink = TypeVar("Sink")
Rank: TypeAlias = tuple[object, ...]

_SAMPLE = 512
_TREES = 64
_NEW_VALUE = 30
"""What it costs to see a new value of a field, where reading the field of one more event costs 1."""


@dataclass(slots=True)
class Node(Generic[Sink]):
    """What follows a condition: the stages that are met when all conditions up to here are, and further conditions."""

    sinks: list[Sink] = field(default_factory=list)
    lookups: dict[str, list[tuple[Lookup, Node[Sink]]]] = field(default_factory=dict)
    """Conditions on one field, by the field."""
    others: list[tuple[Predicate, Node[Sink]]] = field(default_factory=list)
    scripts: list[tuple[Predicate, Scope, Node[Sink]]] = field(default_factory=list)
    """Scripts of stages of one scope: a script may fail on a value, and must not see any but those of its scope."""

    def all_sinks(self) -> Iterator[Sink]:
        """The sinks here and below."""
        yield from self.sinks
        for lookups in self.lookups.values():
            for _, child in lookups:
                yield from child.all_sinks()
        for _, child in self.others:
            yield from child.all_sinks()
        for _, _, child in self.scripts:
            yield from child.all_sinks()


class Spread:
    """In which order fields are best asked for, by samples of the batches and by how many stages ask for each.

    A field costs its reading, which many stages share, and the working out of its distinct values. The first batches of
    a file may not show what comes later, so `sample` looks again at batch 2, 4, 8, and so on.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self._batches = 0
        self._distinct = dict.fromkeys(sorted(set(fields)), 0.0)

    def sample(self, batch: EventBatch) -> bool:
        """Take note of a batch if it is one to look at; returns whether it was."""
        self._batches += 1
        if self._batches & (self._batches - 1):
            return False
        rows = batch.all_rows()
        rows = rows[:: max(1, len(rows) // _SAMPLE)]
        for name, most in self._distinct.items():
            self._distinct[name] = max(most, len(set(batch.values(name, rows))) / max(1, len(rows)))
        return True

    def order(self, stages: Iterable[Sequence[Predicate]]) -> dict[str, int]:
        """The place of each field that these stages ask for, the one to ask for first at 0."""
        users = Counter(name for predicates in stages for name in {n for part in predicates for n in fields_of(part)})
        ordered = sorted(users, key=lambda name: ((1 + _NEW_VALUE * self._distinct[name]) / users[name], name))
        return {name: place for place, name in enumerate(ordered)}


class Forest(Generic[Sink]):
    """The trees of all stages: one for each choice of stages that have events in a batch at all, by their index
    patterns."""

    def __init__(self, stages: Sequence[tuple[Sequence[Predicate], Scope, Sink]]) -> None:
        self._stages = stages
        self._spread = Spread(name for predicates, _, _ in stages for part in predicates for name in fields_of(part))
        self._trees: dict[frozenset[tuple[str, ...]], Node[Sink]] = {}

    def tree(self, batch: EventBatch, indices: frozenset[tuple[str, ...]]) -> Node[Sink]:
        """The tree of the stages whose index patterns are among these."""
        if self._spread.sample(batch) or len(self._trees) > _TREES:
            self._trees.clear()
        known = self._trees.get(indices)
        if known is None:
            stages = [stage for stage in self._stages if stage[1].indices in indices]
            known = plant(stages, self._spread.order(predicates for predicates, _, _ in stages))
            self._trees[indices] = known
        return known


def plant(stages: Iterable[tuple[Sequence[Predicate], Scope, Sink]], places: Mapping[str, int]) -> Node[Sink]:
    """The tree of all stages; `places` orders the fields."""
    root: Node[Sink] = Node()
    known: dict[tuple[int, Scope | None, Identity], Node[Sink]] = {}
    for predicates, scope, sink in stages:
        node = root
        for predicate in _ordered(predicates, places):
            key = (id(node), scope if predicate.scripted else None, predicate.identity)
            child = known.get(key)
            if child is None:
                child = known[key] = Node()
                if predicate.scripted:
                    node.scripts.append((_arranged(predicate, places), scope, child))
                elif isinstance(predicate, Lookup):
                    node.lookups.setdefault(predicate.field, []).append((predicate, child))
                else:
                    node.others.append((_arranged(predicate, places), child))
            node = child
        node.sinks.append(sink)
    return root


def _ordered(predicates: Iterable[Predicate], places: Mapping[str, int]) -> list[Predicate]:
    return sorted(predicates, key=_ranker(places))


def _ranker(places: Mapping[str, int]) -> Callable[[Predicate], Rank]:
    """Scripts last, since a value that they fail on must have met everything else; else by the field, then by the
    cost."""

    def rank(predicate: Predicate) -> Rank:
        if isinstance(predicate, Lookup):
            return predicate.scripted, 0, places[predicate.field], predicate.cost, repr(predicate.identity)
        worst = max((places[name] for name in fields_of(predicate)), default=-1)
        return predicate.scripted, 1, worst, predicate.cost, repr(predicate.identity)

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
