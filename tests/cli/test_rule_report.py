"""`rules report`, and the end of a replay: noise named, priced, and proposed away."""

from __future__ import annotations

import csv
import io
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_once import NOW, write_events, write_rule

pytestmark = pytest.mark.slow

QUERY = 'process where process.name == "nc"'


@pytest.fixture
def noisy(command: Command, tmp_path: Path) -> Path:
    """Events of a rule that a backup sets off, and something else once; another rule that is quiet."""
    write_rule(tmp_path, "noisy", QUERY)
    write_rule(tmp_path, "quiet", 'process where process.name == "never"')
    lines = [f"b{n} exec 10:01:{n:02}.000 name=nc host=db user=backup parent_name=agent" for n in range(9)]
    return write_events(tmp_path / "e.ndjson", *lines, "x exec 10:02:00.000 name=nc host=web user=eve")


def test_the_report_names_the_noise_and_what_to_except(command: Command, noisy: Path) -> None:
    command("once", "--events", noisy, *NOW)
    command("alerts", "close", "--host", "db", "--reason", "false-positive")
    answer = command("rules", "report", "-o", "json")
    assert answer.code == 0
    assert answer.json["alerts"] == 10
    rule, other = answer.json["rules"]
    assert list(rule) == [
        "rule_id", "rule", "severity", "alerts", "a_day", "suppressed", "open", "acknowledged", "closed",
        "false_positives", "true_positives", "benign", "duplicates", "false_positive_share", "noise", "cost",
        "exception",
    ]  # fmt: skip
    assert (rule["rule"], rule["alerts"], rule["a_day"], rule["false_positive_share"]) == ("noisy", 10, 10.0, 0.9)
    assert rule["noise"]["hosts"] == [{"value": "db", "alerts": 9}, {"value": "web", "alerts": 1}]
    assert rule["noise"]["parents"][0] == {"value": "agent", "alerts": 9}
    assert (rule["cost"]["runs"], rule["cost"]["matches"]) == (1, 10)
    assert (rule["exception"]["hits"], rule["exception"]["of"]) == (9, 10)
    (exception,) = tomllib.loads(rule["exception"]["toml"])["exception"]
    assert exception["when"] == {"process.parent.name": "agent", "user.name": "backup", "host.name": "db"}
    assert exception["rules"] == [rule["rule_id"]]
    assert (other["rule"], other["alerts"], other["exception"]) == ("quiet", 0, None)
    assert command("alerts", "report", "-o", "json").json == answer.json


def test_with_the_proposal_beside_the_rules_the_next_run_is_quiet(
    command: Command, noisy: Path, tmp_path: Path
) -> None:
    command("once", "--events", noisy, *NOW)
    report = command("rules", "report", "-o", "json").json["rules"][0]
    (tmp_path / "exceptions").mkdir()
    (tmp_path / "exceptions" / "noise.toml").write_text(report["exception"]["toml"])
    again = command("once", "--events", noisy, *NOW, "--state", "other.db", "--exceptions", "exceptions", "-o", "json")
    assert again.json["created"] == 1


def test_the_table_has_a_line_a_rule_and_the_exceptions(command: Command, noisy: Path) -> None:
    command("once", "--events", noisy, *NOW)
    lines = command("rules", "report").out.splitlines()
    assert [heading for heading in ("alerts", "a day", "false positives", "top host") if heading in lines[0]] == [
        "alerts", "a day", "false positives", "top host",
    ]  # fmt: skip
    assert lines[1].startswith("noisy") and "db (9)" in lines[1] and "agent (9)" in lines[1]
    assert any("1 other rule ran without an alert" in line for line in lines)
    assert "[[exception]]" in lines and "# would have kept 9 of 10 alerts away" in lines


def test_csv_has_a_row_a_rule_that_no_spreadsheet_computes(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path, "noisy", QUERY)
    lines = [f"e{n} exec 10:01:{n:02}.000 name=nc host==1+1 user=\x1b[31mx parent_name=-c" for n in range(6)]
    command("once", "--events", write_events(tmp_path / "e.ndjson", *lines), *NOW)
    answer = command("rules", "report", "--output", "csv")
    (row,) = csv.DictReader(io.StringIO(answer.out))
    assert (row["rule"], row["alerts"], row["top_host"], row["top_parent"]) == ("noisy", "6", "'=1+1", "'-c")
    assert "\x1b" not in answer.out
    assert row["exception_hits"] == "6"


def test_the_report_is_of_a_time_and_of_a_rule(command: Command, noisy: Path) -> None:
    command("once", "--events", noisy, *NOW)
    assert command("rules", "report", "--since", "2999-01-01", "-o", "json").json["alerts"] == 0
    assert command("rules", "report", "--since", "2026-03-02", "-o", "json").json["alerts"] == 10
    assert command("rules", "report", "--since", "7d", "-o", "json").json["alerts"] == 0  # detected at --now
    quiet = command("rules", "report", "--rule", "QUIET", "-o", "json").json["rules"]
    assert [rule["rule"] for rule in quiet] == ["quiet"]
    wrong = command("rules", "report", "--since", "sometime")
    assert wrong.code == 3 and "--since: `sometime` is not a time" in wrong.err
    assert command("rules", "report", "-o", "yaml").code == 3
    assert command("rules", "report", "--state", "other.db").code == 3


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_replay_ends_with_what_makes_the_noise(command: Command, noisy: Path, dry: tuple[str, ...]) -> None:
    report = command("replay", "--events", noisy, *dry, "-o", "json").json["report"]
    assert (report["alerts"], report["rules"][0]["noise"]["users"][0]) == (10, {"value": "backup", "alerts": 9})
    assert report["rules"][0]["cost"]["runs"] > 0
    again = command("replay", "--events", noisy, *dry)
    assert "What the alerts of the noisiest rules have in common" in again.out
    assert "db (9)" in again.out and "[[exception]]" in again.out
