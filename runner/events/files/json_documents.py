"""Texts without an event per line, converted to NDJSON a document at a time.

Search answers (`_search`, `_eql/search`) have the events in `hits`; exports and `jq -s` write arrays; `jq .` prints a
document over several lines.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from json import JSONDecodeError, JSONDecoder
from typing import IO

import orjson

from runner.events.files.compression import OpenText
from runner.events.files.read_report import MAX_LINE, MOST_EXAMPLES
from runner.events.files.spools import temporary_file

_START = 1 << 16
_PIECE = 1 << 20
_LONGEST_PLACEHOLDER = 1_000
_CUT = 16
"""Characters at the end of what has been read in which an error may be that of a value whose end is still to come."""
_SPACE = re.compile(r"[ \t\r\n,\0\ufeff]*")
_MARK = re.compile(r'"(?:[^"\\\n]|\\.)*"?|[\[\]{}\n]')
_SCALAR = re.compile(r"[^,\n\[\]{}]+|.", re.DOTALL)
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_ARRAY = re.compile(rb"\[\s*\{")
_SPREAD = re.compile(rb'\{[ \t\r]*\n\s*"')
_ANSWER = re.compile(
    rb'\s*\{\s*"(?:took|timed_out|_shards|hits|_scroll_id|pit_id|is_partial|is_running|id|response|num_reduce_phases'
    rb'|_clusters|terminated_early)"\s*:'
)
_HITS = re.compile(rb'"hits"\s*:\s*\{\s*"(?:total|max_score|hits|events|sequences)"\s*:')
_HEADER = re.compile(rb'"?[\w@.-]+"?(?:[,;\t]"?[\w@.-]+"?)+')
_CLOSING = {"{": "}", "[": "]"}
_INSIDE = {"hits", "events", "sequences", "response"}
"""The keys on the path to an answer's events: `hits.hits`, `hits.events`, `hits.sequences[].events`, and `response` of
an async search."""


def is_wrapped(start: bytes) -> bool:
    """Whether a text with this start has its events in an array or answer, or over several lines each.

    >>> [is_wrapped(text) for text in (b'[{"a": 1},\\n {"a": 2}]', b'{"hits": {"hits": []}}', b'{\\n "a": 1}')]
    [True, True, True]
    >>> [is_wrapped(text) for text in (b'{"a": 1}\\n{"a": 2}', b'[1]\\n{"a": 2}')]
    [False, False]
    """
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if _ARRAY.match(text):
        # A complete array in the first of several lines is a broken line of NDJSON.
        line, _, other_lines = text.partition(b"\n")
        return not other_lines.strip() or not _is_json(line)
    return bool(_SPREAD.match(text)) or (_ANSWER.match(text) is not None and _HITS.search(text) is not None)


def is_csv(start: bytes) -> bool:
    """Whether a text with this start is a table with a header line.

    >>> is_csv(b'"@timestamp","host.name"\\n"Mar 1, 2026","a"'), is_csv(b'{"a": 1}'), is_csv(b'x,y')
    (True, False, False)
    """
    line, line_break, _ = start.removeprefix(codecs.BOM_UTF8).partition(b"\n")
    return bool(line_break) and _HEADER.fullmatch(line.strip()) is not None


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """The documents of a wrapped text as lines of a temporary file."""

    lines: IO[bytes]
    damage: str
    """The damage that ended the text, or an empty text."""
    places: Mapping[int, int]
    """The line, in the text, of documents that are no JSON, by their number from 1; of the first ones."""


def unwrapped(text: OpenText, advanced: Callable[[], None] = lambda: None) -> Unwrapped:
    """The documents of a wrapped text, broken ones included. Raises EventsError if the temporary folder is full.

    `advanced` is called after every piece that was read; what it raises ends the reading.
    """
    spool = temporary_file()
    damage = ""
    reader = _Reader(text, advanced)
    places: dict[int, int] = {}
    try:
        for number, document in enumerate(reader.documents(), 1):
            # Line breaks occur between the values of a document only, where they are whitespace.
            spool.write(document.replace("\r", " ").replace("\n", " ").encode(errors="surrogateescape") + b"\n")
            if reader.broken_at and len(places) < MOST_EXAMPLES:
                places[number] = reader.broken_at
    except ValueError as error:
        damage = str(error)
    except BaseException:
        spool.close()
        raise
    if reader.failure is not None:
        damage = str(reader.failure)
    spool.seek(0)
    return Unwrapped(spool, damage, places)


def _is_placeholder(document: str) -> bool:
    """Whether this is an answer's placeholder for a missing event of a sequence."""
    if '"missing"' not in document or len(document) > _LONGEST_PLACEHOLDER:
        return False
    try:
        found = orjson.loads(document)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("missing") is True and not found.get("_source")


