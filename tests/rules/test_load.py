from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.rules.discovery import default_rules_path
from runner.rules.load import load_rules
from runner.rules.rule_file import read_rule_file
from runner.rules.toml_file import LARGEST_FILE
from tests.paths import ROOT

PROJECT = ROOT
CORPUS = PROJECT.parent / "shared" / "corpus" / "detection-rules"


def rule_text(rule_id: str, *, name: str | None = None, more: str = "") -> str:
    return f"""\
[rule]
rule_id = "{rule_id}"
name = "{name or rule_id}"
description = "Finds something."
type = "eql"
language = "eql"
severity = "low"
risk_score = 21
query = "process where true"
{more}
"""


def messages(*paths: Path) -> list[str]:
    return [f"{problem.severity}: {problem.message}" for problem in load_rules(paths).problems]


def test_folders_are_searched_to_the_bottom_in_order(tmp_path: Path) -> None:
    for name in ("b.toml", "a/z.toml", "a/b/c/deep.toml", ".hidden.toml", ".git/x.toml", "notes.md", "a.TOML"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(rule_text(name))
    loaded = load_rules([tmp_path])
    assert [rule.rule_id for rule in loaded.rules] == ["a/b/c/deep.toml", "a/z.toml", "b.toml"]
    assert (loaded.files, loaded.problems) == (3, ())


def test_links_are_followed_but_never_twice(tmp_path: Path) -> None:
    real = tmp_path / "..2026_mounted"
    real.mkdir()
    (real / "rule.toml").write_text(rule_text("one"))
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "rule.toml").symlink_to(real / "rule.toml")
    (rules / "again").symlink_to(real)
    (rules / "loop").symlink_to(rules)
    (rules / "up").symlink_to(tmp_path)
    loaded = load_rules([rules, rules, rules / "rule.toml"])
    assert [rule.rule_id for rule in loaded.rules] == ["one"]
    assert loaded.problems == ()


def test_links_that_lead_nowhere_and_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "gone.toml").symlink_to(tmp_path / "nothing")
    (tmp_path / "round.toml").symlink_to(tmp_path / "round.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "one.toml").write_text(rule_text("one"))
    os.mkfifo(tmp_path / "pipe.toml")
    loaded = load_rules([tmp_path])
    assert [problem.message for problem in loaded.problems] == [
        "is a folder, expected a file; rule files (*.toml) in it are read",
        "cannot be read: No such file or directory",
        "is a pipe, expected a file: it is passed over",
        "cannot be read: Too many levels of symbolic links",
    ]
    assert len(loaded.rules) == 1
    assert messages(tmp_path / "pipe.toml") == ["error: is neither a file nor a folder"]


def test_paths_that_lead_to_nothing(tmp_path: Path) -> None:
    assert messages(tmp_path / "missing") == ["error: no such file or folder"]
    assert messages(tmp_path) == ["warning: no rule files (*.toml) in this folder"]
    assert messages(tmp_path / ("x" * 400)) == ["error: cannot be read: File name too long"]
    assert load_rules([]).problems == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_and_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(rule_text("one"))
    (tmp_path / "one.toml").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    assert messages(tmp_path) == [
        "error: this folder cannot be read: Permission denied",
        "error: cannot be read: Permission denied",
    ]


def test_a_rule_id_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(rule_text("same", name="First"))
    (tmp_path / "b.toml").write_text("# copied\n" + rule_text("same", name="Second"))
    (tmp_path / "c.toml").write_text(rule_text("other", name="first"))
    loaded = load_rules([tmp_path])
    assert [rule.name for rule in loaded.rules] == ["First", "first"]
    taken, named = loaded.problems
    assert str(taken) == f"{tmp_path}/b.toml:3:11: `rule_id` same is taken already, by {tmp_path}/a.toml"
    assert (taken.severity, taken.rule_id) == ("error", "same")
    assert taken.picture == '    3 | rule_id = "same"\n      |           ^^^^^^'
    assert str(named) == f"{tmp_path}/c.toml:3:8: another rule has the name `first`: {tmp_path}/a.toml"
    assert named.severity == "warning"


def test_other_toml_files_are_passed_over_in_a_folder_but_not_when_named(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "x"\n')
    assert messages(tmp_path) == ["warning: no [rule] table: this is no rule file, passed over"]
    assert messages(file) == ["error: no [rule] table: this is no rule file"]
    file.write_text('[metadata]\nmaturity = "production"\n')
    assert messages(tmp_path) == ["error: no [rule] table: this is no rule file"]
    file.write_text("[metadata]\n[[exceptions]]\nitems = []\n")
    assert messages(tmp_path) == ["warning: is an exception list, not a rule: it is not applied"]


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        (b"\xef\xbb\xbf", (0, 0), "is empty, expected a rule"),
        (b" \n\t\n", (0, 0), "is empty, expected a rule"),
        (b"# one\nname = \"a\xffb\"", (2, 10), "is not UTF-8: found the byte 0xff"),
        ("[rule]".encode("utf-16"), (1, 1), "is not UTF-8: found the byte 0xff; it looks like UTF-16"),
        (b"x" * (LARGEST_FILE + 1), (0, 0), "is larger than 1 MiB, which no rule file is"),
        (b"x = " + b"[" * 5000, (0, 0), "is nested too deep, deeper than any rule file"),
        (b"x = " + b"[" * 5000 + b"]" * 5000, (0, 0), "is nested too deep, deeper than any rule file"),
        (b"#" + b"-" * 17_000 + b"\n" + b"a." * 8_000 + b"b = 1", (2, 1), "is nested too deep, deeper than any rule"),
        (b"[rule]\nrisk_score = " + b"9" * 5_000, (0, 0), "is not TOML: Exceeds the limit (4300 digits)"),
        (b"[rule]\nname = bare", (2, 8), "is not TOML: found no value that TOML knows; strings need quotes"),
        (b"[rule]\nname = 'a' 'b'", (2, 12), "is not TOML: expected newline or end of document after a statement"),
        (b"[rule]\nname = \"\\q\"", (2, 11), "is not TOML: TOML takes no single backslash in double quotes: write"),
        (b"[rule]\nname \"x\"", (2, 6), "is not TOML: expected '=' after a key in a key/value pair"),
        (b"[rule]\n[rule]", (2, 6), "is not TOML: this table is there already"),
        (b"rule = 5", (1, 1), "`rule` is a whole number, expected one table [rule]"),
        (b"\0", (1, 1), "is not TOML: invalid statement"),
    ],
    ids=range(16),
)  # fmt: skip
def test_files_that_are_no_toml(tmp_path: Path, content: bytes, place: tuple[int, int], message: str) -> None:
    file = tmp_path / "rule.toml"
    file.write_bytes(content)
    (problem,) = load_rules([file]).problems
    assert problem.message.startswith(message)
    assert ((problem.line, problem.column), problem.severity) == (place, "error")
    assert bool(problem.picture) == (place != (0, 0) and "UTF-8" not in message)


