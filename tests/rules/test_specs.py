"""The rule files under `tests/specs/rules`: each with the problems beside it that a user is shown, picture and all."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import Problem
from runner.rules.load import LoadedRules, load_rules
from tests.paths import SPECS

FOLDER = SPECS / "rules"
GOOD = sorted((FOLDER / "good").glob("*.toml"))
BAD = sorted((FOLDER / "bad").glob("*.toml"))


def expected_problems(file: Path) -> str:
    beside = file.with_suffix(".problems")
    return beside.read_text() if beside.exists() else ""


def shown(problems: tuple[Problem, ...]) -> str:
    heads = [f"{each.line}:{each.column}: {each.severity}: {each.message}" for each in problems]
    return "\n".join(f"{head}\n{each.picture}".rstrip() + "\n" for head, each in zip(heads, problems, strict=True))


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_file_shows_all_its_problems_and_gives_no_rule(file: Path) -> None:
    loaded = load_rules([file])
    assert shown(loaded.problems) == expected_problems(file)
    assert loaded.errors
    assert (loaded.rules, loaded.unsupported, loaded.files) == ((), (), 1)


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_a_good_file_gives_its_rule(file: Path) -> None:
    loaded = load_rules([file])
    assert shown(loaded.problems) == expected_problems(file)
    assert not loaded.errors
    assert len(loaded.rules) + len(loaded.unsupported) == 1


def test_bad_files_stop_no_good_ones_and_are_all_reported() -> None:
    loaded = load_rules([FOLDER])
    assert loaded.files == len(GOOD) + len(BAD)
    assert {rule.path for rule in loaded.rules + loaded.unsupported} == set(GOOD) - _same_id(loaded)
    # in a folder, an exception list is passed over with a warning
    assert {problem.file for problem in loaded.errors} - _same_id(loaded) == set(BAD) - {
        FOLDER / "bad" / "exception_list.toml"
    }


def _same_id(loaded: LoadedRules) -> set[Path]:
    """Good files whose `rule_id` another good file has taken."""
    return {problem.file for problem in loaded.errors if "is taken already" in problem.message}


def test_specs_are_there() -> None:
    assert len(BAD) >= 30
    assert len(GOOD) >= 10
