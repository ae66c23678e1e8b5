"""Predicates on batches: which rows of a batch meet them.

A condition on one field is worked out once for each distinct value of the field and then looked up by the value's code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.engine.filter.predicates import Combination, Junction, Lookup, Negation, Predicate
from runner.engine.filter.value_tests import Kernel
from runner.events.columns.batch import EventBatch, FieldDictionary, Rows

Mask: TypeAlias = NDArray[np.bool_]

_UNKNOWN = 2  # in a truth table: the lookup is yet to be worked out for this value


class _TruthTable:
    """What is known of a lookup, by code of the field's dictionary."""

    __slots__ = ("_generation", "truths")

    def __init__(self) -> None:
        self._generation = -1
        self.truths = np.zeros(0, dtype=np.uint8)

    def fit(self, dictionary: FieldDictionary) -> None:
        """Make room for all codes of the dictionary; forget all if it has started anew."""
        if dictionary.generation != self._generation:
            self._generation = dictionary.generation
            self.truths = np.zeros(0, dtype=np.uint8)
        if len(dictionary) > len(self.truths):
            grown = np.full(max(64, len(dictionary) * 3 // 2), _UNKNOWN, dtype=np.uint8)
            grown[: len(self.truths)] = self.truths
            self.truths = grown


class Evaluator:
    """Evaluates predicates on the batches of one run, keeping what was worked out per distinct value."""

    def __init__(self) -> None:
        self._tables: dict[int, tuple[Lookup, _TruthTable]] = {}

    def mask(self, batch: EventBatch, predicate: Predicate, rows: Rows) -> Mask:
        """For each of the rows, whether it meets the predicate. Raises ValueError where a script fails on a value."""
        match predicate:
            case Lookup():
                codes = batch.codes(predicate.field, rows)
                return self._truths(predicate, batch.columns.dictionary(predicate.field), codes)[codes].view(np.bool_)
            case Combination(_, fields, kernel):
                columns = [batch.values(field, rows) for field in fields]
                return (
                    np.fromiter(map(kernel, *columns), dtype=np.bool_, count=len(rows))
                    if columns
                    else self._constant(kernel, rows)
                )
            case Negation(_, part):
                return ~self.mask(batch, part, rows)
            case Junction(_, parts, decisive):
                return self._junction(batch, parts, rows, decisive=decisive)

    def _truths(self, lookup: Lookup, dictionary: FieldDictionary, codes: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The lookup's truth by code, known for at least these codes."""
        known = self._tables.get(id(lookup))
        if known is None or known[0] is not lookup:  # an identity takes longer to look up, and equal lookups are one
            known = self._tables[id(lookup)] = lookup, _TruthTable()
        table = known[1]
        table.fit(dictionary)
        for code in set(codes[table.truths[codes] == _UNKNOWN].tolist()):
            table.truths[code] = lookup.test(dictionary.value(code))
        return table.truths

    @staticmethod
    def _constant(kernel: Kernel, rows: Rows) -> Mask:
        return np.full(len(rows), kernel(), dtype=np.bool_)

    def _junction(self, batch: EventBatch, parts: Sequence[Predicate], rows: Rows, *, decisive: bool) -> Mask:
        """Each part sees only the rows that the parts before it left undecided."""
        result = np.full(len(rows), not decisive, dtype=np.bool_)
        open_rows = np.arange(len(rows))
        for part in parts:
            if not len(open_rows):
                break
            decided = self.mask(batch, part, rows[open_rows]) == decisive
            result[open_rows[decided]] = decisive
            open_rows = open_rows[~decided]
        return result
