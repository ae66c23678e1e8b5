"""TOML files of rules and of what stands beside them: their text, what is no TOML in it, and the places of findings."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import tomli

from runner.errors import Problem
from runner.messages.text_positions import IN_FILE, Source, Span
from runner.rules import toml_positions
from runner.rules.discovery import Stamp, file_kind, stamp_of
from runner.rules.model_errors import FieldFinding, shortened
from runner.rules.toml_positions import KeyPath, TomlPlace

LARGEST_FILE = 1 << 20
"""In bytes; the largest of Elastic's own rule files have 60 KB."""
_DEEPEST_KEY = 100


def read_bytes(path: Path, largest: int = LARGEST_FILE) -> tuple[bytes, Stamp]:
    """The file's bytes, at most one more than the limit, and its stamp from before they were read.

    Raises OSError, also for a pipe or a device; ValueError for a path that no file can have.
    """
    with open(path, "rb", opener=_opened) as file:
        status = os.fstat(file.fileno())
        return file.read(largest + 1), stamp_of(status)


def _opened(path: str, flags: int) -> int:
    """A descriptor of a regular file; OSError for anything else, and no waiting for someone who writes to a pipe."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"is {file_kind(status)}, expected a file")
    return descriptor


def decoded(
    path: Path, data: bytes, *, expected: str = "rule", largest: int = LARGEST_FILE
) -> tuple[str, Problem | None]:
    """The file's text with `\\n` as line end, or a problem."""
    if len(data) > largest:
        message = f"is larger than {largest >> 20} MiB, which no {expected} file is"
        return "", Problem(path, 0, 0, "error", message, code="unreadable-file")
    if not data.removeprefix(b"\xef\xbb\xbf").strip():
        article = "an" if expected[0] in "aeiou" else "a"
        return "", Problem(path, 0, 0, "error", f"is empty, expected {article} {expected}", code="empty-file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        hint = "; it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        message = f"is not UTF-8: found the byte 0x{data[error.start]:02x}{hint}"
        return "", Problem(path, line, column, "error", message, code="unreadable-file")
    return text.replace("\r\n", "\n"), None


_TOML_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_DEEP_KEY = re.compile(
    r"""(?<![\w.-])(?:(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){%d}""" % _DEEPEST_KEY  # noqa: UP031 braces
)


def parsed_toml(path: Path, text: str, *, expected: str = "rule") -> tuple[Mapping[str, Any], Problem | None]:
    """The file's TOML, or a problem."""
    source = Source(text)
    too_deep = f"is nested too deep, deeper than any {expected} file"
    # tomli takes time with the square of a dotted key's length: no matter in a file of a usual size
    if len(text) > 16_384 and (found := _DEEP_KEY.search(text)):
        return {}, problem_at(path, source, too_deep, Span(found.start(), found.start() + 1))
    try:
        return tomli.loads(text), None
    except RecursionError:
        return {}, Problem(path, 0, 0, "error", too_deep, code="not-toml")
    except ValueError as error:
        message = str(error)
    place = _TOML_PLACE.search(message)
    if place is None:
        return {}, Problem(path, 0, 0, "error", f"is not TOML: {shortened(message)}", code="not-toml")
    said = message[: place.start()]
    if place["line"] is None:
        offset, said = _unfinished(text, said)
    else:
        offset = source.offset(int(place["line"]), int(place["column"]))
    if said == "Cannot overwrite a value":  # tomli names the end of the value
        line = text[text.rfind("\n", 0, offset) + 1 : offset]
        offset -= len(line.lstrip()) if "=" in line else 0
    if said == _AFTER_VALUE and _ENDED_STRING.search(text[text.rfind("\n", 0, offset) + 1 : offset]):
        said = "Quote inside of a string"
    return {}, problem_at(path, source, f"is not TOML: {_toml_words(said)}", Span(offset, offset + 1))


def _toml_words(said: str) -> str:
    """The parser's message in plainer words."""
    if said.startswith("Cannot declare"):
        return "this table is there already"
    return _TOML_WORDS.get(said, said[:1].lower() + said[1:])


_AFTER_VALUE = "Expected newline or end of document after a statement"
_ENDED_STRING = re.compile(r"""^[^=#]*=\s*(?:"(?:[^"\\]|\\.)*"|'[^']*')$""")
_TOML_WORDS = {
    "Cannot overwrite a value": "this key is there already",
    "Unescaped '\\' in a string": "TOML takes no single backslash in double quotes: write the text between ''' and '''"
    ", which keep backslashes as they are",
    "Quote inside of a string": "the value ends at the quote before this; a quote that belongs to it has a backslash "
    "before it, or the text stands between ''' and ''', which keep quotes and backslashes as they are",
    "Invalid value": "found no value that TOML knows; strings need quotes",
}


def _unfinished(text: str, message: str) -> tuple[int, str]:
    """Where the string or bracket begins that has no end; else the end of the text and the message as it is."""
    try:
        toml_positions.find_places(text)
    except toml_positions.Unfinished as unfinished:
        if unfinished.offset < len(text):
            return unfinished.offset, "what begins here has no end"
    except RecursionError:
        return len(text.rstrip()), message  # the place is a courtesy: the end of the text will do
    return len(text.rstrip()), message


def problem_at(path: Path, source: Source, message: str, span: Span | None, code: str = "not-toml") -> Problem:
    line, column, drawn = place_and_picture(source, span) if span else (0, 0, "")
    return Problem(path, line, column, "error", message, picture=drawn, code=code)


def place_and_picture(source: Source, span: Span) -> tuple[int, int, str]:
    """Line, column and picture of a span."""
    return *source.place(span.start), source.picture(span, IN_FILE)


def places_in(text: str, needed: Set[KeyPath] = frozenset()) -> Mapping[KeyPath, TomlPlace]:
    try:
        return toml_positions.find_places(text, needed)
    except RecursionError:
        return {}  # nested almost too deep: problems are shown without a line


def problem_of(
    finding: FieldFinding, path: Path, *, source: Source, places: Mapping[KeyPath, TomlPlace], rule_id: str | None
) -> Problem:
    """The finding with its line, column and picture."""
    steps, at = finding.path, finding.at
    while steps and steps not in places:
        steps, at = steps[:-1], "key"
    place = places.get(steps)
    if place is None:
        return Problem(path, 0, 0, finding.severity, finding.message, rule_id, code=finding.code)
    line, column, drawn = place_and_picture(
        source, Span(place.value, place.end) if at == "value" else Span(place.key, place.key_end)
    )
    return Problem(path, line, column, finding.severity, finding.message, rule_id, drawn, code=finding.code)
