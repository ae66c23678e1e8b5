"""Compiled rules: where a problem of a query stands in its file, and what double quotes of TOML do to backslashes."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import Problem
from runner.rules.load import load_rules
from runner.search.compiled_rule import compile_rules
from tests.rules.test_load import rule_text


def problems_of(folder: Path, query: str) -> list[Problem]:
    file = folder / "rule.toml"
    file.write_text(rule_text("one").replace('query = "process where true"', f"query = {query}"))
    loaded = load_rules([file])
    assert not loaded.errors
    return compile_rules(loaded.rules)[1]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ('"""\nany where x : "C:\\\\Windows\\\\*"\n"""', 'any where x : "C:\\\\Windows\\\\*"'),
        ('"any where x : \\"C:\\\\Windows\\""', 'any where x : \\"C:\\\\Windows\\"'),
    ],
)
def test_of_backslashes_that_toml_took_the_line_of_the_file_is_shown(tmp_path: Path, query: str, shown: str) -> None:
    (problem,) = problems_of(tmp_path, query)
    assert problem.severity == "error"
    assert "token recognition error" in problem.text
    assert "write the query between ''' and '''" in problem.text
    assert shown in problem.picture
    lines = (tmp_path / "rule.toml").read_text().splitlines()
    assert lines[problem.line - 1][problem.column - 1 :].startswith(('"C:', '\\"C:'))


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ('"""\nany where a == 1 and\n  x : "C:\\\\new\\\\temp"\n"""', "\\\\new"),
        ('"""any where x : "C:\\temp"\n"""', "\\temp"),
        ('"any where x : \\"C:\\\\recycler\\""', "\\\\recycler"),
    ],
)
def test_control_characters_made_of_backslashes_are_a_warning(tmp_path: Path, query: str, place: str) -> None:
    (problem,) = problems_of(tmp_path, query)
    assert problem.severity == "warning"
    lines = (tmp_path / "rule.toml").read_text().splitlines()
    assert lines[problem.line - 1][problem.column - 1 :].startswith(place)


@pytest.mark.parametrize(
    "query",
    [
        "'''any where x : \"C:\\\\new\\ttemp\"'''",  # no quotes that take anything: what EQL reads is what was meant
        '"""any where x : "C:\\\\\\\\new"\n"""',
        '"""\n\tany where\tx : "a" and y == \\"\\"\\"C:\\\\new\\"\\"\\"\n"""',
        '"sequence\\n [any where x : \\"a\\"]\\n [any where true]"',
    ],
)
def test_other_escapes_are_none(tmp_path: Path, query: str) -> None:
    assert problems_of(tmp_path, query) == []
