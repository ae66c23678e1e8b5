"""`check` in CI: what fails, in which form it is told, which fields count, and what is allowed to stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Command
from tests.cluster.elasticsearch_stand_in import standing_in
from tests.scenarios.timeline import rule_text

QUERY = 'process where acme.user == "x" and process.name == "a*"'


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A folder with a rule that has two warnings, and one without any."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "doubtful.toml").write_text(rule_text("doubtful", {"query": QUERY}))
    (folder / "fine.toml").write_text(rule_text("fine", {"query": "process where true"}))
    return folder


def codes(command: Command, *arguments: object) -> list[str]:
    return [one["code"] for one in command("check", "--output", "json", *arguments).json["problems"]]


def test_warnings_fail_where_it_is_strict(command: Command, rules: Path) -> None:
    assert command("check").code == 0
    assert command("check", "--strict").code == 1
    assert command("check", "--strict", "rules/fine.toml").code == 0
    assert codes(command) == ["unknown-field", "wildcard-in-equality"]
    assert "[wildcard-in-equality]\n" in command("check").out


def test_junit_has_a_case_for_each_file(command: Command, rules: Path) -> None:
    def failures(*arguments: str) -> dict[str | None, list[str | None]]:
        answer = command("check", "--format", "junit", *arguments)
        cases = ElementTree.fromstring(answer.out).iter("testcase")
        return {case.get("name"): [one.get("type") for one in case.iter("failure")] for case in cases}

    assert failures() == {"rules/doubtful.toml": [], "rules/fine.toml": []}
    assert failures("--strict")["rules/doubtful.toml"] == ["unknown-field", "wildcard-in-equality"]


def test_sarif_names_place_and_rule(command: Command, rules: Path) -> None:
    log = command("check", "--format", "sarif").json
    (run,) = log["runs"]
    assert (log["version"], run["tool"]["driver"]["name"]) == ("2.1.0", "rule-runner")
    described = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert described[result["ruleIndex"]] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("rules/doubtful.toml", 13)
        assert result["level"] == "warning"
    marks = {result["partialFingerprints"]["ruleRunnerFinding/v1"] for result in run["results"]}
    assert len(marks) == len(run["results"]) == 2


def test_annotations_are_one_line_each_whatever_the_text(command: Command, rules: Path) -> None:
    (rules / "fine.toml").write_text(rule_text("fine", {"query": "process where\n% =", "severty": "x"}))
    lines = command("check", "--format", "github").out.splitlines()
    assert all(line.startswith(("::warning file=rules/", "::error file=rules/")) for line in lines)
    assert any("title=unknown-key::unknown key `severty`" in line for line in lines)


def test_gitlab_gets_a_list(command: Command, rules: Path) -> None:
    found = command("check", "--format", "gitlab").json
    assert [one["check_name"] for one in found] == ["unknown-field", "wildcard-in-equality"]
    assert found[0]["location"] == {"path": "rules/doubtful.toml", "lines": {"begin": 13}}


def test_a_form_that_is_not_known_is_refused(command: Command, rules: Path) -> None:
    answer = command("check", "--format", "sarf")
    assert (answer.code, "did you mean `sarif`?" in answer.err) == (3, True)


CAPS = {"indices": ["i"], "fields": {"acme.user": {"keyword": {"type": "keyword", "metadata_field": False}}}}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"properties": {"acme": {"properties": {"user": {"type": "keyword"}}}}}, ["wildcard-in-equality"]),
        ({"logs": {"mappings": {"properties": {"acme.user": {"type": "keyword"}}}}}, ["wildcard-in-equality"]),
        (CAPS, ["wildcard-in-equality"]),
        ({"properties": {"acme": {"properties": {"user": {"type": "long"}}}}}, ["query-type"]),
        (
            {
                "a": {"mappings": {"properties": {"acme.user": {"type": "keyword"}}}},
                "b": {"mappings": {"properties": {"acme.user": {"type": "long"}}}},
            },
            ["query-type"],
        ),
    ],
)
def test_a_mapping_knows_own_fields(command: Command, rules: Path, given: Any, found: list[str]) -> None:
    (rules.parent / "mapping.json").write_text(json.dumps(given))
    assert [code for code in found if code not in codes(command, "--mapping", "mapping.json")] == []
    assert "unknown-field" not in codes(command, "--mapping", "mapping.json")


def test_what_is_no_mapping_is_refused(command: Command, rules: Path) -> None:
    (rules.parent / "mapping.json").write_text("[]")
    answer = command("check", "--mapping", "mapping.json")
    assert (answer.code, "a mapping must be a JSON object" in answer.err) == (3, True)
    assert command("check", "--mapping", "mapping.json", "--from-cluster").code == 3
    assert "no cluster is set" in command("check", "--from-cluster").err


ALLOW = "# rule-runner: allow {}\n"


@pytest.mark.parametrize(
    ("comment", "found"),
    [
        ("unknown-field acme.* -- our pipeline", ["wildcard-in-equality"]),
        ("unknown-field -- our pipeline", ["wildcard-in-equality"]),
        ("unknown-field acme.user, acme.host -- our pipeline", ["wildcard-in-equality"]),
        ("unknown-field acme -- our pipeline", ["unused-allowance", "unknown-field", "wildcard-in-equality"]),
        ("never-true -- why", ["unused-allowance", "unknown-field", "wildcard-in-equality"]),
        ("unknown-field acme.*", ["unreadable-allowance", "unknown-field", "wildcard-in-equality"]),
        ("unknown-feild -- why", ["unreadable-allowance", "unknown-field", "wildcard-in-equality"]),
    ],
)
def test_a_comment_lets_a_finding_stand(command: Command, rules: Path, comment: str, found: list[str]) -> None:
    file = rules / "doubtful.toml"
    file.write_text(ALLOW.format(comment) + file.read_text())
    assert codes(command) == codes(command, file) == found


def test_what_is_allowed_is_counted_and_shown(command: Command, rules: Path) -> None:
    file = rules / "doubtful.toml"
    file.write_text(ALLOW.format("unknown-field -- our pipeline") + file.read_text())
    (rules.parent / "overrides.toml").write_text(
        '[[allow]]\ncode = "wildcard-in-equality"\nrules = "doubtful"\nreason = "its very name"\n'
    )
    answer = command("check", "--strict")
    assert (answer.code, answer.out) == (0, "2 files, 2 rules: 0 errors, 0 warnings (2 allowed findings)\n")
    shown = command("check", "--show-allowed").out
    assert "allowed: our pipeline [unknown-field]" in shown and "allowed: its very name [wildcard-in-eq" in shown
    found = command("check", "--output", "json", "--show-allowed").json
    assert (found["allowed"], [one["reason"] for one in found["allowed_problems"]]) == (
        2, ["our pipeline", "its very name"],
    )  # fmt: skip


def test_allowances_in_overrides_are_checked(command: Command, rules: Path) -> None:
    (rules.parent / "overrides.toml").write_text(
        '[[allow]]\ncode = "wildcard-in-equality"\nrules = "fine"\nreason = "r"\n[[allow]]\ncode = "x"\nreason = "r"\n'
        '[[allow]]\ncodes = "x"\n'
    )
    assert sorted(set(codes(command))) == [
        "missing-key", "unknown-field", "unknown-key", "unreadable-allowance", "unused-allowance",
        "wildcard-in-equality",
    ]  # fmt: skip
    assert "unused-allowance" not in codes(command, "rules/doubtful.toml")


def test_an_error_is_not_allowed(command: Command, rules: Path) -> None:
    text = rule_text("fine", {"query": "process where process.name : 1"})
    (rules / "fine.toml").write_text(ALLOW.format("query-type -- why") + text)
    assert command("check", "rules/fine.toml").code == 1


def test_an_exception_that_leaves_nothing_is_told(command: Command, rules: Path) -> None:
    (rules / "fine.toml").write_text(rule_text("fine", {"query": 'process where process.name in ("a", "b")'}))
    (rules.parent / "exceptions").mkdir()
    file = rules.parent / "exceptions/a.toml"
    start = '[[exception]]\nname = "e"\nreason = "r"\nexpires = "never"\nrules = "fine"\n[exception.when]\n'
    file.write_text(start + '"process.name" = ["a", "b", "c"]\n')
    assert "exception-removes-all" in codes(command)
    file.write_text(start + '"process.name" = ["a", "c"]\n')
    assert "exception-removes-all" not in codes(command)
    file.write_text(start + '"process.name" = ["a", "b"]\n"host.name" = "x"\n')
    assert "exception-removes-all" not in codes(command)


def test_a_cluster_knows_the_fields_of_its_indices(command: Command, rules: Path) -> None:
    kql = {"type": "query", "language": "kuery", "query": "acme.user: x"}
    (rules / "kql.toml").write_text(rule_text("kql", kql))
    (rules / "fine.toml").write_text(rule_text("fine", {"query": "process where ?acme.user == 1 or host.id"}))
    with standing_in() as cluster:
        answer = command("check", "--from-cluster", "--output", "json", env={"ELASTICSEARCH_HOSTS": cluster.url})
        found = {(Path(one["file"]).stem, one["code"], one["severity"]) for one in answer.json["problems"]}
        assert found == {
            ("doubtful", "unknown-field", "error"),  # as a search in EQL ends with it
            ("fine", "query-type", "error"),
            ("kql", "unknown-field", "warning"),
        }
        cluster.spoil = lambda kind, answer: answer | {"indices": []} if kind == "field caps" else answer
        answer = command("check", "--from-cluster", "--output", "json", env={"ELASTICSEARCH_HOSTS": cluster.url})
        assert sum(one["code"] == "no-index" for one in answer.json["problems"]) == 3
        cluster.spoil = lambda kind, answer: []
        assert command("check", "--from-cluster", env={"ELASTICSEARCH_HOSTS": cluster.url}).code == 4
