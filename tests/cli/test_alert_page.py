"""The page of an alert: what `alerts show` prints, and what it looks up."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command

pytestmark = pytest.mark.slow

HOST = {"id": "h", "name": "ws-1"}
RULE = """[rule]
rule_id = "{name}"
name = "{name}"
description = "A rule."
type = "{type}"
language = "{language}"
index = ["logs-*"]
from = "now-9m"
severity = "low"
risk_score = 21
query = '''{query}'''
{more}
"""


def started(second: int, pid: int, name: str, parent: int, **more: Any) -> dict[str, Any]:
    process = {"pid": pid, "name": name, "executable": f"C:\\W\\{name}", "parent": {"pid": parent}}
    return {
        "@timestamp": f"2026-03-02T10:00:{second:02}Z",
        "event": {"category": ["process"], "type": ["start"], "code": "4688"},
        "host": HOST,
        "user": {"name": "ann", "domain": "EXAMPLE", "id": "S-1-5-18"},
        "process": process,
        **more,
    }


EVENTS = [
    started(1, 10, "explorer.exe", 9),
    started(2, 20, "winword.exe", 10),
    started(3, 30, "cmd.exe", 20, winlog={"event_data": {"TokenElevationType": "%%1937", "Script": "a\nb\x1b[31m"}}),
]


def shown(
    command: Command, tmp_path: Path, rule: str, *options: str, events: list[dict[str, Any]] | None = None
) -> str:
    """The page of the alert of a rule over the events."""
    (tmp_path / "rule.toml").write_text(rule)
    (tmp_path / "e.ndjson").write_text("".join(json.dumps(one) + "\n" for one in events or EVENTS))
    once = command("once", "--events", "e.ndjson", "--rules", "rule.toml", "--now", "latest", "-o", "json")
    assert (once.code, once.json["created"]) == (0, 1)
    (alert,) = command("alerts", "list", "-o", "json").json["alerts"]
    answer = command("alerts", "show", alert["id"], *options)
    assert answer.code == 0
    return answer.out


def rule(query: str, *, name: str = "r", kind: str = "eql", language: str = "eql", more: str = "") -> str:
    return RULE.format(name=name, type=kind, language=language, query=query, more=more)


CMD = rule('process where process.name == "cmd.exe"')


def test_ancestors_without_entity_ids_are_looked_up(command: Command, tmp_path: Path) -> None:
    page = shown(command, tmp_path, CMD, "--events", "e.ndjson")
    chain = page.split("Process chain\n")[1].split("\n\n")[0]
    assert [line.split("  as ")[0] for line in chain.splitlines()] == [
        "(unknown) (pid 9)",
        "  └ explorer.exe (pid 10)",
        r"      C:\W\explorer.exe",
        "    └ winword.exe (pid 20)",
        r"        C:\W\winword.exe",
        "      └ cmd.exe (pid 30)",
        r"          C:\W\cmd.exe",
        "1 process of the chain not known: no event of its own was found",
    ]
    assert chain.count("(looked up)") == 2


def test_the_files_that_the_rule_was_run_over_are_found_again(command: Command, tmp_path: Path) -> None:
    page = shown(command, tmp_path, CMD)
    assert "winword.exe (pid 20)" in page
    assert f"--events {tmp_path / 'e.ndjson'}" in page
    assert "(looked up)" not in command("alerts", "show", _only(command), "--no-lookup").out
    (tmp_path / "e.ndjson").unlink()
    page = command("alerts", "show", _only(command)).out
    assert "(looked up)" not in page and "give --events" in page


def test_where_no_events_are_named_it_is_said_what_is_missing(command: Command, tmp_path: Path) -> None:
    event = {**EVENTS[2], "process": {"entity_id": "C", "name": "cmd.exe", "Ext": {"ancestry": ["B", "A"]}}}
    shown(command, tmp_path, CMD, events=[event])
    (tmp_path / "e.ndjson").unlink()
    said = "2 processes of the chain not known: give --events, or the settings of a cluster, to look them up"
    assert said in command("alerts", "show", _only(command)).out
    broken = command("alerts", "show", _only(command), "--events", "no/such/file")
    assert broken.code == 0 and "2 processes of the chain not known: no/such/file" in broken.out


def test_values_in_lines_and_no_label_without_a_value(command: Command, tmp_path: Path) -> None:
    page = shown(command, tmp_path, CMD, "--no-lookup")
    assert "winlog.event_data.Script:\n         1 a\n         2 b\\x1b[31m\n" in page
    assert "winlog.event_data.TokenElevationType: %%1937  (Elevated token)" in page
    assert "host ws-1  id h\n" in page
    assert "user EXAMPLE\\ann  id S-1-5-18 (Local System)\n" in page
    assert r"EXAMPLE\ann on ws-1" in page


def test_the_searches_of_the_page_find_what_they_say(command: Command, tmp_path: Path) -> None:
    button = (
        '!{investigate{"label":"Same host","providers":[[{"field":"host.id","value":"{{host.id}}"},'
        '{"field":"process.pid","value":"{{process.pid}}"}]],"relativeFrom":"now-1h","relativeTo":"now"}}'
    )
    page = shown(command, tmp_path, rule('process where process.name == "cmd.exe"', more=f"note = '''{button}'''"))
    assert "(1) Same host" in page.split("\nGuide\n")[1] and "!{" not in page
    commands = [
        line.strip().removeprefix("run").strip() for line in page.splitlines() if line.strip().startswith("run ")
    ]
    for text in commands:
        words = shlex.split(text)[1:]
        answer = command(*words)
        assert answer.code == 0
        found = answer.json["hits"]["total"]["value"] if words[0] == "search" else answer.out.count("cmd.exe")
        assert words[0] == "alerts" or found >= 1
    assert len(commands) == 6


def test_what_a_threshold_rule_has_counted(command: Command, tmp_path: Path) -> None:
    more = '[rule.threshold]\nfield = ["host.id"]\nvalue = 3'
    by = rule("event.category : process", kind="threshold", language="kuery", more=more)
    page = shown(command, tmp_path, by, "--events", "e.ndjson")
    counted = page.split("\nCounted\n")[1].split("\n\n")[0]
    assert counted.startswith(
        "events: 3  (the rule asks for 3 or more)\nhost.id: h\nfirst event: 2026-03-02T10:00:01.000Z"
    )
    assert page.index("winword.exe (pid 20)") < page.index("cmd.exe (pid 30)")
    assert "\nEvents\n" not in page
    (tmp_path / "e.ndjson").unlink()
    assert "the counted events are not shown: give --events" in command("alerts", "show", _only(command)).out


def _only(command: Command) -> str:
    (alert,) = command("alerts", "list", "-o", "json").json["alerts"]
    return str(alert["id"])
