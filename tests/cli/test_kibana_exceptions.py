"""Exception lists in Kibana at the command line: they count, and rules whose lists are not known fail and stay owed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cluster.kibana_stand_in import StandIn
from tests.cluster.kibana_stand_in import stand_in as stand_in

pytestmark = pytest.mark.slow

RULE = """
[rule]
rule_id = "00000000-0000-4000-8000-00000000000{number}"
name = "{name}"
description = "d"
type = "eql"
language = "eql"
query = 'process where true'
severity = "low"
risk_score = 21
index = ["logs-*"]
from = "now-9m"
interval = "5m"
{more}
"""
LISTS = 'exceptions_list = [{ list_id = "known", type = "detection", namespace_type = "single" }]'
OWN = {"field": "host.name", "type": "list", "operator": "included", "list": {"id": "hosts", "type": "keyword"}}
NOW = "2026-03-02T10:05:00Z"
FOLDERS = {"RUNNER_RULES": "rules", "RUNNER_EVENTS": "events"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "listed.toml").write_text(RULE.format(number=1, name="Listed", more=LISTS))
    (rules / "plain.toml").write_text(RULE.format(number=2, name="Plain", more=""))
    (tmp_path / "events").mkdir()
    events = [
        {"@timestamp": f"2026-03-02T10:00:0{n}Z", "event": {"category": "process"}, "host": {"name": f"db-0{n}"}}
        for n in range(3)
    ]
    (tmp_path / "events" / "a.ndjson").write_text("".join(json.dumps(one) + "\n" for one in events))
    return tmp_path


def env(stand_in: StandIn) -> dict[str, str]:
    return {"RUNNER_KIBANA_EXCEPTIONS": "true", "KIBANA_HOST": stand_in.url}


ONCE = ("once", "--rules", "rules", "--events", "events", "--now", NOW, "--output", "json")


def test_lists_of_kibana_count_in_once_and_replay(command: Command, place: Path, stand_in: StandIn) -> None:
    stand_in.except_("known", "hosts", OWN)
    stand_in.values["default", "hosts"] = ["db-01", "db-02"]
    found = command(*ONCE, env=env(stand_in))
    assert (found.code, found.json["created"]) == (0, 4)
    assert "exceptions_list" not in found.err
    replayed = command("replay", "--rules", "rules", "--events", "events", "--dry-run", env=env(stand_in))
    assert (replayed.code, "4 alerts" in replayed.out + replayed.err) == (0, True), replayed
    assert command(*ONCE, "--state", "other.db").json["created"] == 6


def test_a_rule_whose_lists_are_not_known_fails_and_stays_owed(
    command: Command, place: Path, stand_in: StandIn
) -> None:
    stand_in.may_read_lists = False
    found = command(*ONCE, env=env(stand_in))
    assert (found.code, found.json["created"]) == (2, 3)
    failed = [run for run in found.json["runs"] if run["status"] == "failed"]
    assert [run["name"] for run in failed] == ["Listed"]
    (message,) = failed[0]["messages"]
    assert "the exception list `known` cannot be read" in message and "`Security: Read`" in message
    assert "1 rule (`Listed`) is not searched without its exceptions, and the windows stay owed" in message
    alone = command(*ONCE, "--rule", "Listed", env=env(stand_in))
    assert alone.code == 2 and "no event files" not in alone.err  # nobody looked for them
    stand_in.may_read_lists = True
    stand_in.except_("known", "one", {"field": "host.name", "type": "match", "operator": "included", "value": "db-00"})
    found = command(*ONCE, env=env(stand_in))
    assert found.json["created"] == 2


def test_doctor_reads_the_lists(command: Command, place: Path, stand_in: StandIn) -> None:
    def lists() -> tuple[int, list[tuple[str, str, str, int]]]:
        found = command("doctor", "--rules", "rules", "--events", "events", "--output", "json", env=env(stand_in))
        checks = [one for one in found.json["checks"] if one["name"] == "exception_list"]
        return found.code, [(one["subject"], one["outcome"], one["found"], len(one["rules"])) for one in checks]

    code, ((subject, outcome, text, rules),) = lists()
    assert (code, subject, outcome, rules) == (1, "known", "problem", 1)
    assert text.startswith("there is no such list in Kibana at http://")
    stand_in.except_("known", "hosts", OWN)
    _, ((_, outcome, text, _),) = lists()
    assert (outcome, text) == (
        "problem", "1 item can be read, but there is no value list hosts: the items that name it except nothing",
    )  # fmt: skip
    stand_in.values["default", "hosts"] = ["db-01"]
    assert lists()[1] == [("known", "ok", "1 item can be read", 0)]
    stand_in.may_read_lists = False
    _, ((_, outcome, text, _),) = lists()
    assert outcome == "problem" and "may not read the exception list `known`" in text


def test_status_shows_the_exceptions_of_lists_as_what_they_are(
    command: Command, place: Path, stand_in: StandIn
) -> None:
    def shown(name: str) -> dict[str, tuple[str, int, int]]:
        found = command(name, *(["list"] if name == "exceptions" else []), "-o", "json", env=env(stand_in) | FOLDERS)
        return {one["exception"]: (one["state"], one["events"], one["rules"]) for one in found.json["exceptions"]}

    stand_in.except_("known", "hosts", OWN)
    stand_in.except_("known", "one", {"field": "host.name", "type": "match", "operator": "included", "value": "db-00"})
    stand_in.values["default", "hosts"] = ["db-01", "db-02"]
    assert command(*ONCE, env=env(stand_in)).json["created"] == 3
    for name in ("status", "exceptions"):
        assert shown(name) == {"known/hosts": ("active", 2, 1), "known/one": ("active", 1, 1)}
    table = command("exceptions", "list", env=env(stand_in) | FOLDERS | {"COLUMNS": "200"}).out
    assert "Kibana list known, item hosts\n" in table
    rule = command("rules", "show", "Listed", env=env(stand_in) | FOLDERS)
    assert "Item hosts: " in rule.out and "Kibana list known, item hosts" in rule.out
    stand_in.may_read_lists = False
    rule = command("rules", "show", "Listed", env=env(stand_in) | FOLDERS)
    assert "the exception list `known` cannot be read" in rule.err
    assert shown("status") == {"known/hosts": ("unread", 2, 0), "known/one": ("unread", 1, 0)}
    stand_in.may_read_lists = True
    stand_in.lists["default", "known"].pop()
    assert shown("status") == {"known/hosts": ("active", 2, 1), "known/one": ("gone", 1, 0)}


def test_an_address_is_needed(command: Command, place: Path) -> None:
    found = command(*ONCE, env={"RUNNER_KIBANA_EXCEPTIONS": "true"})
    assert (found.code, found.out) == (3, "")
    assert "RUNNER_KIBANA_EXCEPTIONS (environment): needs Kibana's address: set KIBANA_HOST" in found.err
