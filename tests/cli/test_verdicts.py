"""Verdicts on alerts, filters and double sightings, as a person at a shell uses them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.cli.conftest import Command
from tests.cli.test_commands import state as state
from tests.cli.test_once import NOW, write_events, write_rule

pytestmark = pytest.mark.slow

ANN = {"RUNNER_ANALYST": "ann"}


def rows(command: Command, *filters: object) -> list[dict[str, Any]]:
    answer = command("alerts", "list", *filters, "-o", "json")
    assert answer.code == 0
    alerts: list[dict[str, Any]] = answer.json["alerts"]
    return alerts


def documents(command: Command) -> dict[str, dict[str, Any]]:
    lines = map(orjson.loads, command("alerts", "export").out.splitlines())
    return {line["kibana.alert.uuid"]: line for line in lines}


def test_an_alert_is_closed_by_the_beginning_of_its_id(command: Command, state: str) -> None:
    before = documents(command)
    pair, nc = rows(command)
    answer = command(
        "alerts", "close", nc["id"][:12], "--reason", "false-positive", "--note", "backup \x1b[31m", env=ANN
    )
    assert (answer.code, answer.out) == (0, "1 alert closed.\n")
    (closed,) = rows(command, "--status", "closed")
    assert (closed["id"], closed["verdict"], closed["status_by"]) == (nc["id"], "false_positive", "ann")
    after = documents(command)
    changed = {name for name, value in after[nc["id"]].items() if value != before[nc["id"]].get(name)}
    assert changed == {
        f"kibana.alert.workflow_{name}" for name in ("status", "status_updated_at", "user", "reason", "note")
    }
    assert after[nc["id"]]["kibana.alert.workflow_reason"] == "false_positive"
    assert after | {nc["id"]: {}} == before | {nc["id"]: {}}
    assert command("alerts", "close", nc["id"]).out == "0 alerts closed, 1 were so already.\n"
    table = command("alerts", "list").out.splitlines()
    assert "status" in table[0] and "closed (false positive)" in table[2] and "open" in table[1]
    shown = command("alerts", "show", nc["id"]).out
    assert "verdict: closed, false positive, by ann at " in shown and "backup \\x1b[31m" in shown
    assert "status" not in command("alerts", "list", "--status", "open").out.splitlines()[0]
    assert command("alerts", "reopen", nc["id"], env=ANN).code == 0
    assert [row["verdict"] for row in rows(command, "--status", "open")] == [None, None]
    assert pair["status"] == "open"


def test_a_sequence_goes_with_its_events(command: Command, state: str) -> None:
    pair = rows(command)[0]
    block = next(id_ for id_, one in documents(command).items() if one.get("kibana.alert.group.index") == 0)
    result = command("alerts", "ack", block, "-o", "json", env=ANN).json
    assert result == {"dry_run": False, "changed": [pair["id"]], "unchanged": [], "failed": {}}
    group = [one for one in documents(command).values() if "kibana.alert.group.id" in one]
    assert [one["kibana.alert.workflow_status"] for one in group] == ["acknowledged"] * 3


def test_alerts_are_chosen_by_the_filters_of_list(command: Command, state: str) -> None:
    shown = command("alerts", "close", "--rule", "NC", "--reason", "benign", "--dry-run", "-o", "json").json
    assert (shown["dry_run"], shown["count"], [row["rule"] for row in shown["alerts"]]) == (True, 1, ["nc"])
    assert command("alerts", "close", "--host", "db", "--dry-run").out.endswith("1 alert would be closed.\n")
    assert rows(command, "--status", "closed") == []
    refused = command("alerts", "close", "--severity", "high", "--severity", "medium", "--confirm", 1)
    assert refused.code == 3 and "2 alerts found, nothing changed" in refused.err
    assert (
        command("alerts", "close", "--status", "open", "--confirm", 2, "--reason", "benign").out == "2 alerts closed.\n"
    )
    assert {row["verdict"] for row in rows(command, "--status", "closed")} == {"benign_positive"}
    assert command("alerts", "reopen", "--text", "NO SUCH TEXT").out == "0 alerts opened again.\n"


def test_alerts_are_assigned_and_tagged(command: Command, state: str) -> None:
    id_ = rows(command)[0]["id"]
    assert command("alerts", "assign", id_[:10], "--to", "bob", "--to", "ann").code == 0
    assert command("alerts", "tag", "--rule", "pair", "--add", "night", "--add", "x").code == 0
    assert command("alerts", "tag", id_, "--remove", "x", "--add", "y").code == 0
    (row,) = rows(command, "--tag", "night")
    assert (row["assignees"], row["tags"]) == (["bob", "ann"], ["night", "y"])
    assert command("alerts", "assign", id_, "--to", "").out == "1 alert assigned to no one.\n"
    assert rows(command, "--tag", "y")[0]["assignees"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("close",), "name alerts by id, or by filters such as --rule"),
        (("close", "--dry-run"), "name alerts by id, or by filters"),
        (("close", "ffff"), "no alert has an id that begins with 'ffff'"),
        (("close", "ffff", "--rule", "nc"), "ids and filters do not go together"),
        (("close", "ffff", "--reason", "fals-positive"), "did you mean `false-positive`"),
        (("close", "--status", "opened"), "--status opened: expected open or acknowledged or closed"),
        (("list", "--severity", "hi"), "--severity hi: expected low"),
        (("tag", "ffff"), "no tag is named"),
        (("tag", "ffff", "--add", "a", "--remove", "a"), "'a' stands with --add and with --remove"),
        (("assign", "ffff"), "--to"),
        (("close", "--rule", "nc", "--state", "other.db"), "there is no such file"),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    command: Command, state: str, arguments: tuple[str, ...], said: str
) -> None:
    before = documents(command)
    answer = command("alerts", *arguments)
    assert (answer.code, answer.out) == (3, "")
    assert said in answer.err
    assert documents(command) == before
    assert not Path("other.db").exists()


def test_an_id_that_is_wrong_leaves_the_others_as_they_are(command: Command, state: str) -> None:
    assert command("alerts", "close", rows(command)[0]["id"], "ffff").code == 3
    assert {row["status"] for row in rows(command)} == {"open"}


def test_who_decides_is_the_login_name_unless_it_is_set(command: Command, state: str) -> None:
    command("alerts", "ack", "--rule", "nc", env={"LOGNAME": "carol"})
    assert rows(command, "--status", "acknowledged")[0]["status_by"] == "carol"


def test_a_file_that_cannot_be_written_is_told(command: Command, state: str) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everything")
    Path(state).chmod(0o400)
    answer = command("alerts", "ack", "--rule", "nc")
    assert answer.code == 3 and "cannot be written" in answer.err


def test_alerts_of_building_block_rules_are_shown_on_demand(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path, "base", 'process where process.name == "nc"', building_block_type="default")
    write_rule(tmp_path, "real", 'process where process.name == "nc"')
    events = write_events(tmp_path / "e.ndjson", "e exec 10:02:00.000 name=nc")
    assert command("once", "--events", events, *NOW, "-o", "json").json["created"] == 2
    assert [row["rule"] for row in rows(command)] == ["real"]
    assert {row["rule"] for row in rows(command, "--building-blocks")} == {"real", "base"}
    assert len(command("alerts", "export").out.splitlines()) == 2
    assert len(command("alerts", "export", "--no-building-blocks").out.splitlines()) == 1


def test_one_event_that_two_sources_have_seen_is_marked(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path, "by sysmon", 'process where event.dataset == "windows.sysmon_operational"')
    write_rule(tmp_path, "by security", 'process where event.dataset == "system.security"')

    def event(id_: str, dataset: str, time: str, **process: Any) -> dict[str, Any]:
        return {
            "@timestamp": f"2026-03-02T10:02:{time}Z",
            "event": {"id": id_, "category": ["process"], "type": ["start"], "dataset": dataset},
            "host": {"name": "WS-1" if "sysmon" in dataset else "ws-1.example.org"},
            "process": {"name": "whoami.exe", "pid": 17, **process},
        }

    events = [
        event("a", "windows.sysmon_operational", "01.100", command_line="whoami  /all"),
        event("b", "system.security", "01.350", command_line="WHOAMI /all"),
        event("c", "system.security", "01.360", command_line="whoami /priv"),
        event("d", "windows.sysmon_operational", "31.100", command_line="whoami /all"),
    ]
    (tmp_path / "e.ndjson").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in events))
    command("once", "--events", "e.ndjson", *NOW)
    by_rule = {(row["rule"], row["event_time"][17:23]): row for row in rows(command)}
    first, second = by_rule["by sysmon", "01.100"], by_rule["by security", "01.350"]
    assert first["also_seen_by"] == [{"id": second["id"], "source": "system.security", "rule": "by security"}]
    assert [other["id"] for other in second["also_seen_by"]] == [first["id"]]
    assert by_rule["by security", "01.360"]["also_seen_by"] == by_rule["by sysmon", "31.100"]["also_seen_by"] == []
    table = command("alerts", "list").out.splitlines()
    assert table[0].rstrip().endswith("also seen by")
    assert f"system.security ({second['id'][:8]})" in table[-1]


def test_the_newest_events_are_listed_whenever_they_were_detected(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    for minute in (3, 1, 2):
        events = write_events(tmp_path / f"{minute}.ndjson", f"e{minute} exec 10:0{minute}:00.000 name=nc")
        command("once", "--events", events, *NOW)
    assert [row["event_time"][14:16] for row in rows(command, "--limit", 2)] == ["03", "02"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["own", "external"])
def test_in_a_cluster_it_is_the_same(
    command: Command, tmp_path: Path, elasticsearch_url: str, namespace: str, way: str
) -> None:
    env = {"ELASTICSEARCH_HOSTS": elasticsearch_url, "RUNNER_SPACE": namespace, "RUNNER_ALERTS_AS": way}
    write_rule(tmp_path, severity="high")
    pair = 'sequence by host.id [process where process.name == "a"] [process where process.name == "b"]'
    write_rule(tmp_path, "pair", pair)
    lines = ("e1 exec 10:01:00.000 name=nc", "a exec 10:02:00.000 name=a host=db", "b exec 10:02:01.000 name=b host=db")
    events = write_events(tmp_path / "e.ndjson", *lines)
    assert command("once", "--events", events, *NOW, "-o", "json", env=env).json["created"] == 2

    def listed(*filters: object) -> list[dict[str, Any]]:
        alerts: list[dict[str, Any]] = command("alerts", "list", *filters, "-o", "json", env=env).json["alerts"]
        return alerts

    closed = command("alerts", "close", "--rule", "PAIR", "--reason", "false-positive", env={**env, **ANN})
    assert (closed.code, closed.out) == (0, "1 alert closed.\n")
    assert command("alerts", "tag", listed("--severity", "high")[0]["id"][:9], "--add", "x", env=env).code == 0
    assert [(row["rule"], row["verdict"]) for row in listed("--status", "closed")] == [("pair", "false_positive")]
    assert [row["status"] for row in listed("--building-blocks", "--rule", "pair")] == ["closed"] * 3
    assert [row["rule"] for row in listed("--tag", "x", "--text", "WEB")] == ["nc"]
    rules = {rule["rule"]: rule for rule in command("rules", "report", "-o", "json", env=env).json["rules"]}
    assert (rules["pair"]["alerts"], rules["pair"]["false_positive_share"]) == (1, 1.0)
    assert rules["pair"]["noise"]["hosts"] == [{"value": "db", "alerts": 1}]
