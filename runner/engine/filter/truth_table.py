"""Truth table: per field, each distinct value has a bitmap of the conditions that it meets (a bitmap index).

Events whose values have the same bitmaps meet the same conditions, however different the values are. There are few
bitmaps, so each has a number: what is kept of a value, and compared, is a small int.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from runner.engine.filter.predicates import Lookup, Predicate, lookups_in
from runner.engine.filter.prefilter import Prefilter
from runner.events.fields.values import Canonical, typed

_PREFILTERED = 4
"""Least conditions on one field for which a prefilter of their literals saves more than it costs."""


class FieldTruths(dict[Any, int]):
    """The number of the bitmap of each value of one field.

    The prefilter gives a new value the default of every condition whose literals are not in it. The other bits are
    unknown; they are worked out when something depends on them.
    """

    def __init__(self, lookups: Sequence[Lookup], *, untyped: bool) -> None:
        """`untyped`: values of different types may occur, some of which are equal in Python (1, 1.0, True). The numbers
        of the lookups follow each other."""
        super().__init__()
        self.bits: list[int] = []
        """The bitmaps by their numbers; the bit of a condition is that of its `Lookup.number`."""
        self.unknown: list[int] = []
        """By the same numbers, the bits that are not known yet."""
        self._untyped = untyped
        self._tests = {1 << lookup.number: lookup.test for lookup in lookups}
        self.safe = sum(1 << lookup.number for lookup in lookups if not lookup.scripted)
        """The bits of conditions that cannot fail."""
        self._numbers: dict[tuple[int, int], int] = {}
        self._first = first = min((lookup.number for lookup in lookups), default=0)
        hints = {lookup.number - first: lookup.hint for lookup in lookups if lookup.hint is not None}
        self._by_candidates: dict[int, int] = {}
        self._prefilter = Prefilter(hints.items()) if len(hints) >= _PREFILTERED else None
        if self._prefilter is None:
            hints = {}
        self._defaults = sum(1 << number for number, hint in hints.items() if hint.default) << first
        self._undecided = sum(1 << lookup.number for lookup in lookups if lookup.number - first not in hints)

    def of(self, values: Sequence[Canonical]) -> list[int]:
        """The number of each value's bitmap."""
        keys: Sequence[Any] = list(map(typed, values)) if self._untyped else values
        numbers = list(map(self.get, keys))
        if None in numbers:
            places = [place for place, number in enumerate(numbers) if number is None]
            self._add({keys[place]: values[place] for place in places})
            for place in places:
                numbers[place] = self[keys[place]]
        return numbers  # type: ignore[return-value]

    def known(self, value: Canonical, number: int, matters: int) -> int:
        """The bitmap of a value, given its number, with all bits that matter known."""
        wanted = rest = self.unknown[number] & matters
        bits = self.bits[number]
        if not wanted:
            return bits
        while rest:
            bit = rest & -rest
            rest ^= bit
            bits = bits | bit if self._tests[bit](value) else bits & ~bit
        self[typed(value) if self._untyped else value] = self._number(bits, self.unknown[number] & ~wanted)
        return bits

    def _add(self, new: dict[Any, Canonical]) -> None:
        """Add new values, given by their keys."""
        for key in [key for key, value in new.items() if value is None or value == ()]:
            del new[key]
            bits = sum(bit for bit, test in self._tests.items() if bit & self.safe and test(None))
            self[key] = self._number(bits, sum(self._tests) & ~self.safe)
        candidates = [0] * len(new) if self._prefilter is None else self._prefilter.candidates(list(new.values()))
        for one in set(candidates) - self._by_candidates.keys():
            self._by_candidates[one] = self._number(self._defaults, one << self._first | self._undecided)
        self.update(zip(new, map(self._by_candidates.__getitem__, candidates), strict=True))

    def _number(self, bits: int, unknown: int) -> int:
        number = self._numbers.get((bits, unknown))
        if number is None:
            number = self._numbers[bits, unknown] = len(self.bits)
            self.bits.append(bits)
            self.unknown.append(unknown)
        return number


class TruthTable:
    """The truths of all fields that some predicates read alone."""

    def __init__(self, predicates: Iterable[Predicate], untyped: Callable[[str], bool]) -> None:
        """`untyped` says of a field what `FieldTruths` needs to know. Lookups have their numbers already."""
        lookups: dict[str, dict[int, Lookup]] = {}
        for lookup in (lookup for predicate in predicates for lookup in lookups_in(predicate)):
            lookups.setdefault(lookup.field, {})[lookup.number] = lookup
        self.by_field = {
            name: FieldTruths(list(found.values()), untyped=untyped(name)) for name, found in lookups.items()
        }

    def __len__(self) -> int:
        """How many values are kept."""
        return sum(map(len, self.by_field.values()))

    def safe(self, names: Iterable[str]) -> int:
        """The bits of all conditions on these fields that cannot fail."""
        return sum(self.by_field[name].safe for name in names if name in self.by_field)

    def holding(self, lookup: Lookup, values: Sequence[Canonical]) -> list[bool]:
        """Whether each of the values meets the condition. Raises ValueError if it is a script that fails on one."""
        truths, bit = self.by_field[lookup.field], 1 << lookup.number
        numbers = truths.of(values)
        return [bool(truths.known(value, number, bit) & bit) for value, number in zip(values, numbers, strict=True)]

    def bitmaps(self) -> int:
        """How many bitmaps have a number; they keep it when values are forgotten."""
        return sum(len(truths.bits) for truths in self.by_field.values())

    def forget(self) -> None:
        """Forget all values."""
        for truths in self.by_field.values():
            truths.clear()
