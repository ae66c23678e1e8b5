"""`alerts report` and `replay --report`: alerts as one file."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from runner.sample_data.write import write_sample
from tests.cli.conftest import END, Command

pytestmark = pytest.mark.slow


@pytest.fixture
def events(tmp_path: Path) -> Path:
    file = tmp_path / "events.ndjson"
    write_sample(file, events=2_000, seed=1, end=END, attacks=3)
    return file


def test_a_report_in_each_format(command: Command, events: Path) -> None:
    assert command("once", "--events", events, "--now", "latest").code == 0
    listed = command("alerts", "list", "-o", "json").json["alerts"]
    assert listed
    said = command("alerts", "report", "--out", "report.html")
    assert said.code == 0 and f"{len(listed)} alerts in report.html" in said.err
    page = Path("report.html").read_text()
    assert page.count("<article") == len(listed) and "Process" in page and "<script" not in page
    rows = list(csv.DictReader(io.StringIO(command("alerts", "report", "--format", "csv").out)))
    assert {row["id"] for row in rows} == {alert["id"] for alert in listed}
    layer = command("alerts", "report", "--format", "navigator", "--out", "-").json
    assert {one["techniqueID"] for one in layer["techniques"]} and layer["domain"] == "enterprise-attack"
    assert command("alerts", "report", "--out", "report.md").code == 0
    assert Path("report.md").read_text().count("\n## ") == len(listed) + 1


def test_filters_and_limits_of_a_report(command: Command, events: Path) -> None:
    command("once", "--events", events, "--now", "latest")
    host = command("alerts", "list", "-o", "json").json["alerts"][0]["host"]
    report = command("alerts", "report", "--format", "html", "--host", host, "--limit", "0", "--until", "now").out
    assert f"host {host}, detected until" in report
    assert "<article" not in report and "only listed" in report and "<td" in report
    nothing = command("alerts", "report", "--format", "html", "--status", "closed")
    assert nothing.code == 0 and "No alert was chosen" in nothing.out


def test_without_a_file_or_a_format_it_is_the_report_on_rules(command: Command, events: Path) -> None:
    command("once", "--events", events, "--now", "latest")
    assert command("alerts", "report", "-o", "json").json == command("rules", "report", "-o", "json").json
    wrong = command("alerts", "report", "--host", "x")
    assert wrong.code == 3 and "name a file with --out, or a --format" in wrong.err
    wrong = command("alerts", "report", "--format", "htm")
    assert wrong.code == 3 and "did you mean" in wrong.err
    wrong = command("alerts", "report", "--out", "no/such/folder.html")
    assert wrong.code != 0 and "cannot be written" in wrong.err


@pytest.mark.parametrize("dry", [True, False])
def test_a_replay_ends_with_a_report(command: Command, events: Path, dry: bool) -> None:
    answer = command("replay", "--events", events, "--report", "r.html", *(["--dry-run"] if dry else []), "-o", "json")
    assert answer.code == 0
    page = Path("r.html").read_text()
    alerts = sum(rule["created"] for rule in json.loads(answer.out)["rules"])
    assert page.count("<article") == alerts > 0
    assert ("a dry run" in page) == dry
    assert re.search(r"replay of \d{4}-", page)
