"""Predicates on batches: which rows of a batch meet them.

A condition on one field is worked out once for each distinct value of the field and then looked up by the value's code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from runner.eql.kernels import Kernel
from runner.eql.needles import NeedleIndex, bits_of
from runner.eql.plan import Identity
from runner.eql.predicates import Combination, Junction, Lookup, Negation, Predicate, lookups_in
from runner.events.batch import MISSING, EventBatch, FieldDictionary, Rows

Mask: TypeAlias = NDArray[np.bool_]
Then = TypeVar("Then")

_UNKNOWN = 2  # in a truth table: the lookup is yet to be worked out for this value
_SHARED = 4
"""So many lookups in one field are worth an index of their needles."""


class _FieldKnowledge:
    """What is known of all lookups in one field: which of them may hold for a value that was seen."""

    def __init__(self, lookups: Sequence[Lookup]) -> None:
        hints = {lookup.identity: lookup.hint for lookup in lookups if lookup.hint is not None}
        self.numbers = {identity: number for number, identity in enumerate(hints)}
        self._index = NeedleIndex(enumerate(hints.values()))
        self._generation = -1
        self._read = 0
        self.candidates: list[list[int]] = []
        """By number of the lookup, the codes of the values for which it must be worked out, in order."""

    def read(self, dictionary: FieldDictionary) -> None:
        """Take in the values that are new in the dictionary."""
        if self._generation != dictionary.generation:
            self._generation, self._read = dictionary.generation, MISSING + 1
            self.candidates = [[MISSING] for _ in self.numbers]
        for code in range(self._read, len(dictionary)):
            for number in bits_of(self._index.candidates(dictionary.value(code))):
                self.candidates[number].append(code)
        self._read = len(dictionary)


class _TruthTable:
    """What is known of a lookup, by code of the field's dictionary."""

    __slots__ = ("_default", "_filled", "_generation", "_knowledge", "_number", "_rare", "_taken", "truths")

    def __init__(self, lookup: Lookup, knowledge: _FieldKnowledge | None) -> None:
        self._knowledge = knowledge
        self._number = -1 if knowledge is None else knowledge.numbers.get(lookup.identity, -1)
        self._default = int(lookup.hint.default) if self._number >= 0 and lookup.hint is not None else _UNKNOWN
        self._rare = self._default == 0 and not lookup.test(None)
        self._generation = -1
        self._filled = self._taken = 0
        self.truths = np.zeros(0, dtype=np.uint8)

    def is_met_by_none(self, dictionary: FieldDictionary) -> bool:
        """Whether the needles alone say that no value which was seen meets the lookup: so it is with most of them."""
        if not self._rare or self._knowledge is None:
            return False
        self._knowledge.read(dictionary)
        return len(self._knowledge.candidates[self._number]) == 1  # the missing value, which does not meet it

    def fit(self, dictionary: FieldDictionary) -> None:
        """Make room for all codes of the dictionary; forget all if it has started anew."""
        size = len(dictionary)
        if dictionary.generation != self._generation:
            self._generation = dictionary.generation
            self._filled = self._taken = 0
        if size > len(self.truths):
            grown = np.empty(max(64, size * 3 // 2), dtype=np.uint8)
            grown[: self._filled] = self.truths[: self._filled]
            self.truths = grown
        if size > self._filled:
            self.truths[self._filled : size] = self._default
            self._filled = size
            if self._knowledge is not None and self._number >= 0:
                self._knowledge.read(dictionary)
                candidates = self._knowledge.candidates[self._number]
                if len(candidates) > self._taken:
                    self.truths[candidates[self._taken :]] = _UNKNOWN
                    self._taken = len(candidates)


class Evaluator:
    """Evaluates predicates on the batches of one run, keeping what was worked out per distinct value."""

    def __init__(self, predicates: Iterable[Predicate] = ()) -> None:
        """`predicates` are those that will be evaluated; others may be, but do not share what is known of values."""
        by_field: dict[str, dict[Identity, Lookup]] = {}
        for predicate in predicates:
            for lookup in lookups_in(predicate):
                by_field.setdefault(lookup.field, {})[lookup.identity] = lookup
        self._knowledge = {
            name: _FieldKnowledge(list(lookups.values()))
            for name, lookups in by_field.items()
            if len(lookups) >= _SHARED
        }
        self._tables: dict[int, tuple[Lookup, _TruthTable]] = {}

    def mask(self, batch: EventBatch, predicate: Predicate, rows: Rows) -> Mask:
        """For each of the rows, whether it meets the predicate. Raises ValueError where a script fails on a value."""
        match predicate:
            case Lookup():
                codes = batch.codes(predicate.field, rows)
                dictionary = batch.columns.dictionary(predicate.field)
                truths = self._truths(predicate, dictionary, codes)
                return truths[codes].view(np.bool_)
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

    def each(
        self, batch: EventBatch, lookups: Sequence[tuple[Lookup, Then]], rows: Rows
    ) -> Iterator[tuple[Then, Rows]]:
        """What stands beside each of the lookups, which are all in the same field, that some row meets, and those rows.

        Most lookups are met by no row; that is seen from the distinct values alone.
        """
        name = lookups[0][0].field
        codes = batch.codes(name, rows)
        dictionary = batch.columns.dictionary(name)
        present = _distinct(codes, len(dictionary))
        for lookup, then in lookups:
            if self._table(lookup).is_met_by_none(dictionary):
                continue
            truths = self._truths(lookup, dictionary, present)
            met = truths[present]
            if met.all():
                yield then, rows
            elif met.any():
                yield then, rows[truths[codes].view(np.bool_)]

    def _truths(self, lookup: Lookup, dictionary: FieldDictionary, codes: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The lookup's truth by code, known for at least these codes."""
        table = self._table(lookup)
        table.fit(dictionary)
        truths = table.truths
        unknown = codes[truths[codes] == _UNKNOWN]
        if len(unknown):
            value, test = dictionary.value, lookup.test
            for code in set(unknown.tolist()):
                truths[code] = test(value(code))
        return truths

    def _table(self, lookup: Lookup) -> _TruthTable:
        known = self._tables.get(id(lookup))
        if known is None or known[0] is not lookup:  # an identity takes longer to look up, and equal lookups are one
            known = self._tables[id(lookup)] = lookup, _TruthTable(lookup, self._knowledge.get(lookup.field))
        return known[1]

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


def _distinct(codes: NDArray[np.int32], size: int) -> NDArray[np.int32]:
    """The distinct codes among these, all of which are below `size`."""
    if size > 8 * len(codes):
        return np.unique(codes)
    seen = np.zeros(size, dtype=np.bool_)
    seen[codes] = True
    return np.flatnonzero(seen).astype(np.int32)
