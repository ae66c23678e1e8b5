"""`SavedQueryFiles`: the saved queries in Kibana's exports (NDJSON) beside rules; only changed files are read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import Problem
from runner.json_text import BrokenLine, read_document
from runner.rules.discovery import FoundFile, Stamp, find_files, reason
from runner.rules.model_errors import shortened
from runner.rules.saved_queries.saved_query import SavedQuery, is_saved_query, read_saved_query
from runner.rules.saved_queries.saved_query_rules import SavedQueries
from runner.rules.toml_file import read_bytes

_LARGEST = 64 << 20
"""In bytes."""
_MARK = b'"attributes"'


@dataclass(frozen=True, slots=True)
class _QueryFile:
    """The saved queries of one file; `failures` are those that are broken, by their ids."""

    stamp: Stamp
    found: Mapping[str, SavedQuery]
    failures: Mapping[str, str]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class SavedQueryFiles:
    """The files of one look at the folders of rules, by their paths; with `queries`, what they hold together."""

    files: Mapping[Path, _QueryFile] = field(default_factory=dict)
    queries: SavedQueries = field(default_factory=SavedQueries)


def read_saved_queries(rules: Sequence[Path], previous: SavedQueryFiles) -> SavedQueryFiles:
    """The saved queries in the folders of rules and beside single files of rules.

    A query that is broken since `previous` keeps its last good version, with a problem that says so. Of several with
    one id the first counts.
    """
    folders = [path for path in rules if path.is_dir()]
    beside = {path.parent for path in rules if not path.is_dir()}
    single = [file for folder in sorted(beside) for file in _files_in(folder)]
    found = find_files([*folders, *single], _is_wanted, "exports (*.ndjson)")
    files = {file.path: _read_again(file, previous.files.get(file.path)) for file in found.files}
    queries: dict[str, SavedQuery] = {}
    failures: dict[str, str] = {}
    problems = [problem for problem in found.problems if problem.severity == "error" and problem.file not in rules]
    for file in files.values():
        problems += file.problems
        failures |= file.failures
        for saved in file.found.values():
            first = queries.setdefault(saved.id, saved)
            if first is not saved and not _is_same(first, saved):
                text = f"another saved query has the id `{shortened(saved.id)}`, and counts: {first.file}:{first.line}"
                problems.append(Problem(saved.file, saved.line, 0, "warning", text, code="duplicate-saved-query"))
    for id_ in failures.keys() & previous.queries.found.keys() - queries.keys():
        kept = previous.queries.found[id_]
        queries[id_] = kept
        text = f"kept the last good version of the saved query `{shortened(kept.title)}`"
        problems.append(Problem(kept.file, kept.line, 0, "warning", text, code="kept-version"))
    return SavedQueryFiles(files, SavedQueries(queries, failures, tuple(problems)))


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _is_wanted(path.name) and path.is_file())
    except OSError:
        return []  # the folder of a rule that is not there either, which is said of the rule


def _is_wanted(name: str) -> bool:
    return name.endswith((".ndjson", ".jsonl"))


def _is_same(one: SavedQuery, other: SavedQuery) -> bool:
    return (one.query, one.language, one.filters) == (other.query, other.language, other.filters)


def _read_again(file: FoundFile, before: _QueryFile | None) -> _QueryFile:
    if before is not None and before.stamp == file.stamp:
        return before
    try:
        data, stamp = read_bytes(file.path, _LARGEST)
    except (OSError, ValueError) as error:
        text = f"cannot be read for saved queries: {reason(error)}"
        return _QueryFile(file.stamp, {}, {}, (Problem(file.path, 0, 0, "error", text, code="unreadable-file"),))
    if len(data) > _LARGEST:
        text = f"is not looked at for saved queries: it is larger than {_LARGEST >> 20} MiB"
        return _QueryFile(file.stamp, {}, {}, (Problem(file.path, 0, 0, "warning", text, code="unreadable-file"),))
    found: dict[str, SavedQuery] = {}
    failures: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if _MARK not in line:
            continue
        try:
            document = read_document(line)
        except BrokenLine as error:
            text = f"is no JSON object: {shortened(str(error), 200)}"
            problems.append(Problem(file.path, number, 0, "warning", text, code="unread-saved-query"))
            continue
        if not is_saved_query(document):
            continue
        id_ = str(document.get("id"))
        try:
            found.setdefault(id_, read_saved_query(document, file.path, number))
        except ValueError as error:
            failures[id_] = f"{error}, in {file.path}:{number}"
            text = f"the saved query `{shortened(id_)}` cannot be used: {error}"
            problems.append(Problem(file.path, number, 0, "error", text, code="unread-saved-query"))
    return _QueryFile(stamp, found, failures, tuple(problems))
