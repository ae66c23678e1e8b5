"""Rules in ES|QL and of machine learning through the command line, in a real cluster."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from tests.cli.conftest import Command

HEAD = '[rule]\nname = "{name}"\nrule_id = "{name}"\ndescription = "d"\nseverity = "low"\nrisk_score = 21\n'
SCHEDULE = 'from = "now-{back}m"\ninterval = "5m"\n'
MAPPING: dict[str, Any] = {
    "properties": {
        "@timestamp": {"type": "date"},
        "host": {"properties": {"id": {"type": "keyword"}}},
        "user": {"properties": {"name": {"type": "keyword"}}},
        "tags": {"type": "keyword"},
        "n": {"type": "long"},
    }
}


class World:
    """An index with events, a folder with rules, and runs over both."""

    def __init__(self, url: str, namespace: str, command: Command, folder: Path) -> None:
        self.index, self.command, self.rules = f"logs-{namespace}", command, folder / "rules"
        self.anomalies, self.job = f".ml-anomalies-custom-{namespace}", f"rare-{namespace}"
        self.env = {"ELASTICSEARCH_HOSTS": url}
        self.client = Elasticsearch(url)
        self.client.indices.create(index=self.index, mappings=MAPPING)
        self.rules.mkdir()

    def add(self, *events: Mapping[str, Any]) -> None:
        for number, event in enumerate(events):
            self.client.index(index=self.index, id=event.get("_id") or f"e{number}", document=_source(event))
        self.client.indices.refresh(index=self.index)

    def rule(self, name: str, query: str, more: str = "", *, back: int = 9) -> None:
        text = HEAD.format(name=name) + SCHEDULE.format(back=back) + 'type = "esql"\nlanguage = "esql"\n'
        text += f"query = '''\n{query.replace('INDEX', self.index)}\n'''\n{more}"
        (self.rules / f"{name}.toml").write_text(text)

    def once(self, now: str, *arguments: str, state: str = "state.db") -> Any:
        given = ("--rules", "rules", "--state", state, "--now", f"2026-03-02T{now}:00Z", "--output", "json", *arguments)
        answer = self.command("once", *given, env=self.env)
        assert answer.out, answer.err
        return answer.json

    def replay(self, start: str, end: str, state: str = "state.db") -> Any:
        span = ("--from", f"2026-03-02T{start}:00Z", "--to", f"2026-03-02T{end}:00Z")
        return self.command("replay", "--rules", "rules", "--state", state, *span, "--output", "json", env=self.env)

    def alerts(self, state: str = "state.db") -> list[dict[str, Any]]:
        found = self.command("alerts", "list", "--state", state, "--output", "json").json["alerts"]
        shown = (self.command("alerts", "show", one["id"], "--state", state, "--output", "json") for one in found)
        return [one.json["alert"] for one in shown]


def _source(event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "_id"}


def event(minute: str, **fields: Any) -> dict[str, Any]:
    return {"@timestamp": f"2026-03-02T{minute}:00Z", "host": {"id": "web-01"}, "n": 1, **fields}


@pytest.fixture
def world(esql_url: str, command: Command, tmp_path: Path) -> Iterator[World]:
    made = World(esql_url, f"t{uuid.uuid4().hex[:12]}", command, tmp_path)
    yield made
    made.client.indices.delete(index=[made.index, made.anomalies], ignore_unavailable=True)
    made.client.close()


def runs(report: Any) -> list[tuple[str, str, int, int]]:
    return [(one["name"], one["status"], one["created"], one["suppressed"]) for one in report["runs"]]


DOCUMENTS = "from INDEX metadata _id, _index, _version | where n > 0 | eval Esql.twice = n * 2"
KEPT = " | keep _id, _index, _version, n, Esql.twice"


def test_a_row_of_a_document_is_its_document_with_the_columns_over_it(world: World) -> None:
    world.add(event("10:01", user={"name": "root"}), event("10:02", n=0))
    world.rule("documents", f'{DOCUMENTS} | eval user.name = concat(user.name, "!") {KEPT}, user.name')
    assert runs(world.once("10:05")) == [("documents", "succeeded", 1, 0)]
    assert world.once("10:08", "--force")["runs"][0]["duplicates"] == 1
    (alert,) = world.alerts()
    assert (alert["host"], alert["user.name"], alert["Esql.twice"], alert["n"]) == ({"id": "web-01"}, "root!", 2, 1)
    assert alert["kibana.alert.original_time"] == "2026-03-02T10:01:00.000Z"
    assert alert["kibana.alert.ancestors"] == [{"id": "e0", "type": "event", "index": world.index, "depth": 0}]
    assert len(alert["kibana.alert.uuid"]) == 40
    assert (alert["kibana.alert.rule.rule_type_id"], alert["kibana.alert.rule.category"]) == (
        "siem.esqlRule", "ES|QL Rule",
    )  # fmt: skip
    parameters = alert["kibana.alert.rule.parameters"]
    assert (parameters["language"], "index" in parameters, "filters" in parameters) == ("esql", False, False)


def test_a_group_in_overlapping_windows_is_one_alert(world: World) -> None:
    world.add(*(event(f"10:0{minute}", _id=f"m{minute}") for minute in (2, 3, 4)))
    world.rule(
        "groups", "from INDEX | stats Esql.count = count(*) by host.id | where Esql.count >= 2 | keep host.id, Esql.*"
    )
    assert runs(world.once("10:05")) == [("groups", "succeeded", 1, 0)]
    assert runs(world.once("10:05", "--force")) == [("groups", "succeeded", 0, 0)]
    assert runs(world.once("10:10")) == [("groups", "succeeded", 0, 1)]
    (alert,) = world.alerts()
    assert (alert["host.id"], alert["Esql.count"], alert["kibana.alert.depth"]) == ("web-01", 3, 1)
    assert alert["kibana.alert.ancestors"] == [{"id": "", "type": "event", "index": "", "depth": 0}]
    assert "kibana.alert.original_time" not in alert
    assert alert["kibana.alert.suppression.docs_count"] == 1
    shown = world.command("alerts", "show", alert["kibana.alert.uuid"], "--state", "state.db").out
    assert "Esql.count: 3" in shown
    world.add(*(event(f"11:0{minute}", _id=f"n{minute}") for minute in (2, 3)))
    assert world.once("11:05")["created"] == 1


def test_a_time_in_the_key_is_one_alert_for_good(world: World) -> None:
    world.add(*(event(f"10:0{minute}", _id=f"m{minute}") for minute in (2, 3, 4)))
    bucket = "b = date_trunc(1 hour, @timestamp)"
    world.rule("bucket", f"from INDEX | stats c = count(*) by {bucket}, host.id | keep b, host.id, c")
    first, second, third = (runs(world.once(now, "--force"))[0][2] for now in ("10:05", "10:08", "10:12"))
    assert (first, second, third) == (1, 0, 0)


def test_what_is_searched_late_is_what_a_punctual_run_found(world: World) -> None:
    world.add(event("10:04"), event("10:12", _id="x"), event("10:13", _id="y"), event("10:29", _id="z"))
    query = "from INDEX | where @timestamp > NOW() - 5 minutes | stats c = count(*), t = max(@timestamp) by host.id"
    world.rule("recent", query, back=60)
    for now in ("10:00", "10:05", "10:10", "10:15", "10:20", "10:25", "10:30"):
        world.once(now, "--force", state="punctual.db")
    world.replay("09:55", "10:30", state="late.db")

    def told(state: str) -> set[tuple[Any, ...]]:
        return {(one["host.id"], one["c"], one["kibana.alert.uuid"]) for one in world.alerts(state)}

    assert told("punctual.db") == told("late.db")
    assert {one[:2] for one in told("late.db")} == {("web-01", 1)}


def test_the_cap_carries_over(world: World) -> None:
    world.add(*(event("10:01", _id=f"d{number}", host={"id": f"h{number}"}) for number in range(5)))
    world.rule("documents", DOCUMENTS + KEPT, "max_signals = 2\n")
    groups = "from INDEX | stats c = count(*) by host.id | keep host.id, c"
    world.rule("groups", groups, "max_signals = 2\n")
    for now in ("10:05", "10:10", "10:15", "10:20"):
        world.once(now)
    by_rule = [alert["kibana.alert.rule.name"] for alert in world.alerts()]
    assert (by_rule.count("documents"), by_rule.count("groups")) == (5, 5)


def test_the_servers_warnings_are_told_with_their_place(world: World) -> None:
    world.add(event("10:01", tags=["a", "b"]), event("10:02", _id="two", tags="a"))
    world.rule("lists", DOCUMENTS + '\n| where tags == "a"' + KEPT)
    (run,) = world.once("10:05")["runs"]
    assert (run["status"], run["created"]) == ("warning", 1)
    assert any("rules/lists.toml:13:9: evaluation of [tags == " in text for text in run["messages"])


def test_an_error_of_the_query_has_its_place_in_the_file(world: World) -> None:
    world.add(event("10:01"))
    world.rule("broken", "from INDEX metadata _id, _index, _version\n| where NOW() > t0 and nn > 1 | keep *")
    (run,) = world.once("10:05")["runs"]
    assert run["status"] == "failed"
    assert "rules/broken.toml:13:17: no index of " in run["messages"][0]
    assert "rules/broken.toml:13:24: no index of " in run["messages"][0]


def test_doctor_has_the_cluster_compile_every_query(world: World) -> None:
    world.rule("broken", "from INDEX metadata _id, _index, _version\n| where NOW() > t0 | keep *")
    world.rule("sound", "from INDEX | where @timestamp > NOW() - 5 minutes | stats c = count(*) by host.id")
    answer = world.command("doctor", "--rules", "rules", "--output", "json", env=world.env)
    found = {(one["kind"] if "kind" in one else one["name"]): one for one in answer.json["checks"]}
    assert (answer.code, found["query"]["outcome"], found["esql"]["outcome"]) == (1, "problem", "ok")
    assert "rules/broken.toml:13:17: no index of " in found["query"]["found"]


def test_an_index_that_is_not_there_is_a_warning(world: World) -> None:
    world.rule("nowhere", "from INDEX-none* metadata _id, _index, _version | keep *")
    (run,) = world.once("10:05")["runs"]
    assert (run["status"], run["messages"][0].startswith("no index matches")) == ("warning", True)


EXCEPTION = '[[exception]]\nname = "{0}"\nreason = "r"\nexpires = "never"\nrules = ["{0}"]\nwhen = {1}\n'


def test_exceptions_act_before_the_query_and_on_its_columns(world: World) -> None:
    hosts: Sequence[str] = ("a", "a", "b", "b", "b")
    world.add(*(event("10:01", _id=f"d{number}", host={"id": host}) for number, host in enumerate(hosts)))
    world.rule("groups", "from INDEX | stats Esql.count = count(*) by host.id | keep host.id, Esql.count")
    world.rule("documents", DOCUMENTS + KEPT)
    (world.rules / "exceptions").mkdir()
    text = EXCEPTION.format("documents", '{ "host.id" = "a" }') + EXCEPTION.format("groups", '{ "Esql.count" = 3 }')
    (world.rules / "exceptions" / "own.toml").write_text(text)
    report = world.once("10:05")
    assert sorted(runs(report)) == [("documents", "succeeded", 3, 0), ("groups", "succeeded", 1, 0)]
    assert {one["host.id"] for one in world.alerts() if "Esql.count" in one} == {"a"}
    shown = world.command("exceptions", "list", "--rules", "rules", "--state", "state.db", "--output", "json").json
    assert {one["name"]: one["events"] for one in shown["exceptions"]} == {"documents": 2, "groups": 1}
    world.once("10:08", "--force")
    shown = world.command("exceptions", "list", "--rules", "rules", "--state", "state.db", "--output", "json").json
    assert {one["name"]: one["events"] for one in shown["exceptions"]}["documents"] == 2


def test_suppression_takes_the_rows_columns(world: World) -> None:
    world.add(*(event("10:01", _id=f"d{number}", host={"id": f"h{number % 2}"}, n=5) for number in range(4)))
    more = '[rule.alert_suppression]\ngroup_by = ["Esql.twice"]\nmissing_fields_strategy = "suppress"\n'
    world.rule("documents", DOCUMENTS + KEPT, more)
    assert runs(world.once("10:05")) == [("documents", "succeeded", 1, 3)]
    (alert,) = world.alerts()
    assert alert["kibana.alert.suppression.terms"] == [{"field": "Esql.twice", "value": [10]}]


def record(world: World, minute: str, score: float, **fields: Any) -> dict[str, Any]:
    influencer = {"influencer_field_name": "user.name", "influencer_field_values": ["root"]}
    kept = {"job_id": world.job, "result_type": "record", "is_interim": False, "record_score": score}
    return {"timestamp": f"2026-03-02T{minute}:00Z", "influencers": [influencer], **kept, **fields}


def test_anomalies_of_a_job(world: World) -> None:
    text = HEAD.format(name="rare") + SCHEDULE.format(back=9) + 'type = "machine_learning"\n'
    text += f'anomaly_threshold = 50\nmachine_learning_job_id = "{world.job}"\n'
    (world.rules / "rare.toml").write_text(text)
    kinds = ("job_id", "result_type", "by_field_name", "by_field_value")
    types = {name: {"type": "keyword"} for name in kinds} | {"is_interim": {"type": "boolean"}}
    types |= {"timestamp": {"type": "date"}, "record_score": {"type": "double"}}
    world.client.indices.create(index=world.anomalies, mappings={"properties": types})
    by = {"by_field_name": "process.name", "by_field_value": "nc"}
    records = (
        record(world, "09:45", 75.5, **by), record(world, "10:00", 49.9), record(world, "10:00", 90, is_interim=True),
        record(world, "10:00", 90, job_id="other"), record(world, "10:00", 90, result_type="bucket"),
    )  # fmt: skip
    for number, one in enumerate(records):
        world.client.index(index=world.anomalies, id=f"r{number}", document=one)
    world.client.indices.refresh(index=world.anomalies)
    (run,) = world.once("10:10")["runs"]
    assert (run["status"], run["created"]) == ("warning", 1)
    assert "machine learning" in run["messages"][0] or "is not there" in run["messages"][0]
    assert world.once("10:12", "--force")["runs"][0]["duplicates"] == 1
    (alert,) = world.alerts()
    assert (alert["user"], alert["process"]) == ({"name": ["root"]}, {"name": ["nc"]})
    assert (alert["record_score"], alert["kibana.alert.original_time"]) == (75.5, "2026-03-02T09:45:00.000Z")
    assert alert["kibana.alert.rule.parameters"]["machine_learning_job_id"] == [world.job]
