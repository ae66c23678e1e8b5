"""Rule tests with the exceptions beside the rules."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command, command
from tests.paths import SPECS
from tests.rule_tests.test_rule_tests import RULE

__all__ = ["command"]

SPEC = tomllib.loads((SPECS / "rule_tests.toml").read_text())
QUERY = 'process where process.name : "nc*" and process.args_count > 2'


def written(case: dict[str, Any]) -> None:
    """The rule, its exceptions and its test, as files."""
    Path("rules/exceptions").mkdir(parents=True)
    Path("rules/nc.toml").write_text(RULE.replace(QUERY, case.get("rule", QUERY)) + 'tags = ["T"]\n')
    Path("rules/exceptions/e.toml").write_text(case.get("exceptions", SPEC["exceptions"]))
    if not case.get("exceptions", "x"):
        Path("rules/exceptions/e.toml").unlink()
    keys, *tables = case["test"].split("[[test.alert]]")
    expected = "".join(f"[[test.alert]]{table}" for table in tables)
    events = case.get("events", SPEC["events"])
    Path("rules/nc.test.toml").write_text(f'[[test]]\nname = "t"\n{keys}\n{events}{expected}')


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in SPEC["case"]])
def test_cases(case: dict[str, Any], command: Command) -> None:
    written(case)
    answer = command("test", "rules")
    assert answer.code == (1 if "told" in case else 0), answer
    for part in case.get("told", ()):
        assert part in (answer.out + answer.err).replace("rules/exceptions", "exceptions")


def test_exceptions_named_on_the_command_line_apply(command: Command) -> None:
    case = SPEC["case"][1]
    written(case)
    Path("rules/exceptions").rename("mine")
    assert command("test", "rules").code == 1
    assert command("test", "rules", "--exceptions", "mine").code == 0


def test_events_in_files_are_named_by_their_document_ids_too(command: Command) -> None:
    written({"name": "n", "test": 'files = "hits.ndjson"\nalerts = 0\nexcepted = [7]\n', "events": ""})
    source = (
        '{"@timestamp":"2026-03-02T10:00:00Z","event":{"category":"process"},'
        '"process":{"name":"nc","args_count":4,"args":["--nightly"],"parent":{"executable":"/opt/backup/agent"}}}'
    )
    Path("rules/hits.ndjson").write_text(f'{{"_index":"logs-x","_id":"7","_source":{source}}}\n')
    answer = command("test", "rules")
    assert answer.code == 0, answer
