"""Places in a TOML text: where each key and each value stands.

`tomli` gives values without their places. `find_places` walks over the same text once more; it relies on the text
being valid TOML (https://toml.io/en/v1.0.0), so call it after `tomli` has accepted the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]
"""Keys and, for items of arrays, indices from 0: `("rule", "threat", 0, "tactic")`."""


@dataclass(frozen=True, slots=True)
class TomlPlace:
    """Offsets into the text: of a key, and of its value, whose last character stands before `end`.

    An item of an array has its value's offset as `key`; a table header is its own value.
    """

    key: int
    key_end: int
    value: int
    end: int


class Unfinished(ValueError):  # noqa: N818 it names the thing that is not finished
    """A string or bracket that begins at `offset` has no end."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"no end of what begins at offset {offset}")
        self.offset = offset


def find_places(text: str, needed: Set[KeyPath] = frozenset()) -> Mapping[KeyPath, TomlPlace]:
    """The place of every key, value, array item and table of a valid TOML text; raises Unfinished, RecursionError.

    With `needed` places, those of the tables up to the last of them are enough.

    >>> place = find_places('[rule]\\nname = "x"')[("rule", "name")]
    >>> place.key, place.value, place.end
    (7, 14, 17)
    """
    return _Scanner(text).scan(needed)


def string_start(text: str, value: int) -> int:
    """The offset of the first character of the string whose opening quote is at `value`.

    A line end right after three quotes does not belong to the string.
    """
    quotes = text[value : value + 3]
    if quotes not in ('"""', "'''"):
        return value + 1
    start = value + 3
    return start + 1 if text[start : start + 1] == "\n" else start


def string_end(text: str, place: TomlPlace) -> int:
    """The offset after the last character of the string at `place`."""
    return place.end - (3 if text[place.value : place.value + 3] in ('"""', "'''") else 1)


_ESCAPE = re.compile(r"\\(?:[ \t]*\n[ \t\n]*|u.{4}|U.{8}|.)")


def spelled_offset(spelled: str, offset: int) -> int:
    """Where in the spelling of a basic string (between its quotes, escapes as written) its character `offset` stands.

    >>> spelled_offset(r'a \\"b\\" c', 2), spelled_offset(r'a \\"b\\" c', 3)
    (2, 4)
    """
    read = 0
    position = 0
    while position < len(spelled):
        escape = _ESCAPE.match(spelled, position) if spelled[position] == "\\" else None
        if escape and escape[0][1] in " \t\n":
            position = escape.end()  # a line end that the backslash takes away, with the blanks after it
            continue
        if read == offset:
            return position
        position = escape.end() if escape else position + 1
        read += 1
    return position


_BLANK = re.compile(r"[ \t]*+")
# No possessive quantifier around a group that holds one: Python 3.11.0 to 3.11.4 match nothing with those.
_BLANKS = re.compile(r"(?:[ \t\n]++|#[^\n]*+)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'""")
_PLAIN_KEY = re.compile(r"([A-Za-z0-9_-]++)[ \t]*+=[ \t]*+")
_PLAIN_COMMA = re.compile(r",[ \t\n]*+(?!#)")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*+"')
_LITERAL = re.compile(r"'[^'\n]*+'")
_BASIC_LINES = re.compile(r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)
_LITERAL_LINES = re.compile(r"'''(?:[^']++|'{1,2}(?!'))*'{3,5}")
_SCALAR = re.compile(r"[^,\]}#\n]*[^,\]}#\s]")
_STRINGS = (('"""', _BASIC_LINES), ("'''", _LITERAL_LINES), ('"', _BASIC), ("'", _LITERAL))


