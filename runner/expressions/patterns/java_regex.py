"""The syntax of `java.util.regex` as far as one pass over a text can answer it, read into the nodes of an automaton.

A whole text must fit, as with `Matcher.matches`. Look-around, back-references, atomic groups and possessive quantifiers
are refused: they do not describe a regular language, or not without backtracking.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from runner.expressions.patterns.pattern_reader import MAX_INT, PatternReader
from runner.expressions.patterns.regex_automaton import (
    ANY_CHAR,
    BOUNDARY,
    DIGITS,
    END,
    INSIDE,
    LAST_END,
    START,
    WORDS,
    Factory,
    Ranges,
    RegexNode,
    complement_of,
    ranges_of,
    union_of,
)

_TERMINATORS = ranges_of("\n\r\u0085\u2028\u2029")
_SPACES = ranges_of(" \t\n\x0b\f\r")
_HORIZONTAL = ranges_of(" \t\u00a0\u1680\u180e\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))
_VERTICAL = ranges_of("\n\x0b\f\r\u0085\u2028\u2029")
_LOWER, _UPPER = ((97, 122),), ((65, 90),)
_PUNCTUATION = ((33, 47), (58, 64), (91, 96), (123, 126))
_CLASSES: dict[str, Ranges] = {"d": DIGITS, "s": _SPACES, "w": WORDS, "h": _HORIZONTAL, "v": _VERTICAL}
_PROPERTIES: dict[str, Ranges] = {
    "Lower": _LOWER,
    "Upper": _UPPER,
    "ASCII": ((0, 127),),
    "Alpha": _UPPER + _LOWER,
    "Digit": DIGITS,
    "Alnum": DIGITS + _UPPER + _LOWER,
    "Punct": _PUNCTUATION,
    "Graph": ((33, 126),),
    "Print": ((32, 126),),
    "Blank": ranges_of(" \t"),
    "Cntrl": ((0, 31), (127, 127)),
    "XDigit": ((48, 57), (65, 70), (97, 102)),
    "Space": _SPACES,
}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "a": "\a", "e": "\x1b"}
_ASSERTIONS = {"b": BOUNDARY, "B": INSIDE, "A": START, "z": END, "Z": LAST_END}
_REFUSED_GROUPS = {
    "=": "look-ahead",
    "!": "look-ahead",
    "<=": "look-behind",
    "<!": "look-behind",
    ">": "an atomic group",
}


@dataclass(frozen=True, slots=True)
class _Flags:
    insensitive: bool
    dot_all: bool = False


class JavaParser(PatternReader):
    """A recursive-descent parser of one pattern."""

    def __init__(self, pattern: str, insensitive: bool, factory: Factory) -> None:
        super().__init__(pattern, factory)
        self._flags = _Flags(insensitive)

    def parse(self) -> RegexNode:
        """The node of the whole pattern. Raises ValueError with the position, from 0, and what is wrong there."""
        node = self._union()
        if self._more():
            raise self._error("Unmatched closing ')'")
        return node

    def _refused(self, what: str, place: int) -> ValueError:
        return self._error(f"{what} is not supported in a regular expression on an expression,", place)

    def _expected(self, what: str) -> str:
        return self._next(f"{what} expected, found the end of the expression")

    def _choice(self) -> RegexNode:
        nodes: list[RegexNode] = []
        while self._more() and not self._peek("|)"):
            if self._match("\\Q"):
                nodes.extend(self._quoted())
            else:
                nodes.append(self._quantifiers(self._atom()))
        return self._make.chain(nodes)

    def _quoted(self) -> list[RegexNode]:
        """The characters up to `\\E`; a quantifier after it holds for the last one."""
        nodes = [self._make.chars(self._folded(ranges_of(char))) for char in self._quotation()]
        if nodes:
            nodes[-1] = self._quantifiers(nodes[-1])
        return nodes

    def _quotation(self) -> str:
        text = self._before("\\E")
        if text is None:
            text, self._place = self._text[self._place :], len(self._text)
        return text

    def _quantifiers(self, node: RegexNode) -> RegexNode:
        first = self._place
        while self._peek("?*+{"):
            start = self._place
            if start > first and self._text[start] != "{":
                raise self._error(f"Dangling meta character '{self._text[start]}'")
            sign = self._expected("a quantifier")
            low, high = (int(sign == "+"), 1 if sign == "?" else None) if sign != "{" else self._counts(start)
            if self._looks_at("+"):
                raise self._refused("a possessive quantifier", start)
            self._match("?")  # lazy or not makes no difference where the whole text must fit
            node = self._make.loop(node, low, high)
        return node

    def _counts(self, start: int) -> tuple[int, int | None]:
        low, comma, high = (self._before("}") or "").partition(",")
        texts = [low, high] if high else [low]
        if not all(text.isascii() and text.isdigit() and int(text[:12]) <= MAX_INT for text in texts):
            raise self._error("Illegal repetition", start)
        last = int(high) if high else None if comma else int(low)
        if last is not None and last < int(low):
            raise self._error("Illegal repetition range", start)
        return int(low), last

    def _atom(self) -> RegexNode:
        start = self._place
        char = self._expected("an expression")
        if char == "(":
            return self._group(start)
        if char == "[":
            return self._make.chars(self._character_class())
        if char == "\\":
            return self._escape(start)
        if char == ".":
            return self._make.chars(ANY_CHAR if self._flags.dot_all else complement_of(_TERMINATORS))
        if char in "^$":
            return self._make.assertion(START if char == "^" else LAST_END)
        if char in "*+?":
            raise self._error(f"Dangling meta character '{char}'", start)
        if char == "{":
            raise self._error("Illegal repetition", start)
        return self._make.chars(self._folded(ranges_of(char)))

    def _group(self, start: int) -> RegexNode:
        before = self._flags
        if self._match("?"):
            for sign, what in _REFUSED_GROUPS.items():
                if self._looks_at(sign):
                    raise self._refused(what, start)
            if self._match("<"):
                self._name(start)
            elif not self._match(":") and not self._inline_flags(start):
                return self._make.empty
        self._enter("groups", start)
        node = self._union()
        self._nesting -= 1
        if not self._match(")"):
            raise self._error("Unclosed group", opened=start)
        self._flags = before
        return node

    def _name(self, start: int) -> None:
        name = self._before(">") or ""
        if not (name.isascii() and name.isalnum() and name[0].isalpha()):
            raise self._error("named capturing group is missing trailing '>'", start)

    def _inline_flags(self, start: int) -> bool:
        """Read `i)`, `i-s:` and the like; True if a group follows, False if they hold for the rest of this group."""
        value = True
        while True:
            char = self._expected("')' or ':'")
            if char == "-":
                value = False
            elif char == "i":
                self._flags = replace(self._flags, insensitive=value)
            elif char == "s":
                self._flags = replace(self._flags, dot_all=value)
            elif char in ":)":
                return char == ":"
            elif char in "dmuxU" and value:
                raise self._refused(f"the flag '{char}'", start)
            elif char not in "dmuxU":
                raise self._error(f"Unknown inline modifier '{char}'", self._place - 1)

    def _escape(self, start: int) -> RegexNode:
        char = self._text[self._place] if self._more() else ""
        if char in _ASSERTIONS and char:
            self._place += 1
            return self._make.assertion(_ASSERTIONS[char])
        if char and char in "123456789k":
            raise self._refused("a back-reference", start)
        if char and char in "GRXN":
            raise self._refused(f"\\{char}", start)
        ranges = self._escaped_set(start)
        return self._make.chars(ranges)

    def _escaped_set(self, start: int) -> Ranges:
        """The set of an escape, after its backslash."""
        char = self._expected("an escaped character")
        if char.lower() in _CLASSES:
            ranges = _CLASSES[char.lower()]
            return ranges if char.islower() else complement_of(ranges)
        if char in "pP":
            ranges = self._property(start)
            return ranges if char == "p" else complement_of(ranges)
        return self._folded(ranges_of(self._escaped_char(char, start)))

    def _escaped_char(self, char: str, start: int) -> str:
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "0":
            return self._code(self._digits("01234567", 3), 8, start)
        if char == "x" and self._match("{"):
            return self._code(self._before("}") or "", 16, start)
        if char in "xu":
            width = 2 if char == "x" else 4
            digits = self._digits("0123456789abcdefABCDEF", width)
            return self._code(digits if len(digits) == width else "", 16, start)
        if char == "c":
            return chr(ord(self._expected("a control character")) ^ 64)
        if char.isascii() and char.isalpha():
            raise self._error(f"Illegal/unsupported escape sequence \\{char}", start)
        return char

    def _code(self, digits: str, base: int, start: int) -> str:
        hexadecimal = all(digit in "0123456789abcdefABCDEF" for digit in digits)
        if not digits or len(digits) > 8 or not hexadecimal or int(digits, base) > ANY_CHAR[0][1]:
            raise self._error("Illegal hexadecimal or octal escape sequence", start)
        return chr(int(digits, base))

    def _property(self, start: int) -> Ranges:
        name = self._expected("a property")
        if name == "{":
            family = self._before("}")
            if family is None:
                raise self._error("Unclosed character family", start)
            name = family
        ranges = _PROPERTIES.get(name)
        if ranges is None:
            known = ", ".join(sorted(_PROPERTIES))
            raise self._error(f"the character property [{name}] is not supported (these are: {known})", start)
        return self._folded(ranges) if name in ("Lower", "Upper") else ranges

    def _character_class(self) -> Ranges:
        """The set of `[...]`, after its bracket, with unions of classes and `&&`."""
        opened = self._place - 1
        self._enter("classes", opened)
        negated = self._match("^")
        operands: list[list[Ranges]] = [[]]
        while not (self._looks_at("]") and (operands[-1] or len(operands) > 1)):
            if not self._more():
                raise self._error("Unclosed character class", opened)
            if self._match("&&"):
                operands.append([])
            else:
                operands[-1].append(self._class_item())
        self._place += 1
        self._nesting -= 1
        result: Ranges = ANY_CHAR
        for sets in operands:
            if sets:
                result = complement_of(union_of([complement_of(result), complement_of(union_of(sets))]))
        return complement_of(result) if negated else result

    def _class_item(self) -> Ranges:
        start = self._place
        char = self._expected("a character")
        if char == "[":
            return self._character_class()
        if char == "\\":
            return self._class_escape(start)
        return self._class_range(char, start)

    def _class_escape(self, start: int) -> Ranges:
        if self._match("Q"):
            return self._folded(ranges_of(self._quotation()))
        char = self._text[self._place] if self._more() else ""
        if char and (char.lower() in _CLASSES or char in "pP"):
            return self._escaped_set(start)
        return self._class_range(self._escaped_char(self._expected("an escaped character"), start), start)

    def _class_range(self, first: str, start: int) -> Ranges:
        """The character, or the range that it begins."""
        following = self._text[self._place + 1 : self._place + 2]
        if not self._looks_at("-") or following in ("", "]", "["):
            return self._folded(ranges_of(first))
        self._place += 1
        last = self._expected("the end of a range")
        if last == "\\":
            last = self._escaped_char(self._expected("an escaped character"), start)
        if last < first:
            raise self._error("Illegal character range", start)
        return self._folded(((ord(first), ord(last)),))

    def _folded(self, ranges: Ranges) -> Ranges:
        """The set with the ASCII letters of it in both cases where the case is ignored."""
        if not self._flags.insensitive:
            return ranges
        others = []
        for first, last in ranges:
            for low, high, shift in ((65, 90, 32), (97, 122, -32)):
                if first <= high and last >= low:
                    others.append((max(first, low) + shift, min(last, high) + shift))
        return union_of([ranges, tuple(others)])
