"""`--rule` and `--force`: one rule at once, named by id, name or file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from tests.cli.conftest import Command
from tests.scenarios.timeline import ndjson, rule_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Rules `one` and `two`, `off`, which is disabled, `broken`, whose query is none; an event that they find."""
    rules = tmp_path / "rules"
    rules.mkdir()
    kinds: dict[str, dict[str, object]] = {
        "one": {}, "two": {}, "off": {"enabled": False}, "broken": {"query": "any where ("}
    }  # fmt: skip
    for name, fields in kinds.items():
        (rules / f"{name}.toml").write_text(rule_text(name, {"query": "any where true", **fields}))
    (tmp_path / "events.ndjson").write_text(ndjson(["e1 exec 10:01:00.000 name=nc"]))
    return rules


def ran(command: Command, *arguments: object) -> list[str]:
    answer = command(
        "once", "--events", "events.ndjson", "--now", "latest", "--output", "json", "--rules", "rules", *arguments
    )
    assert answer.code == 0, answer.err
    return [one["name"] for one in answer.json["runs"]]


def test_a_rule_is_named_by_id_name_or_file_and_others_do_not_disturb(command: Command, folder: Path) -> None:
    for name in ("one", "ONE", "rules/one.toml", folder / "one.toml"):
        assert ran(command, "--rule", name) == ["one"]
    assert ran(command, "--rule", "two", "--rule", "one") == ["two", "one"]


def test_a_file_alone_is_all_that_is_loaded(command: Command, folder: Path) -> None:
    (folder.parent / "mine.toml").write_text(rule_text("mine", {"query": "any where true"}))
    answer = command("once", "--events", "events.ndjson", "--now", "latest", "--rule", "mine.toml", "--output", "json")
    assert (answer.code, answer.json["created"]) == (0, 1)
    replayed = command("replay", "--events", "events.ndjson", "--rule", "mine.toml", "--dry-run", "--output", "json")
    assert replayed.code == 0, replayed.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("borken", "--rule borken: no rule in use has this id, name or file; did you mean `broken`?"),
        ("off", "--rule off: the rule is disabled (`enabled = false` in rules/off.toml)"),
        ("broken", 'the rule "broken" cannot be run: rules/broken.toml:'),
        ("events.ndjson", "--rule events.ndjson: no rule in use is from there"),
    ],
)
def test_what_names_no_rule_in_use(command: Command, folder: Path, name: str, said: str) -> None:
    answer = command("once", "--events", "events.ndjson", "--now", "latest", "--rules", "rules", "--rule", name)
    assert answer.code == 3
    assert said in answer.err


def test_force_searches_what_is_not_due(
    command: Command, elasticsearch_url: str, namespace: str, tmp_path: Path
) -> None:
    index = f"logs-{namespace}"
    (tmp_path / "one.toml").write_text(rule_text("one", {"query": "any where true", "index": [index]}))
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(index=index)
        document = {"@timestamp": datetime.now(UTC).isoformat(), "event.category": "process"}
        client.index(index=index, document=document, refresh=True)
    env = {"ELASTICSEARCH_HOSTS": elasticsearch_url, "RUNNER_SPACE": namespace, "RUNNER_RULES": "one.toml"}
    first = command("once", "--output", "json", env=env)
    assert first.json["created"] == 1
    second = command("once", "--output", "json", env=env)
    assert second.json["runs"] == []
    assert "--force searches all the same" in command("once", env=env).err
    (forced,) = command("once", "--output", "json", "--force", env=env).json["runs"]
    assert (forced["status"], forced["created"], forced["duplicates"]) == ("succeeded", 0, 1)
