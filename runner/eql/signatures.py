"""Signatures: of a value, which of some conditions on its field it meets, as a number with a bit for each condition.

Two events whose values have the same signatures meet the same conditions, however different the values are. There are
few signatures, so they are numbered themselves: what is remembered of a value, and compared, is a small number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from runner.eql.needles import NeedleIndex
from runner.eql.predicates import Junction, Lookup, Negation, Predicate, lookups_in
from runner.events.decode import Canonical
from runner.events.values import typed

Test: TypeAlias = Callable[[int], bool]
"""Whether a condition holds, given the bits of the signatures."""

_INDEXED = 4
"""So many conditions on one field are worth an index of their needles."""


class Signatures(dict[Any, int]):
    """The number of the signature of each value of one field, worked out as they are asked for.

    When a value is first met, its needles are looked for, which tells most of its bits. The others are pending: they
    are worked out when something depends on them.
    """

    def __init__(self, lookups: Sequence[Lookup], *, untyped: bool, first: int = 0) -> None:
        """`untyped`: values of different types may occur, some of which Python takes for equal. `first` is the place
        of the first lookup's bit."""
        super().__init__()
        self.places = {id(lookup): place for place, lookup in enumerate(lookups, first)}
        """The place of each lookup's bit, by the `id` of the lookup."""
        self.bits: list[int] = []
        """The signatures by their numbers."""
        self.pending: list[int] = []
        """By the same numbers, the bits that are not known yet."""
        self._numbers: dict[tuple[int, int], int] = {}
        self._by_candidates: dict[int, int] = {}
        self._first = first
        self._untyped = untyped
        self._tests = [lookup.test for lookup in lookups]
        hints = {number: lookup.hint for number, lookup in enumerate(lookups) if lookup.hint is not None}
        self._index = NeedleIndex(hints.items()) if len(hints) >= _INDEXED else None
        self._scripted = sum(1 << number for number, lookup in enumerate(lookups) if lookup.scripted)
        self.safe = (1 << len(lookups)) - 1 - self._scripted << first
        """The bits that are worked out without a script, which may fail."""
        self._defaults, self._always = 0, (1 << len(lookups)) - 1
        if self._index is not None:
            self._defaults = sum(1 << number for number, hint in hints.items() if hint.default)
            self._always = sum(1 << number for number in range(len(lookups)) if number not in hints)

    def of(self, values: Sequence[Canonical]) -> list[int]:
        """The number of each value's signature."""
        keys: Sequence[Any] = list(map(typed, values)) if self._untyped else values
        numbers = list(map(self.get, keys))
        if None in numbers:
            places = [place for place, number in enumerate(numbers) if number is None]
            self._learn({keys[place]: values[place] for place in places})
            for place in places:
                numbers[place] = self[keys[place]]
        return numbers  # type: ignore[return-value]

    def settled(self, value: Canonical, matters: int) -> int:
        """The number of a value's signature in which the bits that matter are known."""
        key = typed(value) if self._untyped else value
        before = self.get(key)
        if before is None:
            (before,) = self.of([value])
        asked = rest = self.pending[before] & matters
        bits = self.bits[before]
        while rest:
            bit = rest & -rest
            rest ^= bit
            bits = bits | bit if self._tests[bit.bit_length() - 1 - self._first](value) else bits & ~bit
        number = self[key] = self._number(bits, self.pending[before] & ~asked)
        return number

    def _learn(self, new: dict[Any, Canonical]) -> None:
        """Note the signatures of new values, given by their keys."""
        for key in [key for key, value in new.items() if value is None or value == ()]:
            del new[key]
            tests = [(number, test) for number, test in enumerate(self._tests) if not self._scripted >> number & 1]
            bits = sum(1 << number for number, test in tests if test(None))
            self[key] = self._number(bits << self._first, self._scripted << self._first)
        candidates = [0] * len(new) if self._index is None else self._index.candidates(list(new.values()))
        for one in set(candidates) - self._by_candidates.keys():
            pending = (one | self._always) << self._first
            self._by_candidates[one] = self._number(self._defaults << self._first, pending)
        self.update(zip(new, map(self._by_candidates.__getitem__, candidates), strict=True))

    def _number(self, bits: int, pending: int) -> int:
        number = self._numbers.get((bits, pending))
        if number is None:
            number = self._numbers[bits, pending] = len(self.bits)
            self.bits.append(bits)
            self.pending.append(pending)
        return number


class FieldSignatures:
    """The signatures of all fields by whatever conditions there are on them; each condition has a bit of its own."""

    def __init__(self, predicates: Iterable[Predicate], untyped: Callable[[str], bool]) -> None:
        """`untyped` says of a field what `Signatures` wants to know."""
        lookups: dict[str, dict[int, Lookup]] = {}
        for lookup in (lookup for predicate in predicates for lookup in lookups_in(predicate)):
            lookups.setdefault(lookup.field, {})[id(lookup)] = lookup
        self.by_field: dict[str, Signatures] = {}
        self.places: dict[int, int] = {}
        """The place of each condition's bit, by the `id` of the lookup."""
        for name, found in lookups.items():
            made = Signatures(list(found.values()), untyped=untyped(name), first=len(self.places))
            self.by_field[name] = made
            self.places |= made.places

    def __len__(self) -> int:
        """How many values are remembered."""
        return sum(map(len, self.by_field.values()))

    def holding(self, lookup: Lookup, values: Sequence[Canonical]) -> list[bool]:
        """Whether each of the values meets the condition. Raises ValueError if it is a script that fails on one."""
        signatures, bit = self.by_field[lookup.field], 1 << self.places[id(lookup)]
        found = []
        for value, number in zip(values, signatures.of(values), strict=True):
            if signatures.pending[number] & bit:
                number = signatures.settled(value, bit)
            found.append(bool(signatures.bits[number] & bit))
        return found

    def numbered(self) -> int:
        """How many signatures have a number; they keep it when values are forgotten."""
        return sum(len(signatures.bits) for signatures in self.by_field.values())

    def forget(self) -> None:
        """Forget all values."""
        for signatures in self.by_field.values():
            signatures.clear()


def test_for(predicate: Predicate, places: Mapping[int, int]) -> Test:
    """The test of an unscripted predicate; `places` gives the bit of each lookup, by its `id`."""
    match predicate:
        case Lookup():
            bit = 1 << places[id(predicate)]
            return lambda bits: bool(bits & bit)
        case Negation(part=part):
            test = test_for(part, places)
            return lambda bits: not test(bits)
        case Junction(parts=parts, decisive=decisive):
            return _any_of(parts, places) if decisive else all_of(parts, places)
    raise TypeError(f"{type(predicate).__name__} cannot be told by bits")


def all_of(parts: Sequence[Predicate], places: Mapping[int, int]) -> Test:
    """The test for whether all of the predicates hold."""
    needed = sum({1 << places[id(part)] for part in parts if isinstance(part, Lookup)})
    tests = [test_for(part, places) for part in parts if not isinstance(part, Lookup)]
    if not tests:
        return lambda bits: bits & needed == needed
    return lambda bits: bits & needed == needed and all(test(bits) for test in tests)


def _any_of(parts: Sequence[Predicate], places: Mapping[int, int]) -> Test:
    enough = sum({1 << places[id(part)] for part in parts if isinstance(part, Lookup)})
    tests = [test_for(part, places) for part in parts if not isinstance(part, Lookup)]
    if not tests:
        return lambda bits: bool(bits & enough)
    return lambda bits: bool(bits & enough) or any(test(bits) for test in tests)
