"""Rules in KQL and in Lucene's syntax, as a person at a shell uses them: check, test, once, replay, alerts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command

RULE = """
[rule]
rule_id = "{name}"
name = "{name}"
description = "d"
type = "query"
language = "{language}"
index = ["logs-*"]
from = "now-9m"
severity = "low"
risk_score = 21
query = '''
{query}
'''
"""
EVENTS = [
    {
        "@timestamp": f"2026-03-01T10:00:0{number}Z",
        "event": {"id": f"e{number}", "category": ["process"]},
        "host": {"name": "web"},
        "process": {"name": name, "pid": number, "command_line": f"{name} -x"},
    }
    for number, name in enumerate(["nc", "Ncat", "sh"])
]
NOW = ("--now", "2026-03-01T10:05:00Z")


@pytest.fixture(autouse=True)
def world(command: Command) -> None:
    Path("rules").mkdir()
    Path("events.ndjson").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))


def write(name: str, query: str, language: str = "kuery") -> None:
    Path(f"rules/{name}.toml").write_text(RULE.format(name=name, query=query, language=language))


def test_each_event_that_is_found_is_an_alert_once(command: Command) -> None:
    write("listed", "process.name: (nc or Ncat) and not process.pid: 1")
    write("words", "process.command_line: n*")
    write("regex", "process.name:/[nN]c.*/", "lucene")
    for created in ({"listed": 1, "words": 1, "regex": 2}, {"listed": 0, "words": 0, "regex": 0}):
        answer = command("once", "--events", "events.ndjson", *NOW, "--force", "-o", "json", "--all")
        assert answer.code == 0, answer.err
        assert {run["rule_id"]: run["created"] for run in answer.json["runs"]} == created


def test_an_alert_has_the_type_of_its_rule_and_shows_the_fields_of_the_query(command: Command) -> None:
    write("one", "process.name: nc and process.pid >= 0 and process.command_line: *")
    command("once", "--events", "events.ndjson", *NOW)
    (alert,) = [json.loads(line) for line in command("alerts", "export").out.splitlines()]
    flat = json.dumps(alert)
    assert "siem.queryRule" in flat
    assert "Custom Query Rule" in flat
    (listed,) = command("alerts", "list", "-o", "json").json["alerts"]
    shown = command("alerts", "show", listed["id"])
    assert "nc -x" in shown.out


def test_check_gives_the_place_of_a_mistake_in_the_file(command: Command) -> None:
    write("broken", "process.name: nc adn\nprocess.pid: 1")
    write("type", "process.name: nc and\n  process.pid: abc")
    write("field", "proces.name: nc")
    write("slash", "process.name:/usr", "lucene")
    answer = command("check")
    assert answer.code == 1
    assert "rules/broken.toml:14:12: error: expected AND, OR or the end, found `:`" in answer.out
    assert 'rules/type.toml:14:16: error: cannot read ["abc"] as a value of field [process.pid]' in answer.out
    assert "rules/field.toml:13:1: warning: there is no field [proces.name], did you mean [process.name" in answer.out
    assert "rules/slash.toml:13:14: error: cannot read `/` here" in answer.out
    assert "4 files, 4 rules: 3 errors, 1 warning" in answer.out


def test_a_broken_query_costs_its_rule_alone(command: Command) -> None:
    write("broken", "process.pid: abc")
    write("fine", "process.name: nc")
    answer = command("once", "--events", "events.ndjson", *NOW, "-o", "json", "--all")
    assert {run["rule_id"]: run["created"] for run in answer.json["runs"]} == {"fine": 1}
    assert "cannot read" in answer.err


def test_the_tests_of_a_rule(command: Command) -> None:
    write("shell", "process.name: sh")
    Path("rules/shell.test.toml").write_text(
        """
[[test]]
name = "a shell"
alerts = 1

[[test.event]]
"@timestamp" = "2026-03-01T10:00:00Z"
event.id = "a"
process.name = "sh"

[[test.event]]
"@timestamp" = "2026-03-01T10:00:01Z"
event.id = "b"
process.name = "Sh"
"""
    )
    answer = command("test", "rules")
    assert answer.code == 0, answer.out


def test_a_replay_finds_what_once_would_have_found(command: Command) -> None:
    write("one", "process.name: N*")
    answer = command("replay", "--events", "events.ndjson", "-o", "json")
    assert answer.code == 0, answer.err
    assert len(command("alerts", "list", "-o", "json").json["alerts"]) == 1


def test_search_takes_the_query_of_a_rule_with_its_filters_and_exceptions(command: Command) -> None:
    write("one", "process.name: (nc or Ncat or sh)")
    text = Path("rules/one.toml").read_text()
    leaves_out = '[[rule.filters]]\nmeta = { negate = true }\nquery = { term = { "process.pid" = 2 } }\n'
    Path("rules/one.toml").write_text(text + leaves_out)
    Path("known.toml").write_text(
        '[[exception]]\nname = "n"\nreason = "r"\nexpires = "never"\nall_rules = true\nwhen = { "process.pid" = 1 }\n'
    )
    asked = ("search", "--rule", "one", "--events", "events.ndjson", "--exceptions", "known.toml")
    answer = command(*asked)
    assert answer.code == 0, answer.err
    assert [hit["_source"]["process"]["name"] for hit in answer.json["hits"]["hits"]] == ["nc"]
    assert "left out 1 event" in answer.err
    explained = command(*asked, "--explain")
    assert "1 event found" in explained.out


def test_search_says_which_filter_of_a_rule_it_cannot_apply(command: Command) -> None:
    write("one", "process.name: nc")
    text = Path("rules/one.toml").read_text()
    Path("rules/one.toml").write_text(text + '[[rule.filters]]\nquery = { script = { script = "true" } }\n')
    answer = command("search", "--rule", "one", "--events", "events.ndjson")
    assert answer.code == 3
    assert 'rule "one" has a filter that cannot be applied: `script` queries cannot be applied to files' in answer.err


def test_date_math_beyond_all_numbers_is_an_error_of_its_rule_alone(command: Command) -> None:
    write("good", "process.name: nc")
    write("far", '@timestamp > "now-99999999999999y"')
    write("fixed", '@timestamp > "2026-01-01||+9999999999M"')
    answer = command("once", "--events", "events.ndjson", *NOW, "-o", "json")
    assert [run["rule_id"] for run in answer.json["runs"]] == ["good"]
    assert 'rules/far.toml:13:14: error: cannot read ["now-99999999999999y"] as a value' in answer.err
    assert "rules/fixed.toml:13:14: error: cannot read" in answer.err
