"""`Excluding`: conditions that events of a stage must not meet, decided once a batch for all stages that have them.

They are disjunctions of many conditions, most of which several rules share. All of their operands stand in one index:
the values of an event are looked up once, however many stages it meets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runner.engine.filter.predicates import Combination, Junction, Negation, Predicate
from runner.engine.filter.value_tests import OperandIndex
from runner.engine.plan import Identity
from runner.engine.scope import Mask
from runner.events.columns.batch import EventBatch, Rows


@dataclass(frozen=True, slots=True)
class Decided:
    """What rows of a batch meet: `numbers` has those of the operands of all disjunctions, by row."""

    numbers: Mapping[int, tuple[int, ...]]
    is_met: Mask
    """For each row of the batch, whether it meets an operand."""


class Excluding:
    """The excluding disjunctions of some stages. Their operands are numbered one disjunction after the other."""

    def __init__(self, stages: Sequence[Sequence[Predicate]]) -> None:
        known: dict[Identity, tuple[Combination, range]] = {}
        by_time: dict[int, list[tuple[Combination, range]]] = {}
        count = 0
        for one in (one for stage in stages for part in stage for one in disjunctions(part)):
            if one.identity in known or one.operands is None:
                continue
            found = one, range(count, count + len(one.operands.operands))
            known[one.identity] = found
            by_time.setdefault(one.operands.now_ns, []).append(found)
            count = found[1].stop
        self._of = [[known[one.identity] for part in stage for one in disjunctions(part)] for stage in stages]
        # What reads the clock has an index for each moment of the pass.
        self._indices = [
            (
                OperandIndex([operand for one, _ in parts if one.operands for operand in one.operands.operands], now),
                [number for _, numbers in parts for number in numbers],
            )
            for now, parts in by_time.items()
        ]
        self._fields = frozenset(field.name for index, _ in self._indices for field in index.fields)

    def __bool__(self) -> bool:
        return bool(self._indices)

    def decide(self, batch: EventBatch, found: Mapping[int, Rows]) -> Decided | None:
        """What the rows that meet the other conditions of stages meet of these; None if none meets any."""
        parts = [rows for index, rows in found.items() if self._of[index]]
        if not parts:
            return None
        rows = parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))
        batch.load(self._fields, rows)
        numbers: dict[int, tuple[int, ...]] = {}
        for index, names in self._indices:
            columns = [batch.values(field.name, rows) for field in index.fields]
            for place, held in index.holding_rows(columns):
                row = int(rows[place])
                numbers[row] = (*numbers.get(row, ()), *(names[number] for number in held))
        if not numbers:
            return None
        is_met = np.zeros(len(batch), dtype=np.bool_)
        is_met[list(numbers)] = True
        return Decided(numbers, is_met)

    def rows(self, index: int, rows: Rows, decided: Decided) -> Mask | None:
        """For each of the rows, whether it is excluded from the stage; None if none is."""
        if not self._of[index]:
            return None
        excluded = decided.is_met[rows]
        for place in np.flatnonzero(excluded).tolist():
            met = decided.numbers[int(rows[place])]
            excluded[place] = any(number in numbers for _, numbers in self._of[index] for number in met)
        return excluded if excluded.any() else None

    def operands(
        self, index: int, rows: Rows, decided: Decided
    ) -> Iterator[tuple[Combination, list[tuple[Sequence[int], list[int]]]]]:
        """For rows that are excluded from a stage: each disjunction with the operands that hold, and for which rows."""
        for one, numbers in self._of[index]:
            found: dict[tuple[int, ...], list[int]] = {}
            for row in rows.tolist():
                held = tuple(number - numbers.start for number in decided.numbers[row] if number in numbers)
                if held:
                    found.setdefault(held, []).append(row)
            if found:
                yield one, list(found.items())


def disjunctions(predicate: Predicate) -> Iterator[Combination]:
    """The disjunctions of many of which the predicate says that none holds; none for any other predicate."""
    if isinstance(predicate, Negation):
        part = predicate.part
        parts = part.parts if isinstance(part, Junction) and part.decisive else (part,)
        found = [one for one in parts if isinstance(one, Combination) and one.operands is not None]
        if len(found) == len(parts):
            yield from found


def is_excluding(predicate: Predicate) -> bool:
    """Whether the predicate says of disjunctions of many that none holds, and nothing else."""
    return next(disjunctions(predicate), None) is not None
