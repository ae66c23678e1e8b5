"""`once`: the JSON of the design to the letter, the tables, what it says of odd input, its exit codes."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner.events.files.compression import zstd
from tests.cli.conftest import Command
from tests.scenarios.timeline import ndjson, rule_text

NC = 'process where process.name == "nc"'
SHELL = "48b3d2e3-f4e8-41e6-95e6-9b2091228db3"
CHILD = "76e4d92b-61c1-4a95-ab61-5fd94179a1ee"


def write_rule(folder: Path, name: str = "nc", query: str = NC, **fields: object) -> Path:
    path = folder / "rules" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(rule_text(name, {"query": query, **fields}))
    return path


def write_events(path: Path, *lines: str) -> Path:
    path.write_text(ndjson(list(lines)))
    return path


ONE = "e1 exec 10:01:00.000 name=nc"
NOW = ("--now", "2026-03-02T10:05:00Z")


def test_json_is_the_object_of_the_design(command: Command, sample: Path, shipped: Path) -> None:
    run = ("once", "--events", sample, "--rules", shipped, "--now", "latest", "--output", "json")
    answer = command(*run)
    assert (answer.code, answer.err) == (0, "")
    found = answer.json
    assert all(isinstance(each.pop("took_ms"), int) for each in found["runs"])
    window = {"from": "2026-03-02T09:56:00.000Z", "to": "2026-03-02T10:05:00.000Z"}
    counts = {"matches": 2, "created": 2, "duplicates": 0, "suppressed": 0, "capped": 0}
    names = {SHELL: "Potential Reverse Shell", CHILD: "Potential Reverse Shell via Suspicious Child Process"}
    runs = [
        {"rule_id": id_, "name": name, "status": "succeeded", "window": window, **counts, "messages": []}
        for id_, name in names.items()
    ]
    alerts = found.pop("alerts")
    places = {"events": str(sample), "alerts_to": "rule-runner.db"}
    assert found == {"runs": runs, "left_out": 0, "created": 4, **places}
    assert Counter(alert["rule_id"] for alert in alerts) == {SHELL: 2, CHILD: 2}
    assert list(json.loads(answer.out)["runs"][0]) == [
        *("rule_id", "name", "status", "window", "matches", "created", "duplicates", "suppressed", "capped"),
        *("took_ms", "messages"),
    ]
    again = command(*run).json
    assert [(run["created"], run["duplicates"]) for run in again["runs"]] == [(0, 2), (0, 2)]
    assert (again["created"], again["alerts"]) == (0, [])


def test_latest_goes_by_the_time_that_the_rules_select_by(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path, query='any where process.name == "nc"', timestamp_override="ts", timestamp_field="ts")
    times = ("2026-03-02T10:01:00Z", "2026-03-02T10:02:00Z")
    lines = [json.dumps({"ts": time, "event": {"id": time}, "process": {"name": "nc"}}) for time in times]
    (tmp_path / "e.ndjson").write_text("\n".join(lines))
    found = command("once", "--events", "e.ndjson", "--rules", "rules", "--now", "latest", "-o", "json")
    assert (found.code, found.json["created"]) == (0, 2)
    assert found.json["runs"][0]["window"]["to"] == "2026-03-02T10:02:00.000Z"
    assert found.json["runs"][0]["messages"] == []


def test_an_event_of_the_future_is_not_the_newest(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    write_events(tmp_path / "e.ndjson", ONE)
    line = (tmp_path / "e.ndjson").read_text()
    (tmp_path / "e.ndjson").write_text(line + line.replace("2026-", "2232-"))
    found = command("once", "--events", "e.ndjson", "--rules", "rules", "--now", "latest", "-o", "json")
    assert (found.code, found.json["created"]) == (0, 1)
    assert "events of 2232-03-02 10:01:00 UTC are in the future" in found.err
    assert "2026-03-02 10:01:00 UTC, is taken as now" in found.err


def test_a_table_without_a_terminal_has_no_colour_and_a_line_for_each_row(
    command: Command, sample: Path, shipped: Path
) -> None:
    answer = command("once", "--events", sample, "--rules", shipped, "--now", "latest")
    lines = answer.out.splitlines()
    assert "\x1b" not in answer.out + answer.err
    assert lines[0] == "Window 2026-03-02 09:56:00 to 10:05:00 UTC"
    assert lines[1] == "4 new alerts:"
    assert lines[8].split() == ["rule", "outcome", "matches", "created", "known", "over", "cap", "ms"]
    assert lines[9].split()[:-1] == ["Potential", "Reverse", "Shell", "succeeded", "2", "2", "0", "0"]
    assert lines[-1].startswith("Look at one: rule-runner alerts show ")
    shown = command(*lines[-1].split("rule-runner ")[1].split())
    assert shown.code == 0
    assert "Potential Reverse Shell" in shown.out


@pytest.mark.parametrize("now", ["latest", "2026-03-02T10:05:00Z", "2026-03-02T11:05:00+01:00", "2026-03-02 10:05"])
def test_forms_of_now(command: Command, tmp_path: Path, now: str) -> None:
    write_rule(tmp_path)
    events = write_events(tmp_path / "e.ndjson", ONE, "e2 exec 10:05:00.000")
    answer = command("once", "--events", events, "--now", now, "-o", "json")
    assert answer.code == 0
    assert answer.json["runs"][0]["window"]["to"] == "2026-03-02T10:05:00.000Z"
    assert answer.json["created"] == 1


@pytest.mark.parametrize("now", ["yesterdy", "10:65", "2026-13-01T00:00:00Z", "lates"])
def test_a_now_that_is_none(command: Command, tmp_path: Path, now: str) -> None:
    write_rule(tmp_path)
    answer = command("once", "--events", write_events(tmp_path / "e.ndjson", ONE), "--now", now)
    assert (answer.code, answer.out) == (3, "")
    assert "--now" in answer.err and now in answer.err


def test_events_before_the_look_back_are_remarked_on(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    answer = command("once", "--events", write_events(tmp_path / "e.ndjson", ONE), "--now", "2026-03-03T00:00:00Z")
    assert answer.code == 0
    assert "the newest event is of 2026-03-02 10:01:00 UTC" in answer.err
    assert "--now latest" in answer.err


def test_events_of_the_look_back_are_not_remarked_on(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    assert command("once", "--events", write_events(tmp_path / "e.ndjson", ONE), *NOW).err == ""


def test_broken_lines_are_counted_and_named(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    events = write_events(
        tmp_path / "e.ndjson", "raw {", ONE, "raw 7", 'raw "text"', "raw nonsense \udcff".replace("\udcff", "x")
    )
    answer = command("once", "--events", events, *NOW, "-o", "json")
    assert answer.code == 0
    (run,) = answer.json["runs"]
    assert (run["status"], run["created"]) == ("warning", 1)
    assert "4 broken lines skipped" in run["messages"][0]
    assert all(f"{events}:{line}: " in run["messages"][0] for line in (1, 3, 4, 5))


def test_bytes_that_are_not_utf_8(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    events = tmp_path / "e.ndjson"
    events.write_bytes(b'{"x": "\xff\xfe"}\n\x00\x01\x02\n' + ndjson([ONE]).encode())
    answer = command("once", "--events", events, *NOW, "-o", "json")
    assert (answer.code, answer.json["created"]) == (0, 1)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("cut", [0, 12])
def test_compressed_files_whole_and_cut_short(command: Command, tmp_path: Path, suffix: str, cut: int) -> None:
    write_rule(tmp_path)
    text = ndjson([ONE, *(f"n{number} exec 10:02:00.000 user=u{number * 7919}" for number in range(2_000))]).encode()
    packed = (
        gzip.compress(text)
        if suffix == ".gz"
        else zstd.compress(text, options={zstd.CompressionParameter.content_size_flag: 0})
    )
    events = tmp_path / f"e.ndjson{suffix}"
    events.write_bytes(packed[: len(packed) - cut])
    answer = command("once", "--events", events, *NOW, "-o", "json")
    (run,) = answer.json["runs"]
    assert (answer.code, run["created"], run["status"]) == ((2, 1, "failed") if cut else (0, 1, "succeeded"))
    if cut:
        assert f"{events}: could not be read to its end" in run["messages"][0]
    else:
        assert run["messages"] == []


def test_an_empty_file_and_an_empty_folder(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    (tmp_path / "empty.ndjson").touch()
    (tmp_path / "folder").mkdir()
    for path, said in ((tmp_path / "empty.ndjson", "no events in"), (tmp_path / "folder", "no event files in")):
        answer = command("once", "--events", path, *NOW)
        assert answer.code == 0
        assert f"{said} {path}" in answer.err
        latest = command("once", "--events", path, "--now", "latest")
        assert latest.code == 3
        assert "no event with a readable @timestamp" in latest.err


def test_a_folder_is_read_whole_and_a_file_twice_makes_no_second_alert(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write_events(tmp_path / "in" / "a.ndjson", ONE)
    write_events(tmp_path / "in" / "deep" / "b.jsonl", "e2 exec 10:02:00.000 name=nc")
    write_events(tmp_path / "in" / "notes.txt", "e3 exec 10:02:00.000 name=nc")
    answer = command("once", "--events", "in", "--events", "in/a.ndjson", *NOW, "-o", "json")
    assert (answer.code, answer.json["created"]) == (0, 2)


def test_lines_of_every_shape(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    source = (
        '{"@timestamp": "2026-03-02T10:01:00Z", "event.category": "process", "process.name": "nc", "event.id": "%s"}'
    )
    time = '{"@timestamp": "2026-03-02T10:01:00Z"'
    mixed = f'{time}, "event": {{"category": ["process"]}}, "process.name": ["nc"], "event.id": "m"}}'
    wrong = (
        f'{time}, "event": {{"category": "process", "id": "w"}}, "host": "text", "user": ["x"], '
        '"process": {"name": "nc", "pid": {"a": 1}, "args": 7}}'
    )
    events = tmp_path / "e.ndjson"
    lines = [
        source % "dotted",
        mixed,
        wrong,
        json.dumps(
            {"_index": "logs-endpoint.events.process-default", "_id": "1", "_source": json.loads(source % "hit")}
        ),
        json.dumps({"_index": "other-index", "_id": "2", "_source": json.loads(source % "elsewhere")}),
        source.replace('"2026-03-02T10:01:00Z"', '"at noon"') % "no-time",
        source.replace('"@timestamp": "2026-03-02T10:01:00Z", ', "") % "missing-time",
        "",
        "   ",
    ]
    events.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    answer = command("once", "--events", events, *NOW, "-o", "json")
    (run,) = answer.json["runs"]
    assert (answer.code, run["created"], run["status"]) == (0, 4, "warning")
    assert run["messages"] == ["2 events without a readable timestamp"]


def test_a_line_without_its_end_counts(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    events = tmp_path / "e.ndjson"
    events.write_text(ndjson([ONE]).rstrip("\n"))
    assert command("once", "--events", events, *NOW, "-o", "json").json["created"] == 1


def test_no_source_no_rules_wrong_paths(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    events = write_events(tmp_path / "events.ndjson", ONE)
    nothing = command("once")
    assert nothing.code == 3
    assert "--events" in nothing.err and "ELASTICSEARCH_HOSTS" in nothing.err
    typo = command("once", "--events", "evnts.ndjson", *NOW)
    assert typo.code == 3
    assert "evnts.ndjson: no such file or folder; did you mean events.ndjson?" in typo.err
    wrong = command("once", "--events", events, "--rules", "ruls", "--rules", "other")
    assert wrong.code == 3
    assert "ruls: no such file or folder; did you mean rules?" in wrong.err
    assert "other: no such file or folder" in wrong.err
    (tmp_path / "bare").mkdir()
    bare = command("once", "--events", events, "--rules", "bare", *NOW)
    assert bare.code == 3
    assert "no rule files (*.toml) in this folder" in bare.err


def test_a_broken_rule_costs_exit_code_2_and_the_others_run(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    write_rule(tmp_path, "bad", "process where proces.name == ")
    answer = command("once", "--events", write_events(tmp_path / "e.ndjson", ONE), *NOW, "-o", "json")
    assert (answer.code, answer.json["created"]) == (2, 1)
    assert "rules/bad.toml:13:39: error: " in answer.err


def test_a_rule_that_fails_at_its_data_costs_exit_code_2(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path, "fails", "process where 10 / (process.pid - 100) > 1")
    write_rule(tmp_path)
    answer = command("once", "--events", write_events(tmp_path / "e.ndjson", ONE), *NOW, "-o", "json")
    assert answer.code == 2
    outcomes = {run["rule_id"]: (run["status"], run["created"]) for run in answer.json["runs"]}
    assert outcomes == {"fails": ("failed", 0), "nc": ("succeeded", 1)}


def test_a_rule_of_another_type_is_a_warning(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    query = {"type": "esql", "language": "esql", "query": "from logs-*"}
    (tmp_path / "rules" / "esql.toml").write_text(rule_text("esql", query))
    answer = command("once", "--events", write_events(tmp_path / "e.ndjson", ONE), *NOW)
    assert answer.code == 0
    assert "1 rule of other types (esql) not run: rules in ES|QL run in a cluster only" in answer.err


def test_a_field_that_no_event_has_is_told_once_and_finds_nothing(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path, "odd", 'process where proces.name == "x"')
    write_rule(tmp_path)
    answer = command("once", "--events", write_events(tmp_path / "e.ndjson", ONE), *NOW, "-o", "json", "--all")
    assert answer.code == 0
    assert {run["rule_id"]: run["matches"] for run in answer.json["runs"]} == {"nc": 1, "odd": 0}
    assert "Unknown column" not in answer.err
    text = "1 rule names a field that neither the field table nor the events have: proces.name; `rule-runner check`"
    (line,) = (line for line in answer.err.splitlines() if "proces.name" in line)
    assert json.loads(line)["message"].startswith(text)
    place = "rules/odd.toml:13:24: warning: Unknown column [proces.name], did you mean [process.name]?"
    assert place in command("check").out


def test_fields_that_only_the_events_have_are_fields(command: Command, tmp_path: Path) -> None:
    queries = {
        "named": 'process where own.allow : "no"',
        "optional": 'process where ?own.allow : "no"',
        "negated": 'process where not (process.name : "nc" and ?own.allow : "no")',
        "nowhere": 'process where not (process.name : "nc" and ?own.other : "no")',
        "null": "process where ?own.other == null",
        "script": "process where number(own.allow) == 1",
        "length": "process where length(?own.size) == 1",
    }
    for name, query in queries.items():
        write_rule(tmp_path, name, query)
    line = '{"@timestamp":"2026-03-02T10:00:00Z","event":{"category":"process"},"own":{"allow":"%s","size":1}}'
    (tmp_path / "e.ndjson").write_text("\n".join(line % value for value in ("no", "yes")))
    answer = command("once", "--events", "e.ndjson", *NOW, "-o", "json", "--all")
    assert answer.code == 2
    runs = {run["rule_id"]: run for run in answer.json["runs"]}
    assert "Unable to convert [no] to number of base [10]" in runs.pop("script")["messages"][0]
    assert {name: run["matches"] for name, run in runs.items()} == {
        "named": 1, "optional": 1, "negated": 2, "nowhere": 0, "null": 2, "length": 0,
    }  # fmt: skip
    assert "warning" not in answer.err


def test_state_files_that_cannot_be_used(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    events = write_events(tmp_path / "e.ndjson", ONE)
    (tmp_path / "text.db").write_text(
        "this is no database, and it is long enough to be looked at as if it were one" * 20
    )
    for state, said in (("none/here.db", "here.db"), ("text.db", "text.db is not an SQLite database"), (".", "")):
        answer = command("once", "--events", events, *NOW, "--state", state)
        assert (answer.code, answer.out) == (3, ""), state
        assert said in answer.err
    assert (tmp_path / "text.db").read_text().startswith("this is no database")


def test_wrong_settings_are_told_all_at_once(command: Command) -> None:
    env = {
        "RUNNER_TICK": "soon",
        "RUNNER_ON_CAP": "keep",
        "ELASTICSEARCH_HOSTS": "ftp://cluster",
        "RUNNER_STAT": "x.db",
    }
    answer = command("once", "--output", "yaml", env=env)
    assert (answer.code, answer.out) == (3, "")
    assert "4 problems in the settings" in answer.err
    assert all(name in answer.err for name in ("RUNNER_TICK", "RUNNER_ON_CAP", "ELASTICSEARCH_HOSTS", "--output"))


def test_a_misspelt_setting_is_named(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    events = write_events(tmp_path / "e.ndjson", ONE)
    answer = command("once", "--events", events, *NOW, env={"RUNNER_STAET": "x.db"})
    assert answer.code == 0
    assert "did you mean RUNNER_STATE?" in answer.err


def test_latest_is_for_files(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    answer = command("once", "--now", "latest", env={"ELASTICSEARCH_HOSTS": "http://127.0.0.1:9"})
    assert answer.code == 3
    assert "--now latest needs --events" in answer.err


def recent(seconds: int, number: int) -> str:
    """An event of so many seconds ago that the rule finds."""
    time = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
    event = {"id": f"{number}", "category": "process"}
    return json.dumps({"@timestamp": time, "agent": {"id": "a"}, "event": event, "process": {"name": "nc"}}) + "\n"


def test_by_the_clock_of_the_machine_the_new_alerts_are_shown(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    (tmp_path / "e.ndjson").write_text(recent(5, 1) + recent(4, 2))
    answer = command("once", "--events", tmp_path / "e.ndjson")
    assert (answer.code, "2 new alerts" in answer.out) == (0, True)


def test_over_a_folder_by_the_clock_what_earlier_runs_left_is_caught_up(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    folder = tmp_path / "events"
    folder.mkdir()
    (folder / "e.ndjson").write_text(recent(3_000, 1) + recent(1_500, 2) + recent(5, 3))
    earlier = (datetime.now(UTC) - timedelta(seconds=2_990)).isoformat()
    assert command("once", "--events", folder, "--now", earlier, "-o", "json").json["created"] == 1
    late = command("once", "--events", folder, "-o", "json")
    assert (late.code, late.json["created"], len(late.json["runs"])) == (0, 2, 2)
    assert len(command("once", "--events", folder, "-o", "json").json["runs"]) == 1


def test_a_time_in_epoch_milliseconds_is_shown_as_a_time(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    event = {"@timestamp": 1_772_445_611_000, "event": {"category": "process"}, "process": {"name": "nc"}}
    (tmp_path / "e.ndjson").write_text(json.dumps(event))
    answer = command("once", "--events", tmp_path / "e.ndjson", "--now", "latest")
    assert (answer.code, "2026-03-02 10:00:11" in answer.out) == (0, True)


def test_values_of_events_cannot_steer_the_terminal(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    evil = "\x1b]0;pwned\x07\x1b[2J\u202e"
    process = {"name": "nc", "command_line": evil, "args": [evil]}
    event = {"@timestamp": "2026-03-02T10:04:00Z", "event": {"category": "process"}, "process": process}
    (tmp_path / "e.ndjson").write_text(json.dumps({**event, "host": {"name": evil}, "user": {"name": f"a{evil}\nb"}}))
    once = command("once", "--events", tmp_path / "e.ndjson", *NOW)
    listed = command("alerts", "list", "-o", "json").json["alerts"]
    shown = command("alerts", "show", listed[0]["id"])
    for answer in (once, shown):
        assert answer.code == 0
        assert not {"\x1b", "\x07", "\u202e"} & set(answer.out)
        assert "\\x1b" in answer.out


def test_every_rule_disabled(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path, enabled=False)
    answer = command("once", "--events", write_events(tmp_path / "e.ndjson", ONE), *NOW)
    assert (answer.code, "is disabled (1 rule)" in answer.err) == (3, True)


def event(second: float, **fields: object) -> str:
    time = (datetime.now(UTC) + timedelta(seconds=second)).isoformat()
    return json.dumps({"@timestamp": time, "event": {"category": "process"}, **fields}) + "\n"


def test_a_rule_that_can_see_no_event_has_a_warning(command: Command, tmp_path: Path) -> None:
    fields = {"query": "any where true"}
    sees, blind = tmp_path / "sees.toml", tmp_path / "blind.toml"
    sees.write_text(rule_text("sees", fields))
    blind.write_text(rule_text("blind", fields | {"index": ["winlogbeat-*", "logs-windows.*"]}))
    stream = {"type": "logs", "dataset": "endpoint.events.process", "namespace": "default"}
    (tmp_path / "events.ndjson").write_text(event(-60, data_stream=stream))
    answer = command("once", "--events", "events.ndjson", "--rules", sees, "--rules", blind, "-o", "json")
    assert answer.code == 0
    assert {run["rule_id"]: (run["status"], run["messages"]) for run in answer.json["runs"]} == {
        "sees": ("succeeded", []),
        "blind": ("warning", ["no event read so far is of winlogbeat-*, logs-windows.*: the rule sees none"]),
    }
    (tmp_path / "folder").mkdir()
    (run,) = command("once", "--events", "folder", "--rules", sees, "-o", "json").json["runs"]
    assert (run["status"], run["messages"]) == ("warning", ["no event was read: there is no event file in folder"])


def test_a_folder_without_rules_is_an_error(command: Command, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "events.ndjson").write_text(event(-60))
    for arguments in (("check", "none"), ("once", "--events", "events.ndjson", "--rules", "none")):
        answer = command(*arguments)
        assert answer.code == 3
        assert "no rules in none: none: no rule files (*.toml) in this folder; name files or folders" in answer.err


def test_files_that_are_delivered_late_are_searched_by_a_run_from_cron(command: Command, tmp_path: Path) -> None:
    rule = {"query": "any where event.id != null", "index": ["*"], "from": "now-3s", "interval": "2s"}
    (tmp_path / "r.toml").write_text(rule_text("r", rule))
    folder = tmp_path / "events"
    folder.mkdir()
    (folder / "a.log").write_text(event(-1))
    arguments = ("once", "--events", "events", "--rules", "r.toml", "-o", "json", "--all")
    assert [run["created"] for run in command(*arguments).json["runs"]] == [0]
    with sqlite3.connect(tmp_path / "rule-runner.db") as database:  # a ledger that goes back for 20 days
        database.execute("UPDATE spans SET window_start = window_start - ?", (20 * 86_400 * 10**9,))
    for number, hours in enumerate((1, 5, 9, 24 * 8)):
        (folder / f"late{number}.ndjson").write_text(event(-3_600 * hours, **{"event.id": str(number)}))
    answer = command(*arguments)
    assert sum(run["created"] for run in answer.json["runs"]) == 3
    assert "3 events came late" in answer.err and "3 spans of 1 rule are owed again" in answer.err
    assert "1 event came later than RUNNER_CATCH_UP reaches back: `rule-runner replay --from" in answer.err
    found = re.search(r"`rule-runner (replay --from .*)` searches", answer.err)
    assert found is not None and found[1].endswith("--events events --rules r.toml")
    (gap,) = command("status", "--gaps", "--rules", "r.toml", "-o", "json").json["gaps"]
    assert gap["kind"] == "given up" and "events of this time came after it was searched" in gap["reason"]
    assert command(*shlex.split(found[1])).code == 0
    assert command("status", "--gaps", "--rules", "r.toml", "-o", "json").json["gaps"] == []
    assert len(command("alerts", "list", "-o", "json").json["alerts"]) == 4
    assert sum(run["created"] for run in command(*arguments).json["runs"]) == 0
