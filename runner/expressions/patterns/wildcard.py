"""Wildcard patterns, `*` and `?`, as functions of a text; and the case folding that Lucene uses for them, ASCII only.

A pattern is cut at its stars into pieces, and the pieces are looked for from left to right: the first place that fits
is as good as any later one, so there is nothing to go back to and the time is near linear whatever the pattern.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

TextMatcher: TypeAlias = Callable[[str], bool]


class Wild(enum.Enum):
    """What stands in a pattern beside characters."""

    ONE = "?"
    MANY = "*"


WildcardTokens: TypeAlias = Sequence[str | Wild]
"""A pattern: literal texts of any length, and wildcards."""

_TERMINATORS = "\n\r\u0085\u2028\u2029"
_TERMINATOR = re.compile(f"[{_TERMINATORS}]")


def fold(text: str) -> str:
    """The text with A to Z in lower case and every other character as it is."""
    if text.isascii():
        return text.lower()
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def matcher(pattern: str, insensitive: bool) -> TextMatcher:
    """A test whether a whole text fits the pattern of `:`, `like` and `like~`, in which nothing is escaped."""
    return token_matcher(_tokens(pattern), insensitive)


def escaped_matcher(pattern: str, insensitive: bool) -> TextMatcher:
    r"""The same for a pattern of Lucene's wildcard query, where `\` makes the next character literal.

    A `\` at the very end is a literal one.
    """
    tokens: list[str | Wild] = []
    place = 0
    while place < len(pattern):
        char = pattern[place]
        if char == "\\" and place + 1 < len(pattern):
            place += 1
            tokens.append(pattern[place])
        else:
            tokens.append(_WILD.get(char, char))
        place += 1
    return token_matcher(tokens, insensitive)


def needle_pattern(needle: str, *, at_end: bool) -> str:
    r"""The wildcard query of `stringContains`, or `endsWith` (`at_end`): the needle's wildcards and escapes stay such.

    A lone `\` at the needle's end is a literal one, not an escape of the star that follows.
    """
    if (len(needle) - len(needle.rstrip("\\"))) % 2:
        needle += "\\"
    return f"*{needle}" if at_end else f"*{needle}*"


def java_matcher(pattern: str, insensitive: bool) -> TextMatcher:
    """The same for `:`, `like` and `like~` on an expression, which Elasticsearch answers with Java.

    Neither wildcard fits a line terminator there; a pattern without wildcards ignores case in all of Unicode.
    """
    tokens = _tokens(pattern)
    if not any(isinstance(token, Wild) for token in tokens):
        if not insensitive:
            return pattern.__eq__
        folded = fold_java(pattern)
        return lambda text: fold_java(text) == folded
    simple = token_matcher(tokens, insensitive)
    pieces = _Pieces.of(tokens, insensitive, within_lines=True)
    return lambda text: simple(text) if _TERMINATOR.search(text) is None else pieces.match(text)


def any_matcher(patterns: Sequence[str], insensitive: bool) -> TextMatcher:
    """A test whether a whole text fits any of the patterns of `:`, `like` or `like~`."""
    if len(patterns) == 1:
        return matcher(patterns[0], insensitive)
    if insensitive:
        folded = any_matcher([fold(pattern) for pattern in patterns], False)
        return lambda text: folded(text.lower() if text.isascii() else fold(text))
    whole, prefixes, suffixes, others = _by_shape(patterns)
    if not others and not prefixes and not suffixes:
        return whole.__contains__

    def match(text: str) -> bool:
        if text in whole or text.startswith(prefixes) or text.endswith(suffixes):
            return True
        return any(test(text) for test in others)

    return match


def _by_shape(
    patterns: Sequence[str],
) -> tuple[frozenset[str], tuple[str, ...], tuple[str, ...], tuple[TextMatcher, ...]]:
    """Patterns without wildcards, the texts of `text*` and of `*text`, and matchers of the rest."""
    whole, prefixes, suffixes, others = [], [], [], []
    for pattern in patterns:
        inner = pattern.strip("*")
        if not any(char in _WILD for char in pattern):
            whole.append(pattern)
        elif any(char in _WILD for char in inner) or pattern.startswith("*") == pattern.endswith("*"):
            others.append(matcher(pattern, False))
        elif pattern.endswith("*"):
            prefixes.append(inner)
        else:
            suffixes.append(inner)
    return frozenset(whole), tuple(prefixes), tuple(suffixes), tuple(others)


def equals(wanted: str, *, insensitive: bool) -> TextMatcher:
    """A test for equality, as a term query makes it."""
    return token_matcher([wanted], insensitive)


def starts_with(prefix: str, *, insensitive: bool) -> TextMatcher:
    """A test for a literal prefix, as a prefix query makes it."""
    return token_matcher([prefix, Wild.MANY], insensitive)


def fold_java(text: str) -> str:
    """The text as `String.compareToIgnoreCase` sees it: each character in lower case after upper case."""
    if text.isascii():
        return text.lower()
    return "".join(_fold_char(char) for char in text)


def _fold_char(char: str) -> str:
    upper = char.upper()
    lower = (upper if len(upper) == 1 else char).lower()
    return lower if len(lower) == 1 else lower[0] if char == "\u0130" else char


_WILD = {wild.value: wild for wild in Wild}


def _tokens(pattern: str) -> list[str | Wild]:
    return [_WILD.get(part, part) for part in re.split(r"([*?])", pattern) if part]


def token_matcher(tokens: WildcardTokens, insensitive: bool) -> TextMatcher:
    """A test whether a whole text fits the tokens; the common shapes are one call of a method of `str`."""
    pieces = _Pieces.of(tokens, insensitive, within_lines=False)
    if any(isinstance(piece, re.Pattern) for piece in pieces.all()):
        return pieces.match
    if not insensitive:
        return _direct(pieces) or pieces.match
    direct = _direct(pieces)
    if direct is None:
        return pieces.match
    return lambda text: direct(text.lower() if text.isascii() else fold(text))


def _direct(pieces: _Pieces) -> TextMatcher | None:
    """A short form for literal pieces, on a text that is folded already; None if pieces stand in the middle."""
    prefix, middle, suffix = pieces.prefix, pieces.middle, pieces.suffix
    assert isinstance(prefix, str)
    if suffix is None:
        return prefix.__eq__
    assert isinstance(suffix, str)
    if len(middle) == 1 and not prefix and not suffix:
        wanted = middle[0]
        return lambda text: wanted in text  # type: ignore[operator]
    if middle:
        return None
    if not prefix and not suffix:
        return lambda text: True
    if not suffix:
        return lambda text: text.startswith(prefix)
    if not prefix:
        return lambda text: text.endswith(suffix)
    least = pieces.least
    return lambda text: len(text) >= least and text.startswith(prefix) and text.endswith(suffix)


_Piece: TypeAlias = str | re.Pattern[str]
"""What stands between two stars: a literal, or an expression of literals and single characters."""


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A pattern cut at its stars. `suffix` is None if there is no star: then `prefix` is the whole pattern."""

    prefix: _Piece
    middle: tuple[_Piece, ...]
    suffix: _Piece | None
    least: int
    """The fewest characters that a fitting text has."""
    suffix_length: int
    folded: bool
    within_lines: bool
    """True: no wildcard fits a line terminator."""

    @classmethod
    def of(cls, tokens: WildcardTokens, insensitive: bool, *, within_lines: bool) -> _Pieces:
        groups: list[list[str | Wild]] = [[]]
        for token in tokens:
            if token is Wild.MANY:
                groups.append([])
            else:
                groups[-1].append(fold(token) if insensitive and isinstance(token, str) else token)
        lengths = [sum(len(token) if isinstance(token, str) else 1 for token in group) for group in groups]
        pieces = [_piece(group, within_lines) for group in groups]
        middle = tuple(piece for piece, length in zip(pieces[1:-1], lengths[1:-1], strict=True) if length)
        suffix = pieces[-1] if len(pieces) > 1 else None
        return cls(pieces[0], middle, suffix, sum(lengths), lengths[-1], insensitive, within_lines)

    def all(self) -> tuple[_Piece, ...]:
        ends = (self.prefix,) if self.suffix is None else (self.prefix, self.suffix)
        return ends + self.middle

    def match(self, text: str) -> bool:
        """True if the whole text fits."""
        if len(text) < self.least:
            return False
        if self.folded:
            text = fold(text)
        place = _at(self.prefix, text, 0)
        if place < 0:
            return False
        if self.suffix is None:
            return place == len(text)
        end = len(text) - self.suffix_length
        if end < place or _at(self.suffix, text, end) < 0:
            return False
        for piece in self.middle:
            start, after = _find(piece, text, place, end=end)
            if start < 0 or (self.within_lines and _TERMINATOR.search(text, place, start)):
                return False
            place = after
        return not (self.within_lines and _TERMINATOR.search(text, place, end))


def _piece(group: WildcardTokens, within_lines: bool) -> _Piece:
    if not any(isinstance(token, Wild) for token in group):
        return "".join(map(str, group))
    one = f"[^{_TERMINATORS}]" if within_lines else "."
    return re.compile("".join(re.escape(token) if isinstance(token, str) else one for token in group), re.DOTALL)


def _at(piece: _Piece, text: str, place: int) -> int:
    """Where the piece ends if it stands at that place, else -1."""
    if isinstance(piece, str):
        return place + len(piece) if text.startswith(piece, place) else -1
    found = piece.match(text, place)
    return found.end() if found else -1


def _find(piece: _Piece, text: str, place: int, *, end: int) -> tuple[int, int]:
    """The first place of the piece between two places and where it ends there; -1 if there is none."""
    if isinstance(piece, str):
        start = text.find(piece, place, end)
        return start, start + len(piece)
    found = piece.search(text, place, end)
    return found.span() if found else (-1, -1)
