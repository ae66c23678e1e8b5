"""Scripts: conditions that may fail on a value. They come last, and see only events that meet everything else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runner.engine.filter.predicates import Combination, Junction, Lookup, Negation, Predicate
from runner.engine.filter.truth_table import TruthTable
from runner.engine.scope import Mask
from runner.events.columns.batch import EventBatch, Rows


def meeting(batch: EventBatch, predicate: Predicate, rows: Rows, truths: TruthTable) -> Mask:
    """For each of the rows, whether it meets the predicate. Raises ValueError where a script fails on a value.

    A script with one field is a condition of the truth table, worked out once per distinct value; one with several
    fields is evaluated row by row.
    """
    match predicate:
        case Lookup(field=name):
            return np.fromiter(truths.holding(predicate, batch.values(name, rows)), dtype=np.bool_, count=len(rows))
        case Combination(fields=()):
            return np.full(len(rows), predicate.test(), dtype=np.bool_)
        case Combination(fields=names, test=test):
            columns = [batch.values(name, rows) for name in names]
            return np.fromiter(map(test, *columns), dtype=np.bool_, count=len(rows))
        case Negation(part=part):
            return ~meeting(batch, part, rows, truths)
        case Junction(parts=parts, decisive=decisive):
            return _junction(batch, parts, rows, truths, decisive=decisive)


def _junction(batch: EventBatch, parts: Sequence[Predicate], rows: Rows, truths: TruthTable, *, decisive: bool) -> Mask:
    """Each part sees only the rows that the parts before it left undecided."""
    result = np.full(len(rows), not decisive, dtype=np.bool_)
    undecided = np.arange(len(rows))
    for part in parts:
        if not len(undecided):
            break
        decided = meeting(batch, part, rows[undecided], truths) == decisive
        result[undecided[decided]] = decisive
        undecided = undecided[~decided]
    return result
