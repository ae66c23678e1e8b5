"""The other commands: what they print, in which form, and how they end."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner import __version__
from runner.telemetry.heartbeat import Heartbeat, write_heartbeat
from tests.cli.conftest import Command
from tests.cli.test_once import NOW, ONE, write_events, write_rule
from tests.paths import ROOT
from tests.scenarios.timeline import ndjson

AWAY = {"ELASTICSEARCH_HOSTS": "http://127.0.0.1:9", "ELASTICSEARCH_REQUEST_TIMEOUT": "1s"}
"""Port 9 (discard) is served by nobody: a connection is refused at once."""


@pytest.fixture
def state(command: Command, tmp_path: Path) -> str:
    """A state file with one event alert and one sequence."""
    write_rule(tmp_path, severity="high", risk_score=73)
    write_rule(
        tmp_path, "pair", 'sequence by host.id [process where process.name == "a"] [process where process.name == "b"]'
    )
    lines = (ONE, "a exec 10:02:00.000 name=a host=db", "b exec 10:02:01.000 name=b host=db user=bob")
    answer = command("once", "--events", write_events(tmp_path / "e.ndjson", *lines), *NOW, "-o", "json")
    assert (answer.code, answer.json["created"]) == (0, 2)
    return "rule-runner.db"


def test_version_and_help(command: Command) -> None:
    assert command("--version").out == f"rule-runner {__version__}\n"
    for arguments in (("--help",), ("alerts", "--help"), ("search", "--help"), ("once", "-h")):
        answer = command(*arguments)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith("Usage: rule-runner")
    for group in ([], ["alerts"]):
        answer = command(*group)
        assert (answer.code, answer.out) == (3, "")
        assert answer.err.startswith("Usage: rule-runner")
    names = ("run", "once", "check", "search", "alerts", "status", "setup", "sample")
    assert all(f"  {name} " in command("--help").out for name in names)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("onse",), "onse"),
        (("once", "--evnts", "x"), "--evnts"),
        (("alerts", "list", "--limit", "0"), "--limit"),
        (("alerts", "list", "--limit", "x"), "--limit"),
        (("alerts", "show"), "ID"),
        (("sample",), "--out"),
        (("search",), "QUERY"),
    ],
)
def test_wrong_usage(command: Command, arguments: tuple[str, ...], said: str) -> None:
    answer = command(*arguments)
    assert (answer.code, answer.out) == (3, "")
    assert said in answer.err and "--help" in answer.err


def test_check_json_is_the_object_of_the_design(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    bad = write_rule(tmp_path, "bad", "process where substring(process.name) == 1 and proces.name == 2")
    answer = command("check", "rules", "--output", "json")
    assert answer.code == 1
    found = answer.json
    assert list(found) == ["files", "rules", "problems"]
    assert (found["files"], found["rules"]) == (2, 2)
    assert found["problems"]
    for problem in found["problems"]:
        assert list(problem) == ["file", "line", "column", "rule_id", "severity", "message", "code"]
        assert (problem["file"], problem["rule_id"]) == (str(bad.relative_to(tmp_path)), "bad")
        assert problem["severity"] in ("error", "warning")
        assert problem["line"] == 13 and problem["column"] > 9


def test_check_for_people(command: Command, tmp_path: Path, shipped: Path) -> None:
    fine = command("check", shipped)
    assert (fine.code, fine.out) == (0, "2 files, 2 rules: 0 errors, 0 warnings\n")
    write_rule(tmp_path, "bad", "process where process.name = 1")
    bad = command("check")
    assert bad.code == 1
    assert bad.out.startswith("rules/bad.toml:13:")
    assert "^" in bad.out and bad.out.endswith("1 file, 1 rule: 1 error, 0 warnings\n")
    missing = command("check", "rules/bd.toml")
    assert missing.code == 3
    assert "rules/bd.toml: no such file or folder; did you mean rules/bad.toml?" in missing.err


def test_search_answers_as_the_api_does(command: Command, tmp_path: Path) -> None:
    events = write_events(tmp_path / "e.ndjson", ONE, "e2 exec 10:02:00.000 name=nc", "e3 exec 10:03:00.000")
    query = 'process where process.name == "nc"'
    answer = command("search", query, "--events", events, "--size", 1)
    assert answer.code == 0
    found = answer.json
    assert {"is_partial", "is_running", "took", "timed_out", "hits"} == set(found)
    assert found["hits"]["total"] == {"value": 1, "relation": "eq"}
    assert [event["_source"]["event"]["id"] for event in found["hits"]["events"]] == ["e2"]
    first = command("search", query, "--events", events, "--size", 1, "--result-position", "head").json
    assert [event["_source"]["event"]["id"] for event in first["hits"]["events"]] == ["e1"]
    (tmp_path / "query.eql").write_text(query)
    assert len(command("search", "@query.eql", "--events", events).json["hits"]["events"]) == 2


@pytest.mark.parametrize(
    ("lines", "code", "is_partial", "found"),
    [
        (["good"], 0, False, 1),
        (["good", "broken"], 0, True, 1),
        (["broken"], 1, True, 0),
        ([""], 0, False, 0),
        (["good", '{"@timestamp": "2026-03-02T10:00:00Z", "event": {"category": "process"}, "n": 1e400}'], 0, False, 2),
        (
            ["good", '{"@timestamp": "2026-03-02T10:00:00Z", "event": {"category": "process"}, "n": "\\ud83d"}'],
            0,
            False,
            2,
        ),
    ],
)
def test_an_answer_over_files_says_whether_it_is_whole(
    command: Command, tmp_path: Path, lines: list[str], code: int, is_partial: bool, found: int
) -> None:
    events = write_events(tmp_path / "good.ndjson", ONE)
    path = tmp_path / "e.ndjson"
    path.write_text("".join(f"{line}\n" for line in lines).replace("good\n", events.read_text()))
    answer = command("search", "process where true", "--events", path)
    given = json.loads(answer.out)
    assert (answer.code, given["is_partial"], given["hits"]["total"]["value"]) == (code, is_partial, found)


def test_an_answer_without_a_file_of_a_folder_is_no_success(command: Command, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    write_events(tmp_path / "logs" / "a.ndjson", ONE)
    (tmp_path / "logs" / "b.ndjson").write_text("x,y\n1,2\n")
    answer = command("search", "process where true", "--events", tmp_path / "logs")
    assert (answer.code, answer.json["is_partial"]) == (1, True)
    assert answer.json["hits"]["total"]["value"] == 1
    assert "b.ndjson: cannot be read: it is CSV" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("process where proces.name == 1",), "query:1:15: "),
        (("process where process.name ==",), "query:1:30: "),
        (("process where true", "--size", "-1"), "size"),
        (("process where true", "--result-position", "middle"), "result position needs to be"),
        (("@nowhere.eql",), "nowhere.eql"),
        (("process where true", "--mapping", "nowhere.json"), "nowhere.json"),
        (("process where true", "--mapping", "e.ndjson"), "e.ndjson"),
    ],
)
def test_a_search_that_cannot_be_done(command: Command, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    write_events(tmp_path / "e.ndjson", ONE, "e2 exec 10:02:00.000")
    answer = command("search", *arguments, "--events", "e.ndjson")
    assert (answer.code, answer.out) == (3, "")
    assert said in answer.err


def test_event_times_are_listed_in_utc_and_in_order(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    texts = ('"2026-03-02T10:01:05Z"', '"2026-03-02T11:01:03+01:00"', '"1772445661000"', "1772445667000")
    lines = [
        f'{{"@timestamp": {time}, "event": {{"id": "e{place}", "category": "process"}}, "process": {{"name": "nc"}}}}'
        for place, time in enumerate(texts)
    ]
    (tmp_path / "e.ndjson").write_text("\n".join(lines) + "\n")
    once = command("once", "--events", "e.ndjson", "--rules", "rules", "--now", "latest").out
    listed = command("alerts", "list").out
    times = [f"10:01:0{second}" for second in (1, 3, 5, 7)]
    assert re.findall(r"2026-03-02 (1\d:\d\d:\d\d)", once.split("new alerts:")[1]) == times
    assert re.findall(r"2026-03-02 (1\d:\d\d:\d\d)", listed) == times[::-1]


def test_alerts_list_show_export(command: Command, state: str) -> None:
    listed = command("alerts", "list", "--output", "json")
    assert listed.code == 0
    rows = listed.json["alerts"]
    assert [(row["rule"], row["severity"], row["host"]) for row in rows] == [
        ("pair", "medium", "db"),
        ("nc", "high", "web"),
    ]
    table = command("alerts", "list").out.splitlines()
    assert table[0].split("  ")[0] == "id"
    assert [row.split()[0] for row in table[1:]] == [row["id"][:12] for row in rows]
    assert len(command("alerts", "list", "--rule", "nc", "-o", "json").json["alerts"]) == 1
    assert len(command("alerts", "list", "--host", "id-db", "-o", "json").json["alerts"]) == 1
    assert len(command("alerts", "list", "--building-blocks", "-o", "json").json["alerts"]) == 4
    assert command("alerts", "list", "--since", "2026-03-03").out == "No alerts.\n"
    assert len(command("alerts", "list", "--until", "2026-03-02T10:05:00Z", "-o", "json").json["alerts"]) == 2
    limited = command("alerts", "list", "--limit", 1)
    assert len(limited.out.splitlines()) == 2 and "--limit shows more" in limited.err
    assert command("alerts", "list", "--limit", 1, "-o", "json").json["has_more"] is True
    assert command("alerts", "list", "--limit", 2, "-o", "json").json["has_more"] is False
    assert command("alerts", "list", "--limit", 2).err == ""

    assert "an empty id names no alert" in command("alerts", "show", "", "--state", state).err
    shown = command("alerts", "show", rows[0]["id"][:12])
    assert shown.code == 0
    assert all(part in shown.out for part in ("Events", "1. 2026-03-02T10:02:00.000Z", "+1.000s", "bob on db", "EQL"))
    as_json = command("alerts", "show", rows[0]["id"], "-o", "json").json
    assert list(as_json) == ["alert", "building_blocks", "triage"]
    assert [block["event"]["id"] for block in as_json["building_blocks"]] == ["a", "b"]
    block_id = as_json["building_blocks"][0]["kibana.alert.uuid"]
    assert command("alerts", "show", block_id, "-o", "json").json["alert"] == as_json["alert"]

    exported = command("alerts", "export")
    assert (exported.code, exported.err) == (0, "4 documents\n")
    documents = [json.loads(line) for line in exported.out.splitlines()]
    assert as_json["alert"] in documents
    assert command("alerts", "export", "--out", "out.ndjson", "--no-building-blocks").err == "2 documents\n"
    assert len(Path("out.ndjson").read_text().splitlines()) == 2
    unwritable = command("alerts", "export", "--out", "no/such/folder.ndjson")
    assert unwritable.code == 3 and "no/such/folder.ndjson: cannot be written" in unwritable.err


def test_alerts_that_are_not_there(command: Command, tmp_path: Path, state: str) -> None:
    unknown = command("alerts", "show", "ffff")
    assert unknown.code == 3 and "no alert has an id that begins with 'ffff'" in unknown.err
    wrong_time = command("alerts", "list", "--since", "the other day")
    assert wrong_time.code == 3 and "the other day" in wrong_time.err
    no_state = command("alerts", "list", "--state", "other.db")
    assert no_state.code == 3 and "other.db: there is no such file" in no_state.err
    assert not (tmp_path / "other.db").exists()


def test_status(command: Command, tmp_path: Path, state: str) -> None:
    write_rule(tmp_path, "fresh", "any where true")
    found = command("status", "-o", "json")
    assert found.code == 0
    rules = {rule["rule_id"]: rule for rule in found.json["rules"]}
    assert rules["nc"]["searched_to"] == "2026-03-02T10:05:00.000Z"
    assert (rules["nc"]["last_run"]["created"], rules["nc"]["presence"]) == (1, "enabled")
    assert (rules["fresh"]["last_run"], rules["fresh"]["searched_to"]) == (None, None)
    lines = command("status").out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["nc", "2026-03-02"],
        ["pair", "2026-03-02"],
        ["fresh", "never"],
    ]
    assert command("status", "--state", "other.db").code == 3


def test_status_check_follows_the_heartbeat(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "rule-runner.db.heartbeat"
    now = datetime.now(UTC)
    for heartbeat, code, said in (
        (Heartbeat(now, timedelta(hours=1)), 0, ""),
        (Heartbeat(now - timedelta(hours=2), timedelta(hours=1)), 1, "silent since"),
        (Heartbeat(now, timedelta(hours=1), "connection refused"), 1, "nothing is searched: connection refused"),
    ):
        write_heartbeat(file, heartbeat)
        answer = command("status", "--check")
        assert (answer.code, answer.out) == (code, "")
        assert said in answer.err
    file.write_text("{")
    assert command("status", "--check").code == 1


def test_setup_prints_what_it_would_create(command: Command) -> None:
    answer = command("setup", "--print", "--rules", ROOT / "rules")
    assert answer.code == 0
    assert "rule-runner-alerts-default" in answer.out
    assert answer.json
    nowhere = command("setup", "--rules", ROOT / "rules")
    assert nowhere.code == 3 and "ELASTICSEARCH_HOSTS" in nowhere.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("once",),
        *(
            pytest.param(arguments, marks=pytest.mark.slow)
            for arguments in (
                ("setup",),
                ("alerts", "list"),
                ("alerts", "show", "ab"),
                ("alerts", "export"),
                ("status",),
                ("search", "any where true"),
            )
        ),
    ],
)
def test_a_cluster_that_is_away_is_exit_code_4(command: Command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write_rule(tmp_path)
    answer = command(*arguments, env=AWAY)
    assert (answer.code, answer.out) == (4, "")
    assert "127.0.0.1:9" in answer.err and "refused" in answer.err.lower()
    assert not (tmp_path / "rule-runner.db").exists()


@pytest.mark.parametrize("host", ["http://", "ftp://127.0.0.1:9200", "http://127.0.0.1:99999", "not a url"])
def test_a_wrong_address_is_wrong_usage(command: Command, host: str) -> None:
    answer = command("once", env={"ELASTICSEARCH_HOSTS": host})
    assert (answer.code, answer.out) == (3, "")
    assert "ELASTICSEARCH_HOSTS" in answer.err


def test_a_service_refuses_what_is_for_single_runs(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    events = write_events(tmp_path / "e.ndjson", ONE)
    assert "RUNNER_NOW is for `once`" in command("run", "--events", events, env={"RUNNER_NOW": "latest"}).err
    stdin = command("run", "--events", "-")
    assert stdin.code == 3 and "standard input can be read by `once`" in stdin.err
    nowhere = command("run", "--events", "nowhere")
    assert nowhere.code == 3 and "nowhere: no such file or folder" in nowhere.err


def test_a_state_file_that_another_process_writes_to(command: Command, tmp_path: Path, state: str) -> None:
    connection = sqlite3.connect(state, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        assert len(command("alerts", "list", "-o", "json").json["alerts"]) == 2
        assert command("status").code == 0
    finally:
        connection.close()


def test_standard_input(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rule(tmp_path)
    (tmp_path / "input.ndjson").write_text(ndjson([ONE, "raw {"]))
    for _ in range(2):
        with (tmp_path / "input.ndjson").open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            answer = command("once", "--events", "-", "--now", "latest", "-o", "json")
        assert answer.code == 0
        assert "standard input:2:" in answer.json["runs"][0]["messages"][0]
    assert answer.json["runs"][0]["duplicates"] == 1


def test_sample_writes_events_and_truth(command: Command, tmp_path: Path) -> None:
    answer = command("sample", "--events", 500, "--attacks", 1, "--out", "s.ndjson.zst", "--truth", "t.ndjson")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.startswith("500 events of 13 hosts, ")
    assert "with 1 attack and 1 near miss: s.ndjson.zst" in answer.err
    assert len((tmp_path / "t.ndjson").read_text().splitlines()) == 2
    piped = command("sample", "--events", 500, "--attacks", 1, "--out", "-", "--end", "2026-03-02T10:05:00Z")
    assert len(piped.out.splitlines()) == 500
    for wrong in (("--events", "-5"), ("--end", "noon"), ("--span", "x"), ("--rule", "no")):
        refused = command("sample", "--out", "w.ndjson", *wrong)
        assert (refused.code, refused.out) == (3, ""), wrong
        assert refused.err.startswith("error: ")
    folder = command("sample", "--events", 500, "--out", "no/such/folder.ndjson")
    assert folder.code == 3 and "no/such/folder.ndjson" in folder.err


def test_colours_only_for_those_who_want_them(command: Command, tmp_path: Path, state: str) -> None:
    assert "\x1b[" in command("alerts", "list", env={"FORCE_COLOR": "1"}).out
    assert "\x1b[3" not in command("alerts", "list", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).out
    assert "\x1b" not in command("alerts", "list").out
