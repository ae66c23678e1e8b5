"""Wildcards and regular expressions as Python's `re` understands them."""

from __future__ import annotations

import re


def _any_case(char: str) -> str:
    """A character in either case, ASCII only, as Lucene's case-insensitive queries take it."""
    if char.isascii() and char.isalpha():
        return f"[{char.lower()}{char.upper()}]"
    return re.escape(char)


def wildcard_fits(pattern: str, text: str, *, folded: bool, escapes: bool = False) -> bool:
    r"""Whether a whole text fits a pattern of `*` and `?`; with `escapes`, `\` makes the next character literal."""
    built, place = "", 0
    while place < len(pattern):
        char = pattern[place]
        if escapes and char == "\\" and place + 1 < len(pattern):
            place += 1
            built += _any_case(pattern[place]) if folded else re.escape(pattern[place])
        elif char == "*":
            built += ".*"
        elif char == "?":
            built += "."
        else:
            built += _any_case(char) if folded else re.escape(char)
        place += 1
    return re.fullmatch(built, text, re.DOTALL) is not None


def java_wildcard_fits(pattern: str, text: str, *, folded: bool) -> bool:
    """The same on an expression: without wildcards equality, in any case if folded; else within a line."""
    if "*" not in pattern and "?" not in pattern:
        return java_equal(pattern, text) if folded else pattern == text
    built = "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in pattern)
    return re.fullmatch(built, text, re.ASCII | re.IGNORECASE if folded else 0) is not None


def java_equal(one: str, other: str) -> bool:
    """Equality as `compareToIgnoreCase` sees it: character by character, in upper and then in lower case."""
    if len(one) != len(other):
        return False
    return all(a.upper().lower() == b.upper().lower() for a, b in zip(one, other, strict=True))


def regex_fits(pattern: str, text: str, *, folded: bool) -> bool:
    """Whether a whole text fits an expression in Lucene's syntax.

    Covers what the queries of the tests use: literals, `.`, repetition, `|`, groups, classes, escapes, quotes; `^`
    and `$` are ordinary characters. Folding takes ASCII letters in either case but leaves ranges in classes alone.
    """
    built, place, in_class = "", 0, False
    while place < len(pattern):
        char = pattern[place]
        if char == "\\":
            place += 1
            built += pattern[place - 1 : place + 1] if pattern[place] in "dws" else re.escape(pattern[place])
        elif in_class:
            in_class = char != "]"
            alone = "-" not in (pattern[place - 1], pattern[place + 1 : place + 2])
            built += f"{char.lower()}{char.upper()}" if folded and alone and char.isascii() and char.isalpha() else char
        elif char == '"':
            end = pattern.index('"', place + 1)
            built += re.escape(pattern[place + 1 : end])
            place = end
        elif char in "~@#&<>":
            raise NotImplementedError(f"operator {char} is not in the tests' queries")
        elif char in "^$":
            built += re.escape(char)
        elif char == "[":
            in_class = True
            built += char
            if pattern[place + 1 : place + 2] == "^":
                place += 1
                built += "^"
        elif folded:
            built += _any_case(char) if char.isalpha() else char
        else:
            built += char
        place += 1
    return re.fullmatch(built, text, re.DOTALL | re.ASCII) is not None


def java_regex_fits(pattern: str, text: str, *, folded: bool) -> bool:
    """The same on an expression, in Java's syntax, which is Python's for what the tests use."""
    return re.fullmatch(pattern, text, re.ASCII | re.IGNORECASE if folded else re.ASCII) is not None
