"""What is doubted in rules that can be run: the code and the place of each finding, and the codes themselves."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.checks.codes import CODES
from runner.checks.rule_findings import rule_doubts
from runner.events.fields.schema import shipped_schema
from runner.rules.rule import Rule
from runner.search.compiled_rule import compile_rule
from tests.paths import ROOT

SPECS = ROOT / "tests/specs/checks/findings.toml"
CASES: list[dict[str, Any]] = tomllib.loads(SPECS.read_text())["case"]
SCHEMA = replace(shipped_schema(), lenient=True)


def rule_of(query: str, *, language: str = "eql", index: tuple[str, ...] = ("logs-endpoint.events.*",)) -> Rule:
    return Rule.model_validate(
        {
            "rule_id": "r", "name": "r", "description": "r", "severity": "low", "risk_score": 1, "path": Path("r.toml"),
            "type": "eql" if language == "eql" else "query", "language": language, "query": query, "index": index,
            "from": "now-9m", "query_line": 1, "query_column": 1,
        }
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case["query"] for case in CASES])
def test_what_is_doubted(case: dict[str, Any]) -> None:
    query = case["query"]
    more = {key: case[key] for key in ("language",) if key in case}
    rule = rule_of(query, index=tuple(case.get("index", ("logs-endpoint.events.*",))), **more)
    found = []
    for problem in rule_doubts(compile_rule(rule), SCHEMA):
        assert (problem.severity, problem.line) == ("warning", 1)
        width = problem.picture.count("^")
        found.append(f"{problem.code} {query[problem.column - 1 : problem.column - 1 + width]}")
    assert sorted(found) == sorted(case["found"])


def test_every_code_is_documented() -> None:
    page = (ROOT / "docs/checks.md").read_text()
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)) == set(CODES)


def test_every_code_in_the_code_is_in_the_table() -> None:
    written = set()
    for file in (ROOT / "runner").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        written |= set(re.findall(r'\bcode(?:: str)? ?= ?"([a-z0-9-]+)"', text))
    assert written <= set(CODES)
