"""What a single run tells: the alerts first, the rules with news, the others in a line; nothing at all with --quiet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_once import NOW, ONE, write_events, write_rule

pytestmark = pytest.mark.slow

ARGUMENTS = ("once", "--events", "logs", *NOW)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder with one matching event; a rule for it, and five that find nothing."""
    write_rule(tmp_path)
    for number in range(5):
        write_rule(tmp_path, f"quiet-{number}", 'process where process.name == "nobody"')
    (tmp_path / "logs").mkdir()
    return write_events(tmp_path / "logs" / "e.ndjson", ONE)


def test_rules_without_news_are_one_line(command: Command, logs: Path) -> None:
    lines = command(*ARGUMENTS).out.splitlines()
    assert lines[1] == "1 new alert:"
    assert "5 other rules found nothing." in lines
    assert not [line for line in lines if "quiet-" in line]
    assert sum("quiet-" in line for line in command(*ARGUMENTS, "--all").out.splitlines()) == 5


def test_status_has_rules_without_news_in_one_line(command: Command, logs: Path) -> None:
    assert command("once", "--events", "logs").code == 0  # as of now, long after the event
    status = command("status").out
    assert "6 rules found nothing, the longest lag is " in status and "quiet-" not in status
    assert command("status", "--all").out.count("quiet-") == 5


def test_json_has_the_alerts_and_the_runs_with_news(command: Command, logs: Path) -> None:
    found = command(*ARGUMENTS, "-o", "json").json
    assert ([run["rule_id"] for run in found["runs"]], found["left_out"]) == (["nc"], 5)
    assert found["alerts"] == command("alerts", "list", "-o", "json").json["alerts"]
    everything = command(*ARGUMENTS, "-o", "json", "--all").json
    assert (len(everything["runs"]), everything["left_out"], everything["alerts"]) == (6, 0, [])


def test_a_message_for_all_rules_is_one_line(command: Command, logs: Path) -> None:
    logs.write_text(logs.read_text() + "{\n")
    out = command(*ARGUMENTS).out
    assert out.count("1 broken line skipped") == 1 and "6 rules: 1 broken line skipped" in out
    assert command("status").out.count("1 broken line skipped") == 1


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_quiet_run_tells_alerts_and_problems_alone(command: Command, logs: Path, tmp_path: Path, form: str) -> None:
    quiet = (*ARGUMENTS, "--quiet", "-o", form)
    write_rule(tmp_path, "of-another-sensor", 'process where vendor.field == "x"')
    first = command(*quiet)
    assert (first.code, first.err) == (0, "") and "nc" in first.out
    assert (again := command(*quiet)).code == 0 and again.out + again.err == ""
    logs.write_text(logs.read_text() + "{\n")
    assert "broken line" in command(*quiet).out
    assert (same := command(*quiet)).code == 0 and same.out + same.err == ""  # told once
    write_rule(tmp_path, "wrong", "process where")
    broken = command(*quiet)
    assert broken.code == 2 and "wrong.toml" in broken.err


def test_a_failure_is_told_by_every_quiet_run(command: Command, logs: Path) -> None:
    (logs.parent / "cut.ndjson.gz").write_bytes(b"\x1f\x8b\x08\x00")
    for _ in range(2):
        answer = command(*ARGUMENTS, "--quiet")
        assert answer.code == 2 and "cut.ndjson.gz" in answer.out


def test_a_value_of_any_length_leaves_the_other_columns_whole(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    write_events(tmp_path / "e.ndjson", f"{ONE} host=web user={'x' * 20_000}", "e2 exec 10:02:00.000 name=nc host=db")
    listed = command("once", "--events", "e.ndjson", *NOW).out.splitlines()
    (long,) = [line for line in listed if "xxx" in line]
    assert "web" in long and "2026-03-02 10:01:00" in long and "..." in long
    assert max(map(len, listed)) < 1_000
