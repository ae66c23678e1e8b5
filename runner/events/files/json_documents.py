"""Texts without an event per line, converted to NDJSON a document at a time.

Search answers (`_search`, `_eql/search`) have the events in `hits`; exports and `jq -s` write arrays; `jq .` prints a
document over several lines.
"""

from __future__ import annotations

import codecs
import re
import tempfile
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import IO

import orjson

from runner.events.files.compression import OpenText
from runner.events.files.read_report import MAX_LINE

_START = 1 << 16
_PIECE = 1 << 20
_LONGEST_PLACEHOLDER = 1_000
_SPACE = re.compile(r"[ \t\r\n,]*")
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_ARRAY = re.compile(rb"\[\s*\{")
_SPREAD = re.compile(rb'\{[ \t\r]*\n\s*"')
_ANSWER = re.compile(
    rb'\s*\{\s*"(?:took|timed_out|_shards|hits|_scroll_id|pit_id|is_partial|is_running|id|response|num_reduce_phases'
    rb'|_clusters|terminated_early)"\s*:'
)
_HITS = re.compile(rb'"hits"\s*:\s*\{\s*"(?:total|max_score|hits|events|sequences)"\s*:')
_HEADER = re.compile(rb'"?[\w@.-]+"?(?:[,;\t]"?[\w@.-]+"?)+')
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


def unwrapped(text: OpenText) -> tuple[IO[bytes], str]:
    """The documents of a wrapped text as lines of a temporary file, and the damage that ended it, or an empty text."""
    spool = tempfile.TemporaryFile(prefix="rule-runner-")  # noqa: SIM115
    problem = ""
    reader = _Reader(text)
    try:
        for document in reader.documents():
            # Line breaks occur between the values of a document only, where they are whitespace.
            spool.write(document.replace("\r", " ").replace("\n", " ").encode(errors="surrogateescape") + b"\n")
    except JSONDecodeError as error:
        problem = f"line {reader.line_of(error.pos)}: {error.msg[:1].lower()}{error.msg[1:]}"
    except RecursionError:
        problem = f"line {reader.line_of(0)}: nested too deep"
    except ValueError as error:
        problem = str(error)
    if reader.failure is not None:
        problem = str(reader.failure)
    spool.seek(0)
    return spool, problem


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

    def __init__(self, text: OpenText) -> None:
        self._text = text
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")
        self._scan = JSONDecoder(strict=False).raw_decode
        self._buffer = ""
        self._at = 0
        self._lines = 1
        self._is_over = False
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
            raise JSONDecodeError("Expecting ':' delimiter", self._buffer, self._at)
        self._at = found.end()

    def _peek(self) -> str:
        """The next character except whitespace and commas; empty at the end."""
        while True:
            found = _SPACE.match(self._buffer, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def _next_value(self) -> str:
        """The text of the next value."""
        while True:
            try:
                _, end = self._scan(self._buffer, self._at)
            except JSONDecodeError:
                if len(self._buffer) - self._at > MAX_LINE:
                    raise ValueError(
                        f"line {self.line_of(self._at)}: a document of over {MAX_LINE >> 20} MiB, or no JSON"
                    ) from None
                if not self._more():
                    raise
                continue
            if end < len(self._buffer) or self._buffer[end - 1] in '}]"' or not self._more():
                start, self._at = self._at, end
                return self._buffer[start:end]

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
        self._is_over = count < len(piece) or self.failure is not None
        self._buffer += self._decode.decode(bytes(piece[:count]), final=self._is_over)
        return count > 0
