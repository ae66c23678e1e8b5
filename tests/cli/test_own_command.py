"""Hints name this program as it is called: each can be run as it stands, from the same folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

BIN = Path(sys.executable).parent
SEARCH = ["once", "--events", "events.ndjson", "--now", "latest"]


def called(words: list[str], folder: Path, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    environ = {"PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "path", "shown"),
    [
        (["rule-runner"], f"{BIN}:/usr/bin:/bin", "rule-runner"),
        ([str(BIN / "rule-runner")], "/usr/bin:/bin", str(BIN / "rule-runner")),
        (["./bin/rule-runner"], "/usr/bin:/bin", "bin/rule-runner"),
        ([sys.executable, "-m", "runner"], f"{BIN}:/usr/bin:/bin", f"{Path(sys.executable).name} -m runner"),
        ([sys.executable, "-m", "runner"], "/usr/bin:/bin", f"{sys.executable} -m runner"),
    ],
    ids=["on the path", "by its path", "in a folder below", "python on the path", "python by its path"],
)
@pytest.mark.slow
def test_the_hint_can_be_run(words: list[str], path: str, shown: str, sample: Path, tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").symlink_to(sample)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "rule-runner").symlink_to(BIN / "rule-runner")
    if words == ["rule-runner"]:
        words = ["/usr/bin/env", *words]
    answer = called([*words, *SEARCH], tmp_path, path)
    assert answer.returncode == 0, answer.stderr
    hint = re.search(r"^Look at one: (.+)$", answer.stdout, re.MULTILINE)
    assert hint is not None
    assert hint[1].startswith(f"{shown} alerts show ")
    followed = called(["/bin/sh", "-c", hint[1]], tmp_path, path)
    assert followed.returncode == 0, followed.stderr
    assert f"`{shown} sample --out events.ndjson`" in called([*words, "once"], tmp_path, path).stderr


@pytest.mark.slow
def test_follow_ups_of_an_alert_can_be_run(sample: Path, tmp_path: Path) -> None:
    """Each command of the page, with the folder, the events and the state that the alert was found with."""
    (tmp_path / "events.ndjson").symlink_to(sample)
    program = [sys.executable, "-m", "runner"]
    state = ["--state", "my alerts.db"]
    assert called([*program, *SEARCH, *state], tmp_path).returncode == 0
    hint = re.search(
        r"^Look at one: (.+)$", called([*program, *SEARCH, *state, "--all"], tmp_path).stdout, re.MULTILINE
    )
    assert hint is None  # nothing is new the second time
    listed = called([*program, "alerts", "list", *state], tmp_path).stdout.split()
    page = called([*program, "alerts", "show", next(word for word in listed if len(word) == 12), *state], tmp_path)
    commands = re.findall(r"^  run +(.+)$", page.stdout, re.MULTILINE)
    assert commands
    assert all(command.startswith(f"{sys.executable} -m runner ") for command in commands)
    of_alerts = [command for command in commands if " alerts " in command]
    assert all(command.endswith(" --state 'my alerts.db'") for command in of_alerts)
    for command in {commands[0], *of_alerts[:1]}:
        followed = called(["/bin/sh", "-c", command], tmp_path)
        assert followed.returncode == 0, followed.stderr
