"""Overrides: what they make of rules, every problem with its place, and what a broken file keeps."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Problem
from runner.rules.rule import Rule
from runner.selection import check_overrides, select_rules
from tests.paths import SHARED, SPECS
from tests.selection.rules import with_overrides, written_rules

CORPUS = SHARED / "corpus" / "detection-rules"


def cases(name: str) -> Any:
    return tomllib.loads((SPECS / "selection" / name).read_text())["case"]


def said(problems: Sequence[Problem], file: Path) -> list[str]:
    return [
        f"{one.line}:{one.column}: {one.severity}: {one.message.replace(str(file), '{file}')}"
        for one in problems
        if one.file == file
    ]


def assert_says(found: list[str], expected: Sequence[str]) -> None:
    assert len(found) == len(expected), found
    for one, start in zip(found, expected, strict=True):
        assert one.startswith(start)


def fields(rule: Rule) -> dict[str, Any]:
    return rule.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"query_line", "query_column"})


@pytest.mark.parametrize("case", cases("overrides.toml"), ids=lambda case: case["why"])
def test_what_becomes_of_the_rules(case: Mapping[str, Any], tmp_path: Path) -> None:
    rules = written_rules(tmp_path)
    before = {rule.rule_id: fields(rule) for rule in select_rules([rules]).loaded.known}
    selected = with_overrides(tmp_path, case["file"])
    changed = case.get("rules", {})
    expected: dict[str, Any] = {rule_id: {**one, **changed.get(rule_id, {})} for rule_id, one in before.items()}
    if case["why"] == "suppression ended":
        del expected["one"]["alert_suppression"]
    for rule in selected.loaded.rules:
        assert fields(rule) == expected[rule.rule_id] | {"enabled": rule.enabled}
    runs = [rule.rule_id for rule in selected.loaded.rules if rule.enabled]
    assert sorted(runs) == sorted(case.get("runs", [name for name in ("one", "two") if expected[name]["enabled"]]))
    assert_says(said(selected.loaded.problems, tmp_path / "overrides.toml"), case.get("problems", []))


@pytest.mark.parametrize("case", cases("problems.toml"), ids=lambda case: case["problems"][0])
def test_problems(case: Mapping[str, Any], tmp_path: Path) -> None:
    written_rules(tmp_path)
    (tmp_path / "named.toml").write_text(case["file"])
    selected = select_rules([tmp_path / "rules"], [tmp_path / "named.toml"])
    assert_says(said(selected.loaded.problems, tmp_path / "named.toml"), case["problems"])
    assert len(selected.loaded.rules) == 3
    assert not any(one.changes for one in selected.overridden.values())


@pytest.mark.parametrize("case", cases("doubts.toml"), ids=lambda case: case["file"])
def test_doubts(case: Mapping[str, Any], tmp_path: Path) -> None:
    written_rules(tmp_path)
    selected = with_overrides(tmp_path, case["file"])
    assert_says(said(check_overrides(selected), tmp_path / "overrides.toml"), case["says"])


SETTABLE: dict[str, list[Any]] = {
    "severity": ["low", "high", "critical"],
    "risk_score": [0, 50, 99],
    "max_signals": [1, 10],
    "interval": ["1m", "2m"],
}
VALUES = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in SETTABLE.items()})
NAMES = st.lists(st.sampled_from(["one", "two", "off"]), min_size=1, unique=True)
OVERRIDES = st.lists(st.tuples(NAMES, VALUES.filter(bool)), max_size=8)


@pytest.fixture(scope="module")
def shared_rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_rules(tmp_path_factory.mktemp("rules"))


@given(overrides=OVERRIDES)
def test_the_last_match_wins(overrides: list[tuple[list[str], dict[str, Any]]], shared_rules: Path) -> None:
    text = ""
    for rules, values in overrides:
        lines = [f"{key} = {value!r}" for key, value in values.items()]
        text += "\n".join(["[[override]]", f"rules = {rules!r}", *lines, ""])
    selected = with_overrides(shared_rules.parent, text)
    written = {rule.rule_id: rule for rule in selected.written.rules}
    for rule in selected.loaded.rules:
        for key in SETTABLE:
            expected = getattr(written[rule.rule_id], key)
            for rules, values in overrides:
                expected = values.get(key, expected) if rule.rule_id in rules else expected
            assert getattr(rule, key) == expected
    assert not any(problem.severity == "error" for problem in selected.loaded.problems)


def test_a_file_that_breaks_keeps_its_last_good_version(tmp_path: Path) -> None:
    rules = written_rules(tmp_path)
    good = with_overrides(tmp_path, '[[override]]\nrules = "one"\nseverity = "critical"\n')
    assert select_rules([rules], previous=good) is good
    (tmp_path / "overrides.toml").write_text('[[override]]\nrules = "one"\nseverity = "low"\nrisk_score = 1000\n')
    broken = select_rules([rules], previous=good)
    assert [rule.severity for rule in broken.loaded.rules if rule.rule_id == "one"] == ["critical"]
    found = said(broken.loaded.problems, tmp_path / "overrides.toml")
    assert_says(found, ["4:14: error: `risk_score` is 1000", "0:0: error: kept the last good version of the overrides"])
    assert select_rules([rules], previous=broken) is broken
    (tmp_path / "overrides.toml").unlink()
    gone = select_rules([rules], previous=broken)
    assert [rule.severity for rule in gone.loaded.rules if rule.rule_id == "one"] == ["low"]
    assert not gone.loaded.problems or "overrides" not in str(gone.loaded.problems)


def test_a_named_file_that_is_gone_keeps_its_last_good_version(tmp_path: Path) -> None:
    rules, file = written_rules(tmp_path), tmp_path / "mine.toml"
    file.write_text('[[override]]\nrules = "one"\nseverity = "critical"\n')
    good = select_rules([rules], [file])
    file.unlink()
    gone = select_rules([rules], [file], previous=good)
    assert [rule.severity for rule in gone.loaded.rules if rule.rule_id == "one"] == ["critical"]
    assert select_rules([rules], [file], previous=gone) is gone


def test_a_rule_that_an_override_does_not_change_stays_the_same_object(tmp_path: Path) -> None:
    rules = written_rules(tmp_path)
    text = "[[override]]\nall_rules = true\nrisk_score = 5\n"
    first = with_overrides(tmp_path, text)
    (tmp_path / "overrides.toml").write_text(text + '[[override]]\nrules = "two"\nseverity = "low"\n')
    second = select_rules([rules], previous=first)
    pairs = zip(first.loaded.rules, second.loaded.rules, strict=True)
    assert {one.rule_id: one is other for one, other in pairs} == {"off": True, "one": True, "two": False}


def test_files_beside_and_in_the_folder_and_the_nearer_wins(tmp_path: Path) -> None:
    rules = written_rules(tmp_path)
    (tmp_path / "overrides.toml").write_text('[[override]]\nall_rules = true\nseverity = "low"\nrisk_score = 1\n')
    (rules / "overrides.toml").write_text('[[override]]\nrules = "two"\nrisk_score = 2\n')
    selected = select_rules([rules])
    assert {rule.rule_id: (rule.severity, rule.risk_score) for rule in selected.loaded.rules}["two"] == ("low", 2)
    assert not [one for one in selected.loaded.problems if one.severity == "error"]
    (rules / "linux").mkdir()
    (rules / "two.toml").rename(rules / "linux/two.toml")
    for path in (rules / "linux", rules / "linux/two.toml"):
        (rule,) = select_rules([path]).loaded.rules
        assert (rule.severity, rule.risk_score) == ("low", 2)
    off = select_rules([rules], [Path("off")])
    assert {rule.rule_id: rule.risk_score for rule in off.loaded.rules}["two"] == 47


def test_a_strange_file_of_that_name_beside_the_rules_is_passed_over(tmp_path: Path) -> None:
    rules = written_rules(tmp_path)
    selected = with_overrides(tmp_path, "[theme]\ncolor = 1\n")
    assert_says(said(selected.loaded.problems, tmp_path / "overrides.toml"), ["0:0: warning: no [[override]] and no"])
    (rules / "linux").mkdir()
    (rules / "linux/overrides.toml").write_text("[[override]]\nall_rules = true\nenabled = false\n")
    below = select_rules([rules])
    assert_says(
        said(below.loaded.problems, rules / "linux/overrides.toml"), ["0:0: error: is a file of overrides, not"]
    )


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no rule corpus beside the project")
def test_every_public_rule_can_be_changed(tmp_path: Path) -> None:
    (tmp_path / "o.toml").write_text(
        '[[override]]\nall_rules = true\nseverity = "critical"\nlook_back = "3d"\nnote = "N"\nenabled = false\n'
        '[[override]]\nselect = "os:linux tactic:Execution"\nenabled = true\n'
    )
    selected = select_rules([CORPUS], [tmp_path / "o.toml"])
    used = (*selected.loaded.rules, *selected.loaded.unsupported)
    assert len(used) > 100
    assert {rule.severity for rule in used} == {"critical"}
    on = [rule for rule in used if rule.enabled]
    assert on
    assert all("OS: Linux" in rule.tags for rule in on)
    assert not [one for one in selected.loaded.problems if one.file == tmp_path / "o.toml" and one.severity == "error"]


def test_rules_that_name_their_indices_themselves_keep_them(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    head = '[rule]\nname = "e"\nrule_id = "e"\ndescription = "d"\nseverity = "low"\nrisk_score = 1\n'
    text = head + 'type = "esql"\nlanguage = "esql"\nquery = "from logs-a, logs-b metadata _id | keep *"\n'
    (rules / "e.toml").write_text(text)
    selected = with_overrides(tmp_path, '[[override]]\nrules = "e"\nindex = ["x-*"]\ninterval = "10m"\n')
    (rule,) = selected.loaded.rules
    assert (rule.index, rule.interval) == (("logs-a", "logs-b"), "10m")
    (problem,) = [one for one in selected.loaded.problems if one.severity == "error"]
    assert "`index` cannot be changed: the query names its indices itself" in problem.message
