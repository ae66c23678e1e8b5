"""Regular expressions of EQL as functions of a text: Lucene's syntax for fields, Java's for expressions.

Lucene's grammar is the one of its class `RegExp` (9.12, all optional operators on): a whole value must fit, `^` and `$`
are ordinary characters, and `& ~ # @ "..." <n-m>` are operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from runner.expressions.patterns.java_regex import JavaParser
from runner.expressions.patterns.pattern_reader import MAX_INT, PatternReader
from runner.expressions.patterns.regex_automaton import (
    DIGITS,
    WORDS,
    Automaton,
    Factory,
    Ranges,
    RegexKind,
    RegexNode,
    complement_of,
    ends_of,
    letter_of,
    ranges_of,
    spine_of,
    union_of,
)
from runner.expressions.patterns.wildcard import TextMatcher, Wild, WildcardTokens, fold, token_matcher

_SPACES = ranges_of(" \t\n\r")
_CLASSES: dict[str, Ranges] = {"d": DIGITS, "s": _SPACES, "w": WORDS}
_CLASSES |= {name.upper(): complement_of(ranges) for name, ranges in _CLASSES.items()}


def matcher(patterns: Sequence[str], insensitive: bool) -> TextMatcher:
    """A test whether a whole text fits one of the patterns, in Lucene's syntax.

    Raises ValueError, saying the position (from 0) and what is wrong there, for a pattern that is none. A test raises
    ValueError once the expression turns out to need too many states.
    """
    factory = Factory()
    return _matcher(factory, _LuceneParser("|".join(patterns), insensitive, factory).parse())


def pieces(patterns: Sequence[str], insensitive: bool) -> list[list[str]]:
    """For each choice that the patterns leave, texts that every fitting value has in it once A to Z are in lower case.

    Raises ValueError for a pattern that is none.
    """
    factory = Factory()
    node = _LuceneParser("|".join(patterns), insensitive, factory).parse()
    found = []
    for choice in node.parts if node.kind is RegexKind.ANY_OF else (node,):
        letters = [letter_of(part) for part in spine_of(choice)]
        runs = groupby(letters, key=lambda letter: letter is not None)
        found.append([fold("".join(letter[0] for letter in run if letter)) for is_text, run in runs if is_text])
    return found


def java_matcher(patterns: Sequence[str], insensitive: bool) -> TextMatcher:
    """The same in the syntax of Java, without look-around, back-references, possessive and atomic groups."""
    factory = Factory()
    return _matcher(factory, JavaParser("|".join(patterns), insensitive, factory).parse())


def _matcher(factory: Factory, node: RegexNode) -> TextMatcher:
    choices = node.parts if node.kind is RegexKind.ANY_OF else (node,)
    simple = [_as_wildcard(factory, choice) for choice in choices]
    direct = [test for test in simple if test is not None]
    if len(direct) == len(choices):
        if len(direct) == 1:
            return direct[0]
        return lambda text: any(test(text) for test in direct)
    automaton = Automaton(factory, node)
    prefix, suffix = ends_of(node)
    if not prefix and not suffix:
        return automaton.matches

    def match(text: str) -> bool:
        folded = fold(text)
        return folded.startswith(prefix) and folded.endswith(suffix) and automaton.matches(text)

    return match


def _as_wildcard(factory: Factory, node: RegexNode) -> TextMatcher | None:
    """A matcher of literals, `.` and `.*` alone; None if there is more to the expression, or letters of mixed case."""
    if node is factory.empty:
        return "".__eq__
    tokens: list[str | Wild] = []
    foldings: set[bool] = set()
    for part in spine_of(node):
        letter = letter_of(part)
        if letter is not None:
            tokens.append(letter[0])
            if letter[0].isascii() and letter[0].isalpha():
                foldings.add(letter[1])
        elif part is factory.any_char:
            tokens.append(Wild.ONE)
        elif part is factory.anything:
            tokens.append(Wild.MANY)
        else:
            return None
    return None if len(foldings) > 1 else token_matcher(_joined(tokens), True in foldings)


def _joined(tokens: Sequence[str | Wild]) -> WildcardTokens:
    joined: list[str | Wild] = []
    for token in tokens:
        if isinstance(token, str) and joined and not isinstance(joined[-1], Wild):
            joined[-1] += token
        else:
            joined.append(token)
    return joined


class _LuceneParser(PatternReader):
    """A recursive-descent parser of one pattern; each method reads one rule of the grammar and returns its node."""

    def __init__(self, pattern: str, insensitive: bool, factory: Factory) -> None:
        super().__init__(pattern, factory)
        self._insensitive = insensitive

    def parse(self) -> RegexNode:
        """The node of the whole pattern. Raises ValueError."""
        if not self._text:
            return self._make.empty
        node = self._union()
        if self._more():
            raise self._error("end-of-string expected")
        return node

    def _until(self, char: str) -> str:
        """The text before the next `char`, which is read, too."""
        opened, text = self._place - 1, self._before(char)
        if text is None:
            raise self._error(f"expected '{char}'", len(self._text), opened=opened)
        return text

    def _choice(self) -> RegexNode:
        nodes = [self._concatenation()]
        while self._match("&"):
            nodes.append(self._concatenation())
        return self._make.all_of(nodes)

    def _concatenation(self) -> RegexNode:
        nodes = [self._repetition()]
        while self._more() and not self._peek(")|&"):
            nodes.append(self._repetition())
        return self._make.chain(nodes)

    def _repetition(self) -> RegexNode:
        node = self._complement()
        while self._peek("?*+{"):
            sign = self._next()
            if sign == "{":
                low, high = self._counts()
                node = self._make.loop(node, low, high)
            else:
                node = self._make.loop(node, sign == "+", 1 if sign == "?" else None)
        return node

    def _counts(self) -> tuple[int, int | None]:
        low = self._number()
        if low is None:
            raise self._error("integer expected")
        high: int | None = low
        if self._match(","):
            high = self._number()
        if not self._match("}"):
            raise self._error("expected '}'")
        if high is not None and low > high:
            raise self._error(f"invalid repetition range (out of order): {low}..{high}", self._place - 1)
        return low, high

    def _number(self) -> int | None:
        start = self._place
        digits = self._digits()
        if int(digits[:12] or 0) > MAX_INT:
            raise self._error(f"integer expected, found [{digits[:20]}]", start)
        return int(digits) if digits else None

    def _complement(self) -> RegexNode:
        negations = 0
        while self._match("~"):
            negations += 1
        node = self._character_class() if self._match("[") else self._simple()
        return self._make.complement(node) if negations % 2 else node

    def _character_class(self) -> RegexNode:
        opened = self._place - 1
        negated = self._match("^")
        sets = [self._class_item()]
        while self._more() and not self._peek("]"):
            sets.append(self._class_item())
        if not self._match("]"):
            raise self._error("expected ']'", opened=opened)
        ranges = union_of(sets)
        return self._make.chars(complement_of(ranges) if negated else ranges)

    def _class_item(self) -> Ranges:
        if self._match("\\"):
            ranges = self._predefined()
            if ranges is not None:
                return ranges
        first = self._next()
        if not self._match("-"):
            return self._letter(first)
        last = self._char()
        if first > last:
            raise self._error(
                f"invalid range: from [{first}] ({ord(first)}) cannot be > to [{last}] ({ord(last)})", self._place - 1
            )
        return ((ord(first), ord(last)),)

    def _predefined(self) -> Ranges | None:
        """The set of `\\d` and the like, after the backslash; None before a character that stands for itself."""
        if not self._peek("\\") and not (self._more() and _is_ascii_letter(self._text[self._place])):
            return None
        char = self._next()
        if char == "\\":
            return self._letter(char)
        if char not in _CLASSES:
            raise self._error(f"invalid character class \\{char}", self._place - 2)
        return _CLASSES[char]

    def _letter(self, char: str) -> Ranges:
        if self._insensitive and _is_ascii_letter(char):
            return ranges_of(char.lower() + char.upper())
        return ((ord(char), ord(char)),)

    def _char(self) -> str:
        self._match("\\")
        return self._next()

    def _simple(self) -> RegexNode:
        if self._match("."):
            return self._make.any_char
        if self._match("#"):
            return self._make.nothing
        if self._match("@"):
            return self._make.anything
        if self._match('"'):
            return self._make.chain(self._make.chars(self._letter(char)) for char in self._until('"'))
        if self._match("("):
            return self._group()
        if self._match("<"):
            return self._interval()
        if self._match("\\"):
            ranges = self._predefined()
            if ranges is not None:
                return self._make.chars(ranges)
        return self._make.chars(self._letter(self._next()))

    def _group(self) -> RegexNode:
        opened = self._place - 1
        if self._match(")"):
            return self._make.empty
        self._enter("groups")
        node = self._union()
        self._nesting -= 1
        if not self._match(")"):
            raise self._error("expected ')'", opened=opened)
        return node

    def _interval(self) -> RegexNode:
        """A number between two others, `<5-120>`; with leading zeros if both bounds are written with the same width."""
        text = self._until(">")
        low, dash, high = text.partition("-")
        if not dash:
            raise self._error(f"'{text}' not found: named automata do not exist,", self._place - 1)
        bounds = [part for part in (low, high) if part.isascii() and part.isdigit() and int(part[:12]) <= MAX_INT]
        if len(bounds) < 2:
            raise self._error("interval syntax error", self._place - 1)
        first, last = sorted((int(low), int(high)))
        if len(low) == len(high):
            return _fixed_width(self._make, str(first).zfill(len(low)), str(last).zfill(len(low)))
        widths = range(len(str(first)), len(str(last)) + 1)
        choices = []
        for width in widths:
            least = max(first, 10 ** (width - 1)) if width > 1 else first
            choices.append(_fixed_width(self._make, str(least), str(min(last, 10**width - 1))))
        zeros = self._make.loop(self._make.chars(ranges_of("0")), 0, None)
        return self._make.cat(zeros, self._make.any_of(choices))


def _fixed_width(make: Factory, low: str, high: str) -> RegexNode:
    """Numbers from `low` to `high`, which have the same number of digits."""
    if not low:
        return make.empty
    first, last = low[0], high[0]
    if first == last:
        return make.cat(make.chars(ranges_of(first)), _fixed_width(make, low[1:], high[1:]))
    rest = len(low) - 1
    below = make.cat(make.chars(ranges_of(first)), _fixed_width(make, low[1:], "9" * rest))
    above = make.cat(make.chars(ranges_of(last)), _fixed_width(make, "0" * rest, high[1:]))
    between: Ranges = ((ord(first) + 1, ord(last) - 1),) if ord(last) - ord(first) > 1 else ()
    free = make.loop(make.chars(DIGITS), rest, rest)
    return make.any_of([below, make.cat(make.chars(between), free), above])


def _is_ascii_letter(char: str) -> bool:
    return char.isascii() and char.isalpha()
