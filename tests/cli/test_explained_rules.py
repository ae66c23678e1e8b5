"""`search --rule --explain` of rules that count and of rules that look for what is new."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command

RULE = """
[rule]
rule_id = "{name}"
name = "{name}"
description = "d"
type = "{name}"
language = "kuery"
index = ["logs-*"]
from = "now-9m"
severity = "low"
risk_score = 21
query = 'event.category: login'
"""
COUNTS = """
[rule.threshold]
field = ["host.name"]
value = 3
[[rule.threshold.cardinality]]
field = "user.name"
value = 2
"""
TERMS = """
[rule.new_terms]
field = "new_terms_fields"
value = ["host.name", "user.name"]
[[rule.new_terms.history_window_start]]
field = "history_window_start"
value = "now-3d"
"""


def event(number: int, time: str, host: str, user: str, category: str = "login") -> dict[str, Any]:
    fields = {"event": {"id": f"e{number}", "category": category}, "host": {"name": host}, "user": {"name": user}}
    return {"@timestamp": f"2026-03-{time}Z", **fields}


@pytest.fixture(autouse=True)
def world(command: Command) -> None:
    Path("rules").mkdir()
    Path("rules/threshold.toml").write_text(RULE.format(name="threshold") + COUNTS)
    Path("rules/new_terms.toml").write_text(RULE.format(name="new_terms") + TERMS)
    events = [
        event(0, "05T09:00:00", "old", "ann"),
        event(1, "07T09:00:00", "web", "ann"),
        event(2, "08T09:00:00", "web", "ann"),
        event(3, "08T10:00:00", "web", "ann"),
        event(4, "08T10:01:00", "web", "bob"),
        event(5, "08T10:02:00", "web", "bob"),
        event(6, "08T10:03:00", "db", "eve"),
        event(7, "08T10:04:00", "db", "eve"),
        event(8, "08T10:05:00", "db", "eve"),
        event(9, "08T10:05:00", "db", "bob", "logout"),
        event(10, "08T10:05:00", "old", "ann"),
    ]
    Path("events.ndjson").write_text("".join(json.dumps(one) + "\n" for one in events))


def explained(command: Command, rule: str, *more: str) -> str:
    found = command("search", "--rule", rule, "--rules", "rules", "--events", "events.ndjson", "--explain", *more)
    assert found.code == 0, found.err
    assert "shown are" not in found.err
    return found.out


def test_of_a_threshold_rule_the_keys_with_alerts_and_those_that_came_near(command: Command) -> None:
    page = explained(command, "threshold")
    start = page.index("what was counted")
    assert page[start:].splitlines()[:7] == [
        "what was counted",
        "  3 events with 2 values of user.name within 9m make an alert; counted by host.name",
        "  3 keys; 1 alert, if none of the events was counted before",
        "  enough",
        "    host.name web: 3 of 3 events, 2 of 2 values of user.name, "
        "2026-03-08 10:00:00 to 10:02:00 (5 in all), 1 alert",
        "  nearest to it",
        "    host.name db: 3 of 3 events, 1 of 2 values of user.name, 2026-03-08 10:03:00 to 10:05:00",
    ]
    assert "10 events found" in page
    found = json.loads(explained(command, "threshold", "--explain-format", "json"))["counts"]
    assert [(one["terms"], one["count"], one["values"], one["alerts"]) for one in found["shown"]] == [
        (["web"], 3, 2, 1)
    ]
    assert [one["terms"] for one in found["near"]] == [["db"], ["old"]]


def test_of_a_new_terms_rule_the_terms_of_its_last_window(command: Command) -> None:
    page = explained(command, "new_terms")
    start = page.index("what is new")
    assert page[start:].splitlines()[:9] == [
        "what is new",
        "  in the window up to the newest event: 2026-03-08 09:56:00 to 2026-03-08 10:05:00",
        "  a term is new if it was not seen since 2026-03-05 10:05:00",
        "  3 new terms, 1 known term",
        "  new",
        "    host.name web, user.name bob: first at 2026-03-08 10:01:00 (events.ndjson:5), 2 events",
        "    host.name db, user.name eve: first at 2026-03-08 10:03:00 (events.ndjson:7), 3 events",
        "    host.name old, user.name ann: first at 2026-03-08 10:05:00 (events.ndjson:11), 1 event; "
        "before the history at 2026-03-05 09:00:00",
        "  known",
    ]
    assert "since 2026-03-07 09:00:00, last at 2026-03-08 09:00:00; 1 event in the window" in page
    lines = Path("events.ndjson").read_text().splitlines(keepends=True)
    Path("events.ndjson").write_text("".join(lines[3:]))
    assert "the events reach back to 2026-03-08 10:00:00 alone" in explained(command, "new_terms")


@pytest.mark.parametrize("rule", ["threshold", "new_terms"])
def test_without_explain_it_is_said_that_the_events_are_no_alerts(command: Command, rule: str) -> None:
    found = command("search", "--rule", rule, "--rules", "rules", "--events", "events.ndjson", "--size", 50)
    assert found.code == 0 and found.json["hits"]["total"]["value"] == 10
    assert f"a rule of type {rule}: shown are" in found.err


@pytest.mark.parametrize("rule", ["threshold", "new_terms"])
def test_one_event_against_the_query(command: Command, rule: str) -> None:
    page = explained(command, rule, "--event", "e9")
    assert "events.ndjson:10" in page and "logout" in page
