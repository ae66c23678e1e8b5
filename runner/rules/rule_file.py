"""`RuleFile`: what one file holds, a rule or the problems that keep it from being one.

The format is that of elastic/detection-rules: TOML with `[metadata]`, `[rule]` and `[transform]`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli
from pydantic import ValidationError

from runner.errors import Problem
from runner.messages.suggestions import near_name
from runner.messages.text_positions import IN_FILE, Source, Span
from runner.rules import toml_positions
from runner.rules.discovery import Stamp, reason, stamp_of
from runner.rules.model_errors import RULE_KEYS, FieldFinding, findings_of, kind_of, shortened
from runner.rules.rule import Rule
from runner.rules.rule_checks import OWN_NAMES, check_document
from runner.rules.toml_positions import KeyPath, TomlPlace

LARGEST_FILE = 1 << 20
"""In bytes; the largest of Elastic's own rule files have 60 KB."""
_DEEPEST_KEY = 100


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What one file gave: a rule, or problems, or both (warnings; or the last good version of a file broken since)."""

    path: Path
    stamp: Stamp
    rule: Rule | None
    problems: tuple[Problem, ...] = ()
    marks: Mapping[str, tuple[int, int, str]] = field(default_factory=dict)
    """Line, column and picture of the keys `rule_id` and `name`, for problems that involve other files."""
    named: bool = True
    """Whether the file was named itself, not found in a folder."""


def read_rule_file(path: Path, *, named: bool = True) -> RuleFile:
    """What one file holds; that a file is no rule file at all is an error if it was `named`, else a warning."""
    try:
        data, stamp = _read(path)
    except (OSError, ValueError) as error:
        return RuleFile(
            path, (0, 0, 0, 0, 0), None, (Problem(path, 0, 0, "error", f"cannot be read: {reason(error)}"),)
        )
    text, problem = _decode(path, data)
    if problem is None:
        document, problem = _parse(path, text)
    if problem is not None:
        return RuleFile(path, stamp, None, (problem,))
    if not isinstance(document.get("rule"), dict):
        return RuleFile(path, stamp, None, (_no_rule(path, document, Source(text), named=named),))
    return replace(_read_document(path, stamp, document=document, text=text), named=named)


def _read(path: Path) -> tuple[bytes, Stamp]:
    """The file's bytes, at most one more than the limit, and its stamp from before they were read."""
    with path.open("rb") as file:
        stamp = stamp_of(os.fstat(file.fileno()))
        return file.read(LARGEST_FILE + 1), stamp


def _decode(path: Path, data: bytes) -> tuple[str, Problem | None]:
    """The file's text with `\\n` as line end, or a problem."""
    if len(data) > LARGEST_FILE:
        message = f"is larger than {LARGEST_FILE >> 20} MiB, which no rule file is"
        return "", Problem(path, 0, 0, "error", message)
    if not data.removeprefix(b"\xef\xbb\xbf").strip():
        return "", Problem(path, 0, 0, "error", "is empty, expected a rule")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        hint = "; it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        message = f"is not UTF-8: found the byte 0x{data[error.start]:02x}{hint}"
        return "", Problem(path, line, column, "error", message)
    return text.replace("\r\n", "\n"), None


_TOML_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_DEEP_KEY = re.compile(
    r"""(?<![\w.-])(?:(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){%d}""" % _DEEPEST_KEY  # noqa: UP031 braces
)


def _parse(path: Path, text: str) -> tuple[Mapping[str, Any], Problem | None]:
    """The file's TOML, or a problem."""
    source = Source(text)
    too_deep = "is nested too deep, deeper than any rule file"
    # tomli takes time with the square of a dotted key's length: no matter in a file of a usual size
    if len(text) > 16_384 and (found := _DEEP_KEY.search(text)):
        return {}, _at(path, source, too_deep, Span(found.start(), found.start() + 1))
    try:
        return tomli.loads(text), None
    except RecursionError:
        return {}, Problem(path, 0, 0, "error", too_deep)
    except ValueError as error:
        message = str(error)
    place = _TOML_PLACE.search(message)
    if place is None:
        return {}, Problem(path, 0, 0, "error", f"is not TOML: {shortened(message)}")
    said = message[: place.start()]
    if place["line"] is None:
        offset, said = _unfinished(text, said)
    else:
        offset = source.offset(int(place["line"]), int(place["column"]))
    if said == "Cannot overwrite a value":  # tomli names the end of the value
        line = text[text.rfind("\n", 0, offset) + 1 : offset]
        offset -= len(line.lstrip()) if "=" in line else 0
    return {}, _at(path, source, f"is not TOML: {_toml_words(said)}", Span(offset, offset + 1))


def _toml_words(said: str) -> str:
    """The parser's message in plainer words."""
    if said.startswith("Cannot declare"):
        return "this table is there already"
    return _TOML_WORDS.get(said, said[:1].lower() + said[1:])


