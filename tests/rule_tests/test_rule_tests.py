"""Rule tests as their authors meet them: files in, outcomes, messages and exit codes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from runner.rule_tests.case import ExpectedAlert, RuleTest
from runner.rule_tests.outcome import MadeAlert, differences
from tests.cli.conftest import Command, command
from tests.paths import ROOT

__all__ = ["command"]

RULE = """
[metadata]
maturity = "production"
[rule]
rule_id = "3f1c0e6a-5a0e-4a51-9f5f-0d1d3f7f0a01"
name = "Netcat started"
description = "d"
risk_score = 47
severity = "medium"
type = "eql"
language = "eql"
index = ["logs-*"]
query = 'process where process.name : "nc*" and process.args_count > 2'
"""
SEQUENCE = RULE.replace(
    """'process where process.name : "nc*" and process.args_count > 2'""",
    "'sequence by host.id with maxspan=1m [process where true] ![network where true]'",
).replace("0a01", "0a02")
STARTED = """
[[test.event]]
"@timestamp" = 2026-03-02T10:00:00Z
event = { id = "e1", category = "process" }
process = { name = "ncat", args_count = 3 }
host = { id = "h1", name = "web-1" }
"""

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    write("nc.toml", RULE)
    return write


def test_the_shipped_rules_pass_their_tests(command: Command) -> None:
    answer = command("test", ROOT / "rules", "--output", "json", "--require-tests")
    assert answer.code == 0
    assert answer.json["passed"] >= 5
    assert answer.json["failed"] == answer.json["errors"] == 0
    assert answer.json["rules_without_tests"] == []


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ("alerts = 1", ""),
        ('[[test.alert]]\nevents = ["e1"]\nfields = { "host.name" = "web-1" }', ""),
        ("alerts = 0", "expected no alert, found 1 alert"),
        ("alerts = 2", "expected 2 alerts, found 1 alert"),
        ('[[test.alert]]\nevents = ["e2"]', "the alert of the events e2 is missing"),
        (
            '[[test.alert]]\nevents = ["e1"]\nfields = { "kibana.alert.severity" = "high" }',
            'the alert of the events e1 differs: `kibana.alert.severity` is "medium", expected "high"',
        ),
        ('[[test.alert]]\nfields = { "user.name" = "root" }', '`user.name` is missing, expected "root"'),
        ("alert = []", "not expected: the alert of the events e1"),
    ],
)
def test_what_is_expected_is_compared(command: Command, write: Write, expected: str, told: str) -> None:
    keys, tables = (expected, "") if not expected.startswith("[[") else ("", expected)
    write("nc.test.toml", f'[[test]]\nname = "t"\n{keys}\n{STARTED}\n{tables}\n')
    answer = command("test", ".")
    assert answer.code == (1 if told else 0), answer
    assert told in answer.out
    assert ("FAILED  t (line 1)" in answer.out) is bool(told)


def test_a_missing_alert_names_the_condition_that_kept_it_away(command: Command, write: Write) -> None:
    text = STARTED.replace("args_count = 3", "args_count = 1")
    write("nc.test.toml", f'[[test]]\nname = "t"\n{text}\n[[test.alert]]\nevents = ["e1"]\n')
    answer = command("test", ".")
    assert "event e1 does not meet the query: process.args_count > 2 (found process.args_count = 1)" in answer.out


def test_a_match_that_rests_on_an_absence_is_found_without_events_after_it(command: Command, write: Write) -> None:
    write("quiet.toml", SEQUENCE)
    write("quiet.test.toml", f'[[test]]\nname = "t"\n{STARTED}\n[[test.alert]]\nevents = ["e1"]\n')
    assert command("test", "quiet.test.toml").code == 0


@pytest.mark.parametrize(
    "fields", ['timestamp_override = "event.ingested"', 'timestamp_override = "ts"\ntimestamp_field = "ts"']
)
def test_all_of_the_time_is_that_by_which_the_rule_selects(command: Command, write: Write, fields: str) -> None:
    write("nc.toml", RULE + fields)
    name = "ts" if "ts" in fields.split('"') else "event.ingested"
    late = STARTED.replace('id = "e1"', 'id = "e1", ingested = 2026-03-02T11:00:03Z')
    timed = late if name == "event.ingested" else STARTED.replace('"@timestamp"', '"ts"')
    write("nc.test.toml", f'[[test]]\nname = "t"\nalerts = 1\n{timed}')
    answer = command("test", ".")
    assert answer.code == 0, answer.out


def test_with_a_time_the_rule_sees_its_own_window_only(command: Command, write: Write) -> None:
    text = '[[test]]\nname = "in"\nnow = 2026-03-02T10:05:00Z\nalerts = 1\n' + STARTED
    text += '[[test]]\nname = "past"\nnow = 2026-03-02T12:00:00Z\nalerts = 0\n' + STARTED
    write("nc.test.toml", text)
    assert command("test", ".").code == 0


def test_events_may_stand_in_files_and_defaults_are_merged_under_those_in_the_test(
    command: Command, write: Write
) -> None:
    write(
        "more.ndjson",
        '{"@timestamp":"2026-03-02T10:00:01Z","event":{"id":"f1","category":"process"},'
        '"process":{"name":"nc","args_count":4}}\n',
    )
    defaults = '[defaults]\nhost.os.type = "linux"\nprocess = { name = "nc" }\n'
    event = '[[test.event]]\n"@timestamp" = "2026-03-02T10:00:00Z"\nevent = { id = "e1", category = "process" }\n'
    event += "process.args_count = 9\n"
    expected = (
        '[[test.alert]]\nevents = ["f1"]\n[[test.alert]]\nevents = ["e1"]\nfields = { "host.os.type" = "linux" }\n'
    )
    write("nc.test.toml", f'{defaults}[[test]]\nname = "t"\nfiles = "more.ndjson"\n{event}{expected}')
    answer = command("test", ".")
    assert answer.code == 0, answer.out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "`test` is missing in the file"),
        ('[[test]]\nname = "t"\nalerts = 0\n', "has no events"),
        ('[[test]]\nname = "t"\nfiles = "e.ndjson"\n', "says nothing of what is expected"),
        ('[[test]]\nname = "t"\nalert = []\nalerts = 1\nfiles = "e"\n', "expects 1 alerts by `alerts` and lists 0"),
        ('[[test]]\nname = "t"\nalerts = 0\nfile = "e"\n', "unknown key `file`; did you mean `files`?"),
        ('[[test]]\nname = "t"\nalerts = "0"\nfiles = "e"\n', "`alerts` is a string"),
        ('rule = "other.toml"\n[[test]]\nname = "t"\nalerts = 0\nfiles = "e"\n', "is not there; name it with `rule"),
        ("[[test]\n", "is not TOML"),
    ],
)
def test_a_broken_test_file_is_told_with_its_place(command: Command, write: Write, text: str, told: str) -> None:
    write("nc.test.toml", text)
    answer = command("test", ".")
    assert answer.code == 1
    assert told in answer.err
    assert "nc.test.toml" in answer.err


@pytest.mark.parametrize(
    ("files", "told"),
    [("none.ndjson", "no such event file"), ("broken.ndjson", "1 broken line"), ("empty.ndjson", "no event")],
)
def test_a_test_whose_events_cannot_be_read_is_an_error_and_stops_no_other(
    command: Command, write: Write, files: str, told: str
) -> None:
    write("broken.ndjson", '{"@timestamp": \n')
    write("empty.ndjson", "")
    text = f'[[test]]\nname = "t"\nalerts = 0\nfiles = "{files}"\n[[test]]\nname = "u"\nalerts = 1\n{STARTED}'
    write("nc.test.toml", text)
    answer = command("test", ".")
    assert answer.code == 1
    assert told in answer.out
    assert "passed  u" in answer.out


def test_a_rule_that_cannot_be_run_makes_its_tests_errors(command: Command, write: Write) -> None:
    write("nc.toml", RULE.replace("args_count", "args_count)"))
    write("nc.test.toml", f'[[test]]\nname = "t"\nalerts = 1\n{STARTED}')
    answer = command("test", "nc.toml")
    assert answer.code == 1
    assert "ERROR  t" in answer.out
    assert "the rule has problems" in answer.out


def test_rules_without_tests_are_counted_and_fail_only_if_tests_are_required(
    command: Command, write: Write, tmp_path: Path
) -> None:
    assert command("test", ".").code == 1  # there is no test at all
    (tmp_path / "tested.toml").write_text((tmp_path / "nc.toml").read_text().replace('rule_id = "', 'rule_id = "x'))
    write("tested.test.toml", f'[[test]]\nname = "good"\nalerts = 1\n{STARTED}')
    assert command("test", ".", "--junit", "report.xml").code == 0
    assert ElementTree.parse(tmp_path / "report.xml").getroot().find(".//failure") is None
    answer = command("test", ".", "--require-tests", "--junit", "report.xml")
    (failure,) = ElementTree.parse(tmp_path / "report.xml").getroot().iter("failure")
    assert failure.get("message") == "no test: nc.toml"
    assert answer.code == 1
    assert "1 rule without a test: Netcat started" in answer.err


def test_junit_has_every_test_and_survives_characters_that_xml_cannot_hold(
    command: Command, write: Write, tmp_path: Path
) -> None:
    text = f'[[test]]\nname = "good"\nalerts = 1\n{STARTED}[[test]]\nname = "bad \\u0001 <x>"\nalerts = 0\n{STARTED}'
    write("nc.test.toml", text)
    write("lost.test.toml", "[[test]\n")
    assert command("test", ".", "--junit", "report.xml").code == 1
    root = ElementTree.fromstring((tmp_path / "report.xml").read_bytes())
    suites = {suite.get("name"): suite for suite in root}
    cases = list(suites["nc.test.toml"])
    assert [case.get("name") for case in cases] == ["good", "bad \ufffd <x>"]
    assert [len(case) for case in cases] == [0, 1]
    assert (suites["nc.test.toml"].get("tests"), suites["nc.test.toml"].get("failures")) == ("2", "1")
    assert suites["lost.test.toml"].get("errors") == "1"


def test_tests_are_not_taken_for_rules(command: Command, write: Write) -> None:
    write("nc.test.toml", f'[[test]]\nname = "t"\nalerts = 1\n{STARTED}')
    answer = command("check", ".", "--output", "json")
    assert answer.json == {"files": 1, "rules": 1, "problems": []}


def test_expected_alerts_are_paired_so_that_as_few_as_possible_are_left() -> None:
    made = [MadeAlert(("a",), {"n": 1}), MadeAlert(("b",), {"n": 1})]
    broad, narrow = ExpectedAlert(fields={"n": 1}), ExpectedAlert(events=("a",))
    test = RuleTest.model_validate({"name": "t", "files": "f", "alert": []})
    for wishes in ((broad, narrow), (narrow, broad)):
        assert differences(test.model_copy(update={"alerts": wishes}), made) == ()
    twice = test.model_copy(update={"alerts": (narrow, narrow)})
    assert [difference.text for difference in differences(twice, made)] == [
        "the alert of the events a differs: it was expected more than once",
        "not expected: the alert of the events b",
    ]


def test_an_event_without_a_time_is_an_error_as_it_is_in_no_window(command: Command, write: Write) -> None:
    untimed = STARTED.replace("@timestamp", "@timestmp").replace("e1", "e2")
    write("nc.test.toml", f'[[test]]\nname = "t"\nalerts = 1\n{STARTED}{untimed}')
    answer = command("test", ".")
    assert answer.code == 1
    assert "1 event has no readable @timestamp" in answer.out


def test_an_id_that_no_event_has_is_named(command: Command, write: Write) -> None:
    write("nc.test.toml", f'[[test]]\nname = "t"\n[[test.alert]]\nevents = ["e9"]\n{STARTED}')
    answer = command("test", ".")
    assert answer.code == 1
    assert "no event of this test has the event.id e9" in answer.out


def test_one_mistake_is_told_once(command: Command, write: Write) -> None:
    write("nc.test.toml", f'[[test]]\nname = "t"\nalrts = 0\n{STARTED}')
    answer = command("test", ".")
    assert answer.code == 1
    assert "unknown key `alrts`" in answer.err
    assert answer.err.count("error:") == 1


THRESHOLD = RULE.replace('type = "eql"\nlanguage = "eql"', 'type = "threshold"\nlanguage = "kuery"').replace(
    """'process where process.name : "nc*" and process.args_count > 2'""",
    """'process.name: nc*'\nthreshold = { field = ["host.id"], value = 2 }""",
)
SECOND = STARTED.replace('"e1"', '"e2"').replace("10:00:00Z", "10:02:00Z")


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ("alerts = 1", ""),
        ('[[test.alert]]\nevents = ["e1", "e2"]\nfields = { "kibana.alert.threshold_result.count" = 2 }', ""),
        ('[[test.alert]]\nfields = { "host.id" = "h1" }', ""),
        ('[[test.alert]]\nevents = ["e1"]', "the alert of the events e1, e2"),
        ("alerts = 2", "expected 2 alerts, found 1 alert"),
    ],
)
def test_an_alert_of_a_threshold_rule_is_of_all_that_it_has_counted(
    command: Command, write: Write, expected: str, told: str
) -> None:
    write("burst.toml", THRESHOLD)
    head, _, listed = expected.partition("[[test.alert]]")
    alert = f"[[test.alert]]{listed}" if listed else ""
    test = write("burst.test.toml", f'[[test]]\nname = "t"\n{head}\n{STARTED}{SECOND}{alert}\n')
    answer = command("test", test)
    assert answer.code == (1 if told else 0), answer.out
    assert told in answer.out


def test_a_missing_alert_of_a_threshold_rule_has_its_reason(command: Command, write: Write) -> None:
    write("burst.toml", THRESHOLD.replace("value = 2", "value = 3"))
    text = f'[[test]]\nname = "t"\n{STARTED}{SECOND}[[test.alert]]\nevents = ["e1", "e2"]\n'
    answer = command("test", write("burst.test.toml", text))
    assert "each event meets the query: look at the threshold's fields" in answer.out
    other = text.replace('name = "ncat", args_count = 3 }\nhost = { id = "h1"', 'name = "ls" }\nhost = { id = "h1"', 1)
    answer = command("test", write("burst.test.toml", other))
    assert "event e1 does not meet the query" in answer.out