class _Scanner:
    """One walk over one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.places: dict[KeyPath, TomlPlace] = {}
        self.counts: dict[KeyPath, int] = {}

    def scan(self, needed: Set[KeyPath]) -> Mapping[KeyPath, TomlPlace]:
        table: KeyPath = ()
        position = self._blanks(0)
        while position < len(self.text):
            if self.text[position] == "[":
                if needed and needed <= self.places.keys():
                    break
                table, position = self._header(position)
            else:
                position = self._pair(table, position)
            position = self._blanks(position)
        return self.places

    def _blanks(self, position: int) -> int:
        return _end(_BLANKS, self.text, position)

    def _header(self, position: int) -> tuple[KeyPath, int]:
        """The path of the table that a header opens, and the offset after it."""
        array = self.text.startswith("[[", position)
        keys, after = self._keys(position + (2 if array else 1))
        end = after + (2 if array else 1)
        path: KeyPath = ()
        for name, start, stop in keys[:-1]:
            path = self._latest((*path, name))
            self.places.setdefault(path, TomlPlace(start, stop, start, stop))
        name, start, stop = keys[-1]
        path = (*path, name)
        if not array:
            path = self._latest(path)
            self.places[path] = TomlPlace(start, stop, position, end)
            return path, end
        count = self.counts.get(path, 0)
        self.counts[path] = count + 1
        self.places.setdefault(path, TomlPlace(start, stop, position, end))
        path = (*path, count)
        self.places[path] = TomlPlace(start, stop, position, end)
        return path, end

    def _latest(self, path: KeyPath) -> KeyPath:
        """The path itself, or that of its newest table where it is an array of tables."""
        count = self.counts.get(path)
        return path if count is None else (*path, count - 1)

    def _keys(self, position: int) -> tuple[list[tuple[str, int, int]], int]:
        """The parts of a dotted key, each with its offsets, and the offset after the key and the blanks that follow."""
        keys = []
        while True:
            position = _end(_BLANK, self.text, position)
            found = _KEY.match(self.text, position)
            if found is None:
                raise Unfinished(position)
            keys.append((_key_name(found[0]), found.start(), found.end()))
            position = _end(_BLANK, self.text, found.end())
            if not self.text.startswith(".", position):
                return keys, position
            position += 1

    def _pair(self, table: KeyPath, position: int) -> int:
        """The offset after the `key = value` at `position`; adds its places."""
        if plain := _PLAIN_KEY.match(self.text, position):  # nearly all keys: worth a way of its own
            path = (*table, plain[1])
            value = plain.end()
            end = self._value(path, value)
            self.places[path] = TomlPlace(position, plain.end(1), value, end)
            return end
        keys, position = self._keys(position)
        value = _end(_BLANK, self.text, position + 1)
        path = table
        for name, start, stop in keys[:-1]:
            path = (*path, name)
            self.places.setdefault(path, TomlPlace(start, stop, start, stop))
        name, start, stop = keys[-1]
        path = (*path, name)
        end = self._value(path, value)
        self.places[path] = TomlPlace(start, stop, value, end)
        return end

    def _value(self, path: KeyPath, position: int) -> int:
        """The offset after the value at `position`; adds the places inside of it."""
        first = self.text[position : position + 1]
        if first == "[":
            return self._array(path, position)
        if first == "{":
            return self._inline_table(path, position)
        if first in ('"', "'"):
            for quotes, pattern in _STRINGS:
                if self.text.startswith(quotes, position):
                    return _end(pattern, self.text, position)
        return _end(_SCALAR, self.text, position)

    def _array(self, path: KeyPath, opening: int) -> int:
        position = self._blanks(opening + 1)
        index = 0
        while not self.text.startswith("]", position):
            end = self._value((*path, index), position)
            self.places[(*path, index)] = TomlPlace(position, end, position, end)
            found = _PLAIN_COMMA.match(self.text, end)
            position = found.end() if found else self._after_comma(end, opening)
            index += 1
        return position + 1

    def _inline_table(self, path: KeyPath, opening: int) -> int:
        position = self._blanks(opening + 1)
        while not self.text.startswith("}", position):
            position = self._after_comma(self._pair(path, position), opening)
        return position + 1

    def _after_comma(self, position: int, opening: int) -> int:
        position = self._blanks(position)
        if self.text.startswith(",", position):
            position = self._blanks(position + 1)
        if position >= len(self.text):
            raise Unfinished(opening)
        return position


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    if found is None:
        raise Unfinished(position)
    return found.end()


_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def _key_name(spelled: str) -> str:
    """The name that a key as it is spelled stands for."""
    if spelled[0] == "'":
        return spelled[1:-1]
    if spelled[0] != '"':
        return spelled
    return _ESCAPE.sub(_unescape, spelled[1:-1])


def _unescape(found: re.Match[str]) -> str:
    code = found[0][1:]
    return chr(int(code[1:], 16)) if code[0] in "uU" else _ESCAPES[code]
