"""What continuous integration and releases do beside tests: the text of a release, the field cases that hold."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import runner
from tests.paths import ROOT

CHANGELOG = """# Changelog

## Unreleased

- FEATURE: not yet.

## 1.2.0

- BUGFIX: one, and
  more of it.
- FEATURE: two.

## 1.1.0 (2026-03-01)

- CHANGE: older.

## 1.0.0
"""


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NOTES, CASES = script("release_notes"), script("field_cases")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "runner").mkdir()
    (tmp_path / "runner" / "__init__.py").write_text('"""Words."""\n\n__version__ = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def test_the_text_of_a_release_is_its_section(project: Path) -> None:
    assert NOTES.notes("v1.2.0", root=project) == "- BUGFIX: one, and\n  more of it.\n- FEATURE: two."
    assert NOTES.section(CHANGELOG, "1.1.0") == "- CHANGE: older."


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("1.3.0", "has no section `## 1.3.0`, only Unreleased, 1.2.0, 1.1.0, 1.0.0"),
        ("1.2", "has no section `## 1.2`"),
        ("1.0.0", "`## 1.0.0` of CHANGELOG.md is empty"),
    ],
)
def test_a_release_without_a_text_is_none(version: str, said: str) -> None:
    with pytest.raises(NOTES.ReleaseError, match=re.escape(said)):
        NOTES.section(CHANGELOG, version)


def test_a_tag_of_another_version_is_refused(project: Path) -> None:
    with pytest.raises(NOTES.ReleaseError, match=r"the tag is v1\.1\.0, but the package has version 1\.2\.0"):
        NOTES.notes("v1.1.0", root=project)


def test_this_version_can_be_released() -> None:
    assert NOTES.notes(f"v{runner.__version__}").startswith("- ")


def test_field_cases_that_held_must_hold() -> None:
    printed = "WRONG A-02-b: created 1 ; exit 0\nnot judged A-03-c: needs root\n2 of 3 hold\n"
    present = ["A-01-a", "A-02-b", "A-03-c", "A-04-d"]
    assert CASES.outcome(printed, known=["A-01-a", "A-03-c", "A-04-d"], present=present) == ([], [])
    assert CASES.outcome(printed, known=["A-02-b", "B-01-gone"], present=present) == (
        ["A-02-b", "B-01-gone"],
        ["A-01-a", "A-04-d"],
    )


def test_the_field_cases_that_hold_are_named_once() -> None:
    names = CASES.names_in(CASES.KNOWN.read_text("utf-8"))
    assert names == sorted(set(names))


def test_ci_runs_what_the_read_me_says_and_the_slow_tests() -> None:
    run = (ROOT / ".ci" / "run").read_text()
    command = re.search(r"<!-- test-command -->\n```bash\n(.+?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert command is not None
    assert "-m 'not slow'" in command[1]
    assert "-m slow" in run
    assert "run: bash .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
