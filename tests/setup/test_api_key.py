"""`rule-runner setup --api-key`: a key of the runner's own, made in a node with security, and its file."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from tests.cli.conftest import Command
from tests.cluster.opened import login_of

RULE = """
[rule]
rule_id = "0b5f1a52-8d0e-4c0d-9a3c-5a1f6d3b7c11"
name = "Any x"
description = "A rule for a test."
type = "eql"
language = "eql"
index = ["logs-keyed"]
query = "any where event.action == \\"x\\""
severity = "low"
risk_score = 21
"""


def superuser(url: str, namespace: str, rules: Path) -> dict[str, str]:
    login = login_of(url)
    return {
        "ELASTICSEARCH_HOSTS": login.hosts[0],
        "ELASTICSEARCH_USERNAME": login.username,
        "ELASTICSEARCH_PASSWORD": login.password,
        "RUNNER_SPACE": namespace,
        "RUNNER_RULES": str(rules),
    }


@pytest.mark.slow
def test_the_key_is_enough_for_the_runner_and_for_nothing_else(
    command: Command, secured_url: str, tmp_path: Path
) -> None:
    rule = tmp_path / "rule.toml"
    rule.write_text(RULE)
    env = superuser(secured_url, "keyed", rule)
    first = command("setup", "--roles", "--no-kibana", "--api-key", "key", env=env)
    assert (first.code, first.out) == (0, "")
    assert "created API key in key: ELASTICSEARCH_API_KEY_FILE=key" in first.err
    file = tmp_path / "key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text().strip()
    assert key not in first.err

    runner = {name: value for name, value in env.items() if "USERNAME" not in name and "PASSWORD" not in name}
    runner["ELASTICSEARCH_API_KEY_FILE"] = "key"
    with Elasticsearch(secured_url) as client:
        keywords = [{"texts": {"match_mapping_type": "string", "mapping": {"type": "keyword"}}}]
        client.indices.create(index="logs-keyed", mappings={"dynamic_templates": keywords})
        event = {"@timestamp": datetime.now(UTC).isoformat(), "event": {"action": "x"}}
        client.index(index="logs-keyed", document=event, refresh=True)
    found = command("once", "--output", "json", env=runner)
    assert (found.code, found.json["created"]) == (0, 1)
    refused = command("setup", "--roles", "--no-kibana", env=runner)
    assert refused.code != 0

    again = command("setup", "--roles", "--no-kibana", "--api-key", "key", env=env)
    assert "there already: API key in key" in again.err
    assert file.read_text().strip() == key
    with Elasticsearch(secured_url) as client:
        client.security.invalidate_api_key(name="rule-runner")
    replaced = command("setup", "--no-kibana", "--api-key", "key", env=env)
    assert "updated API key in key" in replaced.err
    assert file.read_text().strip() not in ("", key)

    printed = command("setup", "--no-kibana", "--api-key", "-", env=env)
    assert printed.out.strip() not in ("", key)

    file.write_text("some notes\n")
    kept = command("setup", "--no-kibana", "--api-key", "key", env=env)
    assert (kept.code, file.read_text()) == (3, "some notes\n")
    assert "key is there and holds no API key: name another file" in kept.err


def test_a_cluster_without_security_has_no_key_to_make(
    command: Command, elasticsearch_url: str, namespace: str, shipped_rules: Path, tmp_path: Path
) -> None:
    env = {"ELASTICSEARCH_HOSTS": elasticsearch_url, "RUNNER_SPACE": namespace, "RUNNER_RULES": str(shipped_rules)}
    done = command("setup", "--no-kibana", "--api-key", "key", env=env)
    assert done.code == 3
    assert "this cluster has no security" in done.err
    assert not (tmp_path / "key").exists()
