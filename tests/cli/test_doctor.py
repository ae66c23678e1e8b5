"""`doctor` as a user calls it, and the roles that `setup --print` shows: each suffices for what it is for."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from elasticsearch import Elasticsearch

from tests.cli.conftest import Command
from tests.elasticsearch.proxy import Proxy

RULE = """
[rule]
rule_id = "{rule_id}"
name = "{name}"
description = "A rule of a test"
type = "eql"
language = "eql"
query = '{query}'
index = ["{index}"]
severity = "low"
risk_score = 1
"""


def write_rule(folder: Path, name: str, query: str, *, index: str) -> None:
    folder.mkdir(exist_ok=True)
    rule_id = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    (folder / f"{name}.toml").write_text(RULE.format(rule_id=rule_id, name=name, query=query, index=index))


def by_name(answer: Any, name: str) -> list[Mapping[str, Any]]:
    return [check for check in answer.json["checks"] if check["name"] == name]


def test_files_without_a_fault(command: Command, shipped: Path) -> None:
    assert command("sample", "--out", "events.ndjson", "--events", 2_000).code == 0
    answer = command("doctor", "--events", "events.ndjson", "--rules", shipped)
    assert answer.code == 0
    assert answer.out.startswith("5 checks: 0 problems, 0 warnings, 5 fine\n")
    assert "ok files events: 2,000 events in 1 file" in answer.out


def test_old_files_are_a_warning(command: Command, sample: Path, shipped: Path) -> None:
    answer = command("doctor", "--events", sample, "--rules", shipped, "-o", "json")
    assert answer.code == 0
    assert answer.json["outcome"] == "warning"
    assert answer.json["warnings"] == 1
    (newest,) = by_name(answer, "events")
    assert "--now latest" in newest["remedy"]
    assert len(newest["rules"]) == answer.json["rules"] == 2


def test_a_rule_with_an_error_is_a_problem(command: Command, sample: Path) -> None:
    write_rule(Path("rules"), "fine", "any where true", index="logs-*")
    write_rule(Path("rules"), "broken", "process where", index="logs-*")
    answer = command("doctor", "--events", sample, "--rules", "rules", "-o", "json")
    assert answer.code == 1
    problem, every = by_name(answer, "rule")
    assert problem["outcome"] == "problem"
    assert "broken.toml:8" in problem["found"]
    assert [rule["name"] for rule in problem["rules"]] == ["broken"]
    assert every["found"] == "2 rules are turned on"


def test_many_rules_are_named_in_part_and_listed_in_json(command: Command, sample: Path) -> None:
    for number in range(10):
        write_rule(Path("rules"), f"rule {number}", f"any where no.such == {number}", index="logs-*")
    answer = command("doctor", "--events", sample, "--rules", "rules")
    assert "warning field no.such\n" in answer.out
    assert "10 rules: rule 0, rule 1, rule 2, rule 3 and 6 more\n" in answer.out
    listed = command("doctor", "--events", sample, "--rules", "rules", "-o", "json")
    assert len(by_name(listed, "field")[0]["rules"]) == 10


def test_names_can_not_steer_a_terminal(command: Command, sample: Path) -> None:
    write_rule(Path("rules"), "x", "process where", index="logs-*")
    path = Path("rules") / "x.toml"
    path.write_text(path.read_text().replace('name = "x"', 'name = "a\\u001b[31mb"'))
    assert "\x1b" not in command("doctor", "--events", sample, "--rules", "rules").out


def test_exit_codes(command: Command, shipped: Path) -> None:
    nothing = command("doctor", "--rules", shipped)
    assert (nothing.code, "no events to search" in nothing.err) == (3, True)
    assert command("doctor", "--rules", "nowhere", "--events", ".").code == 3
    away = {"ELASTICSEARCH_HOSTS": "http://127.0.0.1:9"}
    answer = command("doctor", "--rules", shipped, env=away)
    assert answer.code == 4
    assert "problem host http://127.0.0.1:9\n" in answer.out
    assert command("doctor", "--rules", shipped, "-o", "json", env=away).json["problems"] == 1
    unusable = away | {"ELASTICSEARCH_PROXY": "socks5://user:hunter22@proxy"}
    refused = command("doctor", "--rules", shipped, env=unusable)
    assert refused.code == 3
    assert "hunter22" not in refused.out + refused.err


def test_kibana_that_is_away_is_a_warning(command: Command, elasticsearch_url: str, shipped: Path) -> None:
    env = {"ELASTICSEARCH_HOSTS": elasticsearch_url, "KIBANA_URL": "http://127.0.0.1:9"}
    answer = command("doctor", "--rules", shipped, "-o", "json", env=env)
    (kibana,) = by_name(answer, "kibana")
    assert (kibana["outcome"], kibana["subject"]) == ("warning", "http://127.0.0.1:9")


@dataclass(frozen=True, slots=True)
class Lab:
    """A node with security, an index with one event that a rule finds, and users by role."""

    superuser: Elasticsearch
    host: str
    space: str

    @property
    def index(self) -> str:
        return f"{self.space}-events"

    def user(self, name: str, *roles: str) -> dict[str, str]:
        """The settings of a new user with these roles."""
        full = f"{self.space}-{name}"
        self.superuser.security.put_user(username=full, password="user-password", roles=list(roles))
        return {
            "ELASTICSEARCH_HOSTS": self.host,
            "ELASTICSEARCH_USERNAME": full,
            "ELASTICSEARCH_PASSWORD": "user-password",
            "RUNNER_SPACE": self.space,
            "RUNNER_RULES": "rules",
        }


@pytest.fixture
def lab(secured_url: str, command: Command) -> Any:
    parts = urlsplit(secured_url)
    with Elasticsearch(secured_url) as superuser:
        lab = Lab(superuser, f"http://{parts.hostname}:{parts.port}", f"s{uuid.uuid4().hex[:12]}")
        keywords = [{"all": {"match_mapping_type": "string", "mapping": {"type": "keyword"}}}]
        superuser.indices.create(index=lab.index, mappings={"dynamic_templates": keywords})
        event = {"@timestamp": datetime.now(UTC).isoformat(), "event.category": "process", "process.name": "nc"}
        superuser.index(index=lab.index, document=event | {"event.id": "1"}, refresh=True)
        write_rule(Path("rules"), "netcat", 'process where process.name == "nc"', index=f"{lab.index}*")
        yield lab


def test_each_printed_role_suffices(command: Command, lab: Lab) -> None:
    printed = command("setup", "--print", env={"RUNNER_SPACE": lab.space, "RUNNER_RULES": "rules"})
    roles = printed.json["roles"]
    reading, writing, setting_up = roles
    assert (reading, writing, setting_up) == tuple(
        f"rule-runner-alerts-{lab.space}-{end}" for end in ("read-events", "write", "setup")
    )
    for name, body in roles.items():
        lab.superuser.security.put_role(name=name, **body)

    # To set up, and nothing else.
    setter = lab.user("setter", setting_up)
    first = command("setup", "--no-kibana", env=setter)
    assert first.code == 0, first.err
    assert f"created alias rule-runner-alerts-{lab.space}" in first.err
    again = command("setup", "--no-kibana", env=setter)
    assert again.code == 0
    assert "created" not in again.err
    assert command("once", env=setter).code != 0

    # To search, and nothing else.
    reader = lab.user("reader", reading)
    seen = command("replay", "--from", "now-10m", "--to", "now", "--dry-run", "-o", "json", env=reader)
    assert seen.code == 0, seen.err
    assert [(rule["created"], rule["failed"]) for rule in seen.json["rules"]] == [(1, 0)]
    assert command("once", env=reader).code != 0
    looked = command("doctor", "-o", "json", env=reader)
    assert looked.code == 1
    problems = [check["subject"] for check in looked.json["checks"] if check["outcome"] == "problem"]
    assert problems == ["write alerts"]

    # To run: both.
    runner = lab.user("runner", reading, writing)
    ran = command("once", "-o", "json", env=runner)
    assert ran.code == 0, ran.err
    assert ran.json["created"] == 1
    repeated = command("once", "-o", "json", env=runner)
    assert repeated.code == 0
    assert repeated.json["created"] == 0
    listed = command("alerts", "list", "-o", "json", env=runner)
    assert listed.code == 0
    assert "netcat" in listed.out
    assert command("status", env=runner).code == 0
    healthy = command("doctor", "-o", "json", env=runner)
    assert (healthy.code, healthy.json["problems"], healthy.json["rules_without_problems"]) == (0, 0, 1)
    assert {check["outcome"] for check in by_name(healthy, "setup")} == {"ok"}

    # To write without reading finds nothing.
    writer = lab.user("writer", writing)
    blind = command("doctor", env=writer)
    assert blind.code == 1
    assert f"problem privilege {lab.index}*\n  may not read all of it, missing: read, view_index_metadata" in blind.out
    assert "1 rule: netcat" in blind.out
    assert "setup --print" in blind.out


def test_search_says_that_the_cluster_has_no_eql(command: Command, plain_proxy: Proxy) -> None:
    answer = command("search", "any where true", env={"ELASTICSEARCH_HOSTS": plain_proxy.url})
    assert answer.code == 3
    assert answer.err.startswith("error: this cluster has no EQL search API, which `search` needs")
