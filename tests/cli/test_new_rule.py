"""`new`: what it writes passes `check --strict` and `test` as it stands; and `test` without a test fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Command

pytestmark = pytest.mark.slow

TYPES = ("eql", "query", "threshold", "new_terms", "threat_match")
DNS: dict[str, Any] = {
    "@timestamp": "2026-01-01T00:00:00.000Z",
    "event": {"category": ["network"], "type": ["connection", "start"], "action": "lookup_requested"},
    "host": {"id": "h", "name": 'a "quoted" \\ name'},
    "process": {"name": "x\\y\"z'''", "pid": None, "args": []},
    "dns.question.name": "evil.example",
    "user.name": "é\u2028",
    "tags": ["a", None, 1.5, True, {"b": {}}],
}
EVENTS = {
    "dns": DNS,
    "hit": {"_index": "logs-x", "_source": {**DNS, "data_stream": {"type": "logs", "dataset": "dns"}}},
    "unusual": {"event.category": "invented", "event.dataset": "acme.log", "host.name": "h", "source.ip": "192.0.2.1"},
}


def passes(command: Command, count: int) -> None:
    checked = command("check", "--strict", "rules")
    assert checked.code == 0, checked.out
    tested = command("test", "--require-tests", "--output", "json", "rules")
    assert tested.code == 0, tested.out
    assert tested.json["passed"] == count


def test_every_type_passes_as_it_is_written(command: Command, tmp_path: Path) -> None:
    for kind in (*TYPES, "esql"):
        answer = command("new", f"My {kind} rule", "--type", kind)
        assert (answer.code, f"wrote rules/my_{kind}_rule.toml" in answer.err) == (0, True)
    passes(command, 2 * len(TYPES))
    assert not (tmp_path / "rules/my_esql_rule.test.toml").exists()


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("kind", TYPES)
def test_a_rule_of_an_event_finds_it(command: Command, tmp_path: Path, kind: str, event: str) -> None:
    (tmp_path / "event.json").write_text(json.dumps(EVENTS[event]))
    assert command("new", "Seen", "--type", kind, "--from-event", "event.json").code == 0
    passes(command, 2)


def test_nothing_is_written_over(command: Command, tmp_path: Path) -> None:
    assert command("new", "One rule", "--folder", "own/rules").code == 0
    before = (tmp_path / "own/rules/one_rule.toml").read_text()
    answer = command("new", "one RULE", "--folder", "own/rules")
    assert (answer.code, "one_rule.toml: is there already" in answer.err) == (3, True)
    assert (tmp_path / "own/rules/one_rule.toml").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--type", "treshold"], "did you mean `threshold`?"),
        (["--from-event", "missing.json"], "missing.json: cannot be read"),
        (["--from-event", "list.json"], "expected an event as a JSON object"),
        (["--from-event", "empty.json"], "the event has none of the fields host.os.type"),
        (["--folder", "list.json"], "is a file, expected a folder"),
    ],
)
def test_what_cannot_be_made_is_said(command: Command, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "empty.json").write_text("{}")
    answer = command("new", "Rule", *arguments)
    assert (answer.code, said in answer.err) == (3, True), answer.err
    assert not (tmp_path / "rules").exists()


def test_no_test_at_all_fails(command: Command, tmp_path: Path) -> None:
    command("new", "Rule")
    (tmp_path / "rules/rule.test.toml").unlink()
    answer = command("test", "--junit", "out.xml")
    assert (answer.code, "No tests" in answer.out) == (1, True)
    (suite,) = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
