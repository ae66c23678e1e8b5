"""Signals: where a command obeys them, what it tells then, and its exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_once import ONE, write_events, write_rule
from tests.cli.test_process import finish, start
from tests.scenarios.test_processes import PATIENT, lines_until, process, writing
from tests.telemetry.test_metrics_port import get, port_of

pytestmark = pytest.mark.slow

READING = [
    ("once", "--events", "pipe.ndjson", "--now", "latest"),
    ("replay", "--events", "pipe.ndjson"),
    ("search", "process where true", "--events", "pipe.ndjson"),
    ("search", "process where true", "--events", "pipe.ndjson", "--explain"),
    ("doctor", "--events", "pipe.ndjson"),
]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_a_command_that_waits_for_events_is_ended(
    tmp_path: Path, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    write_rule(tmp_path)
    os.mkfifo(tmp_path / "pipe.ndjson")
    started = start(*arguments, folder=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with writing(tmp_path / "pipe.ndjson", started):
        started.send_signal(number)
        code, out, err = finish(started)
    assert code == 128 + number
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert out == "" and f"interrupted by {name}" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_waits_for_events_is_ended_in_order(tmp_path: Path, number: signal.Signals) -> None:
    write_rule(tmp_path)
    os.mkfifo(tmp_path / "pipe.ndjson")
    with process(*PATIENT, "run", "--events", "pipe.ndjson", folder=tmp_path) as started:
        with writing(tmp_path / "pipe.ndjson", started):
            started.send_signal(number)
            said, _ = started.communicate()
        assert started.returncode == 0 and "Traceback" not in said and not list(tmp_path.glob("*.heartbeat"))


def test_hangup_reads_rules_and_settings_again_and_ends_no_service(tmp_path: Path) -> None:
    write_rule(tmp_path)
    (tmp_path / "events").mkdir()
    env = tmp_path / ".env"
    env.write_text("RUNNER_CATCH_UP=7d\n")
    arguments = ["-m", "runner", "run", "--events", "events", "--tick", "1h", "--listen", "127.0.0.1:0"]
    with process(*arguments, folder=tmp_path) as started:
        port = port_of(started)
        lines_until(started, "1 rule in use")
        env.write_text("RUNNER_CATCH_UP=1d\nRUNNER_LEASE=40s\n")
        write_rule(tmp_path, "second")
        started.send_signal(signal.SIGHUP)
        said = "".join(lines_until(started, "2 rules in use"))  # at once, not after the tick of an hour
        assert "the rules are read again; RUNNER_CATCH_UP is 1 day, 0:00:00" in said
        assert "RUNNER_LEASE changed, which counts from the next start on" in said
        env.write_text("RUNNER_CATCH_UP=soon\n")
        started.send_signal(signal.SIGHUP)
        lines_until(started, "those of before stay in use")
        assert get(port, "/healthz")[0] == 200
        started.terminate()
        assert started.wait() == 0


def test_nohup_is_obeyed_by_a_single_run(tmp_path: Path) -> None:
    write_rule(tmp_path)
    os.mkfifo(tmp_path / "pipe.ndjson")
    ignored: Callable[[], object] = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    arguments = ("once", "--events", "pipe.ndjson", "--now", "latest", "-o", "json")
    started = start(*arguments, folder=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=ignored)
    with writing(tmp_path / "pipe.ndjson", started) as pipe:
        started.send_signal(signal.SIGHUP)
        pipe.write(write_events(tmp_path / "e.ndjson", ONE).read_bytes())
    code, out, _ = finish(started)
    assert (code, json.loads(out)["created"]) == (0, 1)


def test_a_report_that_nobody_reads_is_ended(tmp_path: Path) -> None:
    lines = [f"e{number} exec 10:01:00.000 name=nc user={'u' * 90}" for number in range(5_000)]
    write_events(tmp_path / "e.ndjson", *lines)
    reading, writing = os.pipe()
    query = ("search", "process where true", "--size", "5000", "--events", "e.ndjson")
    started = start(*query, folder=tmp_path, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    os.read(reading, 1)  # it writes
    started.terminate()
    code, _, err = finish(started)
    os.close(reading)
    assert code == 128 + signal.SIGTERM and "Traceback" not in err
