"""What has the name of a file of rules, overrides, exceptions or tests and is none: it is told, and not waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_once import NOW, ONE, write_events, write_rule

pytestmark = pytest.mark.slow


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


ODD: list[tuple[str, Callable[[Path], object]]] = [
    ("a folder", Path.mkdir),
    ("a pipe", os.mkfifo),
    ("a device", device),
]
PLACES = {
    "rules/odd.toml": "warning: is {kind}, expected a file",
    "rules/overrides.toml": "error: cannot be read: is {kind}, expected a file",
    "overrides.toml": "error: cannot be read: is {kind}, expected a file",
    "exceptions/odd.toml": "warning: is {kind}, expected a file",
    "exceptions/odd.ndjson": "warning: is {kind}, expected a file",
    "exceptions/hosts.txt": "warning: is {kind}, expected a file",
}


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    write_rule(tmp_path)
    write_events(tmp_path / "e.ndjson", ONE)
    (tmp_path / "exceptions").mkdir()


@pytest.mark.parametrize(("kind", "make"), ODD, ids=[kind for kind, _ in ODD])
def test_what_is_no_file_is_told_by_check_and_by_runs(
    command: Command, tmp_path: Path, kind: str, make: Callable[[Path], object]
) -> None:
    for place, said in PLACES.items():
        make(tmp_path / place)
        checked, ran = command("check"), command("once", "--events", "e.ndjson", *NOW)
        told = f"{place}: {said.format(kind=kind)}"
        for answer in (checked, ran):
            assert (answer.out + answer.err).count(told) == 1, (place, answer)
        assert checked.code == (1 if said.startswith("error") else 0)
        assert ran.code == 0
        (Path.rmdir if kind == "a folder" else Path.unlink)(tmp_path / place)


def test_rules_in_a_folder_with_the_name_of_a_file_are_read(command: Command, tmp_path: Path) -> None:
    (tmp_path / "rules" / "more.toml").mkdir()
    (tmp_path / "rules" / "nc.toml").rename(tmp_path / "rules" / "more.toml" / "nc.toml")
    answer = command("check")
    assert "rules/more.toml: warning: is a folder, expected a file; rule files (*.toml) in it are read" in answer.out
    assert command("once", "--events", "e.ndjson", *NOW, "-o", "json").json["created"] == 1


def test_a_link_that_leads_nowhere_is_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "exceptions").rmdir()
    for name in ("overrides.toml", "exceptions"):
        (tmp_path / name).symlink_to("gone")
        assert f"{name}: error: cannot be read: No such file or directory" in command("check").out
        (tmp_path / name).unlink()


@pytest.mark.parametrize(("kind", "make"), ODD, ids=[kind for kind, _ in ODD])
def test_tests_that_are_no_file(command: Command, tmp_path: Path, kind: str, make: Callable[[Path], object]) -> None:
    make(tmp_path / "rules" / "nc.test.toml")
    for path in ("rules", *(() if kind == "a folder" else ("rules/nc.test.toml",))):
        answer = command("test", path)
        assert answer.code and f"rules/nc.test.toml: error: cannot be read: is {kind}" in answer.out + answer.err
