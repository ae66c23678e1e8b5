"""`status`: where every rule stands, and `--gaps`: what was not searched and why; on files and in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import open_client
from runner.rule_run import RuleRun, Status
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.elasticsearch_store import elasticsearch_stores
from runner.store.protocol import Ledger
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import Window
from tests.cli.conftest import Command
from tests.cli.test_once import write_rule

HOUR = timedelta(hours=1)


def this_second() -> datetime:
    """When a test begins, which may be long after the tests were collected."""
    return datetime.now(UTC).replace(microsecond=0)


def rule_run(rule_id: str, start: datetime, end: datetime, status: Status = "succeeded", **facts: Any) -> RuleRun:
    return RuleRun(rule_id, f"Rule {rule_id}", "e", status, Window(start, end), end, **facts)


async def record(ledger: Ledger) -> None:
    """Three rules: one in order, one with a failed hour, one that nobody has a file of."""
    now = this_second()
    await ledger.record(rule_run("good", now - 3 * HOUR, now, created=2, duplicates=1, capped=0, took_ms=1_500), "f")
    await ledger.record(rule_run("bad", now - 200 * HOUR, now - 190 * HOUR), "f")
    await ledger.record(rule_run("bad", now - 180 * HOUR, now - 2 * HOUR), "f")
    failed: dict[str, Any] = {"complete": False, "messages": ("no shard answered",)}
    await ledger.record(rule_run("bad", now - 2 * HOUR, now - HOUR, "failed", **failed), "f")
    await ledger.record(rule_run("bad", now - HOUR, now), "f")
    await ledger.record(rule_run("old", now - 5 * HOUR, now - 4 * HOUR), "f")


@pytest.fixture(params=["sqlite", pytest.param("elasticsearch", marks=pytest.mark.slow)])
def env(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, str]:
    """The settings of a store that holds the three rules."""
    if request.param == "sqlite":

        async def fill() -> None:
            store = SqliteStore(tmp_path / "rule-runner.db")
            await record(store)
            await store.close()

        asyncio.run(fill())
        return {}
    url, name = request.getfixturevalue("elasticsearch_url"), request.getfixturevalue("namespace")
    names = StoreNames(f"{name}-alerts", f"{name}-runs", f"{name}-state")

    async def fill_cluster() -> None:
        client = open_client(Connection(hosts=(url,)))
        await record(elasticsearch_stores(client, names).ledger)
        await client.refresh(names.runs)
        await client.close()

    asyncio.run(fill_cluster())
    return {
        "ELASTICSEARCH_HOSTS": url,
        "RUNNER_ALERTS_ALIAS": names.alerts,
        "RUNNER_RUNS_INDEX": names.runs,
        "RUNNER_STATE_INDEX": names.state,
    }


@pytest.fixture(autouse=True)
def rules(tmp_path: Path) -> None:
    for name in ("good", "bad", "fresh"):
        write_rule(tmp_path, name, "any where true")
    write_rule(tmp_path, "off", "any where true", enabled=False)


def test_where_every_rule_stands(command: Command, env: Mapping[str, str]) -> None:
    answer = command("status", "-o", "json", env=dict(env))
    assert answer.code == 0
    rules = {rule["rule_id"]: rule for rule in answer.json["rules"]}
    assert list(rules) == ["bad", "fresh", "good", "off", "old"]
    keys = ["rule_id", "name", "enabled", "presence", "last_run", "searched_to", "lag_s", "next_due"]
    assert all(list(rule) == [*keys, "owed", "owed_s", "given_up", "given_up_s", "late"] for rule in rules.values())
    assert {name: rule["presence"] for name, rule in rules.items()} == {
        "good": "enabled", "bad": "enabled", "fresh": "enabled", "off": "disabled", "old": "gone",
    }  # fmt: skip
    assert (rules["good"]["owed_s"], rules["good"]["last_run"]["took_ms"]) == (0, 1_500)
    assert (rules["bad"]["owed_s"], len(rules["bad"]["owed"])) == (3_600, 1)
    assert rules["bad"]["given_up_s"] == 36_000
    assert (rules["fresh"]["last_run"], rules["fresh"]["lag_s"]) == (None, None)
    assert (rules["old"]["next_due"], rules["old"]["owed"]) == (None, [])


def test_the_table_has_a_line_for_each_rule(command: Command, env: Mapping[str, str]) -> None:
    lines = command("status", env=dict(env)).out.splitlines()
    columns = ["rule", "last run (UTC)", "outcome", "lag", "owed", "created", "known", "over cap", "took"]
    assert [lines[0].index(column) for column in columns] == sorted(lines[0].index(column) for column in columns)
    rows = {line.split("  ")[0]: line.split() for line in lines[1:]}
    assert "60m" in rows["bad"] and "1.5s" in rows["good"]
    assert rows["fresh"][1] == "never"
    assert {"off (disabled)", "Rule old (not in the rule files)"} <= set(rows)
    assert lines[-1] == "60m owed and 10.0h given up over all rules; `rule-runner status --gaps` lists it."


def test_every_gap_with_its_reason(command: Command, env: Mapping[str, str]) -> None:
    answer = command("status", "--gaps", "-o", "json", env=dict(env))
    assert answer.code == 0
    found = answer.json
    assert (found["rules"], found["owed_s"], found["given_up_s"]) == (5, 3_600, 36_000)
    keys = ["rule_id", "name", "from", "to", "length_s", "due_since", "kind", "reason"]
    assert all(list(gap) == keys for gap in found["gaps"])
    assert [(gap["rule_id"], gap["kind"], gap["length_s"]) for gap in found["gaps"]] == [
        ("bad", "given up", 36_000),
        ("bad", "failed", 3_600),
    ]
    assert found["gaps"][1]["reason"] == "no shard answered"
    assert found["gaps"][0]["reason"] == "older than RUNNER_CATCH_UP; a replay of the span searches it"
    table = command("status", "--gaps", env=dict(env)).out.splitlines()
    assert table[0].split()[0] == "rule" and len(table) == 4
    assert table[-1] == "2 gaps in 1 of 5 rules: 60m owed, 10.0h given up."


def test_no_gaps_are_said_to_be_none(command: Command, tmp_path: Path) -> None:
    async def fill() -> None:
        store = SqliteStore(tmp_path / "rule-runner.db")
        now = this_second()
        await store.record(rule_run("good", now - HOUR, now), "f")
        await store.close()

    asyncio.run(fill())
    assert command("status", "--gaps").out == "No gaps: all due time of 4 rules was searched to the end.\n"
    assert command("status", "--gaps", "-o", "json").json == {"gaps": [], "rules": 4, "owed_s": 0, "given_up_s": 0}


def test_catch_up_decides_what_is_given_up(command: Command, tmp_path: Path) -> None:
    async def fill() -> None:
        store = SqliteStore(tmp_path / "rule-runner.db")
        await record(store)
        await store.close()

    asyncio.run(fill())
    found = command("status", "--gaps", "-o", "json", env={"RUNNER_CATCH_UP": "90m"}).json
    assert [gap["kind"] for gap in found["gaps"]] == ["given up", "given up", "failed"]
    assert found["gaps"][1]["reason"].endswith("the last run over it: no shard answered")
    assert found["owed_s"] + found["given_up_s"] == 39_600
