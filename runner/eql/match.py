"""Many programs over one pass of event batches: which events each of them matches.

The conjuncts of all stages of all programs stand in one tree, cheapest first, so that what several stages ask is asked
once and a branch whose first condition no event of a batch meets costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.eql.candidates import Candidates, ascending, joined
from runner.eql.evaluate import Evaluator
from runner.eql.keys import KeyNumbers, key_reader
from runner.eql.plan import Limit, Plan, Stage
from runner.eql.predicates import Predicate, join_conjuncts
from runner.eql.sample import match_samples
from runner.eql.scope import Scope, ScopeMasks
from runner.eql.sequence import FoundSequence, Key, SequenceMatcher, StageEvent
from runner.eql.tree import Forest, Node
from runner.events.batch import EventBatch, Rows
from runner.events.schema import Field

__all__ = ["Ask", "Found", "Matcher", "Scope"]

_Kept: TypeAlias = NDArray[np.bool_]


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

    matches: tuple[FoundSequence, ...] = ()
    error: str | None = None


class Matcher:
    """Runs asks over the batches that it is given, then says what each found."""

    def __init__(self, asks: Sequence[Ask]) -> None:
        self._asks = asks
        self._errors: dict[int, str] = {}
        self._key_numbers = KeyNumbers()
        self._candidates: list[list[Candidates]] = []
        self._stages: list[tuple[Sequence[Predicate], Scope, Candidates]] = []
        for number, ask in enumerate(asks):
            every = ask.plan.all_stages()
            candidates = [_candidates(number, place, stage, ask) for place, stage in enumerate(every)]
            self._candidates.append(candidates)
            for stage, sink in zip(every, candidates, strict=True):
                if not stage.empty and not (ask.plan.kind == "sequence" and _never_complete(ask.plan)):
                    self._stages.append((join_conjuncts(stage.conjuncts, ask.now_ns), ask.scope, sink))
        self._evaluator = Evaluator(part for predicates, _, _ in self._stages for part in predicates)
        self._scopes = ScopeMasks(scope for _, scope, _ in self._stages)
        self._forest = Forest(self._stages)

    def fields(self) -> frozenset[Field]:
        """Every field that the asks read."""
        return frozenset().union(*(ask.plan.fields() for ask in self._asks))

    def feed(self, batch: EventBatch) -> Rows:
        """Take in the next batch; returns the rows that may become part of a match, so that their documents are
        kept."""
        kept = np.zeros(len(batch), dtype=np.bool_)
        rows = np.flatnonzero(self._scopes.begin(batch))
        if len(rows):
            self._descend(batch, self._forest.tree(batch, self._scopes.indices_present()), rows, kept)
        return np.flatnonzero(kept)

    def _descend(self, batch: EventBatch, node: Node[Candidates], rows: Rows, kept: _Kept) -> None:
        for sink in node.sinks:
            inside = rows[self._scopes.mask(sink.scope)[rows]]
            if len(inside):
                kept[sink.add(batch, inside, self._key_numbers)] = True
        for lookups in node.lookups.values():
            for child, met in self._evaluator.each(batch, lookups, rows):
                self._descend(batch, child, met, kept)
        for predicate, child in node.others:
            met = rows[self._evaluator.mask(batch, predicate, rows)]
            if len(met):
                self._descend(batch, child, met, kept)
        for predicate, scope, child in node.scripts:
            inside = rows[self._scopes.mask(scope)[rows]]
            try:
                met = inside[self._evaluator.mask(batch, predicate, inside)]
            except ValueError as error:
                for sink in child.all_sinks():
                    self._errors.setdefault(sink.ask, str(error))
                continue
            if len(met):
                self._descend(batch, child, met, kept)

    def found(self) -> Iterator[Found]:
        """What each ask found, in the order of the asks."""
        for number, ask in enumerate(self._asks):
            if number in self._errors:
                yield Found(error=self._errors[number])
            else:
                yield Found(tuple(_limited(self._matches(ask, self._candidates[number]), ask)))

    def _matches(self, ask: Ask, candidates: Sequence[Candidates]) -> list[FoundSequence]:
        plan = ask.plan
        if plan.kind == "event":
            return [FoundSequence((), (event,)) for event in ascending(candidates[0])]
        positive = [place for place, stage in enumerate(plan.stages) if not stage.missing]
        groups = (events for _, events in joined(candidates, self._key_numbers, required=positive))
        if plan.kind == "sample":
            return self._samples(ask, [event for events in groups for event in events])
        matcher = SequenceMatcher(
            positive=positive,
            missing=[place for place, stage in enumerate(plan.stages) if stage.missing],
            maxspan=plan.maxspan,
            until=len(plan.stages) if plan.until is not None else None,
        )
        return [FoundSequence(_printed(plan, found.key, "sequence"), found.events) for found in matcher.match(groups)]

    @staticmethod
    def _samples(ask: Ask, events: Sequence[StageEvent]) -> list[FoundSequence]:
        events = sorted(events, key=lambda event: event.event)
        readers = [key_reader(key.exact) if key is not None else None for key in ask.plan.stages[0].keys]
        order: dict[Key, tuple[object, ...]] = {
            event.key: tuple(
                (0,) if value is None or reader is None else (1, reader.order(value))
                for reader, value in zip(readers, event.key, strict=True)
            )
            for event in events
        }
        found = match_samples(events, len(ask.plan.stages), max_per_key=ask.max_samples_per_key, sort_key=order)
        return [FoundSequence(_printed(ask.plan, sample.key, "sample"), sample.events) for sample in found]


def _candidates(number: int, place: int, stage: Stage, ask: Ask) -> Candidates:
    plan = ask.plan
    timestamp = None if plan.kind == "sample" else plan.timestamp
    timed = plan.kind == "sequence"
    return Candidates(number, place, stage.keys, ask.scope, timestamp, plan.tiebreaker, timed)


def _never_complete(plan: Plan) -> bool:
    """Whether some stage that every sequence needs can have no event."""
    return any(stage.empty and not stage.missing for stage in plan.stages)


def _printed(plan: Plan, key: Key, kind: str) -> Key:
    """The key's values as the API prints them."""
    refs = plan.stages[0].keys
    return tuple(
        value if ref is None or value is None else key_reader(ref.exact).show(value, kind == "sample")
        for ref, value in zip(refs, key, strict=True)
    )


def _limited(matches: Sequence[FoundSequence], ask: Ask) -> Iterable[FoundSequence]:
    limits = ask.plan.limits if ask.limits is None else ask.limits
    for limit in limits:
        start = 0 if limit.side == "head" else max(0, len(matches) - limit.count)
        matches = matches[start : start + limit.count]
    return matches
