"""Files and clusters with one state: each has a ledger of its own, and every run says where its alerts go."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from runner.store.protocol import Mark
from runner.store.source import EventSource
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.cli.conftest import Command
from tests.cluster.elasticsearch_stand_in import Elasticsearch, standing_in

pytestmark = pytest.mark.slow

RULE = """
[metadata]
maturity = "production"
[rule]
name = "Netcat"
rule_id = "11111111-0000-4000-8000-000000000001"
type = "eql"
language = "eql"
index = ["logs-*"]
description = "-"
risk_score = 21
severity = "low"
author = ["-"]
query = 'process where process.name == "nc"'
"""
HOUR = timedelta(hours=1)


@pytest.fixture
def cluster() -> Iterator[Elasticsearch]:
    with standing_in() as found:
        yield found


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rule.toml").write_text(RULE)
    now = datetime.now(UTC)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        event = {"@timestamp": now.isoformat(), "event": {"category": "process"}, "process": {"name": "nc"}, "in": name}
        (tmp_path / name / "events.ndjson").write_bytes(orjson.dumps(event) + b"\n")


def began(path: Path, hours: int, *sources: EventSource) -> None:
    """Make all time since so many hours ago owed in each of the ledgers."""

    async def mark() -> None:
        store = SqliteStore(path)
        for source in sources:
            rule_id = "11111111-0000-4000-8000-000000000001"
            await store.ledger(source).add_marks([Mark(rule_id, "begin", datetime.now(UTC) - hours * HOUR)])
        await store.close()

    asyncio.run(mark())


def ledgers(cluster: Elasticsearch) -> list[str]:
    """The ids of the documents of the ledgers."""
    return [id_ for id_ in cluster.documents("rule-runner-state-default") if not id_.startswith("files:")]


def owed(answer: Any) -> dict[str, int]:
    """Whole hours that are owed, by the last part of the source's name."""
    return {
        rule.get("source", "own").rpartition("/")[2]: round(rule["owed_s"] / 3_600) for rule in answer.json["rules"]
    }


def test_a_folder_and_the_cluster_have_ledgers_of_their_own_in_the_cluster(
    command: Command, cluster: Elasticsearch
) -> None:
    env = {"ELASTICSEARCH_HOSTS": cluster.url, "RUNNER_INSTANCE": "host-1"}
    of_files = command("once", "--rules", "rules", "-o", "json", "--all", env={**env, "RUNNER_EVENTS": "a"})
    assert (of_files.code, of_files.json["created"]) == (0, 1)
    assert of_files.json["events"] == "a"
    assert of_files.json["alerts_to"] == f"rule-runner-alerts-default in Elasticsearch at {cluster.url}"
    assert not cluster.asked["eql"]
    before = command("status", "--rules", "rules", "-o", "json", env=env).json
    assert [rule["last_run"] for rule in before["rules"]] == [None]
    assert len(before["other_sources"]) == 1 and before["other_sources"][0].endswith("/a on host-1")
    of_cluster = command("once", "--rules", "rules", "-o", "json", "--all", env=env)
    assert of_cluster.code == 0 and len(of_cluster.json["runs"]) == 1  # what files were searched for is due here
    assert cluster.asked["eql"]
    there_now = ledgers(cluster)
    assert len(there_now) == 2
    again = command("once", "--rules", "rules", "-o", "json", "--all", env={**env, "RUNNER_EVENTS": "a"})
    assert [run["duplicates"] for run in again.json["runs"]] == [1]
    assert ledgers(cluster) == there_now
    there = command("status", "--events", "a", "--rules", "rules", "-o", "json", env=env).json
    assert [rule["last_run"]["duplicates"] for rule in there["rules"]] == [1]


def test_the_same_path_on_two_machines_is_two_sources(command: Command, cluster: Elasticsearch) -> None:
    for machine in ("host-1", "host-2", "host-1"):
        env = {"ELASTICSEARCH_HOSTS": cluster.url, "RUNNER_INSTANCE": machine}
        assert command("once", "--events", "a", "--rules", "rules", env=env).code == 0
    assert len(ledgers(cluster)) == 2


