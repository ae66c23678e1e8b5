"""The words of a text as the standard analyser of a text field makes them: Unicode's word boundaries (UAX 29), in lower
case.

https://www.elastic.co/guide/en/elasticsearch/reference/8.19/analysis-standard-tokenizer.html
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_LONGEST = 255
"""Characters of a word; a longer one is cut into several."""
_ASCII = re.compile(r"\w+(?:(?:(?<=[A-Za-z])[.:'](?=[A-Za-z])|(?<=\d)[.,;'](?=\d))\w+)*", re.ASCII)
_LETTERS = r"(?:[LDN]+(?:(?:(?<=[LD])[:.'](?=[LD])|(?<=N)[,.'](?=N)|(?<=D)Q(?=D))[LDN]+)*(?:(?<=D)')?|K+)"
_CLASSES = re.compile(rf"U*{_LETTERS}(?:U+{_LETTERS})*U*|I|S+|J")
"""A word in the classes of its characters, see `_class_of`."""
_MARKS = {
    **dict.fromkeys(":\u00b7\u0387\u055f\u05f4\u2027\ufe13\ufe55\uff1a", ":"),
    **dict.fromkeys(".\u2018\u2019\u2024\ufe52\uff07\uff0e", "."),
    **dict.fromkeys(",;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b", ","),
    "'": "'",
    '"': "Q",
}
_SINGLE = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA")
_SCRIPTS = {"KATAKANA": "K", "HALFWIDTH KATAKANA": "K", "HEBREW LETTER": "D"}
_UNSPACED = ("THAI ", "LAO ", "MYANMAR ", "KHMER ")


def words(text: str) -> list[str]:
    """The words of a text in lower case.

    >>> words("The fox's 1,5 C:\\\\x.exe")
    ['the', "fox's", '1,5', 'c', 'x.exe']
    """
    if text.isascii():
        found = [word for word in _ASCII.findall(text.lower()) if word.strip("_")]
    else:
        found = list(map(lower, _words_of_any(text)))
    if all(len(word) <= _LONGEST for word in found):
        return found
    return [word[start : start + _LONGEST] for word in found for start in range(0, len(word), _LONGEST)]


def lower(text: str) -> str:
    """The text with each character in lower case by itself, as Lucene's filter and normaliser make it."""
    if text.isascii():
        return text.lower()
    return "".join(char.lower()[0] for char in text)


def _words_of_any(text: str) -> list[str]:
    """Characters that only change the one before them belong to it, and do not count for the boundaries."""
    classes: list[str] = []
    ends: list[int] = []
    starts: list[int] = []
    for place, char in enumerate(text):
        kind = _class_of(char)
        if kind == "E" and classes:
            ends[-1] = place + 1
            continue
        classes.append(kind)
        starts.append(place)
        ends.append(place + 1)
    return [text[starts[one.start()] : ends[one.end() - 1]] for one in _CLASSES.finditer("".join(classes))]


@lru_cache(maxsize=1 << 14)
def _class_of(char: str) -> str:
    """L letter, D Hebrew letter, N digit, K katakana, I one that is a word of its own, S of a script without blanks,
    U underscore, E extending the one before, J emoji; marks within words as themselves; a blank for all else."""
    if (mark := _MARKS.get(char)) is not None:
        return mark
    category, name = unicodedata.category(char), unicodedata.name(char, "")
    if category in ("Mn", "Me", "Mc", "Cf"):
        return "E"
    if category == "Nd":
        return "N"
    if category == "Pc":
        return "U"
    if category in ("Lu", "Ll", "Lt", "Lm", "Lo", "Nl"):
        if name.startswith(_SINGLE):
            return "I"
        if name.startswith(_UNSPACED):
            return "S"
        return next((kind for start, kind in _SCRIPTS.items() if name.startswith(start)), "L")
    return "J" if category == "So" and 0x1F300 <= ord(char) <= 0x1FAFF else " "