class _Reader:
    """A streaming reader of JSON values that holds one document at a time."""

    def __init__(self, text: OpenText, advanced: Callable[[], None]) -> None:
        self._text = text
        self._advanced = advanced
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")
        self._scan = JSONDecoder(strict=False, parse_int=bool, parse_float=bool).raw_decode  # the extent matters alone
        self._buffer = ""
        self._at = 0
        self._lines = 1
        self._is_over = False
        self._indent: str | None = ""
        """What stands before the next value, or before a broken one earlier in its line; None if that is more than
        whitespace."""
        self._is_spoiled = False
        """Whether a broken value is in the line."""
        self.broken_at = 0
        """The line of the last value if it is no JSON, else 0."""
        self.failure: Exception | None = None

    def line_of(self, position: int) -> int:
        """The line of a position in the buffer."""
        return self._lines + self._buffer.count("\n", 0, position)

    def documents(self) -> Iterator[str]:
        """The text of each document. Raises ValueError for invalid JSON."""
        while self._peek():
            yield from self._value(is_answer=True)

    def _value(self, *, is_answer: bool) -> Iterator[str]:
        char = self._peek()
        if char == "[":
            yield from self._elements()
        elif char == "{" and is_answer and self._is_answer():
            yield from self._answer()
        else:
            yield self._next_value()

    def _elements(self) -> Iterator[str]:
        self._at += 1
        while (char := self._peek()) != "]":
            if not char:
                raise ValueError("the text ends within an array")
            if char == "{" and self._is_sequence():
                yield from self._answer()
            elif not _is_placeholder(document := self._next_value()):
                yield document
        self._at += 1

    def _answer(self) -> Iterator[str]:
        """The documents below the keys of `_INSIDE`; other values are skipped."""
        self._at += 1
        while (char := self._peek()) != "}":
            if not char:
                raise ValueError("the text ends within an object")
            key = orjson.loads(self._next_value())
            self._expect_colon()
            if key in _INSIDE and self._peek() == "{":
                yield from self._answer()
            elif key in _INSIDE and self._peek() == "[":
                yield from self._elements()
            else:
                self._next_value()
        self._at += 1

    def _is_answer(self) -> bool:
        self._fill(_START)
        start = self._buffer[self._at : self._at + _START]
        text = start.encode(errors="surrogateescape")
        return _ANSWER.match(text) is not None and _HITS.search(text) is not None

    def _is_sequence(self) -> bool:
        self._fill(64)
        return re.match(r'\{\s*"(?:join_keys|events)"\s*:\s*\[', self._buffer[self._at : self._at + 64]) is not None

    def _expect_colon(self) -> None:
        self._fill(64)
        found = _COLON.match(self._buffer, self._at)
        if found is None:
            raise ValueError(f"line {self.line_of(self._at)}: expecting ':' delimiter")
        self._at = found.end()

    def _peek(self) -> str:
        """The next character except whitespace and commas; empty at the end."""
        while True:
            found = _SPACE.match(self._buffer, self._at)
            assert found is not None
            if found.end() > self._at:
                _, line_break, indent = found[0].rpartition("\n")
                if line_break or not self._is_spoiled:
                    self._indent = indent if line_break else None
                    self._is_spoiled = False
            self._at = found.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def _next_value(self) -> str:
        """The text of the next value; of one that is no JSON, up to where it seems to end."""
        self.broken_at = 0
        while True:
            try:
                _, end = self._scan(self._buffer, self._at)
            except (JSONDecodeError, RecursionError) as error:
                if self._may_be_cut(error) and len(self._buffer) - self._at <= MAX_LINE and self._more():
                    continue
                return self._broken_value(error)
            if end < len(self._buffer) or self._buffer[end - 1] in '}]"' or not self._more():
                start, self._at = self._at, end
                return self._buffer[start:end]

    def _may_be_cut(self, error: Exception) -> bool:
        return isinstance(error, JSONDecodeError) and (
            error.msg.startswith("Unterminated string") or error.pos > len(self._buffer) - _CUT
        )

    def _broken_value(self, error: Exception) -> str:
        """The text of a value that is no JSON: to where its brackets close, or the next line begins as its own does.

        Raises ValueError if no such place is found.
        """
        self.broken_at = line = self.line_of(self._at)
        self._is_spoiled = True
        reason = f"line {line}: nested too deep"
        if isinstance(error, JSONDecodeError):
            reason = f"line {self.line_of(error.pos)}: {error.msg[:1].lower()}{error.msg[1:]}"
        while (end := self._end_of_broken()) is None:
            if len(self._buffer) - self._at > MAX_LINE:
                raise ValueError(f"line {line}: a document of over {MAX_LINE >> 20} MiB, or no JSON") from None
            if not self._more():
                raise ValueError(reason) from None
        start, self._at = self._at, end
        return self._buffer[start:end]

    def _end_of_broken(self) -> int | None:
        """The end of the value that is no JSON, None if it is not in the buffer yet."""
        opening = self._buffer[self._at]
        if opening not in "{[":
            found = _SCALAR.match(self._buffer, self._at)
            assert found is not None
            return found.end()
        begins = None
        if self._indent is not None:
            # Indented no more than this one; unless what is within this one is not indented either.
            begins = re.compile(rf"[ \t,]{{0,{len(self._indent)}}},?{re.escape(opening)}")
            if re.compile(rf".[ \t\r]*\n{re.escape(self._indent)}\S").match(self._buffer, self._at):
                begins = None
        brackets: list[str] = []
        is_balanced = True
        for found in _MARK.finditer(self._buffer, self._at):
            mark = found[0]
            if mark == "\n":
                if begins is not None and begins.match(self._buffer, found.end()):
                    return found.start()
            elif mark in "{[":
                brackets.append(_CLOSING[mark])
            elif mark in "}]" and is_balanced:
                is_balanced = brackets.pop() == mark
                if is_balanced and not brackets:
                    return found.end()
        return None

    def _fill(self, count: int) -> None:
        while len(self._buffer) - self._at < count and self._more():
            pass

    def _more(self) -> bool:
        """Whether another piece could be read; drops the text before the current position."""
        if self._is_over:
            return False
        self._lines += self._buffer.count("\n", 0, self._at)
        self._buffer, self._at = self._buffer[self._at :], 0
        # The piece doubles the buffer, so that a long document is not scanned again too often.
        piece = bytearray(max(_PIECE, len(self._buffer)))
        count, self.failure = self._text.read_into(memoryview(piece))
        self._advanced()
        self._is_over = count < len(piece) or self.failure is not None
        self._buffer += self._decode.decode(bytes(piece[:count]), final=self._is_over)
        return count > 0
