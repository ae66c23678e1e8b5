"""`InnerEvents`: events that stand as JSON within other documents, as containers' logs and shippers have them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import Any

from runner.json_text import BrokenLine, read_document, write_json

LINE = "line"
"""In place of a field's name: the JSON at the end of a line, behind a prefix as of CRI, syslog or docker compose."""
_USUAL = (
    "message", "log", "event.original", "msg", "MESSAGE", "_raw", "result._raw", "result", "jsonPayload", "textPayload",
    "body", "data", "payload",
)  # fmt: skip
"""Where events are looked for to tell of them."""
_LOOKED_AT = 10
_ONE_LIST = re.compile(rb'\s*\{\s*"(?P<name>\w{1,100})"\s*:\s*\[\s*\{[^\n]*\s*\Z')
"""A text of one line, or the start of a long one, whose document begins with an array of objects."""
_LONGEST_PREFIX = 1_000


@dataclass(frozen=True, slots=True)
class InnerEvents:
    """The fields in which documents may hold an event, as the text of a JSON object or as an object; the first that
    does counts."""

    fields: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fields)

    def event(self, line: bytes) -> bytes | None:
        """The line of the event that a line's document holds, with index and id of a hit; None if it holds none.

        Text that begins as an object and ends too early, as that of a long line which a log driver has cut, is given as
        it is: it is a broken line.

        >>> InnerEvents(("log",)).event(b'{"log": "{\\\\"a\\\\": 1}\\\\n", "stream": "stdout"}')
        b'{"a": 1}'
        >>> InnerEvents(("line",)).event(b'2026-03-01T10:00:00Z stdout F {"a": 1}')
        b'{"a": 1}'
        """
        rest = _behind_prefix(line) if LINE in self.fields else None
        try:
            document = read_document(line if rest is None else rest)
        except BrokenLine:
            return line if rest is None else rest
        source = document.get("_source")
        inner = next(filter(None, (_inner(_value(document, source, name)) for name in self.fields)), None)
        if inner is None or not isinstance(source, dict):
            return inner if inner is not None else rest
        origin = {key: document[key] for key in ("_index", "_id") if isinstance(document.get(key), str)}
        return write_json(origin)[:-1] + b"," * bool(origin) + b'"_source":' + inner + b"}"


def told(start: bytes) -> str:
    """What to tell of a text with this start if its documents seem to hold the events, with what reads them; else "".

    >>> told(b'{"log": "{\\\\"a\\\\": 1}"}')[:44]
    'documents hold events as JSON in `log`: `--u'
    >>> told(b'{"Records": [{"a": 1}, {"a": 2}]}')[:40]
    'only document holds a list in `Records`:'
    """
    if (found := _ONE_LIST.match(start)) is not None:
        name = found["name"].decode(errors="replace")
        cure = f"`jq -c '.{name}[]' FILE` makes lines of them"
        return f"only document holds a list in `{name}`: if those are the events, {cure}"
    for line in islice(filter(bytes.strip, start.split(b"\n")), _LOOKED_AT):
        rest = _behind_prefix(line)
        if rest is not None and _is_object(rest):
            return f"lines have text before a JSON document: {_flag(LINE)} reads what is behind it"
        try:
            document = read_document(line)
        except BrokenLine:
            continue
        source = document.get("_source")
        if _value(document, source, "event.category") is not None:
            continue
        for name in _USUAL:
            value = _value(document, source, name)
            is_event = "@timestamp" in value if isinstance(value, dict) else _is_object(_inner(value))
            if is_event:
                return f"documents hold events as JSON in `{name}`: {_flag(name)} reads those"
    return ""


def _flag(name: str) -> str:
    return f"`--unwrap {name}` (RUNNER_UNWRAP={name})"


def _behind_prefix(line: bytes) -> bytes | None:
    """The rest of a line from its first `{` on, if something without quotes stands before it."""
    prefix, brace, rest = line.partition(b"{")
    if not brace or not prefix.strip(b"\0 \t\r\xef\xbb\xbf[") or len(prefix) > _LONGEST_PREFIX or b'"' in prefix:
        return None
    return brace + rest


def _value(document: dict[str, Any], source: object, path: str) -> Any:
    """The value of a dotted path of a document, or of a hit's `_source`, in any mix of dotted and nested spelling."""
    where: Any = source if isinstance(source, dict) else document
    if path in where:
        return where[path]
    head, dot, tail = path.partition(".")
    while dot:
        if isinstance(where.get(head), dict) and (found := _value(where[head], None, tail)) is not None:
            return found
        more, dot, tail = tail.partition(".")
        head = f"{head}.{more}"
    return None


def _inner(value: object) -> bytes | None:
    """The text of the JSON object that a value is or holds, on one line."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        return write_json(value)
    if not isinstance(value, str) or not value.lstrip("\ufeff \t\r\n").startswith("{"):
        return None
    # Line breaks occur between the values of a document only, where they are whitespace.
    return value.strip("\ufeff \t\r\n\0").replace("\r", " ").replace("\n", " ").encode(errors="surrogatepass")


def _is_object(text: bytes | None) -> bool:
    try:
        return text is not None and bool(read_document(text))
    except BrokenLine:
        return False
