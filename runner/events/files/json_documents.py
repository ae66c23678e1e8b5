"""`DocumentReader`: the documents of texts without an event per line, one at a time.

Search answers (`_search`, `_msearch`, `_eql/search`, what Kibana's inspector shows) have the events in `hits`; tests
of pipelines in `expected` or `events`; exports and `jq -s` write arrays; `jq .` prints a document over several lines;
others write documents one behind the other. Records around documents are those of `Records`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from json import JSONDecodeError

import orjson

from runner.events.files.compression import OpenText
from runner.events.files.read_report import MAX_LINE
from runner.file_formats.completeness import TELLING, Completeness
from runner.file_formats.json_starts import CUT, REQUEST, SCANNER, START, is_answer, is_envelope
from runner.file_formats.kinds import encoding_of
from runner.file_formats.records import Records

_PIECE = 1 << 20
_LONGEST_PLACEHOLDER = 1_000
_SPACE = re.compile(r"[ \t\r\n,\0\ufeff]*")
_MARK = re.compile(r'"(?:[^"\\\n]|\\.)*"?|[\[\]{}\n]')
_SCALAR = re.compile(r"[^,\n\[\]{}]+|.", re.DOTALL)
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_SEQUENCE = re.compile(r'\{\s*"(?:join_keys|events)"\s*:\s*\[')
_CLOSING = {"{": "}", "[": "]"}
_INSIDE = {"hits", "events", "sequences", "response", "rawResponse", "responses", "result", "expected", "docs"}
"""The keys on the path to the events: `hits.hits`, `hits.events`, `hits.sequences[].events`, `response` of an async
search, `rawResponse` of Kibana, `responses[]` of several searches, `docs` of a get of several documents or a try of a
pipeline."""


def _is_placeholder(document: str) -> bool:
    """Whether this is an answer's placeholder for a missing event of a sequence."""
    if '"missing"' not in document or len(document) > _LONGEST_PLACEHOLDER:
        return False
    try:
        found = orjson.loads(document)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("missing") is True and not found.get("_source")


class DocumentReader:
    """A streaming reader of JSON values that holds one document at a time."""

    def __init__(self, text: OpenText, advanced: Callable[[], None] = lambda: None) -> None:
        """Begins to read the text. `advanced` is called after every piece that was read; what it raises ends the
        reading."""
        self._text = text
        self._advanced = advanced
        encoding = encoding_of(text.start(CUT))
        errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
        self._decode = codecs.getincrementaldecoder(encoding)(errors=errors)
        self._scan = SCANNER.raw_decode
        self._records = Records()
        self._completeness = Completeness()
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
        self._fill(START)
        if (request := REQUEST.match(self._buffer.lstrip())) is not None:
            self._at = self._buffer.index(request[0]) + len(request[0])
        while char := self._peek():
            if char == "[":
                yield from self._elements()
            elif char == "{" and self._is_envelope():
                yield from self._answer()
            elif (document := self._records.document(self._next_value())) is not None:
                yield document

    def notes(self) -> list[str]:
        """What a user should know of what has been read: records that hold no event, hits that were not saved."""
        passed = [f"{count:,} {kind} hold no event" for kind, count in self._records.passed.items()]
        return [*passed, *self._completeness.notes()]

    def faults(self) -> list[str]:
        """Why the answers that have been read are not whole: what they say of their searches."""
        return self._completeness.faults

    def _elements(self, key: str = "") -> Iterator[str]:
        """The documents of an array; it is the value of that key."""
        self._at += 1
        while (char := self._peek()) != "]":
            if not char:
                raise ValueError("the text ends within an array")
            if char == "{" and (key == "responses" or self._is_answer()):
                yield from self._answer(is_part=key == "responses")
            elif not _is_placeholder(value := self._next_value()):
                document = self._records.element(value)
                if document is not None:
                    self._completeness.count += 1
                    yield document
        self._at += 1

    def _answer(self, *, is_part: bool = False) -> Iterator[str]:
        """The documents below the keys of `_INSIDE`; of other values a few are looked at. A part is one of several
        answers."""
        self._at += 1
        while (char := self._peek()) != "}":
            if not char:
                raise ValueError("the text ends within an object")
            key = orjson.loads(self._next_value())
            self._expect_colon()
            if key in _INSIDE and self._peek() == "{":
                yield from self._answer(is_part=is_part)
            elif key in _INSIDE and self._peek() == "[":
                yield from self._elements(key)
            else:
                value = self._next_value()
                if key in TELLING:
                    self._completeness.take(key, value, is_part=is_part)
        self._at += 1

    def _is_envelope(self) -> bool:
        self._fill(START)
        return is_envelope(self._buffer, self._at)

    def _is_answer(self) -> bool:
        """Whether an element of an array is an answer, or a sequence of events."""
        if len(self._buffer) - self._at < START:
            self._fill(START)
        return _SEQUENCE.match(self._buffer, self._at) is not None or is_answer(self._buffer, self._at)

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
            error.msg.startswith("Unterminated string") or error.pos > len(self._buffer) - CUT
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
