"""Rules of type threat_match at the command line: files of indicators, alerts that show them, tests, hot changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.conftest import Command

RULE = """
[rule]
rule_id = "addresses"
name = "addresses"
description = "d"
severity = "low"
risk_score = 21
type = "threat_match"
language = "kuery"
query = "destination.ip:*"
from = "now-65m"
interval = "1h"
index = ["logs-*"]
threat_index = ["logs-ti_*"]
threat_query = '@timestamp >= "now-30d/d"'
[[rule.threat_mapping]]
[[rule.threat_mapping.entries]]
type = "mapping"
field = "destination.ip"
value = "threat.indicator.ip"
"""
TEST = """
[defaults]
event.category = "network"
[[test]]
name = "a known address"
[[test.indicator]]
"@timestamp" = 2026-03-01T00:00:00Z
threat.indicator.ip = "203.0.113.9"
[[test.event]]
"@timestamp" = 2026-03-02T10:00:00Z
event.id = "e1"
destination.ip = "203.0.113.9"
[[test.event]]
"@timestamp" = 2026-03-02T10:00:00Z
event.id = "e2"
destination.ip = "203.0.113.10"
[[test.alert]]
events = ["{event}"]
"""


def documents(*given: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in given)


def event(minute: int, address: str) -> dict[str, Any]:
    threat = {"enrichments": [{"matched": {"atomic": "earlier"}}]}
    return {"@timestamp": f"2026-03-02T10:{minute:02}:00Z", "destination": {"ip": address}, "threat": threat}


def indicator(id_: str, address: str) -> dict[str, Any]:
    threat = {"indicator": {"ip": address, "type": "ipv4-addr"}, "feed": {"name": "lab"}}
    source = {"@timestamp": "2026-03-01T00:00:00Z", "threat": threat}
    return {"_index": ".ds-logs-ti_lab-default-2026.03.01-000001", "_id": id_, "_source": source}


def test_indicators_of_files_make_alerts_that_show_them(command: Command, tmp_path: Path) -> None:
    (tmp_path / "addresses.toml").write_text(RULE)
    (tmp_path / "e.ndjson").write_text(documents(event(1, "203.0.113.9"), event(2, "203.0.113.10")))
    (tmp_path / "ti.ndjson").write_text(documents(indicator("one", "203.0.113.9"), indicator("two", "203.0.113.9")))
    asked = ("once", "--rules", "addresses.toml", "--events", "e.ndjson", "--now", "2026-03-02T10:05:00Z")
    without = command(*asked, "-o", "json").json
    (run,) = without["runs"]
    assert (run["status"], run["created"]) == ("warning", 0)
    assert any("name files of indicators with --indicators" in text for text in run["messages"])
    made = command(*asked, "--indicators", "ti.ndjson", "-o", "json", "--all")
    assert (made.code, made.json["created"]) == (0, 1)
    (line,) = command("alerts", "export").out.splitlines()
    document = json.loads(line)
    document = document.get("_source", document)
    assert document["threat"]["enrichments"] == [
        {"matched": {"atomic": "earlier"}},
        *(
            {
                "indicator": {"ip": "203.0.113.9", "type": "ipv4-addr"},
                "feed": {"name": "lab"},
                "matched": {
                    "atomic": "203.0.113.9",
                    "field": "destination.ip",
                    "type": "indicator_match_rule",
                    "id": id_,
                    "index": ".ds-logs-ti_lab-default-2026.03.01-000001",
                },
            }
            for id_ in ("one", "two")
        ),
    ]
    assert document["kibana.alert.rule.rule_type_id"] == "siem.indicatorRule"
    assert document["kibana.alert.rule.parameters"]["threat_mapping"] == [
        {"entries": [{"type": "mapping", "field": "destination.ip", "value": "threat.indicator.ip"}]}
    ]
    # One alert an event, whatever indicators come later.
    (tmp_path / "ti.ndjson").write_text(documents(indicator("three", "203.0.113.9"), indicator("4", "203.0.113.10")))
    again = command(*asked, "--indicators", "ti.ndjson", "-o", "json", "--all", "--force").json
    assert (again["created"], again["runs"][0]["duplicates"]) == (1, 1)


def test_wrong_paths_of_indicators_are_told_at_once(command: Command, tmp_path: Path) -> None:
    (tmp_path / "addresses.toml").write_text(RULE)
    (tmp_path / "e.ndjson").write_text(documents(event(1, "203.0.113.9")))
    (tmp_path / "feed.ndjson").touch()
    for name in ("once", "replay"):
        wrong = command(name, "--rules", "addresses.toml", "--events", "e.ndjson", "--indicators", "feeds.ndjson")
        assert wrong.code == 3
        assert "feeds.ndjson: no such file or folder of indicators; did you mean feed.ndjson?" in wrong.err


def test_tests_of_rules_have_indicators(command: Command, tmp_path: Path) -> None:
    (tmp_path / "addresses.toml").write_text(RULE)
    file = tmp_path / "addresses.test.toml"
    file.write_text(TEST.replace("{event}", "e1"))
    assert command("test", file).code == 0
    file.write_text(TEST.replace("{event}", "e2"))
    failed = command("test", file)
    assert failed.code != 0
    assert "no indicator has its values of destination.ip" in failed.out


def test_a_query_for_indicators_has_its_errors_with_the_place(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "addresses.toml"
    file.write_text(RULE.replace("""'@timestamp >= "now-30d/d"'""", "'event.module:(ti_* or'"))
    answer = command("check", file)
    assert answer.code == 1
    assert "addresses.toml:15:16: error: `threat_query`: line 1:22: expected" in answer.out


def test_a_replay_goes_by_the_indicators_of_each_window(command: Command, tmp_path: Path) -> None:
    (tmp_path / "addresses.toml").write_text(RULE)
    late = event(1, "203.0.113.9") | {"@timestamp": "2026-04-02T10:01:00Z"}
    (tmp_path / "e.ndjson").write_text(documents(event(1, "203.0.113.9"), late))
    (tmp_path / "ti.ndjson").write_text(documents(indicator("one", "203.0.113.9")))
    asked = ("replay", "--rules", "addresses.toml", "--events", "e.ndjson", "--indicators", "ti.ndjson", "-o", "json")
    answer = command(*asked)
    assert (answer.code, answer.json["created"]) == (0, 1)


def test_explain_compares_events_with_indicators_field_by_field(command: Command, tmp_path: Path) -> None:
    (tmp_path / "addresses.toml").write_text(RULE)
    (tmp_path / "e.ndjson").write_text(
        documents(event(1, "203.0.113.9"), event(2, "203.0.113.10"), event(3, "203.0.113.9"))
    )
    (tmp_path / "ti.ndjson").write_text(documents(indicator("one", "203.0.113.9"), indicator("two", "203.0.113.1")))
    asked = ("search", "--rule", "addresses.toml", "--events", "e.ndjson", "--explain")
    shown = command(*asked, env={"RUNNER_INDICATORS": "ti.ndjson"})
    assert shown.code == 0
    lines = [line.strip() for line in shown.out.splitlines()]
    start = lines.index("which indicators were met")
    assert lines[start + 1 : start + 6] == [
        "2 indicators of the rule; one group of fields has to hold",
        "group 1: destination.ip 2 values in 3 events, threat.indicator.ip 2 values of indicators; 1 the same",
        "2 events with an indicator",
        "e.ndjson:1: destination.ip 203.0.113.9 (lab, one)",
        "e.ndjson:3: destination.ip 203.0.113.9 (lab, one)",
    ]
    without = command(*asked)
    assert "0 events with an indicator" in without.out
    assert "name files of indicators with --indicators" in without.out
