"""`ExclusionCounts`: how many events each excluding condition has kept from the stages that they meet otherwise."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

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


class ExclusionCounts:
    """The counts of some queries. An event counts once, however many stages of a query it is kept from."""

    def __init__(self, plans: Sequence[Plan], counted: Sequence[Spans | None], *, keeps: bool) -> None:
        """`counted` are the spans of time whose events count, by query; None: all. `keeps`: some events are named."""
        self._plans, self._counted, self._keeps = plans, counted, keeps
        self._groups = [
            {id(one): group for stage in plan.all_stages() for group, one in enumerate(exclusions(stage))}
            for plan in plans
        ]
        self._seen: dict[tuple[int, int], set[int]] = {}
        """Rows of the batch at hand that were counted, by query and disjunction."""
        self._kept: set[int] = set()
        """Rows of the batch at hand whose documents are to be kept."""
        self._found: dict[tuple[int, int], dict[int, _Count]] = {}
        """By query and disjunction, then by operand."""

    def __bool__(self) -> bool:
        return any(self._groups)

    def add(self, batch: EventBatch, query: int, of: object, found: Iterable[tuple[Sequence[int], list[int]]]) -> None:
        """Add rows of a batch that a disjunction has excluded, each with the operands that hold for it."""
        key = query, self._groups[query][id(of)]
        seen, counts = self._seen.setdefault(key, set()), self._found.setdefault(key, {})
        times, spans = batch.timestamps(self._plans[query].timestamp.name), self._counted[query]
        for operands, rows in found:
            fresh = np.array([row for row in rows if row not in seen], dtype=np.intp)
            seen.update(rows)
            fresh = _within(times, fresh, spans)
            if not len(fresh):
                continue
            newest = int(times[fresh].max())
            for operand in operands:
                if operand not in counts:
                    counts[operand] = _Count()
            is_short = self._keeps and any(len(counts[operand].numbers) < KEPT_EVENTS for operand in operands)
            shown = fresh[:KEPT_EVENTS].tolist() if is_short else []
            self._kept.update(shown)
            for operand in operands:
                count = counts[operand]
                count.events += len(fresh)
                count.newest_ns = max(count.newest_ns, newest)
                if shown and len(count.numbers) < KEPT_EVENTS:
                    count.numbers += [row + batch.base for row in shown]

    def end_batch(self) -> Collection[int]:
        """End the batch at hand; returns the rows whose documents are to be kept."""
        kept, self._kept = self._kept, set()
        self._seen.clear()
        return kept

    def found(self, query: int) -> tuple[Excluded, ...]:
        """What was counted of a query."""
        return tuple(one for number, one in self._all() if number == query)

    def hand_over(self) -> tuple[tuple[int, Excluded], ...]:
        """Everything that was counted since the last call, with the index of its query; it is dropped here."""
        handed = tuple(self._all())
        self._found = {}
        return handed

    def take_over(self, handed: Iterable[tuple[int, Excluded]]) -> None:
        """Add the counts of another process."""
        for query, one in handed:
            count = self._found.setdefault((query, one.group), {}).setdefault(one.operand, _Count())
            count.events += one.events
            count.newest_ns = max(count.newest_ns, one.newest_ns)
            count.numbers += one.numbers

    def _all(self) -> Iterator[tuple[int, Excluded]]:
        for (query, group), counts in sorted(self._found.items()):
            for operand, count in sorted(counts.items()):
                numbers = tuple(count.numbers[:KEPT_EVENTS])
                yield query, Excluded(group, operand, count.events, count.newest_ns, numbers)


@dataclass(slots=True)
class _Count:
    """What an operand has excluded so far."""

    events: int = 0
    newest_ns: int = NO_TIME
    numbers: list[int] = field(default_factory=list)


def _within(times: NDArray[np.int64], rows: Rows, spans: Spans | None) -> Rows:
    if spans is None or not len(rows):
        return rows
    at = times[rows]
    inside = np.zeros(len(rows), dtype=np.bool_)
    for start, end in spans:
        inside |= (at >= start) & (at <= end) & (at != NO_TIME)
    return rows[inside]
