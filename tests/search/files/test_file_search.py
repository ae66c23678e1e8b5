"""Rules over files: what is refused before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.rules.rule import Rule
from runner.search.files.file_search import FileSearch
from tests.compiled import compiled

FILTER = {"meta": {"disabled": False, "negate": True}, "query": {"match_phrase": {"host.name": "lab"}}}


def rule_with(**fields: Any) -> Rule:
    base = {"rule_id": "r", "name": "r", "description": "r", "type": "eql", "language": "eql", "severity": "low"}
    return Rule.model_validate({**base, "risk_score": 1, "query": "process where true", **fields})


@pytest.mark.parametrize(
    ("filters", "paths", "refused"),
    [
        ([FILTER], ["events.ndjson"], True),
        ([{**FILTER, "meta": {"disabled": True}}], ["events.ndjson"], False),
        ([], ["events.ndjson"], False),
        ([FILTER], [], False),  # `check` reads no events: in a cluster the rule runs
    ],
)
async def test_a_rule_with_filters_is_refused_over_files(filters: list[Any], paths: list[str], refused: bool) -> None:
    problems = await FileSearch([Path(path) for path in paths]).prepare([compiled(rule_with(filters=filters))])
    assert [problem.severity for problem in problems] == (["error"] if refused else [])
    assert all("only a cluster can apply" in problem.message for problem in problems)
