"""The SHA-1 that npm's `object-hash` gives a JSON value with its defaults, by which Kibana names groups of alerts.

The byte stream names the type of every value; of an object also its prototype and constructor, which are always the
same here. An array or object that stands in itself has no hash: JSON cannot hold one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

UNDEFINED: Final = object()
"""JavaScript's `undefined`, in arrays."""
_EXACT: Final = 2**53
"""Whole numbers of JavaScript from here on are not exact."""
_EXPONENT_FROM: Final = 1e21
"""From this number on JavaScript writes an exponent."""


def object_hash(value: Any) -> str:
    """The hash as 40 hex characters of texts, numbers, booleans, None, lists and mappings with texts as keys.

    >>> object_hash([[{"field": "host.id", "value": ["3f6c0d2a9b7e4c51"]}], "0b6f4e0c-52a1-5d8e-8f57-3c1e9a7d2b64",
    ...              "default"])
    '18042c6afe8bc35d6da277ced36986d17120319d'
    """
    stream = "".join(_Stream().of(value))
    return hashlib.sha1(stream.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


class _Stream:
    """The tokens of one value; arrays, objects and functions are numbered as they are met."""

    def __init__(self) -> None:
        self._met = 0
        self._object: int | None = None
        """The number of JavaScript's `Object`, once it was met; below, that of its prototype."""
        self._prototype: int | None = None

    def of(self, value: Any) -> Iterator[str]:
        if value is None:
            yield "Null"
        elif value is UNDEFINED:
            yield "Undefined"
        elif isinstance(value, bool):
            yield f"bool:{str(value).lower()}"
        elif isinstance(value, str):
            yield _text(value)
        elif isinstance(value, (int, float)):
            yield f"number:{number_text(value)}"
        elif isinstance(value, Mapping):
            yield from self._object_of(value)
        else:
            yield from self._array_of(value)

    def _array_of(self, values: Sequence[Any]) -> Iterator[str]:
        self._met += 1
        yield f"array:{len(values)}:"
        for value in values:
            yield from self.of(value)

    def _object_of(self, value: Mapping[str, Any]) -> Iterator[str]:
        self._met += 1
        yield f"object:{len(value) + 3}:"
        yield f"{_text('prototype')}:Undefined,"
        yield f"{_text('__proto__')}:"
        yield from self._root_prototype()
        yield f",{_text('constructor')}:"
        yield from self._constructor()
        yield ","
        for key in sorted(value, key=utf16):
            yield f"{_text(key)}:"
            yield from self.of(value[key])
            yield ","

    def _root_prototype(self) -> Iterator[str]:
        if self._prototype is not None:
            yield _text(f"[CIRCULAR:{self._prototype}]")
            return
        self._prototype = self._met
        self._met += 1
        yield f"object:3:{_text('prototype')}:Undefined,{_text('__proto__')}:Null,{_text('constructor')}:"
        yield from self._constructor()
        yield ","

    def _constructor(self) -> Iterator[str]:
        yield f"fn:{_text('[native]')}{_text('function-name:Object')}"
        if self._object is not None:
            yield _text(f"[CIRCULAR:{self._object}]")
            return
        self._object = self._met
        self._met += 1
        yield "object:0:"


def _text(value: str) -> str:
    return f"string:{len(value.encode('utf-16-le', 'surrogatepass')) // 2}:{value}"


def utf16(text: str) -> bytes:
    """The order of texts in JavaScript: by UTF-16 code units."""
    return text.encode("utf-16-be", "surrogatepass")


def number_text(value: int | float) -> str:
    """A number as JavaScript writes it; every number there is a double.

    >>> number_text(4624), number_text(1.50), number_text(1e21), number_text(1e-7)
    ('4624', '1.5', '1e+21', '1e-7')
    """
    if isinstance(value, int) and abs(value) < _EXACT:
        return str(value)
    value = float(value)
    if value != value or value in (float("inf"), float("-inf")):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    digits, _, exponent = repr(value).partition("e")
    power = int(exponent or 0)
    if abs(value) < _EXPONENT_FROM and (power >= 0 or abs(value) >= 1e-6):
        return _plain(digits, power)
    digits = digits.removesuffix(".0")
    return f"{digits}e{'+' if power > 0 else '-'}{abs(power)}"


def _plain(digits: str, power: int) -> str:
    """Digits with a power of ten, without an exponent and without a decimal of 0."""
    sign, number = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    whole, _, decimals = number.partition(".")
    decimals = "" if decimals == "0" else decimals
    if power >= 0:
        decimals = decimals.ljust(power, "0")
        whole, decimals = whole + decimals[:power], decimals[power:]
    else:
        number = whole.rjust(1 - power, "0")
        whole, decimals = number[:power], number[power:] + decimals
    whole = whole.lstrip("0") or "0"
    return (sign if whole != "0" or decimals else "") + whole + (f".{decimals}" if decimals else "")
