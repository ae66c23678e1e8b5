"""What a text must contain for a condition to be able to hold: most conditions are ruled out for a value without being
tested.

A condition on a field has a default, its truth for every value in which none of its needles occurs. So for a new value
of a field, one pass over the needles of all conditions on it (`Prefilter`) leaves the few that have to be worked out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ahocorasick_rs import AhoCorasick

from runner.events.fields.schema import KEYWORDS, DataType
from runner.events.fields.values import Canonical
from runner.expressions import functions, nodes
from runner.expressions.patterns import lucene_regex
from runner.expressions.patterns.wildcard import fold

LiteralPlace: TypeAlias = Literal["whole", "start", "end", "within"]

_FIELDS = KEYWORDS | {DataType.FLATTENED, DataType.NULL}
_WILD = re.compile(r"[*?]")
_CACHED = 50_000
_LARGE = 1 << 18
"""So many characters are looked through at a time, which bounds how many needles are found at once."""
_GROUPS = 3
"""So many groups of needles are looked for of one condition."""


@dataclass(frozen=True, slots=True)
class TextLiteral:
    """A text, folded, and where it must stand in the folded value."""

    place: LiteralPlace
    text: str


@dataclass(frozen=True, slots=True)
class RequiredLiterals:
    """A condition's truth for every event that has a value of the field, but in whose values no needle of one of the
    groups occurs."""

    groups: tuple[frozenset[TextLiteral], ...]
    default: bool


def required_literals_for(expression: nodes.Expression) -> RequiredLiterals | None:
    """The hint of a condition that tests one field against constants; None where there is none."""
    match expression:
        case nodes.Comparison(_, "==", nodes.FieldRef() as ref, nodes.Constant(value=None)):
            # Dates and addresses may have a value that counts as missing.
            return RequiredLiterals((frozenset(),), False) if ref.field.type in _FIELDS else None
        case nodes.Comparison(_, "==", nodes.FieldRef() as ref, nodes.Constant() as constant):
            return _hint(ref, [_whole(ref, constant)])
        case nodes.Membership(_, nodes.FieldRef() as ref, items):
            return _hint(ref, [_whole(ref, item) for item in items])
        case nodes.Pattern(_, ":" | "like" | "like~", nodes.FieldRef() as ref, patterns):
            return _hint(
                ref, [_of_pattern(functions.text_of(item.value)) for item in patterns if item.value is not None]
            )
        case nodes.Pattern(_, "regex" | "regex~" as operator, nodes.FieldRef() as ref, patterns):
            texts = [functions.text_of(item.value) for item in patterns if item.value is not None]
            return _of_regex(ref, lucene_regex.pieces(texts, operator == "regex~"))
        case nodes.Call(
            _,
            "startswith" | "endswith" | "stringcontains" as name,
            (nodes.FieldRef() as ref, nodes.Constant(_, str(text))),
        ):
            return _hint(ref, [_of_call(name, text)])
    return None


def negated(hint: RequiredLiterals | None) -> RequiredLiterals | None:
    """The hint of the opposite."""
    return None if hint is None else RequiredLiterals(hint.groups, not hint.default)


def joined(hints: Sequence[RequiredLiterals | None], *, decisive: bool) -> RequiredLiterals | None:
    """The hint of an `or` (`decisive` True) or `and` of conditions on one field."""
    deciding = [hint for hint in hints if hint is not None and hint.default is decisive]
    if deciding:  # where one of these has its default, it decides the whole, whatever the others say
        groups = {group for hint in deciding for group in hint.groups}
        return RequiredLiterals(tuple(sorted(groups, key=_frequency)[:_GROUPS]), decisive)
    given = [hint for hint in hints if hint is not None]
    if len(given) < len(hints):
        return None
    return RequiredLiterals((frozenset().union(*(min(hint.groups, key=_frequency) for hint in given)),), not decisive)


def _frequency(group: frozenset[TextLiteral]) -> tuple[float, list[tuple[str, str]]]:
    """The order of groups: those that are hit least come first, by the lengths of their needles."""
    hits = sum(0.25 ** (min(len(needle.text), 8) + (needle.place == "whole")) for needle in group)
    return hits, sorted((needle.place, needle.text) for needle in group)


def _hint(ref: nodes.FieldRef, needles: Sequence[TextLiteral | None]) -> RequiredLiterals | None:
    known = [needle for needle in needles if needle is not None]
    if ref.exact.type not in _FIELDS or len(known) < len(needles):
        return None
    return RequiredLiterals((frozenset(known),), False)


def _whole(ref: nodes.FieldRef, item: nodes.Expression) -> TextLiteral | None:
    """A field without a mapping compares numbers as numbers: only texts are looked for as texts there."""
    if not isinstance(item, nodes.Constant) or item.value is None:
        return None
    if ref.exact.type is DataType.NULL and not isinstance(item.value, str):
        return None
    return TextLiteral("whole", fold(functions.text_of(item.value)))


def _of_pattern(pattern: str) -> TextLiteral | None:
    """The most telling piece between the wildcards."""
    pieces = _WILD.split(fold(pattern))
    if len(pieces) == 1:
        return TextLiteral("whole", pieces[0])
    found = [
        TextLiteral("start", pieces[0]),
        TextLiteral("end", pieces[-1]),
        *(TextLiteral("within", piece) for piece in pieces[1:-1]),
    ]
    # A text at an end is found by one look into a table: worth two characters.
    best = max(found, key=lambda needle: len(needle.text) + 2 * (needle.place != "within") * bool(needle.text))
    return best if best.text else None


def _of_regex(ref: nodes.FieldRef, choices: Sequence[Sequence[str]]) -> RequiredLiterals | None:
    """Each of several choices is told by its longest piece, a single one by several of its pieces."""
    if ref.exact.type not in _FIELDS or not choices or not all(choices):
        return None
    if len(choices) > 1:
        return RequiredLiterals((frozenset(TextLiteral("within", max(pieces, key=len)) for pieces in choices),), False)
    groups = {frozenset([TextLiteral("within", piece)]) for piece in choices[0]}
    return RequiredLiterals(tuple(sorted(groups, key=_frequency)[:_GROUPS]), False)


def _of_call(name: str, text: str) -> TextLiteral | None:
    if not text:
        return None
    if name == "startswith":
        return TextLiteral("start", fold(text))
    if any(char in "*?\\" for char in text):  # which have a meaning in the query that Elasticsearch makes of it
        return None
    return TextLiteral("end" if name == "endswith" else "within", fold(text))


class Prefilter:
    """The needles of all conditions on one field: says which conditions a value may meet.

    Conditions are told by their numbers, as bits. Beside the conditions, each group of needles of a condition that has
    several has a bit while a value is looked at. All needles are looked for at once, in the value between two marks, so
    that a needle which must stand at an end has that mark in it.
    """

    def __init__(self, hints: Iterable[tuple[int, RequiredLiterals]]) -> None:
        given = dict(hints)
        wanted: dict[TextLiteral, int] = {}
        group_number = max(given, default=-1) + 1
        self._single = self._firsts = 0
        self._several: dict[int, list[tuple[int, int]]] = {}
        """By the bit of the first of several groups, those of all of them, and that of the condition."""
        for number, hint in given.items():
            if len(hint.groups) == 1:
                marks = [1 << number]
                self._single |= 1 << number
            else:
                marks = [1 << mark for mark in range(group_number, group_number + len(hint.groups))]
                group_number += len(marks)
                self._firsts |= marks[0]
                self._several.setdefault(marks[0], []).append((sum(marks), 1 << number))
            for mark, needles in zip(marks, hint.groups, strict=True):
                for needle in needles:
                    wanted[needle] = wanted.get(needle, 0) | mark
        # A single character may stand in a value many times: it is looked for by itself, up to the first one.
        self._characters = {needle.text: wanted.pop(needle) for needle in list(wanted) if _is_character(needle)}
        self._bits = list(wanted.values())
        marked = [_marked(needle) for needle in wanted]
        self._longest = max(map(len, marked), default=0)
        self._find = AhoCorasick(marked).find_matches_as_indexes
        self._known: dict[str, int] = {}

    def candidates(self, values: Sequence[Canonical]) -> list[int]:
        """For each value the conditions, as bits, that have a needle of each of their groups in it; of all others it
        leaves the default."""
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) == len(values):
            return [self._conditions(bits) if bits else 0 for bits in self._of_texts(texts)]
        known = self._known
        if len(known) > _CACHED:
            known.clear()
        several = [value if isinstance(value, tuple) else () if value is None else (value,) for value in values]
        new = list({item: None for items in several for item in items if isinstance(item, str) and item not in known})
        known.update(zip(new, self._of_texts(new), strict=True))
        found = []
        for items in several:
            bits = 0
            for item in items:
                bits |= known[item] if isinstance(item, str) else self._of_text(functions.text_of(item))
            found.append(self._conditions(bits))
        return found

    def _conditions(self, bits: int) -> int:
        """The conditions whose groups all are among these."""
        found, firsts = bits & self._single, bits & self._firsts
        while firsts:
            first = firsts & -firsts
            firsts ^= first
            for groups, bit in self._several[first]:
                if bits & groups == groups:
                    found |= bit
        return found

    def _of_texts(self, texts: Sequence[str]) -> list[int]:
        """For each text the bits of the needles in it.

        Texts are looked through in one go, one behind the other. A needle that goes from one into the next, if there
        is such a one, is taken for one of the latter: at the worst a condition is worked out that could be left out.
        """
        if not texts:
            return []
        joined = f"{_START}{f'{_END}{_START}'.join(texts)}{_END}"
        if not joined.isascii() or len(joined) > _LARGE:
            return list(map(self._of_text, texts))
        joined = joined.lower()
        found, bits = [0] * len(texts), self._bits
        place, end = -1, 0
        lengths = map(len, texts)
        for number, _, stop in self._find(joined, overlapping=True):  # in the order in which they end
            while stop > end:
                place += 1
                end += next(lengths) + len(_START) + len(_END)
            found[place] |= bits[number]
        for character, bit in self._characters.items():
            if character in joined:
                either = (character, character.upper())
                for place in [place for place, text in enumerate(texts) if either[0] in text or either[1] in text]:
                    found[place] |= bit
        return found

    def _of_text(self, text: str) -> int:
        """The same for one text, of whatever characters."""
        text = text.lower() if text.isascii() else _without_surrogates(fold(text))
        found, bits = 0, self._bits
        marked = f"{_START}{text}{_END}"
        for start in range(0, len(marked), _LARGE):  # a needle may stand in a text a million times
            for number, _, _ in self._find(marked[start : start + _LARGE + self._longest], overlapping=True):
                found |= bits[number]
        for character, bit in self._characters.items():
            if character in text:
                found |= bit
        return found


_START, _END = "\x02", "\x03"


def _marked(needle: TextLiteral) -> str:
    start = _START if needle.place in ("whole", "start") else ""
    return f"{start}{_without_surrogates(needle.text)}{_END if needle.place in ('whole', 'end') else ''}"


def _is_character(needle: TextLiteral) -> bool:
    return needle.place == "within" and len(needle.text) == 1 and needle.text.isascii()


def _without_surrogates(text: str) -> str:
    """The text with another character for each half of a surrogate pair, which cannot be looked for.

    At the worst a condition is worked out that could have been left out.
    """
    return text.encode("utf-8", "replace").decode()
