"""What is said of a failed search: whose it is, which shards failed, where in the rule's file its query is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from runner.elastic import reason_of
from runner.errors import SearchError
from runner.rules.rule import Rule

PLACE = re.compile(r"^line (?P<line>-?\d+):(?P<column>-?\d+): (?P<text>.+)$", re.MULTILINE)
"""One finding about a query, as Elasticsearch writes it."""

_UNKNOWN_COLUMN = re.compile(
    r"Unknown column \[(?P<field>[^\]]+)\](?:, did you mean (?:any of )?\[(?P<near>[^\]]+)\])?"
)


def subject_of(rule: Rule) -> str:
    """The rule, to begin an error message with."""
    return f'rule "{rule.name}" ({rule.rule_id})'


def failed_shards(failures: Sequence[Mapping[str, Any]]) -> str:
    """How many shards failed, and why the first one did."""
    index = failures[0].get("index")
    where = f" of {index}" if index else ""
    return f"failed shards: {len(failures)}, the first{where}: {reason_of(failures[0].get('reason'))[1]}"


def query_error(reason: str, rule: Rule) -> SearchError:
    """The error for a query that the indices cannot answer; `reason` is Elasticsearch's, or the local engine's."""
    problems = [_problem(found, rule) for found in PLACE.finditer(reason)] or [reason]
    return SearchError(f"{subject_of(rule)}: {'; '.join(problems)}", rule_id=rule.rule_id, retryable=False)


def _problem(found: re.Match[str], rule: Rule) -> str:
    """One of the findings about the query, with its place in the rule's file."""
    line, column, text = int(found["line"]), int(found["column"]), found["text"]
    if unknown := _UNKNOWN_COLUMN.search(text):
        near = f"; did you mean {_quoted(unknown['near'])}?" if unknown["near"] else ""
        text = f"no index of {', '.join(rule.index)} has the field `{unknown['field']}`{near}"
    if line < 1:
        return text
    if rule.path.name:
        shift = rule.query_column - 1 if line == 1 else 0
        return f"{rule.path}:{rule.query_line + line - 1}:{column + shift}: {text}"
    return f"query line {line}, column {column}: {text}"


def _quoted(names: str) -> str:
    return " or ".join(f"`{name.strip()}`" for name in names.split(","))
