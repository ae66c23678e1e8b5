"""Events that exceptions left out: kept where that is wanted, once, and listed with what took them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from tests.cli.conftest import Command
from tests.search.lab import MAPPINGS

pytestmark = pytest.mark.slow

RULE = """
[rule]
rule_id = "00000000-0000-4000-8000-00000000000{number}"
name = "{name}"
description = "d"
type = "eql"
language = "eql"
query = '{query}'
severity = "low"
risk_score = 21
index = ["logs-*"]
from = "now-9m"
interval = "5m"
"""
SHELLS = 'process where process.name == "sh"'
PAIR = 'sequence by host.name with maxspan=1m [process where process.name == "sh"] [process where process.name == "nc"]'
EXCEPTION = """
[[exception]]
name = "{name}"
reason = "OPS-1"
expires = "never"
all_rules = true
scope = "{scope}"
when = {{ "host.name" = "{host}" }}
"""
NAMES = ((0, "sh"), (5, "nc"))
KEEP = {"RUNNER_KEEP_EXCEPTED": "7d"}


def write_events(path: Path, events: Iterable[tuple[str, str, str]]) -> None:
    documents = (
        {
            "@timestamp": f"2026-03-02T10:0{time}Z",
            "event": {"category": "process"},
            "host": {"name": host},
            "user": {"name": "ann"},
            "process": {"name": name},
        }
        for time, host, name in events
    )
    path.write_text("".join(json.dumps(one) + "\n" for one in documents))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "rules" / "exceptions").mkdir(parents=True)
    for number, (name, query) in enumerate((("Shells", SHELLS), ("Pair", PAIR))):
        text = RULE.format(number=number, name=name, query=query)
        (tmp_path / "rules" / f"{name}.toml").write_text(text)
    texts = (
        EXCEPTION.format(name="Backup", scope="event", host="bak"),
        EXCEPTION.format(name="Scanner", scope="alert", host="scan"),
    )
    (tmp_path / "rules" / "exceptions" / "a.toml").write_text("".join(texts))
    (tmp_path / "events").mkdir()
    excepted = [(f"{time}:0{second}", host, name) for time, host in ((1, "bak"), (2, "scan")) for second, name in NAMES]
    write_events(tmp_path / "events" / "a.ndjson", [*excepted, ("3:00", "db", "sh"), ("3:01", "bak", "ls")])
    return tmp_path


def at(minute: int) -> tuple[str, ...]:
    return ("once", "--rules", "rules", "--events", "events", "--now", f"2026-03-02T10:{minute:02}:00Z")


def listed(command: Command, *filters: str, env: dict[str, str] = KEEP) -> list[dict[str, Any]]:
    found = command("alerts", "list", "--excepted", "--output", "json", *filters, env=env)
    assert found.code == 0
    events: list[dict[str, Any]] = found.json["excepted"]
    return events


EVERY = [
    ("10:02:05", "Pair", "Scanner", "alert", "scan", "nc"),
    ("10:02:00", "Pair", "Scanner", "alert", "scan", "sh"),
    ("10:02:00", "Shells", "Scanner", "alert", "scan", "sh"),
    ("10:01:00", "Pair", "Backup", "event", "bak", "sh"),
    ("10:01:00", "Shells", "Backup", "event", "bak", "sh"),
]


UNGATED = [("10:01:05", "Pair", "Backup", "event", "bak", "nc")]


def shown(events: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    rows = [
        (
            one["event_time"][11:19], one["rule"], one["exception"], one["scope"], one["host"],
            one["event"]["process"]["name"],
        )
        for one in events
    ]  # fmt: skip
    return sorted(rows, reverse=True)


def test_what_was_left_out_is_kept_once(command: Command, place: Path) -> None:
    first = command(*at(5), "--output", "json", env=KEEP)
    assert (first.code, first.json["created"]) == (0, 1)
    assert shown(listed(command)) == sorted(EVERY, reverse=True)
    command(*at(7), env=KEEP)  # the windows overlap
    command("replay", "--rules", "rules", "--events", "events", env=KEEP)
    assert shown(listed(command)) == sorted(EVERY, reverse=True)
    (one,) = listed(command, "--rule", "Shells", "--host", "bak")
    assert (one["what"], one["exception_reason"], one["user"]) == (
        "process event with process sh, by ann on bak", "OPS-1", "ann",
    )  # fmt: skip
    assert one["alert_reason"].endswith("created low alert Shells.")
    assert one["event"]["user"] == {"name": "ann"} and "@timestamp" not in one["event"]
    assert len(command("alerts", "list", "--output", "json").json["alerts"]) == 1


def test_the_table(command: Command, place: Path) -> None:
    command(*at(5), env=KEEP)
    found = command("alerts", "list", "--excepted", "--limit", "1", env=KEEP | {"COLUMNS": "160"})
    assert found.code == 0
    head, row, *_ = found.out.splitlines()
    assert head.split() == ["event", "time", "(UTC)", "rule", "exception", "host", "user", "what"]
    assert row.split()[:6] == ["2026-03-02", "10:02:05", "Pair", "Scanner", "scan", "ann"]
    assert "process event with process nc, by ann on scan" in row
    assert "only the newest 1 are shown" in found.err
    refused = command("alerts", "list", "--excepted", "--status", "open", env=KEEP)
    assert (refused.code, "have no status" in refused.err) == (3, True)


def test_nothing_is_kept_unless_it_is_wanted(command: Command, place: Path) -> None:
    command(*at(5))
    found = command("alerts", "list", "--excepted")
    assert (found.code, found.out.strip()) == (0, "No excepted events.")
    assert "RUNNER_KEEP_EXCEPTED=7d" in found.err
    replayed = command("replay", "--rules", "rules", "--events", "events", "--dry-run", env=KEEP)
    assert replayed.code == 0
    assert listed(command) == []


def test_at_most_a_hundred_of_an_exception_rule_and_run(command: Command, place: Path) -> None:
    for number in range(4):
        events = [(f"1:{second:02}.{number}", "bak", "sh") for second in range(60)]
        write_events(place / "events" / f"more-{number}.ndjson", events)
    command(*at(5), env=KEEP)
    kept = listed(command, "--rule", "Shells", "--host", "bak", "--limit", "1000")
    assert len(kept) == 100
    status = command("status", "--rules", "rules", "--output", "json").json["exceptions"]
    assert [one["events"] >= 241 * 2 for one in status if one["exception"] == "Backup"] == [True]


@pytest.mark.slow
def test_in_a_cluster(command: Command, place: Path, elasticsearch_url: str, namespace: str) -> None:
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(index=f"logs-{namespace}", mappings=MAPPINGS)
        for line in (place / "events" / "a.ndjson").read_text().splitlines():
            client.index(index=f"logs-{namespace}", document=json.loads(line))
        client.indices.refresh(index=f"logs-{namespace}")
    for rule in (place / "rules").glob("*.toml"):
        rule.write_text(rule.read_text().replace("logs-*", f"logs-{namespace}"))
    env = KEEP | {"ELASTICSEARCH_HOSTS": elasticsearch_url}
    env |= {f"RUNNER_{name}": f"{namespace}-{name.lower()}" for name in ("ALERTS_ALIAS", "RUNS_INDEX", "STATE_INDEX")}
    for minute in (5, 7):
        done = command("once", "--rules", "rules", "--now", f"2026-03-02T10:{minute:02}:00Z", env=env)
        assert done.code == 0, done
    # A cluster counts the events of every stage.
    assert shown(listed(command, env=env)) == sorted([*EVERY, *UNGATED], reverse=True)
    assert len(listed(command, "--rule", "Shells", "--host", "bak", env=env)) == 1


def test_an_event_of_many_levels(command: Command, place: Path) -> None:
    deep = '{"@timestamp":"2026-03-02T10:01:30Z","event":{"category":"process"},"host":{"name":"bak"},'
    deep += f'"process":{{"name":"sh","args":{"[" * 900}1{"]" * 900}}}}}\n'
    (place / "events" / "deep.ndjson").write_text(deep)
    found = command(*at(5), env=KEEP)
    assert found.code == 0
    assert len(listed(command, "--rule", "Shells", "--host", "bak")) == 2
