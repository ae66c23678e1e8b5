"""The service sends: beside detection, over kills, to a pipe whose reader goes, and to other targets after SIGHUP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_once import write_rule
from tests.notify.receiver import Received, Receiver, Reply
from tests.paths import ROOT
from tests.scenarios.test_processes import PATIENT, lines_until, process

pytestmark = pytest.mark.slow
EVENT = '{"@timestamp":"%s","event":{"category":["process"],"id":"%s"},"process":{"name":"nc"},"host":{"name":"web"}}\n'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def write_targets(folder: Path, url: str, name: str = "soc") -> None:
    text = f'[[target]]\nname = "{name}"\ntype = "webhook"\nurl = "{url}"\nhealth = true\n'
    (folder / "notifications.toml").write_text(text, encoding="utf-8")


def add_events(folder: Path, *names: str) -> None:
    now = subprocess.run(["date", "-u", "+%FT%T.%NZ"], capture_output=True, text=True, check=True).stdout.strip()
    with (folder / "events" / "events.ndjson").open("a", encoding="utf-8") as file:
        file.writelines(EVENT % (now, name) for name in names)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rule(tmp_path, interval="1s", **{"from": "now-30m"})
    (tmp_path / "events").mkdir()
    return tmp_path


RUN = (*PATIENT, "run", "--events", "events", "--rules", "rules", "--tick", "1s")


def told(receiver: Receiver) -> Counter[str]:
    return Counter(alert["id"] for request in receiver.taken for alert in request.json["alerts"])


def test_a_kill_between_the_answer_and_the_note_sends_the_same_message_again(folder: Path, receiver: Receiver) -> None:
    """The answer is held back until the process is dead: whether it came is not known to the next one."""
    write_targets(folder, receiver.url)
    add_events(folder, "a", "b", "c")
    with process(*RUN, folder=folder) as started:

        def reply(request: Received) -> Reply:
            started.kill()
            started.wait()
            return Reply()

        receiver.reply = reply
        started.wait()
    receiver.reply = lambda request: Reply()
    with process(*RUN, folder=folder) as started:
        while len(told(receiver)) < 3:
            lines_until(started, "")
        started.send_signal(signal.SIGTERM)
        started.communicate()
    assert len(told(receiver)) == 3
    assert len({request.json["id"] for request in receiver.taken}) == 3
    assert all(request.headers["Idempotency-Key"] == request.json["id"] for request in receiver.taken)


def test_a_pipe_whose_reader_goes_ends_the_service_and_loses_nothing(folder: Path) -> None:
    arguments = [sys.executable, *RUN, "--alerts-to", "-"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RUNNER_LISTEN": "off"}
    with (folder / "log.txt").open("w") as log:
        started = subprocess.Popen(arguments, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=log)
        assert started.stdout is not None
        add_events(folder, "a")
        first = json.loads(started.stdout.readline())
        started.stdout.close()
        add_events(folder, "b")
        assert started.wait() == 0
    said = (folder / "log.txt").read_text(encoding="utf-8")
    assert "Traceback" not in said and "standard output: its reader is gone" in said
    again = subprocess.run(
        [sys.executable, "-m", "runner", "once", "--events", "events", "--rules", "rules", "--alerts-to", "-"],
        cwd=folder, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = [json.loads(line) for line in again.stdout.splitlines()]
    ids = {alert["kibana.alert.uuid"] for alert in [first, *found]}
    assert len(ids) == 2


def test_hangup_reads_the_targets_again_and_keeps_those_of_before_if_it_cannot(
    folder: Path, receiver: Receiver
) -> None:
    write_targets(folder, f"{receiver.url}/one", "one")
    with process(*RUN, folder=folder) as started:
        lines_until(started, "in use from")
        (folder / "notifications.toml").write_text("[[target]]\nname = 1\n", encoding="utf-8")
        started.send_signal(signal.SIGHUP)
        lines_until(started, "those of before stay in use")
        write_targets(folder, f"{receiver.url}/two/T0ken12345", "two")
        replies = iter([Reply(500, text="no such /two/T0ken12345")])
        receiver.reply = lambda request: next(replies, Reply())
        started.send_signal(signal.SIGHUP)
        lines_until(started, "alerts are sent to 1 target")
        add_events(folder, "a")
        while not any(request.json["type"] == "alert" for request in receiver.taken):
            lines_until(started, "")
        started.send_signal(signal.SIGTERM)
        said, _ = started.communicate()
    assert "Traceback" not in said and "T0ken12345" not in said
    assert {request.path for request in receiver.taken if request.json["type"] == "alert"} == {"/two/T0ken12345"}


def test_secrets_are_in_no_log_whatever_fails(folder: Path, receiver: Receiver) -> None:
    receiver.reply = lambda request: Reply(500, text=f"no such {request.path} {request.headers['X-Key']}")
    text = (
        f'[[target]]\nname = "soc"\ntype = "webhook"\nurl = "{receiver.url}/T0ken12345?key=query-hunter2"\n'
        'secret = "hunter2-signing"\nheaders = { X-Key = "${KEY}" }\n'
        '[[target]]\nname = "gone"\ntype = "webhook"\nurl = "http://ada:hunter2-password@host.invalid/T0ken12345"\n'
    )
    (folder / "notifications.toml").write_text(text, encoding="utf-8")
    add_events(folder, "a")
    with process(*RUN, folder=folder, env={"KEY": "hunter2-header", "RUNNER_LOG_LEVEL": "debug"}) as started:
        said = "".join(lines_until(started, "answered 500"))
        if "target gone" not in said:
            said += "".join(lines_until(started, "target gone"))
        started.send_signal(signal.SIGTERM)
        rest, _ = started.communicate()
    shown = said + rest + (folder / "rule-runner.db").read_bytes().decode("latin-1")
    assert "hunter2" not in shown and "T0ken12345" not in shown
    assert "[redacted]" in shown
