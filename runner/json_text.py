"""Documents from JSON and to JSON, as untidy as they may be.

The reader takes what Elasticsearch takes, so that one odd value spoils nothing: numbers of any size, lone surrogates in
escapes, invalid UTF-8, NUL bytes and byte order marks before the document.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from math import isfinite
from typing import Any, NoReturn

import msgspec
import orjson

MAX_DEPTH = 1_000
"""Most levels of objects and arrays of a document, as in Elasticsearch."""
_USUAL_DEPTH = 200
_STACK = 6 * MAX_DEPTH
"""Python frames that are enough to walk a document of `MAX_DEPTH` levels."""
_MOST_DIGITS = 4_300
"""Most digits of an `int` that Python reads by default."""
_NOISE = "\0\ufeff \t\r\n"
"""Around a document: NUL bytes, which copytruncate leaves of a file's old text, and byte order marks."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK = b"\0 \t\r\n\v\f"
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class BrokenLine(ValueError):  # noqa: N818 - a state of the input, not a fault
    """A line that is not a JSON object; the text is the reason."""


class WrittenNumber(float):
    """A number with its text, of which a double would lose something: 1e400, or a float where text is compared."""

    def __new__(cls, text: str) -> WrittenNumber:
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __str__(self) -> str:
        return self.text


def read_document(line: bytes, *, exact: bool = False) -> dict[str, Any]:
    """The document of a line. Raises BrokenLine if it is not a JSON object, or deeper than `MAX_DEPTH`.

    Integers are kept exactly, lone surrogates as they are; invalid UTF-8 becomes U+FFFD; a number that neither int nor
    float can hold is a `WrittenNumber`, as are all floats if `exact`.
    """
    if len(line) > _USUAL_DEPTH and (brackets := line.count(b"{") + line.count(b"[")) > _USUAL_DEPTH:
        if brackets > MAX_DEPTH and _depth_of(line) > MAX_DEPTH:
            raise BrokenLine(f"nested over {MAX_DEPTH:,} levels deep")
        with deep_stack():
            document = _decoded(line, exact=exact)
    else:
        document = _decoded(line, exact=exact)
    if not isinstance(document, dict):
        raise BrokenLine(f"a JSON {_json_name(document)} where an object was expected")
    return document


@contextmanager
def deep_stack() -> Iterator[None]:
    """Within it recursive functions can walk a document of `MAX_DEPTH` levels.

    Python's limit holds for all threads: it is raised until the last of them is done.
    """
    with _deep:
        if not _usual:
            _usual.append(sys.getrecursionlimit())
            sys.setrecursionlimit(max(_usual[0], _STACK))
        else:
            _usual.append(_usual[0])
    try:
        yield
    finally:
        with _deep:
            usual = _usual.pop()
            if not _usual:
                sys.setrecursionlimit(usual)


_deep = threading.Lock()
_usual: list[int] = []
"""The usual limit, once for everyone who is within `deep_stack`."""


def _decoded(line: bytes, *, exact: bool) -> Any:
    try:
        return msgspec.json.decode(line) if not exact else _read_untidy(line, _WRITTEN_FLOATS)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _read_untidy(line, _ODD_NUMBERS)


def _read_untidy(line: bytes, decoder: json.JSONDecoder) -> Any:
    text = line.decode(errors="replace").strip(_NOISE)
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:
        # A hole within a line: what was written before it is lost, the document behind it is whole.
        _, hole, rest = text.rpartition("\0")
        if hole:
            return _read_untidy(rest.encode(), decoder)
        raise BrokenLine(f"not JSON: {_reason(text, error)}") from None


def is_blank(line: bytes) -> bool:
    """Whether a line has no document: whitespace, NUL bytes and byte order marks alone."""
    return line[:1] != b"{" and not line.strip(_BLANK).replace(_BYTE_ORDER_MARK, b"").strip(_BLANK)


def lost_before_hole(line: bytes) -> bool:
    """Whether NUL bytes, a hole of a file, stand within the line, so that what is before them is lost."""
    return b"\0" in line and b"\0" in line.replace(_BYTE_ORDER_MARK, b"").strip(_BLANK)


def _reason(text: str, error: Exception) -> str:
    try:
        orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError) as better:
        if "content after document" in str(better) and text.startswith("{") and re.search(r"\}\s*,?\s*\{", text):
            return "several documents in one line; `jq -c .` writes each on its own"
        return str(better)
    return str(error)


def _depth_of(line: bytes) -> int:
    """The levels of objects and arrays of a JSON text."""
    brackets = _JSON_STRING.sub(b"", line).translate(None, _NO_BRACKETS)
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)


def _integer(digits: str) -> int | WrittenNumber:
    return int(digits) if len(digits) <= _MOST_DIGITS else WrittenNumber(digits)


def _float(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else WrittenNumber(text)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_ODD_NUMBERS = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_no_number)
_WRITTEN_FLOATS = json.JSONDecoder(parse_int=_integer, parse_float=WrittenNumber, parse_constant=_no_number)


def write_json(value: Any, *, indented: bool = False, default: Callable[[Any], Any] | None = None) -> bytes:
    """The JSON text of a value, also of one as odd as those of `read_document`, which is not indented then.

    `default` gives something else for a value of another type. Raises TypeError for a type that has no JSON.
    """

    def known(item: Any) -> Any:
        if default is None or isinstance(item, WrittenNumber):
            raise TypeError(f"{type(item).__name__} has no JSON")
        return default(item)

    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 if indented else 0, default=known)
    except TypeError:
        # A lone surrogate becomes its escape, as which it was read.
        return "".join(_json_pieces(value, default)).encode(errors="backslashreplace")


def _json_pieces(value: Any, default: Callable[[Any], Any] | None) -> Iterator[str]:
    """The JSON text of a value in pieces. A stack, not recursion: `json` and `orjson` stop at some depth."""
    stack: list[tuple[bool, Any]] = [(False, value)]
    while stack:
        is_text, item = stack.pop()
        if is_text:
            yield item
        elif isinstance(item, Mapping):
            yield "{"
            stack.append((True, "}"))
            for place, (key, child) in reversed(list(enumerate(item.items()))):
                if not isinstance(key, str):
                    raise TypeError("a key that is no text has no JSON")
                stack += (False, child), (True, f"{',' * (place > 0)}{json.dumps(key, ensure_ascii=False)}:")
        elif isinstance(item, (list, tuple)):
            yield "["
            stack.append((True, "]"))
            for place, child in reversed(list(enumerate(item))):
                stack += (False, child), (True, "," * (place > 0))
        elif isinstance(item, str):
            yield json.dumps(item, ensure_ascii=False)
        elif isinstance(item, (WrittenNumber, int)) and not isinstance(item, bool):
            yield str(item)
        else:
            yield orjson.dumps(item, default=default).decode()


def _json_name(value: object) -> str:
    if isinstance(value, list):
        return "array"
    return {str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
