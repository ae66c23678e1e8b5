"""Truth table: per field, each distinct value has a bitmap of the conditions that it meets (a bitmap index).

Events whose values have the same bitmaps meet the same conditions, however different the values are. There are few
bitmaps, so each has a code: what is kept of a value, and compared, is a small int.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

from runner.engine.filter.predicates import Lookup, Predicate, lookups_in
from runner.engine.filter.prefilter import Prefilter
from runner.events.fields.values import Canonical, typed

_PREFILTERED = 4
"""Least conditions on one field for which a prefilter of their literals saves more than it costs."""


class FieldTruths(dict[Any, int]):
    """The code of the bitmap of each value of one field.

    The prefilter gives a new value the default of every condition whose literals are not in it. The other bits are
    unknown; they are worked out when something depends on them.
    """

    def __init__(self, lookups: Sequence[Lookup], *, untyped: bool) -> None:
        """`untyped`: values of different types may occur, some of which are equal in Python (1, 1.0, True). The indices
        of the lookups follow each other."""
        super().__init__()
        self.bits: list[int] = []
        """The bitmaps by their codes; the bit of a condition is that of its `Lookup.index`."""
        self.unknown: list[int] = []
        """By the same codes, the bits that are not known yet."""
        self._untyped = untyped
        self._tests = {1 << lookup.index: lookup.test for lookup in lookups}
        self.safe = sum(1 << lookup.index for lookup in lookups if not lookup.scripted)
        """The bits of conditions that cannot fail."""
        self._codes: dict[tuple[int, int], int] = {}
        self._first = first = min(lookup.index for lookup in lookups)
        required = {lookup.index - first: lookup.required for lookup in lookups if lookup.required is not None}
        if len(required) < _PREFILTERED:
            required = {}
        self._by_candidates: dict[int, int] = {}
        self._prefilter = Prefilter(required.items()) if required else None
        self._defaults = sum(1 << index for index, one in required.items() if one.default) << first
        self._undecided = sum(1 << lookup.index for lookup in lookups if lookup.index - first not in required)

    def of(self, values: Sequence[Canonical]) -> list[int]:
        """The code of each value's bitmap."""
        keys: Sequence[Any] = list(map(typed, values)) if self._untyped else values
        codes = list(map(self.get, keys))
        if None in codes:
            places = [place for place, code in enumerate(codes) if code is None]
            self._add({keys[place]: values[place] for place in places})
            for place in places:
                codes[place] = self[keys[place]]
        return codes  # type: ignore[return-value]

    def known(self, value: Canonical, code: int, matters: int) -> int:
        """The bitmap of a value, given its code, with all bits that matter known."""
        wanted = rest = self.unknown[code] & matters
        bits = self.bits[code]
        if not wanted:
            return bits
        while rest:
            bit = rest & -rest
            rest ^= bit
            bits = bits | bit if self._tests[bit](value) else bits & ~bit
        self[typed(value) if self._untyped else value] = self._code(bits, self.unknown[code] & ~wanted)
        return bits

    def bitmaps(self, values: Sequence[Canonical], matters: int) -> list[int]:
        """The bits that matter of each value. Raises ValueError if one is of a script that fails on a value."""
        return [self.known(value, code, matters) & matters for value, code in zip(values, self.of(values), strict=True)]

    def _add(self, new: dict[Any, Canonical]) -> None:
        """Add new values, given by their keys."""
        for key in [key for key, value in new.items() if value is None or value == ()]:
            del new[key]
            bits = sum(bit for bit, test in self._tests.items() if bit & self.safe and test(None))
            self[key] = self._code(bits, sum(self._tests) & ~self.safe)
        candidates = [0] * len(new) if self._prefilter is None else self._prefilter.candidates(list(new.values()))
        for one in set(candidates) - self._by_candidates.keys():
            self._by_candidates[one] = self._code(self._defaults, one << self._first | self._undecided)
        self.update(zip(new, map(self._by_candidates.__getitem__, candidates), strict=True))

    def _code(self, bits: int, unknown: int) -> int:
        code = self._codes.setdefault((bits, unknown), len(self.bits))
        if code == len(self.bits):
            self.bits.append(bits)
            self.unknown.append(unknown)
        return code


class TruthTable:
    """The truths of all fields that some predicates read alone."""

    def __init__(self, predicates: Iterable[Predicate], untyped: Container[str] = ()) -> None:
        """`untyped` names the fields of which `FieldTruths` has to distinguish types. The predicates are interned."""
        lookups: dict[str, dict[int, Lookup]] = {}
        for lookup in (lookup for predicate in predicates for lookup in lookups_in(predicate)):
            lookups.setdefault(lookup.field, {})[lookup.index] = lookup
        self.by_field = {
            name: FieldTruths(list(found.values()), untyped=name in untyped) for name, found in lookups.items()
        }

    def __len__(self) -> int:
        """Count of the values kept."""
        return sum(map(len, self.by_field.values()))

    def safe(self, names: Iterable[str]) -> int:
        """The bits of all conditions on these fields that cannot fail."""
        return sum(self.by_field[name].safe for name in names if name in self.by_field)

    def holding(self, lookup: Lookup, values: Sequence[Canonical]) -> list[bool]:
        """Whether each of the values meets the condition. Raises ValueError if it is a script that fails on one."""
        return list(map(bool, self.by_field[lookup.field].bitmaps(values, 1 << lookup.index)))

    def bitmaps(self) -> int:
        """Count of the bitmaps; they stay when values get better known ones."""
        return sum(len(truths.bits) for truths in self.by_field.values())