def test_a_state_given_by_hand_wins_over_the_cluster(command: Command, cluster: Elasticsearch, tmp_path: Path) -> None:
    env = {"ELASTICSEARCH_HOSTS": cluster.url}
    for asked in (("--events", "a"), ()):
        found = command("once", *asked, "--rules", "rules", "--state", "own.db", "-o", "json", env=env)
        assert (found.code, found.json["alerts_to"]) == (0, "own.db")
    assert cluster.asked["bulk"] == 0
    assert len(command("alerts", "list", "--state", "own.db", "-o", "json", env=env).json["alerts"]) == 1
    sources = command("status", "--rules", "rules", "--state", "own.db", "-o", "json").json["rules"]
    assert [rule["source"] for rule in sources] == [f"{tmp_path}/a", f"the cluster at {cluster.url}"]
    by_variable = command("once", "--events", "a", "--rules", "rules", env={**env, "RUNNER_STATE": "other.db"})
    assert "RUNNER_STATE=other.db is for runs without a cluster" in by_variable.out
    assert not (tmp_path / "other.db").exists()


def test_what_is_searched_in_one_source_stays_owed_in_the_others(
    command: Command, cluster: Elasticsearch, tmp_path: Path
) -> None:
    folders = [EventSource("files", (str(tmp_path / name),)) for name in ("a", "b")]
    began(tmp_path / "s.db", 3, *folders, EventSource("cluster", (cluster.url, cluster.uuid)))
    asked = ("once", "--rules", "rules", "--state", "s.db")

    def status() -> dict[str, int]:
        return owed(command("status", "--rules", "rules", "--state", "s.db", "-o", "json"))

    address = cluster.url.rpartition("/")[2]
    assert status() == {"a": 3, "b": 3, address: 3}
    assert command(*asked, "--events", "a").code == 0
    assert status() == {"a": 2, "b": 3, address: 3}  # one hour a run
    assert command(*asked, env={"ELASTICSEARCH_HOSTS": cluster.url}).code == 0
    assert status() == {"a": 2, "b": 3, address: 2}
    both = command("status", "--events", "a", "--events", "b", "--rules", "rules", "--state", "s.db", "-o", "json")
    assert list(owed(both).values()) == [3]  # what "b" owes is owed for both
    assert command(*asked, "--events", "./a/../a/", "--events", "b").code == 0
    found = command("status", "--rules", "rules", "--state", "s.db", "-o", "json").json["rules"]
    assert f"{tmp_path}/a, {tmp_path}/b" in [rule["source"] for rule in found]


def test_two_clusters_with_one_state_have_two_ledgers_and_a_new_name_keeps_one(
    command: Command, cluster: Elasticsearch, tmp_path: Path
) -> None:
    asked = ("once", "--rules", "rules", "--state", "s.db", "-o", "json", "--all")
    with standing_in(uuid="uuid-2") as other:
        for url in (cluster.url, other.url):
            found = command(*asked, env={"ELASTICSEARCH_HOSTS": url})
            assert (found.code, len(found.json["runs"])) == (0, 1)
        renamed = command(*asked, env={"ELASTICSEARCH_HOSTS": cluster.url.replace("127.0.0.1", "localhost")})
        assert (renamed.code, renamed.json["runs"]) == (0, [])  # nothing is due: the ledger goes on
    away = command(
        "status", "--rules", "rules", "--state", "s.db", "-o", "json", env={"ELASTICSEARCH_HOSTS": other.url}
    )
    assert [rule["source"] for rule in away.json["rules"]] == [f"the cluster at {other.url}"]


def test_a_state_of_before_counts_for_the_first_run_over_a_folder(command: Command, tmp_path: Path) -> None:
    began(tmp_path / "s.db", 2, EventSource())
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        assert connection.execute("SELECT count(*) FROM spans WHERE source = 0").fetchone() == (1,)
    asked = ("--rules", "rules", "--state", "s.db", "-o", "json")
    assert owed(command("status", *asked)) == {"own": 2}
    found = command("once", "--events", "a", *asked, "--all")
    assert (found.code, len(found.json["runs"])) == (0, 2)
    assert owed(command("status", *asked)) == {"a": 1}


def test_files_that_are_named_owe_nothing_after_their_last_window(command: Command, tmp_path: Path) -> None:
    assert command("once", "--events", "a/events.ndjson", "--rules", "rules", "--now", "2026-03-02T10:00:00Z").code == 0
    found = command("status", "--rules", "rules", "-o", "json").json["rules"]
    assert [(rule["owed"], rule["given_up"], rule["source"]) for rule in found] == [
        ([], [], f"{tmp_path}/a/events.ndjson")
    ]