_TOML_WORDS = {
    "Cannot overwrite a value": "this key is there already",
    "Unescaped '\\' in a string": "TOML takes no single backslash in double quotes: write the text between ''' and '''"
    ", which keep backslashes as they are",
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


def _at(path: Path, source: Source, message: str, span: Span | None) -> Problem:
    line, column, drawn = _drawn(source, span) if span else (0, 0, "")
    return Problem(path, line, column, "error", message, picture=drawn)


def _drawn(source: Source, span: Span) -> tuple[int, int, str]:
    """Line, column and picture of a span."""
    return *source.place(span.start), source.picture(span, IN_FILE)


def _no_rule(path: Path, document: Mapping[str, Any], source: Source, *, named: bool) -> Problem:
    """The problem of a file that has no `[rule]` table."""
    if "rule" in document:
        place = _places(source.text).get(("rule",))
        found = "[[rule]], a list" if isinstance(document["rule"], list) else kind_of(document["rule"])
        message = f"`rule` is {found}, expected one table [rule]"
        span = Span(place.key, place.key + 1) if place else None
        return _at(path, source, message, span)
    places = _places(source.text)
    for name in document:
        if name in RULE_KEYS:
            message = f"no [rule] table: `{name}` stands above the header of its table; it belongs in [rule]"
        elif near_name(name, ("rule",)):
            message = f"no [rule] table; found `{shortened(name)}`; did you mean `rule`?"
        else:
            continue
        place = places.get((name,))
        return _at(path, source, message, Span(place.key, place.key_end) if place else None)
    if "exceptions" in document or "containers" in document:
        return Problem(
            path, 0, 0, "error" if named else "warning", "is an exception list, not a rule: it is not applied"
        )
    half_a_rule = any(name in document for name in ("metadata", "transform"))
    if named or half_a_rule or not document:
        return Problem(path, 0, 0, "error", "no [rule] table: this is no rule file")
    return Problem(path, 0, 0, "warning", "no [rule] table: this is no rule file, passed over")


_MARKED: tuple[KeyPath, ...] = (("rule", "rule_id"), ("rule", "name"))
_NEEDED_PLACES = frozenset({*_MARKED, ("rule", "query")})
"""Those of a rule without problems: they stand in the first half of a file, the tables of threats after them."""


def _places(text: str, needed: Set[KeyPath] = frozenset()) -> Mapping[KeyPath, TomlPlace]:
    try:
        return toml_positions.find_places(text, needed)
    except RecursionError:
        return {}  # nested almost too deep: problems are shown without a line


def _read_document(path: Path, stamp: Stamp, *, document: Mapping[str, Any], text: str) -> RuleFile:
    """The rule of a document that has a `[rule]` table, and its problems in the order of their places."""
    source, places = Source(text), _places(text, _NEEDED_PLACES)
    findings = check_document(document)
    table = {name: value for name, value in document["rule"].items() if name not in OWN_NAMES}
    parts = {name: document[name] for name in ("metadata", "transform") if name in document}
    rule = None
    try:
        rule = Rule.model_validate({**table, **parts, "path": path, **_query_place(table, source, places)})
    except ValidationError as error:
        findings += findings_of(error, document)
    rule_id = table.get("rule_id")
    named = rule_id if isinstance(rule_id, str) and rule_id else None
    if findings:
        places = _places(text)
    problems = sorted(
        (_problem(finding, path, source=source, places=places, rule_id=named) for finding in dict.fromkeys(findings)),
        key=lambda problem: (problem.line, problem.column),
    )
    if any(problem.severity == "error" for problem in problems):
        rule = None
    marked = {key[-1]: places.get(key) for key in _MARKED}
    marks = {str(name): _drawn(source, Span(place.value, place.end)) for name, place in marked.items() if place}
    return RuleFile(path, stamp, rule, tuple(problems), marks)


def _query_place(table: Mapping[str, Any], source: Source, places: Mapping[KeyPath, TomlPlace]) -> dict[str, Any]:
    """The attributes of the rule that say where its query stands in the file."""
    place = places.get(("rule", "query"))
    query = table.get("query")
    if place is None or not isinstance(query, str):
        return {}
    start = toml_positions.string_start(source.text, place.value)
    spelled = source.text[start : toml_positions.string_end(source.text, place)]
    line, column = source.place(start)
    return {"query_line": line, "query_column": column, "query_escaped": spelled if spelled != query else ""}


def _problem(
    finding: FieldFinding, path: Path, *, source: Source, places: Mapping[KeyPath, TomlPlace], rule_id: str | None
) -> Problem:
    """The finding with its line, column and picture."""
    steps, at = finding.path, finding.at
    while steps and steps not in places:
        steps, at = steps[:-1], "key"
    place = places.get(steps)
    if place is None:
        return Problem(path, 0, 0, finding.severity, finding.message, rule_id)
    line, column, drawn = _drawn(
        source, Span(place.value, place.end) if at == "value" else Span(place.key, place.key_end)
    )
    return Problem(path, line, column, finding.severity, finding.message, rule_id, drawn)
