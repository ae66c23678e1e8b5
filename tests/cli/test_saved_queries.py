"""Rules of type saved_query at the command line: their queries in exports beside the rules and in Kibana."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.cluster.kibana_stand_in import StandIn
from tests.cluster.kibana_stand_in import stand_in as stand_in

RULE = """
[rule]
rule_id = "{name}"
name = "{name}"
description = "d"
type = "saved_query"
saved_id = "{saved_id}"
severity = "low"
risk_score = 21
index = ["logs-*"]
from = "now-9m"
{more}
"""
OWN = "query = 'process.name: sh'"
ONCE = ("once", "--rules", "rules", "--events", "events.ndjson", "--now", "2026-03-02T10:05:00Z", "-o", "json", "--all")


def saved(query: Any, language: str = "kuery", *, filters: Any = (), id_: str = "lab-nc") -> dict[str, Any]:
    """A saved object of type `query`, as Kibana exports it; its time filter counts for nothing."""
    attributes = {"title": "Lab: netcat", "description": "", "query": {"query": query, "language": language}}
    attributes |= {"filters": list(filters), "timefilter": {"from": "now-1y", "to": "now-11M"}}
    return {"id": id_, "type": "query", "attributes": attributes, "references": [], "managed": False}


@pytest.fixture(autouse=True)
def world(command: Command) -> None:
    Path("rules").mkdir()
    events = [
        {"@timestamp": f"2026-03-02T10:00:0{number}Z", "event": {"id": f"e{number}"}}
        | {"process": {"name": name, "pid": number}, "user": {"name": "root" if number else "eve"}}
        for number, name in enumerate(["nc", "nc", "sh"])
    ]
    Path("events.ndjson").write_text("".join(json.dumps(event) + "\n" for event in events))


def rule(name: str = "one", saved_id: str = "lab-nc", more: str = "") -> None:
    Path(f"rules/{name}.toml").write_text(RULE.format(name=name, saved_id=saved_id, more=more))


def export(*objects: dict[str, Any], name: str = "rules/export.ndjson") -> None:
    lines = [*objects, {"exportedCount": len(objects), "missingRefCount": 0, "missingReferences": []}]
    Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def runs(command: Command, **env: str) -> dict[str, tuple[str, int, str]]:
    found = command(*ONCE, "--force", env=env)
    return {run["name"]: (run["status"], run["created"], "; ".join(run["messages"])) for run in found.json["runs"]}


def test_the_stored_query_and_its_filters_take_the_place_of_the_rules_own(command: Command) -> None:
    rule(more=OWN)
    export(saved("process.name: nc", filters=[{"meta": {}, "query": {"match_phrase": {"user.name": "root"}}}]))
    assert runs(command) == {"one": ("succeeded", 1, "")}
    (alert,) = map(json.loads, command("alerts", "export").out.splitlines())
    assert alert["event.id"] == "e1" if "event.id" in alert else alert["event"]["id"] == "e1"
    rule_keys = {key: value for key, value in alert.items() if key.startswith("kibana.alert.rule.")}
    assert rule_keys["kibana.alert.rule.rule_type_id"] == "siem.savedQueryRule"
    assert rule_keys["kibana.alert.rule.category"] == "Saved Query Rule"
    assert rule_keys["kibana.alert.rule.parameters"]["saved_id"] == "lab-nc"
    shown = command("rules", "show", "one", "--rules", "rules")
    assert "Lab: netcat, rules/export.ndjson:1" in shown.out and "process.name: nc" in shown.out


def test_a_query_in_lucenes_syntax_beside_a_single_rule_file(command: Command) -> None:
    rule()
    export(saved("process.name:/n./ AND NOT process.pid:0", "lucene"))
    found = command(*ONCE, "--rules", "rules/one.toml")
    assert (found.code, found.json["created"]) == (0, 1)


def test_without_it_the_rules_own_query_is_searched_and_that_is_said(command: Command) -> None:
    rule(more=OWN)
    export(saved("process.name: nc", id_="lab-ncat"))
    assert runs(command) == {"one": ("succeeded", 1, "")}
    found = command("check", "rules")
    assert found.code == 0
    assert (
        "warning: the saved query `lab-nc` is in no *.ndjson file beside the rules; did you mean `lab-ncat`?; "
        "the rule's own query is searched" in " ".join(found.out.split())
    )


def test_without_any_query_the_run_fails_and_the_window_stays_owed(command: Command) -> None:
    rule()
    rule("bare", "other", OWN)
    (status, created, message) = runs(command)["one"]
    assert (status, created) == ("failed", 0)
    assert "the saved query `lab-nc` is in no *.ndjson file" in message and "no query of its own" in message
    assert command(*ONCE).code == 2
    assert command("check", "rules").code == 1
    export(saved("process.name: nc"))
    assert runs(command)["one"] == ("succeeded", 2, "")


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (saved("a: (b"), "saved query `Lab: netcat`: expected AND, OR or `)`"),
        (saved("process where true", "eql"), "`attributes.query.language` is 'eql', expected kuery or lucene"),
        (saved({"match_all": {}}, "lucene"), "its `attributes.query.query` is no text"),
        (saved("a: b", filters=["x"]), "its `attributes.filters` is no list of objects"),
    ],
)
def test_a_query_that_cannot_be_used_is_an_error_with_its_line(
    command: Command, stored: dict[str, Any], said: str
) -> None:
    rule()
    export(saved("true: true", id_="first"), stored)
    found = command("check", "rules")
    assert found.code == 1
    assert "rules/export.ndjson:2:0: error: " in found.out and said in found.out
    assert command(*ONCE).code == 2


def test_kibana_is_asked_for_what_no_file_has(command: Command, stand_in: StandIn) -> None:
    rule()
    rule("two", "in-a-file")
    export(saved("process.name: sh", id_="in-a-file"))
    stand_in.objects["default", "query", "lab-nc"] = saved("process.name: nc")
    assert runs(command, KIBANA_HOST=stand_in.url) == {"one": ("succeeded", 2, ""), "two": ("succeeded", 1, "")}
    assert [path for _, path, _ in stand_in.requests] == ["/api/saved_objects/_export"]


def test_kibana_is_not_asked_without_such_a_rule(command: Command, stand_in: StandIn) -> None:
    rule(saved_id="in-a-file")
    export(saved("process.name: sh", id_="in-a-file"))
    runs(command, KIBANA_HOST=stand_in.url)
    assert stand_in.requests == []


def test_what_kibana_does_not_have_is_said_by_run_and_doctor(command: Command, stand_in: StandIn) -> None:
    rule()
    rule("two", "gone", OWN)
    found = runs(command, KIBANA_HOST=stand_in.url)
    assert found["two"] == ("succeeded", 1, "")
    assert found["one"][0] == "failed" and "it is not in Kibana at http://" in found["one"][2]
    told = command(
        "doctor", "--rules", "rules", "--events", "events.ndjson", "-o", "json", env={"KIBANA_HOST": stand_in.url}
    )
    checks = [one for one in told.json["checks"] if one["name"] == "saved_query"]
    assert [(one["subject"], one["outcome"]) for one in checks] == [("gone", "warning"), ("lab-nc", "problem")]
