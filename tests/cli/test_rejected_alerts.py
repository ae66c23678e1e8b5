"""Alerts that Elasticsearch does not take: for ever, which is told and counted, or for now, which leaves time owed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.cli.test_sources import RULE
from tests.cluster.elasticsearch_stand_in import Elasticsearch, standing_in

pytestmark = pytest.mark.slow

SPAN = ("--from", "2026-03-02T09:59:00Z", "--to", "2026-03-02T10:01:00Z")
ASKED = ("replay", "--rules", "rules", *SPAN, "-o", "json", "--restart")
FOR_EVER = (
    {"type": "document_parsing_exception", "reason": "failed to parse field [host.ip] of type [ip]"},
    {"type": "illegal_argument_exception", "reason": "Limit of total fields [1000] has been exceeded"},
    {"type": "strict_dynamic_mapping_exception", "reason": "mapping set to strict, dynamic introduction of [x]"},
)
FOR_NOW = (
    (429, {"type": "es_rejected_execution_exception", "reason": "queue is full"}),
    (503, {"type": "unavailable_shards_exception", "reason": "primary shard is not active"}),
    (403, {"type": "cluster_block_exception", "reason": "index [x] blocked by: [FORBIDDEN/8/index write (api)]"}),
    (400, {"type": "index_closed_exception", "reason": "closed"}),
    (400, {"type": "illegal_argument_exception", "reason": "pipeline with id [ours] does not exist"}),
)


def event(number: int) -> dict[str, Any]:
    time = f"2026-03-02T10:00:{number % 60:02}.{number // 60:03}Z"
    source = {"@timestamp": time, "event": {"category": "process"}, "process": {"name": "nc", "pid": number}}
    return {"_index": "logs-x", "_id": str(number), "_source": source, "fields": {"@timestamp": [time]}}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Elasticsearch]:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rule.toml").write_text(RULE.replace("risk_score", "max_signals = 10\nrisk_score"))
    with standing_in() as found:
        yield found


def rejecting(*pids: int, status: int, error: Mapping[str, str]) -> Any:
    """Errors for the alerts on the events with these numbers."""

    def rejects(document: Mapping[str, Any]) -> dict[str, Any] | None:
        process = document.get("process")
        refused = isinstance(process, Mapping) and process.get("pid") in pids
        return {"status": status, "error": dict(error)} if refused else None

    return rejects


def alerts(cluster: Elasticsearch) -> set[int]:
    found = cluster.documents("rule-runner-alerts-default").values()
    return {one["_source"]["process"]["pid"] for one in found}


@pytest.mark.parametrize("error", FOR_EVER)
def test_what_is_rejected_for_ever_is_told_and_not_owed(
    command: Command, cluster: Elasticsearch, error: Mapping[str, str]
) -> None:
    env = {"ELASTICSEARCH_HOSTS": cluster.url}
    cluster.events = [event(number) for number in range(5)]
    cluster.rejects = rejecting(1, 3, status=400, error=error)
    found = command(*ASKED, env=env)
    (rule,) = found.json["rules"]
    assert (found.code, found.json["created"], rule["failed"]) == (0, 3, 0)
    text = " ".join(rule["messages"])
    assert "2 alerts were rejected by the index" in text and error["reason"] in text
    assert "rule-runner replay --from 2026-03-02T" in text
    cluster.rejects = lambda document: None
    again = command(*ASKED, env=env)
    assert (again.code, again.json["created"]) == (0, 2)
    assert alerts(cluster) == {0, 1, 2, 3, 4}


def test_rejected_alerts_keep_no_others_from_their_place_under_the_cap(
    command: Command, cluster: Elasticsearch
) -> None:
    env = {"ELASTICSEARCH_HOSTS": cluster.url}
    cluster.events = [event(number) for number in range(40)]
    cluster.rejects = rejecting(*range(25), status=400, error=FOR_EVER[0])
    span = ("--from", "2026-03-02T10:00:30Z", "--to", "2026-03-02T10:01:00Z")
    asked = ("replay", "--rules", "rules", *span, "-o", "json", "--restart")
    found = command(*asked, env=env).json  # which searches what is over the cap in further runs
    assert (found["created"], alerts(cluster)) == (15, set(range(25, 40)))
    assert "25 alerts were rejected" in " ".join(found["rules"][0]["messages"])


@pytest.mark.slow
@pytest.mark.parametrize(("status", "error"), FOR_NOW)
def test_what_is_put_off_stays_owed(
    command: Command, cluster: Elasticsearch, status: int, error: Mapping[str, str]
) -> None:
    env = {"ELASTICSEARCH_HOSTS": cluster.url}
    cluster.events = [event(number) for number in range(3)]
    cluster.rejects = rejecting(1, status=status, error=error)
    found = command(*ASKED[:-1], env=env)
    assert found.code == 2 and found.json["rules"][0]["failed"] > 0
    cluster.rejects = lambda document: None
    assert command(*ASKED[:-1], env=env).code == 0
    assert alerts(cluster) == {0, 1, 2}
