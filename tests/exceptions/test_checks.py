"""What is doubtful in exceptions, given the rules and the time."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runner.exceptions import check_exceptions, load_exceptions
from tests.paths import SPECS
from tests.search.lab import rule

_FILE = tomllib.loads((SPECS / "exceptions/checks.toml").read_text())
RULES = [rule(**given) for given in _FILE["rules"]]
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def written(value: object) -> str:
    """A value as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {written(inner)}' for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)


@pytest.mark.parametrize("case", _FILE["case"], ids=lambda case: str(case["says"])[:60])
def test_check_says(case: Mapping[str, Any], tmp_path: Path) -> None:
    keys = {"name": "A", "reason": "r", "expires": "never", **case}
    lines = [f"{key} = {written(value)}" for key, value in keys.items() if key != "says"]
    (tmp_path / "a.toml").write_text("\n".join(["[[exception]]", *lines]))
    loaded = load_exceptions([tmp_path / "a.toml"])
    assert not loaded.problems
    found = check_exceptions(loaded, RULES, NOW)
    assert len(found) == len(case["says"]), [str(one) for one in found]
    for problem, expected in zip(found, case["says"], strict=True):
        assert problem.message.removeprefix("exception `A`").lstrip(": ").startswith(expected)
        assert problem.line
        assert problem.picture


DETECTION_RULES = """
[metadata]
creation_date = "2026/03/01"
updated_date = "2026/03/01"
list_name = "L"
rule_ids = ["one"]
rule_names = ["One"]
[[exceptions]]
[exceptions.container]
name = "L"
description = "d"
list_id = "l"
type = "detection"
[[exceptions.items]]
name = "A"
description = "d"
list_id = "l"
type = "simple"
comments = []
entries = [{ field = "process.name", type = "match", operator = "included", value = "x" }]
"""


@pytest.mark.parametrize(
    ("refer", "says"),
    [
        ((), ["is for rule one, but that rule's `exceptions_list` has no `l`"]),
        (("one",), []),
        (
            ("two",),
            [
                "is for rule one, but that rule's `exceptions_list` has no `l`",
                "rule two refers to its list `l`, but `rule_ids` has it not",
            ],
        ),
        (("one", "two"), ["rule two refers to its list `l`, but `rule_ids` has it not"]),
    ],
)
def test_both_directions_of_reference(refer: tuple[str, ...], says: list[str], tmp_path: Path) -> None:
    (tmp_path / "l_exceptions.toml").write_text(DETECTION_RULES)
    lists = {rule_id: [{"list_id": "l"}] if rule_id in refer else [] for rule_id in ("one", "two")}
    rules = [rule(rule_id=rule_id, exceptions_list=named) for rule_id, named in lists.items()]
    loaded = load_exceptions([tmp_path])
    assert not loaded.problems
    assert [one.message for one in check_exceptions(loaded, rules, NOW)] == [f"exception `A`: {text}" for text in says]
    applied = {one.rule_id for one in rules if loaded.for_rule(one, NOW)}
    assert applied == {"one", *refer}
    (gone,) = check_exceptions(loaded, [rule(rule_id="three")], NOW)
    assert gone.message == "exception `A`: no rule that is here refers to its list `l`: it removes nothing"
