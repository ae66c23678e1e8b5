"""`rule-runner state`: what the file holds, removal of what is old, and alerts that never come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import END, Command

pytestmark = pytest.mark.slow


def test_old_alerts_go_and_do_not_come_again(command: Command, sample: Path) -> None:
    searched = ("once", "--events", sample, "--now", "latest", "--output", "json")
    created = command(*searched).json["created"]
    assert created
    listed = command("alerts", "list", "--output", "json", "--building-blocks").json["alerts"]
    assert command("state", "show", "--output", "json").json["pruned"] == 0
    kept = command("state", "prune")
    assert "0 alerts and 0 runs removed; alerts are kept for good" in kept.err

    days = (datetime.now(UTC) - END) // timedelta(days=1)
    assert "0 alerts" in command("state", "prune", "--keep-alerts", f"{days + 2}d").err
    done = command("state", "prune", "--keep-alerts", f"{days - 1}d", "--keep-runs", "1d")
    assert done.code == 0
    assert f"{len(listed)} alerts and 0 runs removed" in done.err
    assert command("alerts", "list", "--output", "json").json["alerts"] == []
    shown = command("alerts", "show", listed[0]["id"])
    assert (shown.code, "is older than alerts are kept (RUNNER_KEEP_ALERTS)" in shown.err) == (3, True)

    again = command(*searched).json
    assert again["created"] == 0
    assert sum(one["duplicates"] for one in again["runs"]) == created
    shown = command("state", "show", "--output", "json").json
    assert (shown["alerts"], shown["pruned"]) == (0, len(listed))
    assert f"{len(listed)} older ones have left their ids" in command("state", "show").out
    assert "before" in command("state", "vacuum").err


def test_a_single_run_removes_what_is_old(command: Command, sample: Path) -> None:
    searched = ("once", "--events", sample, "--now", "latest", "--output", "json")
    assert command(*searched).json["created"]
    assert command(*searched, env={"RUNNER_KEEP_ALERTS": "1d"}).json["created"] == 0
    assert command("alerts", "list", "--output", "json").json["alerts"] == []
    assert command(*searched).json["created"] == 0


def test_without_a_file_and_with_a_cluster(command: Command, tmp_path: Path) -> None:
    for what in ("show", "prune", "vacuum"):
        missing = command("state", what)
        assert "there is no such file" in missing.err
        assert not (tmp_path / "rule-runner.db").exists()
        cluster = command("state", what, env={"ELASTICSEARCH_HOSTS": "http://localhost:1"})
        assert (cluster.code, "lifecycle policies" in cluster.err) == (3, True)
