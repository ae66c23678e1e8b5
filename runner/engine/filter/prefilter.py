"""Prefilter: most conditions on a value are decided by the literals in it, without being tested (as in RE2, Hyperscan).

A condition on a field has a default: its truth for every value without its required literals. One pass over a new value
for the literals of all conditions (Aho-Corasick) leaves the few that have to be tested.
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
"""Most items of arrays remembered with their literals."""
_LARGE = 1 << 18
"""Characters searched at a time, which bounds the literals found at once."""
_GROUPS = 3
"""Most groups of literals of one condition."""


@dataclass(frozen=True, slots=True)
class TextLiteral:
    """A text, folded, and where it must stand in the folded value."""

    place: LiteralPlace
    text: str


@dataclass(frozen=True, slots=True)
class RequiredLiterals:
    """A condition's default: its truth for every event that has a value of the field, but in whose values one of the
    groups has no literal."""

    groups: tuple[frozenset[TextLiteral], ...]
    default: bool


def required_literals_for(expression: nodes.Expression) -> RequiredLiterals | None:
    """The required literals of a condition that tests one field against constants; None: any value may meet it."""
    match expression:
        case nodes.Comparison(_, "==", nodes.FieldRef() as ref, nodes.Constant(value=None)):
            # Dates and addresses may have a value that counts as missing.
            return RequiredLiterals((frozenset(),), False) if ref.field.type in _FIELDS else None
        case nodes.Comparison(_, "==", nodes.FieldRef() as ref, nodes.Constant() as constant):
            return _any_of(ref, [_whole(ref, constant)])
        case nodes.Membership(_, nodes.FieldRef() as ref, items):
            return _any_of(ref, [_whole(ref, item) for item in items])
        case nodes.Pattern(_, operator, nodes.FieldRef() as ref, patterns):
            texts = [functions.text_of(item.value) for item in patterns if item.value is not None]
            if operator.startswith("regex"):
                return _of_regex(ref, lucene_regex.pieces(texts, operator == "regex~"))
            return _any_of(ref, [_of_pattern(text) for text in texts])
        case nodes.Call(
            _,
            "startswith" | "endswith" | "stringcontains" as name,
            (nodes.FieldRef() as ref, nodes.Constant(_, str(text))),
        ):
            return _any_of(ref, [_of_call(name, text)])
    return None


def negated(required: RequiredLiterals | None) -> RequiredLiterals | None:
    """The required literals of the opposite."""
    return None if required is None else RequiredLiterals(required.groups, not required.default)


def joined(parts: Sequence[RequiredLiterals | None], *, decisive: bool) -> RequiredLiterals | None:
    """The required literals of an `or` (`decisive` True) or `and` of conditions on one field."""
    given = [part for part in parts if part is not None]
    deciding = [part for part in given if part.default is decisive]
    if deciding:  # where one of these has its default, the whole is decided
        groups = {group for part in deciding for group in part.groups}
        return RequiredLiterals(tuple(sorted(groups, key=_frequency)[:_GROUPS]), decisive)
    if len(given) < len(parts):
        return None
    return RequiredLiterals((frozenset().union(*(min(part.groups, key=_frequency) for part in given)),), not decisive)


def _frequency(group: frozenset[TextLiteral]) -> tuple[float, list[tuple[str, str]]]:
    """The order of groups: rare ones, of long literals, first."""
    hits = sum(0.25 ** (min(len(literal.text), 8) + (literal.place == "whole")) for literal in group)
    return hits, sorted((literal.place, literal.text) for literal in group)


def _any_of(ref: nodes.FieldRef, literals: Sequence[TextLiteral | None]) -> RequiredLiterals | None:
    known = frozenset(literal for literal in literals if literal is not None)
    return None if ref.exact.type not in _FIELDS or None in literals else RequiredLiterals((known,), False)


def _whole(ref: nodes.FieldRef, item: nodes.Expression) -> TextLiteral | None:
    """The text of a constant; None for a number in a field without a mapping, which compares it as a number."""
    if not isinstance(item, nodes.Constant) or item.value is None:
        return None
    if ref.exact.type is DataType.NULL and not isinstance(item.value, str):
        return None
    return TextLiteral("whole", fold(functions.text_of(item.value)))


def _of_pattern(pattern: str) -> TextLiteral | None:
    """The rarest piece between the wildcards."""
    pieces = _WILD.split(fold(pattern))
    if len(pieces) == 1:
        return TextLiteral("whole", pieces[0])
    found = [
        TextLiteral("start", pieces[0]),
        TextLiteral("end", pieces[-1]),
        *(TextLiteral("within", piece) for piece in pieces[1:-1]),
    ]
    best = max(found, key=lambda one: len(one.text) + 2 * (one.place != "within") * bool(one.text))
    return best if best.text else None


def _of_regex(ref: nodes.FieldRef, choices: Sequence[Sequence[str]]) -> RequiredLiterals | None:
    """The longest piece of each of several choices; several pieces of a single one."""
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
    if any(char in "*?\\" for char in text):  # special in the query that Elasticsearch makes of it
        return None
    return TextLiteral("end" if name == "endswith" else "within", fold(text))


class Prefilter:
    """The literals of all conditions on one field, to find the conditions that a value may meet.

    A set of conditions is an int with one bit per condition; each group of a condition with several groups has a bit,
    too, during a search. A value is searched between two marks; a literal that must stand at an end includes that mark.
    """

    def __init__(self, required: Iterable[tuple[int, RequiredLiterals]]) -> None:
        """The required literals of each condition, by its index."""
        given = dict(required)
        wanted: dict[TextLiteral, int] = {}
        free_bit = 1 << max(given, default=-1) + 1
        self._single = self._firsts = 0
        self._several: dict[int, list[tuple[int, int]]] = {}
        """By the bit of the first of several groups, those of all of them, and that of the condition."""
        for index, one in given.items():
            if len(one.groups) == 1:
                bits = [1 << index]
                self._single |= 1 << index
            else:
                bits = [free_bit << place for place in range(len(one.groups))]
                free_bit <<= len(bits)
                self._firsts |= bits[0]
                self._several.setdefault(bits[0], []).append((sum(bits), 1 << index))
            for bit, literals in zip(bits, one.groups, strict=True):
                for literal in literals:
                    wanted[literal] = wanted.get(literal, 0) | bit
        # A single character may stand in a value many times: it is searched for by itself, up to the first one.
        self._characters = {literal.text: wanted.pop(literal) for literal in list(wanted) if _is_character(literal)}
        self._bits = list(wanted.values())
        marked = list(map(_marked, wanted))
        self._longest = max(map(len, marked), default=0)
        self._find = AhoCorasick(marked).find_matches_as_indexes
        self._known: dict[str, int] = {}

    def candidates(self, values: Sequence[Canonical]) -> list[int]:
        """For each value the conditions, as bits, with a literal of each of their groups in it; the others have their
        default."""
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
        """For each text the bits of the literals in it.

        All texts are searched in one go. A literal that reaches from one into the next counts for the latter: at worst
        a condition is tested in vain.
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
        for literal, _, stop in self._find(joined, overlapping=True):  # in the order of their ends
            while stop > end:
                place += 1
                end += next(lengths) + len(_START) + len(_END)
            found[place] |= bits[literal]
        for character, bit in self._characters.items():
            if character in joined:
                either = (character, character.upper())
                for place in [place for place, text in enumerate(texts) if either[0] in text or either[1] in text]:
                    found[place] |= bit
        return found

    def _of_text(self, text: str) -> int:
        """The same for one text of any characters."""
        text = text.lower() if text.isascii() else _without_surrogates(fold(text))
        found, bits = 0, self._bits
        marked = f"{_START}{text}{_END}"
        for start in range(0, len(marked), _LARGE):  # a literal may occur a million times
            for literal, _, _ in self._find(marked[start : start + _LARGE + self._longest], overlapping=True):
                found |= bits[literal]
        for character, bit in self._characters.items():
            if character in text:
                found |= bit
        return found


_START, _END = "\x02", "\x03"


def _marked(literal: TextLiteral) -> str:
    start = _START if literal.place in ("whole", "start") else ""
    return f"{start}{_without_surrogates(literal.text)}{_END if literal.place in ('whole', 'end') else ''}"


def _is_character(literal: TextLiteral) -> bool:
    return literal.place == "within" and len(literal.text) == 1 and literal.text.isascii()


def _without_surrogates(text: str) -> str:
    """The text with `?` for each half of a surrogate pair, which cannot be searched for: at worst tested in vain."""
    return text.encode("utf-8", "replace").decode()
