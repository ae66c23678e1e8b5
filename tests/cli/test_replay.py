"""`rule-runner replay`: a past span, window by window, by the same path as live runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from runner.sample.write import write_sample
from tests.cli.conftest import END, Command
from tests.cli.test_once import write_rule

PLANTED = 12


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Two hours of events with attacks of both shipped rules."""
    path = tmp_path / "events.ndjson"
    write_sample(path, events=6_000, attacks=PLANTED, seed=3, end=END, span=timedelta(hours=2))
    return path


def test_all_of_the_files_time_is_searched_and_again_makes_nothing(command: Command, events: Path) -> None:
    first = command("replay", "--events", events, "-o", "json")
    assert (first.code, first.json["created"], first.json["dry_run"]) == (0, PLANTED, False)
    assert first.json["window"]["to"] == "2026-03-02T10:05:00.000Z"
    for rule in first.json["rules"]:
        assert (rule["windows"], rule["failed"], rule["capped"]) == (24, 0, 0)
        assert sum(rule["per_hour"].values()) == rule["created"]
    again = command("replay", "--events", events, "-o", "json")
    assert (again.code, again.json["created"]) == (0, 0)
    assert sum(rule["duplicates"] for rule in again.json["rules"]) >= PLANTED
    listed = command("alerts", "list", "-o", "json").json["alerts"]
    assert len(listed) == PLANTED


def test_a_dry_run_writes_nothing(command: Command, events: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    answer = command("replay", "--events", events, "--dry-run")
    assert (answer.code, f"{PLANTED} alerts would have been made." in answer.out) == (0, True)
    assert set(tmp_path.iterdir()) == before


def test_only_the_named_span_is_searched(command: Command, events: Path) -> None:
    span = ("--from", "2026-03-02T09:00:00Z", "--to", "2026-03-02T09:10:00Z")
    answer = command("replay", "--events", events, "--dry-run", "-o", "json", *span)
    assert answer.json["window"] == {"from": "2026-03-02T09:00:00.000Z", "to": "2026-03-02T09:10:00.000Z"}
    assert {rule["windows"] for rule in answer.json["rules"]} == {2}


def test_what_the_cap_holds_back_is_delivered_in_the_end(command: Command, events: Path, tmp_path: Path) -> None:
    write_rule(tmp_path, "many", 'process where event.type == "start"', max_signals=7)
    rules = ("--rules", tmp_path / "rules")
    span = ("--from", "2026-03-02T10:00:00Z", "--to", "2026-03-02T10:05:00Z")
    answer = command("replay", "--events", events, "--dry-run", "-o", "json", *rules, *span)
    (rule,) = answer.json["rules"]
    assert (rule["created"] > 7, rule["windows"] > 1, rule["failed"]) == (True, True, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "2026-03-02T11:00:00Z", "--to", "2026-03-02T10:00:00Z"), "is not before --to"),
        (("--from", "yesterday"), "yesterday"),
    ],
)
def test_a_wrong_span_is_refused(command: Command, events: Path, arguments: tuple[str, ...], said: str) -> None:
    answer = command("replay", "--events", events, *arguments)
    assert answer.code == 3
    assert said in answer.err


def test_events_without_time_need_a_span(command: Command, tmp_path: Path) -> None:
    (tmp_path / "e.ndjson").write_text('{"a": 1}\n')
    answer = command("replay", "--events", tmp_path / "e.ndjson")
    assert (answer.code, "name --from and --to" in answer.err) == (3, True)
