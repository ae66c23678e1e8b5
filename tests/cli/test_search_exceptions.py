"""`search` with exceptions: what is found, told and explained, over files and in a cluster."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from tests.cli.conftest import Answer, Command
from tests.elasticsearch.proxy import Proxy
from tests.paths import SPECS

SPEC = tomllib.loads((SPECS / "search/excepted_searches.toml").read_text())
BROKEN = '[[exception]]\nname = "Bad"\nexpires = "never"\nall_rules = true\nwhen = { "process.name" = "sh" }\n'
REFUSED = BROKEN + 'reason = "r"\n'


@pytest.fixture(autouse=True)
def written(command: Command) -> None:
    """The events, exceptions and rule of the specification, as files."""
    for name in ("rules", "exceptions", "none"):
        Path(name).mkdir()
    Path("events.ndjson").write_text(SPEC["events"])
    Path("exceptions/e.toml").write_text(SPEC["exceptions"])
    Path("alerts.toml").write_text(SPEC["alerts"])
    Path("broken.toml").write_text(BROKEN)
    Path("refused.toml").write_text(
        '[[exception]]\nname = "Bad"\nreason = "r"\nexpires = "never"\nall_rules = true\n'
        'when = { "@timestamp" = "five" }\n'
    )
    Path("rules/shells.toml").write_text(SPEC["rule"])


def named(case: dict[str, Any]) -> Any:
    return pytest.param(case, id=case["name"])


def check(case: dict[str, Any], answer: Answer) -> None:
    assert answer.code == case.get("code", 0), answer
    hits = answer.json["hits"]
    events = hits["events"] if "events" in hits else [event for one in hits["sequences"] for event in one["events"]]
    assert [event["_source"]["event"]["id"] for event in events] == case["found"], answer.err
    for text in case["told"]:
        assert text in answer.err
    if not case["told"]:
        assert answer.err == ""


@pytest.mark.parametrize("case", [named(case) for case in SPEC["case"]])
def test_over_files(case: dict[str, Any], command: Command) -> None:
    check(case, command("search", *case["args"], "--events", "events.ndjson"))


@pytest.fixture
def index(elasticsearch_url: str, namespace: str) -> str:
    """An index with the events; the rule searches it."""
    name = f"logs-{namespace}"
    keyword = {"type": "keyword"}
    inner = {
        "event": {"properties": {"id": keyword, "category": keyword}},
        "host": {"properties": {"id": keyword, "name": keyword}},
        "process": {
            "properties": {"name": keyword, "args": keyword, "parent": {"properties": {"executable": keyword}}}
        },
    }
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(index=name, mappings={"properties": {"@timestamp": {"type": "date"}, **inner}})
        for line in SPEC["events"].strip().splitlines():
            client.index(index=name, document=json.loads(line), refresh=True)
    Path("rules/shells.toml").write_text(SPEC["rule"].replace("INDEX", name))
    return name


def test_in_a_cluster(command: Command, eql_proxy: Proxy, index: str) -> None:
    for case in SPEC["case"]:
        if not case.get("files_only"):
            asked = case["args"] if "--rule" in case["args"] else [*case["args"], "--index", index]
            check(case, command("search", *asked, env={"ELASTICSEARCH_HOSTS": eql_proxy.url}))


@pytest.mark.parametrize("case", SPEC["refused"])
def test_what_cannot_be_asked(case: dict[str, Any], command: Command) -> None:
    answer = command("search", *case["args"], "--events", "events.ndjson")
    assert answer.code == 3
    assert case["told"] in answer.err


@pytest.mark.parametrize("case", [named(case) for case in SPEC["page"]])
def test_pages(case: dict[str, Any], command: Command) -> None:
    answer = command("search", *case["args"], "--events", "events.ndjson")
    assert answer.code == 0, answer
    for part in case["parts"]:
        assert part in answer.out


def test_pages_as_json(command: Command) -> None:
    asked = ("process where true", "--exceptions", "exceptions", "--event", "e1", "--explain-format", "json")
    answer = command("search", *asked, "--events", "events.ndjson").json
    (one,) = answer["events"][0]["exceptions"]
    assert (one["name"], one["file"], one["line"]) == ("Backup", "exceptions/e.toml", 1)
    assert one["reason"].startswith('process.parent.executable is "/opt/backup/agent"')
    assert [(each["name"], each["left_out"]) for each in answer["exceptions"]] == [("Backup", 1)]


def test_exceptions_of_the_environment_are_for_rules_alone(command: Command) -> None:
    env = {"RUNNER_EXCEPTIONS": "exceptions"}
    assert len(command("search", "process where true", "-e", "events.ndjson", env=env).json["hits"]["events"]) == 2
    assert command("search", "--rule", "Shells", "-e", "events.ndjson", env=env).json["hits"]["events"] == []


def test_filters_of_a_rule_are_applied(command: Command) -> None:
    def found(query: str) -> int:
        Path("rules/shells.toml").write_text(SPEC["rule"] + f"filters = [{{ query = {query} }}]\n")
        answer = command("search", "--rule", "Shells", "--events", "events.ndjson")
        assert answer.code == 0, answer.err
        return len(answer.json["hits"]["events"])

    assert found("{ match_none = {} }") == 0
    assert found("{ match_all = {} }") == len(
        command("search", "--rule", "rules/shells.toml", "-e", "events.ndjson").json["hits"]["events"]
    )
