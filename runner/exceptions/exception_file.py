"""`ExceptionFile`: what one file of exceptions holds, in whichever of the three forms it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.errors import Problem
from runner.exceptions.item import ExceptionItem, FilePlace
from runner.exceptions.kibana_form import ListKey, read_detection_rules, read_lines
from runner.exceptions.plain_form import read_plain
from runner.exceptions.tables import Findings, Part
from runner.exceptions.value_lists import ValueLists
from runner.json_text import BrokenLine, read_document
from runner.messages.suggestions import did_you_mean
from runner.messages.text_positions import IN_FILE, Source, Span, picture
from runner.rules.discovery import Stamp, reason
from runner.rules.model_errors import shortened
from runner.rules.toml_file import decoded, parsed_toml, place_and_picture, places_in, read_bytes
from runner.rules.toml_positions import KeyPath, TomlPlace, spelled_offset, string_end, string_start

_LARGEST = 64 << 20
"""In bytes."""
_CALLED = "exception"
_LINES = (".ndjson", ".jsonl", ".json")
_NO_STAMP: Stamp = (0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ExceptionFile:
    """The sound items of a file and its problems; `references` are the lists that rules in it refer to, by rule id."""

    path: Path
    stamp: Stamp
    items: tuple[ExceptionItem, ...] = ()
    problems: tuple[Problem, ...] = ()
    references: Mapping[str, frozenset[ListKey]] = field(default_factory=dict)

    @property
    def is_broken(self) -> bool:
        """Whether something in it costs an item."""
        return any(problem.severity == "error" for problem in self.problems)


def read_exception_file(path: Path, lists: ValueLists, *, named: bool = True) -> ExceptionFile:
    """What one file holds; that it is no file of exceptions is an error if it was `named`, else a warning."""
    try:
        data, stamp = read_bytes(path, _LARGEST)
    except (OSError, ValueError) as error:
        problem = Problem(path, 0, 0, "error", f"cannot be read: {reason(error)}", code="unreadable-file")
        return ExceptionFile(path, _NO_STAMP, problems=(problem,))
    text, trouble = decoded(path, data, expected=_CALLED, largest=_LARGEST)
    if trouble is not None:
        return ExceptionFile(path, stamp, problems=(trouble,))
    if path.name.endswith(_LINES):
        return _of_lines(path, stamp, text, lists)
    document, trouble = parsed_toml(path, text, expected=_CALLED)
    if trouble is not None:
        return ExceptionFile(path, stamp, problems=(trouble,))
    findings = Findings(TomlLocator(path, text))
    if "exception" in document:
        items = read_plain(document, findings, lists, path)
    elif "exceptions" in document:
        items = read_detection_rules(document, findings, lists)
    elif not document:  # comments alone
        items = []
    else:
        items = []
        near = "; it is a rule" if "rule" in document else did_you_mean(next(iter(document), ""), ("exception",))
        message = f"no [[exception]] and no [[exceptions]]: this is no file of exceptions{near}"
        findings.add((), message, severity="error" if named or near else "warning", code="no-exception")
    return ExceptionFile(path, stamp, tuple(items), tuple(_sorted(findings.problems)))


def _sorted(problems: list[Problem]) -> list[Problem]:
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column))


class TomlLocator:
    """The place in a TOML file of what stands at a path of keys, or of the nearest thing around it.

    After the path of a text, a number is a place in that text.
    """

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._source = path, Source(text)
        self._places: Mapping[KeyPath, TomlPlace] | None = None

    def __call__(self, path: KeyPath, part: Part) -> FilePlace:
        if self._places is None:
            self._places = places_in(self._source.text)
        if path[-2:-1] == ("where",) and isinstance(path[-1], int) and (place := self._places.get(path[:-1])):
            return self._at(self._within(place, path[-1]))
        while path and path not in self._places:
            path, part = path[:-1], "key"
        found = self._places.get(path)
        if found is None:
            return FilePlace(self._path)
        return self._at(Span(found.value, found.end) if part == "value" else Span(found.key, found.key_end))

    def _within(self, place: TomlPlace, offset: int) -> Span:
        text = self._source.text
        start = string_start(text, place.value)
        spelled = text[start : string_end(text, place)]
        at = start + (spelled_offset(spelled, offset) if text[place.value] == '"' else offset)
        at = min(max(at, start), place.end)
        return Span(at, at + 1)

    def _at(self, span: Span) -> FilePlace:
        line, column, drawn = place_and_picture(self._source, span)
        return FilePlace(self._path, line, column, drawn)


def _of_lines(path: Path, stamp: Stamp, text: str, lists: ValueLists) -> ExceptionFile:
    """The items of an export: one document a line."""
    lines = text.split("\n")

    def locate(place: KeyPath, part: Part) -> FilePlace:
        line = place[0] if place and isinstance(place[0], int) else 0
        if not line:
            return FilePlace(path)
        written, column = lines[line - 1], 0
        for key in place[1:]:
            column = max(column, written.find(f'"{key}"', column)) if isinstance(key, str) else column
        column += 1
        return FilePlace(path, line, column, picture(written, line, IN_FILE, column=column))

    findings = Findings(locate)
    documents: list[tuple[int, Mapping[str, Any]]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            documents.append((number, read_document(line.encode("utf-8", "surrogatepass"))))
        except BrokenLine as error:
            findings.add((number,), f"is no JSON object: {shortened(str(error), 200)}")
    items, references = read_lines(documents, findings, lists)
    if not items and not references and not any("list_id" in document for _, document in documents):
        findings.add((), "no exception list and no item in this file", severity="warning", code="no-exception")
    return ExceptionFile(path, stamp, tuple(items), tuple(_sorted(findings.problems)), references)
