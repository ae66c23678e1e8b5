"""Rules that read `.alerts-security*`: over files they read the runner's own alerts, and never their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command

pytestmark = pytest.mark.slow

RULE = """
[rule]
rule_id = "{name}"
name = "{name}"
description = "d"
type = "{type}"
language = "{language}"
index = {index}
from = "now-9m"
severity = "low"
risk_score = 21
tags = {tags}
query = '''
{query}
'''
{more}
"""
ALERTS = (".alerts-security.*",)
ONCE = ("once", "--events", "events.ndjson", "--force", "-o", "json", "--all")


def rule(
    name: str,
    query: str,
    *,
    type_: str = "query",
    language: str = "kuery",
    index: tuple[str, ...] = ALERTS,
    tags: tuple[str, ...] = (),
    more: str = "",
) -> None:
    fields = {"name": name, "query": query, "type": type_, "language": language, "more": more}
    text = RULE.format(**fields, index=json.dumps(index), tags=json.dumps(tags))
    Path(f"rules/{name}.toml").write_text(text)


def event(number: int, name: str, user: str, second: int) -> dict[str, Any]:
    return {
        "@timestamp": f"2026-03-02T10:00:{second:02}Z",
        "event": {"id": f"e{number}", "category": ["process"]},
        "host": {"name": "web", "os": {"type": "linux"}},
        "user": {"name": user},
        "process": {"name": name},
    }


@pytest.fixture(autouse=True)
def world(command: Command) -> None:
    Path("rules").mkdir()
    names = [("nc", "ann"), ("curl", "ann"), ("sh", "ann"), ("nc", "bob"), ("sh", "eve")]
    events = [event(number, name, user, number) for number, (name, user) in enumerate(names)]
    Path("events.ndjson").write_text("".join(json.dumps(one) + "\n" for one in events))
    for name in ("nc", "curl", "sh"):
        rule(f"base-{name}", f"process.name: {name}", index=("logs-*",), tags=("Lab", name))


def run(command: Command, now: str = "10:05:00") -> dict[str, int]:
    """The new alerts of each rule that has some."""
    answer = command(*ONCE, "--now", f"2026-03-02T{now}Z")
    assert answer.code == 0, answer.err
    return {run["rule_id"]: run["created"] for run in answer.json["runs"] if run["created"]}


BASE = {"base-curl": 1, "base-nc": 2, "base-sh": 2}


def alerts_of(command: Command, name: str) -> list[dict[str, Any]]:
    lines = map(json.loads, command("alerts", "export").out.splitlines())
    return [alert for alert in lines if alert["kibana.alert.rule.rule_id"] == name]


def test_a_query_finds_the_alerts_of_others_by_todays_names_and_by_those_of_before(command: Command) -> None:
    rule("by-rule", 'kibana.alert.rule.rule_id: "base-nc" and event.kind: signal')
    rule("by-tags", 'signal.rule.tags: ("Lab" and "sh") and kibana.alert.workflow_status: "open"')
    rule("lucene", "signal.rule.name:base-* AND user.name:ann", language="lucene")
    rule("eql", 'any where kibana.alert.rule.name == "base-curl"', type_="eql", language="eql")
    assert run(command) == BASE | {"by-rule": 2, "by-tags": 2, "lucene": 3, "eql": 1}
    assert run(command, "10:06:00") == {}
    (alert,) = alerts_of(command, "eql")
    assert alert["kibana.alert.depth"] == 2
    assert [one["type"] for one in alert["kibana.alert.ancestors"]] == ["event", "signal"]


@pytest.mark.slow
def test_alerts_are_counted_by_fields_of_their_events_and_rules(command: Command) -> None:
    more = '[rule.threshold]\nfield = ["user.name"]\nvalue = 1\n[[rule.threshold.cardinality]]\n'
    rule(
        "many-rules",
        "kibana.alert.rule.tags: Lab",
        type_="threshold",
        more=more + 'field = "signal.rule.name"\nvalue = 3',
    )
    assert run(command) == BASE | {"many-rules": 1}
    (alert,) = alerts_of(command, "many-rules")
    result = alert["kibana.alert.threshold_result"]
    assert (result["terms"], result["count"]) == ([{"field": "user.name", "value": "ann"}], 3)
    assert run(command, "10:06:00") == {}


def test_a_rule_does_not_find_its_own_alerts_nor_those_of_another_that_reads_alerts(command: Command) -> None:
    """Else each run would find what the one before has made, without end."""
    rule("every-alert", "event.kind: signal")
    rule("other", 'event.kind: signal and kibana.alert.severity: "low"')
    rule("counts", "event.kind: signal", type_="threshold", more="[rule.threshold]\nfield = []\nvalue = 1")
    assert run(command) == BASE | {"every-alert": 5, "other": 5, "counts": 1}
    for minute in range(6, 12):
        assert run(command, f"10:{minute:02}:00") == {}


@pytest.mark.slow
def test_a_rule_on_alerts_and_events_sees_both(command: Command) -> None:
    first, second = 'process where user.name == "eve"', 'any where event.kind == "signal" and user.name == "bob"'
    query = f"sequence by host.name with maxspan=10m [{first}] [{second}]"
    rule("both", query, type_="eql", language="eql", index=("logs-*", ".alerts-security.*"))
    assert run(command)["both"] == 1


@pytest.mark.slow
def test_new_terms_of_alerts(command: Command) -> None:
    more = 'new_terms_fields = ["user.name"]\nhistory_window_start = "now-1d"'
    rule("new-user", 'kibana.alert.rule.rule_id: "base-nc"', type_="new_terms", more=more)
    assert run(command) == BASE  # nothing is known of the time before: terms are learned
    answer = command(*ONCE, "--now", "2026-03-02T10:06:00Z", env={"RUNNER_LEARN_TERMS": "0s"})
    assert {one["rule_id"]: one["created"] for one in answer.json["runs"] if one["created"]} == {"new-user": 2}


@pytest.mark.slow
def test_exported_alerts_among_the_events_are_found_too(command: Command) -> None:
    rule("by-rule", 'kibana.alert.rule.rule_id: "elsewhere"')
    exported = {
        "@timestamp": "2026-03-02T10:01:00Z",
        "event": {"kind": "signal"},
        "kibana.alert.rule.rule_id": "elsewhere",
        "kibana.alert.uuid": "x",
    }
    hit = {"_index": ".alerts-security.alerts-default", "_id": "x", "_source": exported}
    with Path("events.ndjson").open("a") as file:
        file.write(json.dumps(hit) + "\n")
    assert run(command) == BASE | {"by-rule": 1}
    assert run(command, "10:06:00") == {}


@pytest.mark.slow
def test_without_any_alert_nothing_is_said(command: Command) -> None:
    for name in ("nc", "curl", "sh"):
        Path(f"rules/base-{name}.toml").unlink()
    rule("by-rule", 'kibana.alert.rule.rule_id: "base-nc"')
    answer = command(*ONCE, "--now", "2026-03-02T10:05:00Z")
    (run_,) = answer.json["runs"]
    assert (run_["status"], run_["messages"]) == ("succeeded", [])
