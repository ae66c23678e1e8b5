"""The reasons for missing alerts against their specification: keys, order, maxspan, until, the window, rivals."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Command, command
from tests.paths import SPECS
from tests.rule_tests.test_rule_tests import RULE

__all__ = ["command"]

SPEC = tomllib.loads((SPECS / "rule_tests/missing_alerts.toml").read_text())
OWN_QUERY = """'process where process.name : "nc*" and process.args_count > 2'"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rule = RULE.replace(OWN_QUERY, f"'''\n{SPEC['query']}'''").replace("Netcat started", "seq")
    (tmp_path / "seq.toml").write_text(rule.replace('"medium"', '"low"'))
    tests = (f'[[test]]\nname = "{case["name"]}"\n{case["test"]}' for case in SPEC["case"])
    (tmp_path / "seq.test.toml").write_text("\n".join(tests))
    return tmp_path


def test_the_reasons_for_a_missing_alert(command: Command, folder: Path) -> None:
    answer = command("test", folder, "--output", "json")
    assert answer.code == 1
    told = {test["name"]: test["messages"] for test in json.loads(answer.out)["tests"]}
    assert told == {case["name"]: case["told"] for case in SPEC["case"]}


def test_explain_shows_each_event_at_its_stage(command: Command, folder: Path) -> None:
    answer = command("test", folder, "--explain")
    page = """\
          event b
            stage 3: not met
              met      event.category == "network"  found "network"
              not met  destination.port > 1024
                        destination.port: found 44
                        expected: is greater than 1024
              by host.id: "h1"
"""
    assert page in answer.out
    answer = command("test", folder, "--explain", "--output", "json")
    by_name = {test["name"]: test["events"] for test in json.loads(answer.out)["tests"]}
    assert [(event["event"], event["label"], event["met"]) for event in by_name["apart"]] == [
        ("a", "stage 1", True),
        ("b", "stage 3", True),
    ]
