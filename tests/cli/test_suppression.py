"""Alert suppression at the command line: what the commands show of it, and that all ways of searching agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Answer, Command
from tests.cli.test_once import NC, NOW, write_events, write_rule

pytestmark = pytest.mark.slow

HOURLY = {"group_by": ["host.name", "user.name"], "duration": {"value": 1, "unit": "h"}}
LINES = [
    f"e{number} exec 10:0{number % 5}:{number:02}.000 name=nc host={'web' if number % 3 else 'db'}"
    for number in range(12)
]


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    write_rule(tmp_path, alert_suppression=HOURLY)
    return write_events(tmp_path / "events.ndjson", *LINES)


def test_once_says_how_many_were_suppressed(command: Command, grouped: Path) -> None:
    answer = command("once", "--events", grouped, "--rules", "rules", *NOW)
    heading = next(line for line in answer.out.splitlines() if "matches" in line)
    assert heading.split()[-5:] == ["known", "suppressed", "over", "cap", "ms"]
    assert "+7" in answer.out and "+3" in answer.out
    found = command("once", "--events", grouped, "--rules", "rules", *NOW, "-o", "json").json
    assert [(run["created"], run["duplicates"], run["suppressed"]) for run in found["runs"]] == [(0, 12, 0)]


def test_a_new_alert_is_shown_with_its_count(command: Command, grouped: Path) -> None:
    found = command("once", "--events", grouped, "--rules", "rules", *NOW, "-o", "json").json
    assert sorted(alert["suppressed"] for alert in found["alerts"]) == [3, 7]
    assert (found["created"], found["runs"][0]["suppressed"]) == (2, 10)
    status = command("status", "--rules", "rules", "--all")
    assert "suppressed" in status.out


def test_show_names_what_an_alert_stands_for(command: Command, grouped: Path) -> None:
    found = command("once", "--events", grouped, "--rules", "rules", *NOW, "-o", "json").json
    ids = {alert["suppressed"]: alert["id"] for alert in found["alerts"]}
    shown = command("alerts", "show", ids[7])
    assert "and 7 more until 2026-03-02 10:04:04 UTC, by host.name, user.name" in shown.out
    triage = command("alerts", "show", ids[7], "-o", "json").json["triage"]
    assert triage["suppressed"].startswith("and 7 more until")


def test_a_count_of_one_run_is_raised_by_the_next(command: Command, grouped: Path, tmp_path: Path) -> None:
    command("once", "--events", grouped, "--rules", "rules", *NOW)
    write_events(tmp_path / "more.ndjson", "late exec 10:04:59.000 name=nc")
    later = command("once", "--events", "more.ndjson", "--rules", "rules", *NOW, "-o", "json").json
    assert (later["created"], later["runs"][0]["suppressed"]) == (0, 1)
    listed = command("alerts", "list", "-o", "json").json["alerts"]
    assert sorted(alert["suppressed"] for alert in listed) == [3, 8]


def replayed(command: Command, *more: object) -> tuple[Answer, dict[str, Any]]:
    span = ("--from", "2026-03-02T10:00:00Z", "--to", "2026-03-02T12:00:00Z")
    answer = command("replay", "--events", "events.ndjson", "--rules", "rules", *span, "-o", "json", *more)
    (rule,) = answer.json["rules"]
    return answer, {name: rule[name] for name in ("created", "suppressed", "capped", "failed")}


def test_a_replay_with_workers_and_a_rehearsal_count_alike(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path, alert_suppression=HOURLY)
    lines = [f"e{n} exec {10 + n // 60}:{n % 60:02}:07.000 name=nc host=h{n % 4}" for n in range(118)]
    write_events(tmp_path / "events.ndjson", *lines)
    _, rehearsed = replayed(command, "--dry-run")
    _, first = replayed(command, "--workers", "2")
    assert first == rehearsed == {"created": 8, "suppressed": 110, "capped": 0, "failed": 0}
    _, again = replayed(command)
    assert again == {"created": 0, "suppressed": 0, "capped": 0, "failed": 0}
    listed = command("alerts", "list", "-o", "json").json["alerts"]
    assert sum(1 + alert["suppressed"] for alert in listed) == 118


def test_a_replay_is_as_the_runs_at_their_time(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path, alert_suppression={**HOURLY, "duration": {"value": 7, "unit": "m"}})
    lines = [f"e{n} exec 10:{n // 2:02}:{n % 2 * 30:02}.000 name=nc host=h{n % 3}" for n in range(2, 88)]
    write_events(tmp_path / "events.ndjson", *lines)
    for minute in range(5, 60, 5):
        command("once", "--events", "events.ndjson", "--rules", "rules", "--now", f"2026-03-02T10:{minute:02}:00Z")
    live = command("alerts", "list", "-o", "json").json["alerts"]
    span = ("--from", "2026-03-02T10:00:00Z", "--to", "2026-03-02T10:55:00Z", "--state", "other.db")
    command("replay", "--events", "events.ndjson", "--rules", "rules", *span)
    past = command("alerts", "list", "-o", "json", "--state", "other.db").json["alerts"]
    told = [sorted((one["id"], one["suppressed"]) for one in alerts) for alerts in (live, past)]
    assert told[0] == told[1]
    assert sum(1 + count for _, count in told[0]) == len(lines)


SEQUENCE = f"sequence by host.name with maxspan=1m [{NC}] [network where true]"
WARNED = [
    ({"group_by": ["host.nam"]}, NC, "`host.nam` in `group_by` is no field that the field table has; did you mean"),
    ({"group_by": ["message"]}, NC, "`message` in `group_by` is a text field"),
    ({"group_by": ["process"]}, NC, "`process` in `group_by` is"),
    ({"group_by": ["[2] host.name"]}, NC, "names stage 2 of a query of single events"),
    ({"group_by": ["user.name"]}, SEQUENCE, "`user.name` in `group_by` is no join key of the query"),
    ({"group_by": ["[3] user.name"]}, SEQUENCE, "names stage 3, but the query has 2"),
    (
        {"group_by": ["[2] user.name"]},
        "sequence by host.name with maxspan=1m [process where true] ![network where true]",
        "names stage 2, which is a missing event",
    ),
    (
        {"group_by": ["host.name"], "duration": {"value": 30, "unit": "s"}},
        NC,
        "`duration` is 30s, shorter than the interval of 5m",
    ),
]


@pytest.mark.parametrize(("suppression", "query", "text"), WARNED)
def test_check_warns(command: Command, tmp_path: Path, suppression: Any, query: str, text: str) -> None:
    path = write_rule(tmp_path, query=query, alert_suppression=suppression)
    answer = command("check", "--rules", path, "-o", "json")
    (problem,) = answer.json["problems"]
    assert (answer.code, problem["severity"], text in problem["message"]) == (0, "warning", True), problem
    line = path.read_text().splitlines()[problem["line"] - 1]
    assert "alert_suppression" in line


@pytest.mark.parametrize(
    ("suppression", "query"),
    [
        (HOURLY, NC),
        ({"group_by": ["host.name", "[2] user.name", "[1] process.name"]}, SEQUENCE),
        ({"group_by": ["process.pid"]}, "sequence [any where true] by process.pid [any where true] by process.pid"),
    ],
)
def test_check_has_nothing_against_what_groups(command: Command, tmp_path: Path, suppression: Any, query: str) -> None:
    path = write_rule(tmp_path, query=query, alert_suppression=suppression)
    found = command("check", "--rules", path, "-o", "json").json["problems"]
    assert [problem for problem in found if "suppression" in problem["message"] or "group" in problem["message"]] == []
