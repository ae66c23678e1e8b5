"""What a text must contain for a condition to be able to hold: most conditions are ruled out for a value without being
tested.

A condition on a field has a default, its truth for every value in which none of its needles occurs. So for a new value
of a field, one pass over the needles of all conditions on it (`NeedleIndex`) leaves the few that have to be worked out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal, TypeAlias

from runner.eql import ast, functions
from runner.eql.wildcard import fold
from runner.events.decode import Canonical, Scalar
from runner.events.schema import DataType

Place: TypeAlias = Literal["whole", "start", "end", "within"]

_FIELDS = frozenset({DataType.KEYWORD, DataType.CONSTANT_KEYWORD, DataType.WILDCARD, DataType.FLATTENED, DataType.NULL})
_WILD = re.compile(r"[*?]")
_CACHED = 50_000
_EDGES = (1, 3, 6)
_GROUPS = 3
"""So many groups of needles are looked for of one condition."""


@dataclass(frozen=True, slots=True)
class Needle:
    """A text, folded, and where it must stand in the folded value."""

    place: Place
    text: str


@dataclass(frozen=True, slots=True)
class Hint:
    """A condition's truth for every event that has a value of the field, but in whose values no needle of one of the
    groups occurs."""

    groups: tuple[frozenset[Needle], ...]
    default: bool


def hint_for(expression: ast.Expression) -> Hint | None:
    """The hint of a condition that tests one field against constants; None where there is none."""
    match expression:
        case ast.Comparison(_, "==", ast.FieldRef() as ref, ast.Literal(value=None)):
            # Dates and addresses may have a value that counts as missing.
            return Hint((frozenset(),), False) if ref.field.type in _FIELDS else None
        case ast.Comparison(_, "==", ast.FieldRef() as ref, ast.Literal() as constant):
            return _hint(ref, [_whole(ref, constant)])
        case ast.Membership(_, ast.FieldRef() as ref, items):
            return _hint(ref, [_whole(ref, item) for item in items])
        case ast.Pattern(_, ":" | "like" | "like~", ast.FieldRef() as ref, patterns):
            return _hint(
                ref, [_of_pattern(functions.text_of(item.value)) for item in patterns if item.value is not None]
            )
        case ast.Call(
            _, "startswith" | "endswith" | "stringcontains" as name, (ast.FieldRef() as ref, ast.Literal(_, str(text)))
        ):
            return _hint(ref, [_of_call(name, text)])
    return None


def negated(hint: Hint | None) -> Hint | None:
    """The hint of the opposite."""
    return None if hint is None else Hint(hint.groups, not hint.default)


def joined(hints: Sequence[Hint | None], *, decisive: bool) -> Hint | None:
    """The hint of an `or` (`decisive` True) or `and` of conditions on one field."""
    deciding = [hint for hint in hints if hint is not None and hint.default is decisive]
    if deciding:  # where one of these has its default, it decides the whole, whatever the others say
        groups = {group for hint in deciding for group in hint.groups}
        return Hint(tuple(sorted(groups, key=_places)[:_GROUPS]), decisive)
    given = [hint for hint in hints if hint is not None]
    if len(given) < len(hints):
        return None
    return Hint((frozenset().union(*(min(hint.groups, key=_places) for hint in given)),), not decisive)


def _places(group: frozenset[Needle]) -> tuple[int, list[tuple[str, str]]]:
    """The order of groups: those that are hit least come first."""
    return len(group), sorted((needle.place, needle.text) for needle in group)


def _hint(ref: ast.FieldRef, needles: Sequence[Needle | None]) -> Hint | None:
    known = [needle for needle in needles if needle is not None]
    if ref.exact.type not in _FIELDS or len(known) < len(needles):
        return None
    return Hint((frozenset(known),), False)


def _whole(ref: ast.FieldRef, item: ast.Expression) -> Needle | None:
    """A field without a mapping compares numbers as numbers: only texts are looked for as texts there."""
    if not isinstance(item, ast.Literal) or item.value is None:
        return None
    if ref.exact.type is DataType.NULL and not isinstance(item.value, str):
        return None
    return Needle("whole", fold(functions.text_of(item.value)))


def _of_pattern(pattern: str) -> Needle | None:
    """The most telling piece between the wildcards."""
    pieces = _WILD.split(fold(pattern))
    if len(pieces) == 1:
        return Needle("whole", pieces[0])
    found = [
        Needle("start", pieces[0]),
        Needle("end", pieces[-1]),
        *(Needle("within", piece) for piece in pieces[1:-1]),
    ]
    # A text at an end is found by one look into a table: worth two characters.
    best = max(found, key=lambda needle: len(needle.text) + 2 * (needle.place != "within") * bool(needle.text))
    return best if best.text else None


def _of_call(name: str, text: str) -> Needle | None:
    if not text:
        return None
    if name == "startswith":
        return Needle("start", fold(text))
    if any(char in "*?\\" for char in text):  # which have a meaning in the query that Elasticsearch makes of it
        return None
    return Needle("end" if name == "endswith" else "within", fold(text))


class NeedleIndex:
    """The needles of all conditions on one field: says which conditions a value may meet, by their numbers."""

    def __init__(self, hints: Iterable[tuple[int, Hint]]) -> None:
        given = dict(hints)
        wanted: dict[Needle, list[int]] = {}
        self._several: list[tuple[int, frozenset[int]]] = []
        group_number = max(given, default=-1) + 1
        for number, hint in given.items():
            if len(hint.groups) == 1:
                groups = [number]
            else:
                groups = list(range(group_number, group_number + len(hint.groups)))
                group_number += len(groups)
                self._several.append((number, frozenset(groups)))
            for mark, needles in zip(groups, hint.groups, strict=True):
                for needle in needles:
                    wanted.setdefault(needle, []).append(mark)
        self._single = frozenset(number for number, hint in given.items() if len(hint.groups) == 1)
        self._whole = {needle.text: numbers for needle, numbers in wanted.items() if needle.place == "whole"}
        self._starts, self._ends = _by_edge(wanted, "start"), _by_edge(wanted, "end")
        within = [(needle.text, numbers) for needle, numbers in wanted.items() if needle.place == "within"]
        self._within = [text for text, _ in within]
        self._numbers = dict(within)
        self._known: dict[Scalar, frozenset[int]] = {}

    def candidates(self, value: Canonical) -> Collection[int]:
        """The conditions that have a needle of each of their groups in the value; of all others it leaves the
        default."""
        if value is None:
            return ()
        if not isinstance(value, tuple):
            return self._conditions(self._of_text(value))
        known = self._known
        if len(known) > _CACHED:
            known.clear()
        found: set[int] = set()
        for item in value:
            marks = known.get(item)
            if marks is None:
                marks = known[item] = self._of_text(item)
            found |= marks
        return self._conditions(found)

    def _conditions(self, marks: Set[int]) -> Collection[int]:
        """The conditions whose groups all are among these."""
        if not self._several or not marks:
            return marks
        return [*(marks & self._single), *(number for number, groups in self._several if groups <= marks)]

    def _of_text(self, value: Scalar) -> frozenset[int]:
        text = fold(value if isinstance(value, str) else functions.text_of(value))
        found = list(self._whole.get(text, ()))
        for length in _EDGES:
            for needle, numbers in self._starts.get(text[:length], ()):
                if text.startswith(needle):
                    found.extend(numbers)
            for needle, numbers in self._ends.get(text[-length:], ()):
                if text.endswith(needle):
                    found.extend(numbers)
        for needle in [needle for needle in self._within if needle in text]:
            found.extend(self._numbers[needle])
        return frozenset(found)


def _by_edge(wanted: Mapping[Needle, list[int]], place: Place) -> dict[str, list[tuple[str, list[int]]]]:
    """The needles of that place by as many of their outermost characters as the longest fitting of `_EDGES`."""
    table: dict[str, list[tuple[str, list[int]]]] = {}
    for needle, numbers in wanted.items():
        if needle.place == place:
            length = max(length for length in _EDGES if length <= len(needle.text))
            edge = needle.text[:length] if place == "start" else needle.text[-length:]
            table.setdefault(edge, []).append((needle.text, numbers))
    return table
