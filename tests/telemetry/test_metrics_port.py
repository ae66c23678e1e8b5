"""The service as a process, read at its port: metrics and health, trouble, a port that is taken."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.test_processes import lines_until, process, writing
from tests.scenarios.timeline import rule_text

pytestmark = pytest.mark.slow

HOST = "127.0.0.1"
ANY = {"RUNNER_LISTEN": f"{HOST}:0"}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    (tmp_path / "events").mkdir()
    event = {"@timestamp": datetime.now(UTC).isoformat(), "process": {"name": "other"}}
    (tmp_path / "events" / "live.ndjson").write_text(json.dumps(event) + "\n")
    query = {"query": 'process where process.name == "nc"', "interval": "1s", "from": "now-1h"}
    (folder / "nc.toml").write_text(rule_text("nc", query))
    return folder


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def arguments(rules: Path) -> list[str]:
    return ["-m", "runner", "run", "--rules", str(rules), "--state", str(rules.parent / "state.db"), "--tick", "1s"]


def on_files(rules: Path) -> list[str]:
    return [*arguments(rules), "--events", str(rules.parent / "events")]


def port_of(started: subprocess.Popen[str]) -> int:
    """The port that the service says it listens at."""
    line = lines_until(started, "metrics and health at")[-1]
    found = re.search(rf"http://{HOST}:(\d+)/metrics", line)
    assert found is not None
    return int(found[1])


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def checks(port: int) -> dict[str, Any]:
    status, body = get(port, "/readyz")
    answer = json.loads(body)
    assert (status == 200) == (answer["status"] == "ok")
    return {check["name"]: check["reason"] for check in answer["checks"] if not check["ok"]}


def test_a_running_service_shows_what_it_does(rules: Path) -> None:
    with process(*on_files(rules), folder=rules.parent, env=ANY) as started:
        port = port_of(started)
        lines_until(started, "1 rule found nothing")
        assert get(port, "/healthz")[0] == 200
        assert checks(port) == {}
        status, page = get(port, "/metrics")
        assert status == 200
        assert b'rule_runner_rules{state="in_use"} 1.0' in page
        runs = re.search(rb'rule_runner_runs_total\{outcome="succeeded",rule_id="nc"\} (\d+)', page)
        assert runs is not None and int(runs[1]) >= 1
        assert b"rule_runner_leases_held 1.0" in page and b"process_cpu_seconds_total" in page
        started.terminate()
        assert started.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        get(port, "/healthz")


def test_a_running_service_has_pages_for_who_has_the_token(rules: Path) -> None:
    with process(*on_files(rules), folder=rules.parent, env=ANY) as started:
        port = port_of(started)
        said = lines_until(started, "pages for a browser at")[-1]
        token = (rules.parent / "state.db.web-token").read_text().strip()
        assert token not in said and "sign in with the token in" in said
        assert get(port, "/alerts")[0] == 303
        status, page = get(port, "/login")
        assert status == 200 and b"Sign in" in page
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        connection.request("GET", f"/login?token={token}")
        answer = connection.getresponse()
        cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
        answer.read()
        connection.request("GET", "/health", headers={"Cookie": cookie})
        page = connection.getresponse().read()
        assert (b"This service" in page and b"alive" in page) or b"rules" in page
        connection.close()
        started.terminate()
        assert started.wait() == 0


def test_a_service_without_events_is_alive_and_not_ready(rules: Path) -> None:
    events = rules.parent / "events" / "live.ndjson"
    line = events.read_text()
    events.unlink()
    with process(*on_files(rules), folder=rules.parent, env=ANY) as started:
        port = port_of(started)
        lines_until(started, "no events are seen: there is no event file")
        assert get(port, "/healthz")[0] == 200
        assert checks(port) == {"events": "there is no event file"}
        page = get(port, "/metrics")[1]
        assert b"rule_runner_blind 1.0" in page and b"rule_runner_event_files 0.0" in page
        events.write_text(line.replace("other", "nc"))
        lines_until(started, "events are seen again")
        assert checks(port) == {}
        page = get(port, "/metrics")[1]
        assert b"rule_runner_blind 0.0" in page and re.search(rb"rule_runner_events_read_total [1-9]", page)


def test_a_single_run_shows_what_it_does_while_it_lasts_if_it_is_told_to(rules: Path) -> None:
    pipe = rules.parent / "events.pipe"
    os.mkfifo(pipe)
    command = ["-m", "runner", "once", "--rules", str(rules), "--events", str(pipe), "--listen", f"{HOST}:0"]
    with process(*command, folder=rules.parent) as started:
        port = port_of(started)
        with writing(pipe, started) as events:  # the run lasts until there are no more of them
            assert get(port, "/healthz")[0] == 200
            assert b"rule_runner_build_info" in get(port, "/metrics")[1]
            events.write(b'{"@timestamp": "2026-03-02T10:00:00Z", "process": {"name": "nc"}}\n')
        assert started.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        get(port, "/healthz")


def test_a_cluster_that_is_away_costs_readiness_and_no_secret_is_shown(rules: Path) -> None:
    away = {
        "ELASTICSEARCH_HOSTS": "http://127.0.0.1:9",
        "ELASTICSEARCH_USERNAME": "u",
        "ELASTICSEARCH_PASSWORD": "hunter2hunter2",
        "TMPDIR": str(rules.parent),
    }
    with process(*arguments(rules), folder=rules.parent, env={**ANY, **away}) as started:
        port = port_of(started)
        lines_until(started, "the search stopped")
        assert get(port, "/healthz")[0] == 200
        failing = checks(port)
        while "127.0.0.1:9" not in failing["store"]:  # the tick is over a moment after it has said so
            failing = checks(port)
        assert "hunter2" not in str(failing)
        page = get(port, "/metrics")[1]
        assert b"rule_runner_troubled 1.0" in page and b"hunter2" not in page
        started.terminate()
        assert started.wait() == 0


def test_a_service_whose_port_is_taken_ends_if_it_was_told_to_listen_there(rules: Path, taken: int) -> None:
    with process(*on_files(rules), "--listen", f"{HOST}:{taken}", folder=rules.parent) as started:
        assert started.wait() == 3
        assert started.stdout is not None
        said = started.stdout.read()
    assert f"cannot listen at {HOST}:{taken}: another process listens there" in said
    assert "set RUNNER_LISTEN to another address, or to off" in said and "Traceback" not in said


def test_off_listens_nowhere(rules: Path) -> None:
    with process(*on_files(rules), "--listen", "off", folder=rules.parent) as started:
        said = lines_until(started, "1 rule found nothing")
        started.terminate()
        assert started.wait() == 0
    assert not [line for line in said if "metrics and health" in line]


def test_a_service_whose_default_port_is_taken_says_so_and_goes_on(rules: Path) -> None:
    with ExitStack() as taken:
        with suppress(OSError):  # taken already, by who has nothing to do with these tests
            taken.enter_context(socket.create_server((HOST, 9722)))
        with process(*on_files(rules), folder=rules.parent, env={"RUNNER_LISTEN": ""}) as started:
            said = lines_until(started, "1 rule found nothing")
            started.terminate()
            assert started.wait() == 0
    assert [line for line in said if f"not served: cannot listen at {HOST}:9722: another process" in line]