def test_a_mark_at_the_start_and_windows_line_ends_change_no_place(tmp_path: Path) -> None:
    text = rule_text("one", more="tagz = 1")
    plain, other = tmp_path / "plain.toml", tmp_path / "other.toml"
    plain.write_bytes(text.encode())
    other.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (first,), (second,) = load_rules([plain]).problems, load_rules([other]).problems
    assert (first.line, first.column, first.picture) == (second.line, second.column, second.picture) == (
        10, 1, "   10 | tagz = 1\n      | ^^^^",
    )  # fmt: skip


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_at_all_break_the_loader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes.toml"
    file.write_bytes(content)
    assert read_rule_file(file).problems


json_like = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 200), st.floats(allow_nan=False, allow_infinity=False), st.text("ab1 -/")),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None)
@given(
    st.sampled_from(["risk_score", "from", "to", "interval", "type", "language", "severity", "tags", "threat", "index",
                     "query", "threshold", "new_terms", "alert_suppression", "filters", "enabled", "meta", "rule_id"]),
    json_like,
)  # fmt: skip
def test_no_value_of_a_key_breaks_the_loader(tmp_path_factory: pytest.TempPathFactory, key: str, value: object) -> None:
    spelled = repr(value).replace("True", "true").replace("False", "false")
    lines = [line for line in rule_text("one").splitlines() if not line.startswith(f"{key} =")]
    file = tmp_path_factory.getbasetemp() / "value.toml"
    file.write_text("\n".join([*lines, f"{key} = {spelled}"]))
    found = read_rule_file(file)
    errors = [problem for problem in found.problems if problem.severity == "error"]
    assert (found.rule is None) == bool(errors)
    assert all(problem.line > 0 and problem.picture for problem in found.problems)


def test_what_a_file_says_cannot_reach_into_the_terminal_or_fill_it(tmp_path: Path) -> None:
    file = tmp_path / "rule.toml"
    more = f'"\\u001b[31m" = 1\ninterval = "\\u001b[31m"\nfrom = "{"x" * 5_000}"\nmax_signals = {10**400}\n'
    file.write_text(rule_text("one", more=more + f'threat = "{"y" * 5_000}"'))
    problems = load_rules([file]).problems
    assert len(problems) == 5
    for problem in problems:
        assert "\x1b" not in problem.message + problem.picture
        assert len(problem.message) < 400
        assert len(problem.picture) < 400


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the rule corpus is not beside the project")
def test_all_of_elastics_linux_rules_load() -> None:
    started = time.perf_counter()
    loaded = load_rules([CORPUS])
    print(f"{loaded.files} files in {time.perf_counter() - started:.2f} s")
    assert loaded.problems == ()
    assert (loaded.files, len(loaded.rules), len(loaded.unsupported)) == (491, 491, 0)
    assert len({rule.fingerprint for rule in loaded.rules}) > 340
    for rule in (*loaded.rules, *loaded.unsupported):
        line = rule.path.read_text().split("\n")[rule.query_line - 1]
        assert line[rule.query_column - 1 :].startswith(rule.query.split("\n")[0])


def test_rules_here_come_before_the_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (default_rules_path() / "linux").is_dir()
    (tmp_path / "rules").mkdir()
    assert default_rules_path() == Path("rules")


DEPRECATED = '[metadata]\nmaturity = "deprecated"\n'


def test_deprecated_rules_of_a_folder_are_left_out_and_take_no_id(tmp_path: Path) -> None:
    (tmp_path / "_deprecated").mkdir()
    old = tmp_path / "_deprecated" / "old.toml"
    old.write_text(rule_text("one", name="Old") + DEPRECATED)
    (tmp_path / "new.toml").write_text(rule_text("one", name="New"))
    loaded = load_rules([tmp_path])
    assert [rule.name for rule in loaded.rules] == ["New"]
    assert [rule.name for rule in loaded.deprecated] == ["Old"]
    assert loaded.problems == ()
    named = load_rules([old])
    assert [rule.name for rule in named.rules] == ["Old"]
    assert [problem.severity for problem in named.problems] == ["warning"]
    assert "the rule is deprecated" in named.problems[0].message
