"""The runner as a process of its own: stopped by signals and killed, and what the next one makes of it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from runner.clock import FakeClock
from runner.sample_data import RuleId
from runner.sample_data.write import write_sample
from runner.store.memory import MemoryStore
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.paths import ROOT
from tests.scenarios.timeline import at, rule_text
from tests.scenarios.world import SHIPPED_RULES, World

pytestmark = pytest.mark.slow

ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
PATIENT = ("-m", "tests.scenarios.patient")
"""`rule-runner` that is not cut off after a signal, however slow the machine is."""


@contextmanager
def process(*arguments: str, folder: Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A Python process whose two outputs come through one pipe; killed at the end if it still runs.

    It listens nowhere unless it is told to: the usual port is one for all tests at a time.
    """
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": "1", "RUNNER_LISTEN": "off", **(env or {})}
    started = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


@contextmanager
def writing(pipe: Path, started: subprocess.Popen[Any]) -> Iterator[BinaryIO]:
    """The pipe, open to be written to, once the process has opened it to read; AssertionError if it ends before."""
    while True:
        try:
            number = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            assert error.errno == errno.ENXIO, error  # nobody reads it yet
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"the process ended with {started.wait(0.01)} before it opened {pipe}")
    os.set_blocking(number, True)
    with os.fdopen(number, "wb") as file:
        yield file


def lines_until(started: subprocess.Popen[str], text: str) -> list[str]:
    """The lines of the process up to the first that holds `text`."""
    assert started.stdout is not None
    seen: list[str] = []
    for line in started.stdout:
        seen.append(line)
        if text in line:
            return seen
    raise AssertionError(f"the process ended without saying {text!r}:\n{''.join(seen)}")


@pytest.mark.parametrize("place", ["create", "created", "record", "recorded"])
async def test_a_kill_at_any_instant_and_another_start_give_the_same_alerts(tmp_path: Path, place: str) -> None:
    end = at("10:04:00")
    sample = tmp_path / "events" / "sample.ndjson"
    sample.parent.mkdir()
    write_sample(sample, events=2_500, attacks=130, seed=5, end=end, rule=RuleId.REVERSE_SHELL.value)
    with process("-m", "tests.scenarios.killed_run", str(tmp_path), place, folder=ROOT) as started:
        lines_until(started, place)
        started.send_signal(signal.SIGKILL)
        assert started.wait() == -signal.SIGKILL

    async def finish(world: World) -> dict[str, str]:
        while True:
            await world.tick()
            if all(run.complete for run in world.runs[-2:]) and world.clock.now() > at("10:20:00"):
                return await world.heads()
            world.clock.advance(timedelta(minutes=5))

    store = SqliteStore(tmp_path / "state.db")
    killed = World(tmp_path, store, FakeClock(at("10:05:00")), rule_paths=(SHIPPED_RULES,))
    unharmed = World(tmp_path, MemoryStore(), FakeClock(at("10:05:00")), rule_paths=(SHIPPED_RULES,))
    expected = await finish(unharmed)
    assert await finish(killed) == expected
    assert len(expected) == 130
    assert len(await killed.alerts(building_blocks=True)) == 390
    for world in (killed, unharmed):
        await world.restart()
    await store.close()


def service_arguments(tmp_path: Path, rules: Path) -> list[str]:
    places = ["--events", str(tmp_path / "events"), "--rules", str(rules), "--state", str(tmp_path / "state.db")]
    return [*PATIENT, "run", *places, "--tick", "1s"]


def logged(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM)])
def test_a_signal_ends_the_service_in_order(tmp_path: Path, numbers: tuple[signal.Signals, ...]) -> None:
    rules, events = tmp_path / "rules", tmp_path / "events"
    rules.mkdir()
    events.mkdir()
    for place in range(20):
        text = rule_text(f"nc-{place}", {"query": 'process where process.name == "nc"'})
        (rules / f"{place}.toml").write_text(text)
    status = [sys.executable, "-m", "runner", "status", "--check", "--state", str(tmp_path / "state.db")]
    with process(*service_arguments(tmp_path, rules), folder=tmp_path) as started:
        lines_until(started, "20 rules found nothing")
        assert subprocess.run(status, env=ENVIRONMENT, cwd=tmp_path, check=False).returncode == 0
        for number in numbers:  # a supervisor may signal the process and then its whole group
            started.send_signal(number)
        assert started.stdout is not None
        rest = started.stdout.readlines()
        assert started.wait() == 0
    assert "rule-runner stopped" in rest[-1]
    assert "Traceback" not in "".join(rest)
    said = subprocess.run(status, env=ENVIRONMENT, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (1, "")
    assert "no service runs with these settings" in said.stderr


def test_a_running_service_finds_what_is_written_to_its_folder(tmp_path: Path) -> None:
    rules, events = tmp_path / "rules", tmp_path / "events"
    rules.mkdir()
    events.mkdir()
    query = {"query": 'process where process.name == "nc"', "interval": "1s", "from": "now-1h"}
    (rules / "nc.toml").write_text(rule_text("nc", query))
    with process(*service_arguments(tmp_path, rules), folder=tmp_path) as started:
        lines_until(started, "nc: warning")  # there are no events
        for name in ("one", "two"):
            event = {"@timestamp": now_text(), "event": {"id": name, "category": "process"}, "process": {"name": "nc"}}
            with (events / "live.ndjson").open("a") as file:
                file.write(json.dumps(event) + "\n")
            found = logged(lines_until(started, "1 created"))
            assert found[-1]["rule.id"] == "nc"
        (rules / "nc.toml").write_text(rule_text("nc", query | {"query": "process where"}))
        lines_until(started, "last good version")
        lines_until(started, "nc: succeeded")
        started.terminate()
        assert started.wait() == 0


def test_a_service_whose_cluster_is_away_waits_says_so_and_ends_in_order(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "nc.toml").write_text(rule_text("nc", {"query": 'process where process.name == "nc"'}))
    away = {"ELASTICSEARCH_HOSTS": "http://127.0.0.1:9", "TMPDIR": str(tmp_path)}
    arguments = [*PATIENT, "run", "--rules", str(rules), "--tick", "1s"]
    check = [sys.executable, "-m", "runner", "status", "--check"]
    with process(*arguments, folder=tmp_path, env=away) as started:
        lines_until(started, "the search stopped")
        said = subprocess.run(check, env=ENVIRONMENT | away, cwd=tmp_path, check=False, capture_output=True, text=True)
        assert said.returncode == 1
        assert "nothing is searched" in said.stderr and "127.0.0.1:9" in said.stderr
        started.terminate()
        assert started.wait() == 0
    assert not list(tmp_path.glob("*.heartbeat*"))


def now_text() -> str:
    return datetime.now(UTC).isoformat()
