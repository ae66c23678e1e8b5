"""`Excluding`: conditions that events of a stage must not meet, decided once a batch for all stages that have them.

They are disjunctions of many conditions, which most rules share. Decided stage by stage, most of the time would go into
gathering the values of a few events again and again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from runner.engine.filter.predicates import Combination, Junction, Negation, Predicate
from runner.engine.plan import Identity
from runner.engine.scope import Mask
from runner.events.columns.batch import EventBatch, Rows
from runner.events.fields.values import typed

Decided: TypeAlias = Mapping[Identity, Mask]
"""By disjunction the rows of a batch that meet it; those that no row meets are not there."""


class Excluding:
    """The excluding disjunctions of some stages."""

    def __init__(self, stages: Sequence[Sequence[Predicate]]) -> None:
        self._of = [tuple(one for part in stage for one in disjunctions(part)) for stage in stages]
        self._fields = frozenset(name for stage in self._of for one in stage for name in one.fields)

    def __bool__(self) -> bool:
        return bool(self._fields)

    def decide(self, batch: EventBatch, found: Mapping[int, Rows]) -> Decided:
        """What the rows that meet the other conditions of stages meet of these."""
        wanted: dict[Identity, tuple[Combination, list[Rows]]] = {}
        for index, rows in found.items():
            for one in self._of[index]:
                wanted.setdefault(one.identity, (one, []))[1].append(rows)
        if not wanted:
            return {}
        united = {name: _united(parts) for name, (_, parts) in wanted.items()}
        batch.load(self._fields, _united(list(united.values())))
        decided: dict[Identity, Mask] = {}
        for name, (one, _) in wanted.items():
            assert one.operands is not None
            rows = united[name]
            met = np.array(one.operands.test_rows([batch.values(field, rows) for field in one.fields]), dtype=np.bool_)
            if met.any():
                decided[name] = np.zeros(len(batch), dtype=np.bool_)
                decided[name][rows[met]] = True
        return decided

    def rows(self, index: int, rows: Rows, decided: Decided) -> Mask | None:
        """For each of the rows, whether it is excluded from the stage; None if none is."""
        masks = [decided[one.identity][rows] for one in self._of[index] if one.identity in decided]
        return np.logical_or.reduce(masks) if masks else None

    def operands(
        self, batch: EventBatch, index: int, rows: Rows, decided: Decided
    ) -> Iterator[tuple[Combination, list[tuple[Sequence[int], list[int]]]]]:
        """For rows that are excluded from a stage: each disjunction with the operands that hold, and for which rows."""
        for one in self._of[index]:
            if one.identity not in decided:
                continue
            assert one.operands is not None
            chosen = rows[decided[one.identity][rows]]
            found: dict[tuple[object, ...], tuple[Sequence[int], list[int]]] = {}
            for row, *values in zip(chosen.tolist(), *(batch.values(name, chosen) for name in one.fields), strict=True):
                key = tuple(map(typed, values))
                known = found.get(key)
                if known is None:
                    holding = list(one.operands.holding(dict(zip(one.fields, values, strict=True))))
                    found[key] = holding, [row]
                else:
                    known[1].append(row)
            if found:
                yield one, list(found.values())


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


def _united(parts: Sequence[Rows]) -> Rows:
    return parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))
