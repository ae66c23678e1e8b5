"""Texts of rules, events and file names in the output of every command: none can control the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.scenarios.timeline import rule_text

HOSTILE = "a\x1b[2J\x1b]8;;https://x\x07\x9b31m\x7f\u202eb\rc\u2066"
FORBIDDEN = "\x1b\x07\x9b\x7f\r\u202e\u2066"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A rule and an event full of escape codes, in a file whose name has one, too; a broken rule and a test."""
    fields = {"query": 'process where process.name != "x"', "rule_name_override": "process.name"}
    (tmp_path / "rules").mkdir()
    text = rule_text("r", fields).replace('name = "r"', f"name = {json.dumps('R' + HOSTILE)}")
    guide = json.dumps(f"See [here](https://example.org/{HOSTILE}) {HOSTILE}")
    text = text.replace("[rule]\n", f"[rule]\nnote = {guide}\n")
    (tmp_path / "rules" / "r.toml").write_text(text)
    (tmp_path / "rules" / "b\x1b[1mad.toml").write_text(rule_text("bad", {"query": "process where"}))
    event = {
        "@timestamp": "2026-03-02T10:01:00Z",
        "event": {"category": "process", "id": HOSTILE},
        "process": {"name": HOSTILE, "command_line": HOSTILE, "entity_id": "e"},
        "host": {"name": HOSTILE, "id": "h"},
        "user": {"name": HOSTILE},
    }
    file = tmp_path / "e\x1b[5m.ndjson"
    file.write_text(json.dumps(event, ensure_ascii=False) + "\n{\n")
    return file


def test_no_command_lets_it_through(command: Command, hostile: Path) -> None:
    now = ("--now", "2026-03-02T10:05:00Z")
    query = 'process where process.name != "x"'
    answers = [
        command("once", "--events", hostile, *now),
        command("once", "--events", hostile, *now, "-o", "json", "--all"),
        command("status"),
        command("status", "-o", "json"),
        command("replay", "--events", hostile, "--state", "other.db"),
        command("check"),
        command("check", "-o", "json"),
        command("test"),
        command("doctor", "--events", hostile),
        command("search", query, "--events", hostile),
        command("search", query, "--events", hostile, "--explain"),
        command("search", query, "--events", hostile, "--event", "1"),
        command("search", f'process where {HOSTILE} == "', "--events", hostile),
        command("search", "process where true", "--events", f"{HOSTILE}.ndjson"),
        command("alerts", "list"),
        command("alerts", "export"),
        command("once", f"--{HOSTILE}"),
        command(HOSTILE),
    ]
    found = command("alerts", "list", "-o", "json").json
    answers.append(command("alerts", "show", found["alerts"][0]["id"]))
    assert "https://example.org/" in answers[-1].out  # a link is shown, not hidden
    answers.append(command("alerts", "show", HOSTILE))
    for place, answer in enumerate(answers):
        for text in (answer.out, answer.err):
            assert not set(text) & set(FORBIDDEN), (place, text)
    assert found["alerts"][0]["rule"].startswith("a\x1b[2J")  # in JSON the value is what it was


def test_a_text_log_escapes_and_forges_no_line(command: Command, hostile: Path) -> None:
    (hostile.parent / "rules" / "r.toml").write_text(
        rule_text("r", {"query": 'process where unknown.field == "x"'}).replace('name = "r"', 'name = "x\\u001b[1m"')
    )
    answer = command("once", "--events", hostile, "--now", "latest", env={"RUNNER_LOG_FORMAT": "text"})
    assert not set(answer.err) & set(FORBIDDEN)
