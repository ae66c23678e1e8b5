"""`RuleFile`: what one file holds, a rule or the problems that keep it from being one.

The format is that of elastic/detection-rules: TOML with `[metadata]`, `[rule]` and `[transform]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runner.errors import Problem
from runner.messages.suggestions import near_name
from runner.messages.text_positions import Source, Span
from runner.rules import toml_positions
from runner.rules.discovery import Stamp, reason
from runner.rules.model_errors import RULE_KEYS, findings_of, kind_of, shortened
from runner.rules.rule import Rule
from runner.rules.rule_checks import OWN_NAMES, check_document
from runner.rules.toml_file import (
    decoded,
    parsed_toml,
    place_and_picture,
    places_in,
    problem_at,
    problem_of,
    read_bytes,
)
from runner.rules.toml_positions import KeyPath, TomlPlace


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What one file gave: a rule, or problems, or both (warnings; or the last good version of a file broken since)."""

    path: Path
    stamp: Stamp
    rule: Rule | None
    problems: tuple[Problem, ...] = ()
    marks: Mapping[str, tuple[int, int, str]] = field(default_factory=dict)
    """Line, column and picture of the keys `rule_id`, `name` and `exceptions_list`, for problems that involve other
    files."""
    named: bool = True
    """Whether the file was named itself, not found in a folder."""


def read_rule_file(path: Path, *, named: bool = True) -> RuleFile:
    """What one file holds; that a file is no rule file at all is an error if it was `named`, else a warning."""
    try:
        data, stamp = read_bytes(path)
    except (OSError, ValueError) as error:
        unread = Problem(path, 0, 0, "error", f"cannot be read: {reason(error)}", code="unreadable-file")
        return RuleFile(path, (0, 0, 0, 0, 0), None, (unread,))
    text, problem = decoded(path, data)
    if problem is None:
        document, problem = parsed_toml(path, text)
    if problem is not None:
        return RuleFile(path, stamp, None, (problem,))
    if not isinstance(document.get("rule"), dict):
        return RuleFile(path, stamp, None, (_no_rule(path, document, Source(text), named=named),))
    return replace(_read_document(path, stamp, document=document, text=text), named=named)


def _no_rule(path: Path, document: Mapping[str, Any], source: Source, *, named: bool) -> Problem:
    """The problem of a file that has no `[rule]` table."""
    if "rule" in document:
        place = places_in(source.text).get(("rule",))
        found = "[[rule]], a list" if isinstance(document["rule"], list) else kind_of(document["rule"])
        message = f"`rule` is {found}, expected one table [rule]"
        span = Span(place.key, place.key + 1) if place else None
        return problem_at(path, source, message, span, "no-rule")
    places = places_in(source.text)
    for name in document:
        if name in RULE_KEYS:
            message = f"no [rule] table: `{name}` stands above the header of its table; it belongs in [rule]"
        elif near_name(name, ("rule",)):
            message = f"no [rule] table; found `{shortened(name)}`; did you mean `rule`?"
        else:
            continue
        place = places.get((name,))
        return problem_at(path, source, message, Span(place.key, place.key_end) if place else None, "no-rule")
    if "exceptions" in document or "containers" in document:
        message = "is an exception list, not a rule: it is not applied"
        return Problem(path, 0, 0, "error" if named else "warning", message, code="no-rule")
    if "override" in document or "replace" in document:
        message = (
            "is a file of overrides, not a rule: it is not applied; name it with --overrides, or put it as "
            "overrides.toml into the folder that --rules names"
        )
        return Problem(path, 0, 0, "error", message, code="no-rule")
    half_a_rule = any(name in document for name in ("metadata", "transform"))
    if named or half_a_rule or not document:
        return Problem(path, 0, 0, "error", "no [rule] table: this is no rule file", code="no-rule")
    return Problem(path, 0, 0, "warning", "no [rule] table: this is no rule file, passed over", code="no-rule")


_MARKED: tuple[KeyPath, ...] = (("rule", "rule_id"), ("rule", "name"))
_LISTS: KeyPath = ("rule", "exceptions_list")
_NEEDED_PLACES = frozenset({*_MARKED, ("rule", "query")})
"""Those of a rule without problems: they stand in the first half of a file, the tables of threats after them."""


def _read_document(path: Path, stamp: Stamp, *, document: Mapping[str, Any], text: str) -> RuleFile:
    """The rule of a document that has a `[rule]` table, and its problems in the order of their places."""
    refers = "exceptions_list" in document["rule"]
    source, places = Source(text), places_in(text, _NEEDED_PLACES | ({_LISTS} if refers else set()))
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
        places = places_in(text)
    problems = sorted(
        (problem_of(finding, path, source=source, places=places, rule_id=named) for finding in dict.fromkeys(findings)),
        key=lambda problem: (problem.line, problem.column),
    )
    if any(problem.severity == "error" for problem in problems):
        rule = None
    marked = {key[-1]: places.get(key) for key in (*_MARKED, _LISTS)}
    spans = {str(name): Span(place.value, place.end) for name, place in marked.items() if place}
    marks = {name: place_and_picture(source, span) for name, span in spans.items()}
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
