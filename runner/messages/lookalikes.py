"""Characters that look like others: quotes, dashes and blanks of word processors and web pages."""

from __future__ import annotations

import re
import unicodedata

_QUOTES = "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u301d\u301e\uff02"
_SINGLE = "\u2018\u2019\u201a\u201b\u2032\u00b4\u2039\u203a\uff07"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_BLANKS = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_UNSEEN = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_SIGNS = {"\u2260": "!=", "\u2264": "<=", "\u2265": ">=", "\u2026": "...", "\u2228": "or", "\u2227": "and"}
_BLANK = re.compile(f"[{_BLANKS}]")
_HIDDEN = re.compile(f"[{_UNSEEN}]")
INVISIBLE = re.compile(f"[{_BLANKS}{_UNSEEN}]")
"""A blank that is no plain one, or a character without any width."""
TYPOGRAPHIC = re.compile(f"[{_QUOTES}{_SINGLE}]")
"""A quote that is no plain one."""


def meant(char: str) -> str:
    """The plain characters that a character looks like; empty for one that looks like nothing else, or like none.

    >>> meant("\\u201c"), meant("\\uff1a"), meant("x")
    ('"', ':', '')
    """
    if char in _QUOTES:
        return '"'
    if char in _SINGLE:
        return "'"
    if char in _DASHES:
        return "-"
    if _BLANK.match(char):
        return " "
    if char in _SIGNS:
        return _SIGNS[char]
    return unicodedata.normalize("NFKC", char) if "\uff01" <= char <= "\uff5e" else ""


def described(char: str) -> str:
    """What a lookalike is and what is meant, as in `a typographic quote (U+201C)`; empty for any other character."""
    code = f"U+{ord(char):04X}"
    if char in _QUOTES or char in _SINGLE:
        return f"a typographic quote ({code}): strings stand in plain double quotes"
    if _BLANK.match(char):
        return f"a blank that is no plain one ({code}): put a plain blank in its place"
    if _HIDDEN.match(char):
        return f"a character that is not seen ({code}): delete it"
    instead = meant(char)
    if char in _DASHES:
        return f"a typographic dash ({code}): write [-]"
    return f"a character that only looks like it ({code}): write [{instead}]" if instead else ""
