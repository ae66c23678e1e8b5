"""The first commands of the README: a sample, and the rules that come along find in it what was planted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runner.alerts.event_fields import text_at
from tests.cli.conftest import Command
from tests.paths import ROOT

pytestmark = pytest.mark.slow
RULES = ("--rules", ROOT / "rules")
SHELL = "48b3d2e3-f4e8-41e6-95e6-9b2091228db3"


def truth(kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, Path("truth.ndjson").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def events_of(alert: dict[str, Any]) -> Counter[str]:
    """The ids of the events that an alert stands for, as far as it names them: not for counts."""
    if "kibana.alert.threshold_result" in alert:
        return Counter()
    return Counter(one["id"] for one in alert["kibana.alert.ancestors"] if one["depth"] == 0)


@pytest.mark.parametrize("seed", range(3))
def test_each_attack_is_one_alert_of_its_rule_and_no_near_miss_is(command: Command, seed: int) -> None:
    made = command("sample", "--out", "events.ndjson", "--truth", "truth.ndjson", "--seed", seed)
    assert "20,000 events" in made.err and "with 11 attacks and 11 near misses" in made.err
    answer = command("once", "--events", "events.ndjson", "--now", "latest", "-o", "json", *RULES)
    assert (answer.code, answer.json["created"]) == (0, 11), answer.err
    assert "not run" not in answer.err
    alerts = [json.loads(line) for line in command("alerts", "export").out.splitlines()]
    heads = [alert for alert in alerts if alert.get("kibana.alert.building_block_type") is None]
    found = Counter((alert["kibana.alert.rule.rule_id"], text_at(alert, "host.name")) for alert in heads)
    assert found == Counter((attack["rule_id"], attack["host"]) for attack in truth("attack"))
    near = {id_ for miss in truth("near_miss") for id_ in miss["event_ids"]}
    assert near.isdisjoint(id_ for alert in heads for id_ in events_of(alert))
    again = command("once", "--events", "events.ndjson", "--now", "latest", "-o", "json", *RULES)
    assert again.json["created"] == 0


def test_the_report_says_what_was_counted_and_what_is_new(command: Command) -> None:
    command("sample", "--out", "events.ndjson")
    answer = command("once", "--events", "events.ndjson", "--now", "latest", *RULES)
    assert "24 events, 24 destination.ip" in answer.out
    assert "known: 192.0.2.77 (Sample feed)" in answer.out
    assert "new: insmod /dev/shm/.x/diamorphine.ko" in answer.out
    listed = {one["rule"]: one for one in command("alerts", "list", "-o", "json").json["alerts"]}
    assert listed["Sweep of Remote Administration Ports"]["found"] == "24 events, 24 destination.ip"
    module = listed["Kernel Module New on a Host"]
    shown = command("alerts", "show", module["id"][:12]).out
    assert "new together: host.id" in " ".join(shown.split()) and "not seen before since now-7d" in shown


@pytest.mark.parametrize(
    "arguments",
    [("--attacks", 0), ("--events", 400, "--attacks", 2), ("--rule", SHELL)],
)
def test_no_incidents_of_examples_where_they_are_not_wanted_or_have_no_room(
    command: Command, arguments: tuple[object, ...]
) -> None:
    assert command("sample", "--out", "events.ndjson", "--truth", "truth.ndjson", *arguments).code == 0
    seeds = {SHELL, "76e4d92b-61c1-4a95-ab61-5fd94179a1ee"}
    assert {line["rule_id"] for kind in ("attack", "near_miss") for line in truth(kind)} <= seeds


def test_with_a_span_all_events_lie_in_it(command: Command) -> None:
    span = ("--span", "5m", "--end", "2026-03-02T10:05:00Z")
    assert command("sample", "--out", "events.ndjson", "--truth", "truth.ndjson", *span).code == 0
    times = [json.loads(line)["@timestamp"] for line in Path("events.ndjson").read_text().splitlines()]
    assert min(times) >= "2026-03-02T10:00:00" and max(times).startswith("2026-03-02T10:05:00.00000")
    assert len(truth("attack")) == 11 and len(truth("near_miss")) == 10
