from __future__ import annotations

import os
from pathlib import Path

from runner.rules.load import LoadedRules, load_rules, reload
from tests.rules.test_load import rule_text


def names(loaded: LoadedRules) -> list[str]:
    return [rule.name for rule in loaded.rules]


def test_nothing_changed_reads_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(rule_text("a"))
    first = load_rules([tmp_path])
    second = reload(first, [tmp_path])
    assert second == first
    assert second.rules[0] is first.rules[0]


def test_edits_additions_and_removals_are_picked_up(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(rule_text(name))
    first = load_rules([tmp_path])
    (tmp_path / "a.toml").write_text(rule_text("a", name="a, edited"))
    (tmp_path / "b.toml").unlink()
    (tmp_path / "c.toml").write_text(rule_text("c"))
    second = reload(first, [tmp_path])
    assert names(second) == ["a, edited", "c"]
    assert second.problems == ()
    assert names(first) == ["a", "b"]


def test_a_file_put_in_place_of_another_is_seen_whatever_its_time(tmp_path: Path) -> None:
    file, new = tmp_path / "a.toml", tmp_path / "new"
    file.write_text(rule_text("a", name="old"))
    os.utime(file, (1, 1))
    first = load_rules([tmp_path])
    new.write_text(rule_text("a", name="new"))
    os.utime(new, (1, 1))
    new.replace(file)
    assert names(reload(first, [tmp_path])) == ["new"]


def test_a_broken_edit_keeps_the_last_good_version(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(rule_text("a"))
    first = load_rules([tmp_path])
    file.write_text(rule_text("a", more="tagz = 1"))
    broken = reload(first, [tmp_path])
    assert broken.rules == first.rules
    unknown, kept = broken.problems
    assert unknown.message == "unknown key `tagz` in [rule]; did you mean `tags`?"
    assert kept.message == "kept the last good version of rule `a`: the file is broken since its last change"
    assert (kept.severity, kept.rule_id) == ("error", "a")
    still = reload(broken, [tmp_path])
    assert still == broken
    file.write_text("")
    empty = reload(still, [tmp_path])
    assert empty.rules == first.rules
    assert [problem.message[:9] for problem in empty.problems] == ["is empty,", "kept the "]
    file.write_text(rule_text("a", name="mended"))
    mended = reload(empty, [tmp_path])
    assert names(mended) == ["mended"]
    assert mended.problems == ()


def test_a_file_that_never_was_good_has_nothing_to_keep(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[rule]\n")
    first = load_rules([tmp_path])
    file.write_text("[rule]\nname = 1")
    second = reload(first, [tmp_path])
    assert (first.rules, second.rules) == ((), ())
    assert not any("kept" in problem.message for problem in second.problems)


def test_every_state_of_a_file_being_written_leaves_a_rule(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    text = rule_text("a", more="\n[[rule.threat]]\nframework = 'MITRE ATT&CK'\n")
    text += "tactic = { id = 'TA0002', name = 'Execution', reference = 'https://attack.mitre.org/tactics/TA0002/' }\n"
    file.write_text(text)
    loaded = load_rules([tmp_path])
    for length in range(len(text) + 1):
        file.write_text(text[:length])
        loaded = reload(loaded, [tmp_path])
        assert [rule.rule_id for rule in loaded.rules] == ["a"], text[:length]
    assert loaded.problems == ()
    assert len(loaded.rules[0].threat) == 1


def test_the_rule_that_runs_keeps_its_id_against_a_copy(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text(rule_text("same", name="runs"))
    first = load_rules([tmp_path])
    (tmp_path / "a.toml").write_text(rule_text("same", name="copy"))
    second = reload(first, [tmp_path])
    assert names(second) == ["runs"]
    (problem,) = second.problems
    assert (problem.file.name, problem.line) == ("a.toml", 2)
    (tmp_path / "b.toml").unlink()
    third = reload(second, [tmp_path])
    assert names(third) == ["copy"]
    assert third.problems == ()


def test_a_renamed_file_keeps_its_rule(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(rule_text("a"))
    first = load_rules([tmp_path])
    (tmp_path / "a.toml").rename(tmp_path / "b.toml")
    second = reload(first, [tmp_path])
    assert [rule.path.name for rule in second.rules] == ["b.toml"]


def test_a_folder_that_is_away_keeps_its_rules_until_it_is_back(tmp_path: Path) -> None:
    rules, away = tmp_path / "rules", tmp_path / "away"
    rules.mkdir()
    (rules / "a.toml").write_text(rule_text("a"))
    (rules / "b.toml").write_text(rule_text("b"))
    first = load_rules([rules])
    rules.rename(away)
    second = reload(first, [rules])
    assert names(second) == ["a", "b"]
    assert [problem.message for problem in second.problems] == [
        "no such file or folder",
        "kept the last good version of rule `a`: the file cannot be looked at",
        "kept the last good version of rule `b`: the file cannot be looked at",
    ]
    (away / "b.toml").unlink()
    away.rename(rules)
    third = reload(second, [rules])
    assert names(third) == ["a"]
    assert third.problems == ()


def test_a_named_file_that_is_deleted_takes_its_rule_with_it(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(rule_text("a"))
    first = load_rules([file])
    file.unlink()
    second = reload(first, [file])
    assert second.rules == ()
    assert [problem.message for problem in second.problems] == ["no such file or folder"]


def test_paths_that_are_no_longer_named_take_their_rules_with_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(rule_text(name))
    first = load_rules([tmp_path / "a.toml", tmp_path / "b.toml"])
    assert names(reload(first, [tmp_path / "b.toml"])) == ["b"]
