"""`ExclusionCounts`: how many events each excluding condition has kept from the stages that they meet otherwise."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from runner.engine.plan import Plan, exclusions
from runner.events.columns.batch import EventBatch, Rows
from runner.events.fields.timestamp_column import NO_TIME

Spans: TypeAlias = tuple[tuple[int, int], ...]
"""Times in nanoseconds since 1970, each with its end included."""

KEPT_EVENTS = 100
"""Most excluded events of a query that are remembered."""


@dataclass(frozen=True, slots=True)
class Excluded:
    """The events that one operand of a disjunction has kept from the stages of a query.

    `group` and `operand` count from zero: the disjunctions of the plan's stages (`plan.exclusions`), and its operands.
    """

    group: int
    operand: int
    events: int
    newest_ns: int
    """The newest time of these events; `NO_TIME` if none has one."""
    numbers: tuple[int, ...] = ()
    """Some of the events."""

    def plus(self, other: Excluded) -> Excluded:
        """Both together."""
        numbers = (*self.numbers, *other.numbers)[:KEPT_EVENTS]
        events, newest = self.events + other.events, max(self.newest_ns, other.newest_ns)
        return Excluded(self.group, self.operand, events, newest, numbers)


class ExclusionCounts:
    """The counts of some queries. An event counts once, however many stages of a query it is kept from."""

    def __init__(self, plans: Sequence[Plan], counted: Sequence[Spans | None], *, keeps: bool) -> None:
        """`counted` are the spans of time whose events count, by query; None: all. `keeps`: some events are named."""
        self._plans, self._counted, self._keeps = plans, counted, keeps
        self._groups = [
            {id(one): group for stage in plan.all_stages() for group, one in enumerate(exclusions(stage))}
            for plan in plans
        ]
        self._here: dict[tuple[int, int, int], list[int]] = {}
        self._found: dict[int, dict[tuple[int, int], Excluded]] = {}

    def __bool__(self) -> bool:
        return any(self._groups)

    def add(self, query: int, of: object, found: Mapping[int, Sequence[int]]) -> None:
        """Add rows of the batch at hand, by the operand of the disjunction that has excluded them."""
        group = self._groups[query][id(of)]
        for operand, rows in found.items():
            self._here.setdefault((query, group, operand), []).extend(rows)

    def count(self, batch: EventBatch) -> Collection[int]:
        """Count what was added of the batch; returns the rows whose documents are to be kept."""
        kept: set[int] = set()
        for (query, group, operand), rows in self._here.items():
            times = batch.timestamps(self._plans[query].timestamp.name)
            chosen = _within(times, np.unique(np.array(rows, dtype=np.intp)), self._counted[query])
            if not len(chosen):
                continue
            shown = chosen[:KEPT_EVENTS].tolist() if self._keeps else []
            kept.update(shown)
            numbers = tuple(row + batch.base for row in shown)
            self._add(query, Excluded(group, operand, len(chosen), int(times[chosen].max()), numbers))
        self._here.clear()
        return kept

    def found(self, query: int) -> tuple[Excluded, ...]:
        """What was counted of a query."""
        return tuple(one for _, one in sorted(self._found.get(query, {}).items()))

    def hand_over(self) -> tuple[tuple[int, Excluded], ...]:
        """Everything that was counted since the last call, with the index of its query; it is dropped here."""
        handed = tuple((query, one) for query, found in self._found.items() for one in found.values())
        self._found = {}
        return handed

    def take_over(self, handed: Iterable[tuple[int, Excluded]]) -> None:
        """Add the counts of another process."""
        for query, one in handed:
            self._add(query, one)

    def _add(self, query: int, one: Excluded) -> None:
        found = self._found.setdefault(query, {})
        key = one.group, one.operand
        found[key] = found[key].plus(one) if key in found else one


def _within(times: Rows, rows: Rows, spans: Spans | None) -> Rows:
    if spans is None:
        return rows
    at = times[rows]
    inside = np.zeros(len(rows), dtype=np.bool_)
    for start, end in spans:
        inside |= (at >= start) & (at <= end) & (at != NO_TIME)
    return rows[inside]
