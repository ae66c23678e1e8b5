"""`search` with a table of its matches, with a query from standard input, and with the name of a file in its place."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_once import write_events, write_rule

LINES = (
    "a exec 10:02:00.000 name=a host=db user=ann",
    "b exec 10:02:01.000 name=b host=db user=bob",
    "c exec 10:02:02.000 name=b host=web",
)
SEQUENCE = 'sequence by host.id [process where process.name == "a"] [process where process.name == "b"]'


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return write_events(tmp_path / "e.ndjson", *LINES)


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_chosen_columns(command: Command, events: Path) -> None:
    answer = command(
        "search", 'process where process.name == "b"', "--events", events, "--columns", "process.name,user.nam"
    )
    assert table(answer.out) == [["process.name", "user.nam"], ["b"], ["b"]]
    assert "no match has the field user.nam; did you mean `user.name`?" in answer.err
    assert "--columns makes a table" in command("search", "any where true", "--columns", "a", "-o", "json").err


def test_the_usual_columns_are_those_with_values(command: Command, events: Path) -> None:
    head, *rows = table(command("search", SEQUENCE, "--events", events, "--output", "table").out)
    assert head[:2] == ["match", "@timestamp"]
    assert "process.name" in head
    assert "destination.ip" not in head
    assert [row[0] for row in rows] == ["1.1", "1.2"]
    answer = command("search", 'process where process.name == "z"', "--events", events, "--output", "table")
    assert (answer.out, answer.err.strip()) == ("", "no matches")


def test_without_a_terminal_the_answer_is_json(command: Command, events: Path) -> None:
    whole = command("search", SEQUENCE, "--events", events)
    assert len(whole.json["hits"]["sequences"]) == 1
    asked = command("search", SEQUENCE, "--events", events, "-o", "json").json
    assert asked["hits"] == whole.json["hits"]
    assert "expected table or json" in command("search", SEQUENCE, "--events", events, "-o", "yaml").err


def test_a_query_from_standard_input(command: Command, events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(SEQUENCE + "\n"))
    assert len(command("search", "@-", "--events", events).json["hits"]["sequences"]) == 1
    assert "not both" in command("search", "@-", "--events", "-").err


def test_the_name_of_a_file_is_no_query(command: Command, events: Path, tmp_path: Path) -> None:
    write_rule(tmp_path)
    answer = command("search", "rules/nc.toml", "--events", events)
    assert answer.code == 3
    assert "is searched with --rule rules/nc.toml" in answer.err


def test_doubts_about_a_query_that_can_be_read(command: Command, events: Path) -> None:
    answer = command("search", "any where true", "--language", "kuery", "--events", events)
    assert answer.code == 0
    assert "warning: query:1:1: this looks like EQL, not KQL" in answer.err
