"""Rules of type new_terms at the command line: a first run that learns, tables that are kept, tests with a history."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command

RULE = """
[rule]
rule_id = "programs"
name = "programs"
description = "d"
severity = "low"
risk_score = 21
type = "new_terms"
language = "kuery"
query = "event.category: process"
[rule.new_terms]
field = "new_terms_fields"
value = ["host.id", "process.name"]
[[rule.new_terms.history_window_start]]
field = "history_window_start"
value = "now-7d"
"""
TEST = """
[defaults]
event.category = "process"
host.id = "web"
[[test]]
name = "known and new"
[[test.history]]
"@timestamp" = 2026-03-01T10:00:00Z
process.name = "sh"
[[test.event]]
"@timestamp" = 2026-03-02T10:00:00Z
event.id = "e1"
process.name = "sh"
[[test.event]]
"@timestamp" = 2026-03-02T10:00:00Z
event.id = "e2"
process.name = "nc"
[[test.alert]]
events = ["{event}"]
"""


def event(time: str, name: str) -> str:
    made = {"@timestamp": time, "event": {"category": "process"}, "host": {"id": "web"}, "process": {"name": name}}
    return json.dumps(made) + "\n"


def test_a_first_run_learns_and_the_table_is_kept(command: Command, tmp_path: Path) -> None:
    rule, events = tmp_path / "programs.toml", tmp_path / "events"
    events.mkdir()
    rule.write_text(RULE)
    asked = ("once", "--rules", rule, "--events", events)
    (events / "a.ndjson").write_text(event("2026-03-02T10:01:00Z", "sh"))
    first = command(*asked, "--now", "2026-03-02T10:05:00Z")
    assert "1 new term was learned and not alerted" in first.out + first.err
    with (events / "a.ndjson").open("a") as file:
        file.write(event("2026-03-03T11:01:00Z", "sh") + event("2026-03-03T11:02:00Z", "nc"))
    later = command(*asked, "--now", "2026-03-03T11:05:00Z")
    assert "1 new alert" in later.out
    assert "the events reach back to 2026-03-02T10:01:00.000Z" in later.out + later.err
    shown = command("state", "show", "--output", "json").json["terms"]
    assert [(one["rule_id"], one["terms"]) for one in shown] == [("programs", 2)]
    assert "terms: 2, as 1 rule of type new_terms saw them" in command("state", "show").out


def test_a_test_can_have_a_history(command: Command, tmp_path: Path) -> None:
    (tmp_path / "programs.toml").write_text(RULE)
    file = tmp_path / "programs.test.toml"
    file.write_text(TEST.replace("{event}", "e2"))
    assert command("test", file).code == 0
    file.write_text(TEST.replace("{event}", "e1"))
    failed = command("test", file)
    assert failed.code != 0
    assert "it has no value of host.id, process.name, or those were seen before it" in failed.out
