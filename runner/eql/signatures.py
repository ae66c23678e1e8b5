"""Signatures: of a value, which of some conditions on its field it meets, as a number with a bit for each condition.

Two events whose values have the same signatures meet the same conditions, however different the values are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from runner.eql.needles import NeedleIndex
from runner.eql.predicates import Junction, Lookup, Negation, Predicate
from runner.events.decode import Canonical
from runner.events.dictionary import typed

Test: TypeAlias = Callable[[int], bool]
"""Whether a condition holds, given the bits of the signatures."""

_INDEXED = 4
"""So many conditions on one field are worth an index of their needles."""


class Signatures(dict[Any, int]):
    """The signatures of the values of one field, worked out as they are asked for."""

    def __init__(self, lookups: Sequence[Lookup], *, untyped: bool, first: int = 0) -> None:
        """`untyped`: values of different types may occur, some of which Python takes for equal. `first` is the place
        of the first lookup's bit."""
        super().__init__()
        self.places = {id(lookup): place for place, lookup in enumerate(lookups, first)}
        """The place of each lookup's bit, by the `id` of the lookup."""
        self._first = first
        self._untyped = untyped
        self._tests = [lookup.test for lookup in lookups]
        hints = {number: lookup.hint for number, lookup in enumerate(lookups) if lookup.hint is not None}
        self._index = NeedleIndex(hints.items()) if len(hints) >= _INDEXED else None
        self._defaults = 0
        self._always: Sequence[int] = range(len(lookups))
        if self._index is not None:
            self._defaults = sum(1 << number for number, hint in hints.items() if hint.default)
            self._always = [number for number in range(len(lookups)) if number not in hints]

    def of(self, values: Sequence[Canonical]) -> list[int]:
        """The signature of each value."""
        return list(map(self.__getitem__, map(typed, values) if self._untyped else values))

    def __missing__(self, key: Any) -> int:
        value: Canonical = key[1] if self._untyped and key else key
        bits = self._missing() if value is None or value == () else self._bits(value)
        self[key] = bits = bits << self._first
        return bits

    def _missing(self) -> int:
        return sum(1 << number for number, test in enumerate(self._tests) if test(None))

    def _bits(self, value: Canonical) -> int:
        bits = self._defaults
        asked = self._always if self._index is None else (*self._always, *self._index.candidates(value))
        for number in asked:
            if self._tests[number](value):
                bits |= 1 << number
            else:
                bits &= ~(1 << number)
        return bits


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
    needed = sum(1 << places[id(part)] for part in parts if isinstance(part, Lookup))
    tests = [test_for(part, places) for part in parts if not isinstance(part, Lookup)]
    if not tests:
        return lambda bits: bits & needed == needed
    return lambda bits: bits & needed == needed and all(test(bits) for test in tests)


def _any_of(parts: Sequence[Predicate], places: Mapping[int, int]) -> Test:
    enough = sum(1 << places[id(part)] for part in parts if isinstance(part, Lookup))
    tests = [test_for(part, places) for part in parts if not isinstance(part, Lookup)]
    if not tests:
        return lambda bits: bool(bits & enough)
    return lambda bits: bool(bits & enough) or any(test(bits) for test in tests)
