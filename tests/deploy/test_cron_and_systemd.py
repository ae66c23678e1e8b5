"""The crontab and the units: each line run by hand, from another folder, with the environment that it would have."""

from __future__ import annotations

import fcntl
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.slow

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
CRON = {"HOME": "/", "LOGNAME": "rule-runner", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
"""All that cron sets."""


@pytest.fixture
def opt(tmp_path: Path, sample: Path) -> Iterator[Path]:
    """What is in /opt/rule-runner: the program, `.env`, rules and events."""
    folder = tmp_path / "opt"
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "rule-runner").symlink_to(Path(sys.executable).parent / "rule-runner")
    shutil.copytree(ROOT / "rules", folder / "rules")
    (folder / "events.ndjson").symlink_to(sample)
    (folder / ".env").write_text("RUNNER_EVENTS=events.ndjson\nRUNNER_RULES=rules\nRUNNER_NOW=latest\n")
    yield folder


def unit(path: Path) -> RawConfigParser:
    found = RawConfigParser(strict=False)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(path)
    return found


def cron_line(folder: Path) -> str:
    (line,) = re.findall(r"^\*/5 \* \* \* \* (.+)$", (DEPLOY / "cron" / "rule-runner").read_text(), re.MULTILINE)
    assert "%" not in line  # a line break to cron
    return str(line).replace("/opt/rule-runner", str(folder))


def cron(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", cron_line(folder)], cwd="/", env=CRON, capture_output=True, text=True, check=False
    )


def test_the_line_of_the_crontab_creates_alerts_and_mails_nothing(opt: Path) -> None:
    for _ in range(2):
        done = cron(opt)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), (opt / "once.log").read_text()
    first, second = map(json.loads, (opt / "once.ndjson").read_text().splitlines())
    assert first["created"] > 0 == second["created"]
    assert (opt / "rule-runner.db").exists()


def test_a_line_beside_one_that_is_at_work_is_left_out(opt: Path) -> None:
    with (opt / "once.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = cron(opt)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (opt / "once.ndjson").read_text() == ""


def test_a_failure_is_mailed_in_one_line_and_the_log_says_why(opt: Path) -> None:
    (opt / ".env").write_text("RUNNER_EVENTS=missing.ndjson\n")
    done = cron(opt)
    assert done.stdout == f"rule-runner once: exit code 3, see {opt}/once.log\n"
    assert "missing.ndjson" in (opt / "once.log").read_text()


def test_logs_of_the_crontab_are_rotated() -> None:
    written = set(re.findall(r">> (\S+)", cron_line(Path("/opt/rule-runner"))))
    rotated = (DEPLOY / "cron" / "logrotate").read_text()
    assert {f"/opt/rule-runner/{name}" for name in written} <= set(rotated.replace("{", " ").split())


@pytest.mark.parametrize("name", ["rule-runner", "rule-runner-once"])
def test_a_unit_runs_from_its_folder_with_its_environment_alone(name: str, opt: Path, tmp_path: Path) -> None:
    service = unit(DEPLOY / "systemd" / f"{name}.service")["Service"]
    state = tmp_path / "state"
    state.mkdir()
    here = {"/opt/rule-runner": str(opt), f"/var/lib/{service['StateDirectory']}": str(state)}

    def local(text: str) -> str:
        for there, place in here.items():
            text = text.replace(there, place)
        return text

    words = shlex.split(local(service["ExecStart"]))
    words = [*words[:1], "check"] if words[-1] == "run" else words
    done = subprocess.run(
        words, cwd=local(service["WorkingDirectory"]), env=dict([local(service["Environment"]).split("=", 1)]),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    if name == "rule-runner-once":
        assert json.loads(done.stdout)["created"] > 0
        assert (state / "rule-runner.db").exists()


def test_the_service_is_reloaded_by_a_signal_and_given_time_to_stop() -> None:
    service = unit(DEPLOY / "systemd" / "rule-runner.service")["Service"]
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["TimeoutStopSec"] == "2min"
    assert service["RestartPreventExitStatus"] == "3"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_reads_the_units(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for one in UNITS:
        (tmp_path / one.name).write_text(one.read_text().replace("/opt/rule-runner/.venv/bin/rule-runner", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / path.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if path.name in line] == []
