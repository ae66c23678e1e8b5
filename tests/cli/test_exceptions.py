"""Exceptions as a person at a shell uses them: listed, previewed, made from an alert, exported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from runner.exceptions import load_exceptions
from tests.cli.conftest import Command
from tests.cli.test_once import NOW, ONE, write_events, write_rule

pytestmark = pytest.mark.slow

LATER = ("--now", "2026-03-02T10:10:00Z")
LAB = """
[[exception]]
name = "lab"
reason = "tests"
expires = "never"
rules = ["nc"]
when = { "host.name" = "lab" }
"""


def write_exceptions(folder: Path, text: str, name: str = "exceptions/lab.toml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def listed(command: Command) -> dict[str, tuple[str, int]]:
    answer = command("exceptions", "list", "-o", "json")
    return {one["exception"]: (one["state"], one["events"]) for one in answer.json["exceptions"]}


@pytest.fixture
def lab(tmp_path: Path) -> None:
    """A rule, and three events that it finds: one of the lab."""
    write_rule(tmp_path)
    write_events(
        tmp_path / "e.ndjson",
        ONE,
        "e2 exec 10:02:00.000 name=nc host=lab parent_name=backup",
        "e3 exec 10:03:00.000 name=nc user=eve",
    )


@pytest.mark.usefixtures("lab")
def test_what_an_exception_removed_is_told_and_counted_once(command: Command, tmp_path: Path) -> None:
    write_exceptions(tmp_path, LAB)
    answer = command("once", "--events", "e.ndjson", *NOW)
    assert answer.code == 0 and "Left out by exceptions: 1 event (lab 1)" in answer.out
    assert "Left out" not in command("once", "--events", "e.ndjson", *NOW).out
    assert listed(command) == {"lab": ("active", 1)}
    table = command("status").out
    assert "exception" in table and "lab" in table and "2026-03-02 10:02:00" in table
    (counted,) = command("status", "-o", "json").json["exceptions"]
    assert (counted["events"], counted["rules"], counted["newest"]) == (1, 1, "2026-03-02T10:02:00.000Z")


@pytest.mark.usefixtures("lab")
def test_without_exceptions_nothing_of_them_is_shown(command: Command) -> None:
    assert "exception" not in command("once", "--events", "e.ndjson", *NOW).out
    assert "exception" not in command("status").out
    assert command("exceptions", "list").out == "No exceptions in a folder `exceptions` beside the rules.\n"
    (run,) = command("once", "--events", "e.ndjson", *NOW, "-o", "json").json["runs"]
    assert "excepted" not in run


@pytest.mark.usefixtures("lab")
def test_a_broken_file_removes_nothing_stops_nothing_and_is_told(command: Command, tmp_path: Path) -> None:
    write_exceptions(tmp_path, '[[exception]]\nname = "lab"\n')
    answer = command("once", "--events", "e.ndjson", *NOW, "-o", "json")
    assert (answer.code, answer.json["created"]) == (0, 3)
    assert "exceptions/lab.toml:1:3: error: `reason` is missing" in answer.err
    assert command("check").code == 1
    assert command("exceptions", "list").code == 1


@pytest.mark.usefixtures("lab")
def test_check_reports_doubts(command: Command, tmp_path: Path) -> None:
    write_exceptions(tmp_path, LAB.replace('"nc"', '"n"').replace("host.name", "host.nme"))
    answer = command("check")
    assert answer.code == 0
    assert "names no rule that is here: `n`" in answer.out and "did you mean `host.name`?" in answer.out
    assert answer.out.endswith("1 file, 1 rule, 1 exception: 0 errors, 2 warnings\n")
    assert command("check", "rules/nc.toml").out.endswith("1 file, 1 rule, 1 exception: 0 errors, 0 warnings\n")


@pytest.mark.usefixtures("lab")
def test_named_exceptions_and_a_name_that_is_not_there(command: Command, tmp_path: Path) -> None:
    write_exceptions(tmp_path, LAB, "known.toml")
    run = ("once", "--events", "e.ndjson", *NOW, "-o", "json")
    assert command(*run, "--exceptions", "known.toml").json["created"] == 2
    answer = command(*run, "--exceptions", "knwn.toml")
    assert (answer.code, answer.err) == (
        3,
        "error: knwn.toml: no such file or folder of exceptions; did you mean known.toml?\n",
    )
    assert command(*run, env={"RUNNER_EXCEPTIONS": "known.toml"}).json["created"] == 0


@pytest.mark.usefixtures("lab")
def test_preview_before_it_is_in_force(command: Command, tmp_path: Path) -> None:
    command("once", "--events", "e.ndjson", *NOW)
    tried = write_exceptions(tmp_path, LAB, "tried.toml")
    preview = ("exceptions", "preview", tried, "--since", "2026-03-01")
    answer = command(*preview, "--events", "e.ndjson", "-o", "json")
    assert answer.code == 0
    found = answer.json
    assert found["exceptions"] == [
        {"exception": "lab", "name": "lab", "rules": 1, "alerts": 1, "matches": 1, "events": 1}
    ]
    assert [one["host"] for one in found["alerts"]] == ["lab"] == [one["host"] for one in found["removed"]]
    assert [one["exception"] for one in found["removed"]] == ["lab"]
    assert (found["matches"], found["made"], found["problems"]) == (3, [], [])
    text = command(*preview, "--events", "e.ndjson").out
    assert "1 stored alert would not have been made" in text and "1 of 3 matches would be removed." in text
    assert "matches" not in command(*preview, "--stored-only", "-o", "json").json
    assert len(command("alerts", "list", "-o", "json").json["alerts"]) == 3


def test_preview_warns_of_matches_that_exceptions_make(command: Command, tmp_path: Path) -> None:
    missing = (
        'sequence by host.id with maxspan=1m [process where process.name == "a"] ![process where user.name == "bob"]'
    )
    write_rule(tmp_path, "nc", missing)
    write_events(
        tmp_path / "e.ndjson",
        "a1 exec 10:01:00.000 name=a",
        "b1 exec 10:01:10.000 name=b user=bob",
        "z1 exec 10:09:00.000 name=z",
    )
    tried = write_exceptions(tmp_path, LAB.replace('"host.name" = "lab"', '"user.name" = "bob"'), "tried.toml")
    answer = command("exceptions", "preview", tried, "--events", "e.ndjson")
    assert "MADE by the exceptions" in answer.out and "counts as absent" in answer.out
    (made,) = command("exceptions", "preview", tried, "--events", "e.ndjson", "-o", "json").json["made"]
    assert made["host"] == "web"


@pytest.mark.usefixtures("lab")
def test_from_a_noisy_alert_to_a_quiet_rule_and_back(command: Command, tmp_path: Path) -> None:
    """The way of a person: run, look, except, preview, run again; the expiry brings it back."""
    command("once", "--events", "e.ndjson", *NOW)
    noisy = next(one for one in command("alerts", "list", "-o", "json").json["alerts"] if one["host"] == "lab")
    choice = command("alerts", "except", noisy["id"][:10])
    assert choice.code == 3 and "process.parent.name" in choice.out and "--reason TEXT" in choice.err
    made = command(
        *("alerts", "except", noisy["id"][:10], "--field", "process.parent.name", "--also", "host.name"),
        *("--reason", 'the "backup" asks', "--expires", "2199-03-04", "--close"),
        env={"RUNNER_ANALYST": "ann"},
    )
    assert made.code == 0 and "It would have removed this alert alone." in made.out
    assert "1 alert closed as false positive." in made.out
    (item,) = load_exceptions([tmp_path / "exceptions"]).items
    assert (item.reason, item.owner, item.rules) == ('the "backup" asks', "ann", ("nc",))
    assert [(one.field, one.values) for one in item.entries] == [
        ("process.parent.name", ("backup",)),
        ("host.name", ("lab",)),
    ]
    statuses = {one["host"]: one["status"] for one in command("alerts", "list", "-o", "json").json["alerts"]}
    assert statuses == {"lab": "closed", "web": "open"}
    events = tmp_path / "e.ndjson"
    events.write_text(events.read_text() + events.read_text().replace('"e2"', '"e9"').replace("10:02", "10:06"))
    quiet = command("once", "--events", "e.ndjson", *LATER, "-o", "json").json
    assert not [one for one in quiet["alerts"] if one["host"] == "lab"]
    (run,) = quiet["runs"]
    assert [(one["exception"], one["events"]) for one in run["excepted"]] == [(item.id, 1)]
    file = item.place.file
    file.write_text(file.read_text().replace("2199-03-04", "2026-03-02T10:09:00Z"))
    again = command("once", "--events", "e.ndjson", *LATER, "-o", "json").json
    assert [one["host"] for one in again["alerts"]] == ["lab"]
    assert listed(command)[item.id][0] == "expired"


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--field", "process.nme", "--reason", "r", "--expires", "90d"), "did you mean `process.name`?"),
        (("--field", "process.name", "--expires", "90d"), "--reason TEXT is needed"),
        (("--field", "process.name", "--reason", "r"), "--expires is needed"),
        (("--field", "process.name", "--reason", "r", "--expires", "soon"), "expected a time such as 90d"),
        (("--field", "process.name", "--reason", "r", "--expires", "2020-01-01"), "that day is over"),
        (("--field", "event.category=x", "--reason", "r", "--expires", "90d"), "it has no value 'x' ('process')"),
        (("--field", "host.name", "--reason", "r", "--expires", "90d", "--scope", "rule"), "expected event or alert"),
    ],
)
def test_what_cannot_be_excepted(command: Command, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    command("once", "--events", "e.ndjson", *NOW)
    alert = command("alerts", "list", "-o", "json").json["alerts"][0]["id"]
    answer = command("alerts", "except", alert, *arguments)
    assert answer.code == 3 and said in answer.err
    assert not (tmp_path / "exceptions").exists()


@pytest.mark.usefixtures("lab")
def test_a_second_exception_is_added_and_a_broken_file_is_left_alone(command: Command, tmp_path: Path) -> None:
    command("once", "--events", "e.ndjson", *NOW)
    alert = command("alerts", "list", "-o", "json").json["alerts"][0]["id"]
    make = ("alerts", "except", alert, "--field", "user.name", "--reason", "r", "--expires", "never")
    assert command(*make).code == 0
    assert "give this one another with --name" in command(*make).err
    assert command(*make, "--name", "second", "--scope", "alert", "--all-rules").code == 0
    items = load_exceptions([tmp_path / "exceptions"]).items
    assert [(one.scope, one.all_rules, one.expires) for one in items] == [("event", False, None), ("alert", True, None)]
    (file,) = (tmp_path / "exceptions").iterdir()
    file.write_text(broken := file.read_text() + "[[exception")
    answer = command(*make, "--name", "third")
    assert (answer.code, file.read_text()) == (3, broken) and "nothing was written" in answer.err
    assert command(*make, "--name", "third", "--to", tmp_path / "dry.toml", "--dry-run").code == 0
    assert not (tmp_path / "dry.toml").exists() and len(list((tmp_path / "exceptions").iterdir())) == 1


EXPORTED = """
[[exception]]
name = "all that Kibana can say"
reason = "tests"
expires = 2199-01-01
rules = ["nc", "sh"]
os = ["linux"]
[exception.when]
"host.name" = ["a", "b"]
"process.pid" = { is_not = 5 }
"process.name" = { like = "n*" }
"user.name" = { not_like = ["r*", "x?"] }
"process.args" = { exists = true }
"source.ip" = { in_net = ["10.0.0.0/8", "192.0.2.1"] }
"host.id" = { not_in = "hosts.txt" }
"process.Ext.token.privileges" = { any_object = { name = "x", enabled = true } }

[[exception]]
name = "either"
reason = "tests"
expires = "never"
rules = ["nc"]
when = { "process.name" = { like = ["n*", "c*"] }, "host.name" = "a" }

[[exception]]
name = "where"
reason = "tests"
expires = "never"
rules = ["nc"]
where = "true"

[[exception]]
name = "every rule"
reason = "tests"
expires = "never"
all_rules = true
when = { "host.name" = "a" }
"""


def entries(items: Any) -> list[Any]:
    def of(entry: Any) -> Any:
        values = entry.value_list.values if entry.value_list is not None else entry.values
        return entry.field, entry.included, set(values), [of(one) for one in entry.entries]

    return [[of(one) for one in item.entries] for item in items]


def test_an_export_is_read_again_as_the_same(command: Command, tmp_path: Path) -> None:
    write_exceptions(tmp_path, EXPORTED)
    write_exceptions(tmp_path, "h1\nh2\n", "exceptions/hosts.txt")
    write_rule(tmp_path)
    answer = command("exceptions", "export", "--out", tmp_path / "again" / "e.ndjson")
    assert (answer.code, "cannot be written" in answer.err) == (3, True)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "hosts.txt").write_text("h1\nh2\n")
    answer = command("exceptions", "export", "--out", tmp_path / "again" / "e.ndjson")
    assert answer.code == 1
    assert "3 items in 2 lists" in answer.err and "value list hosts.txt is not part" in answer.err
    assert "`where` (exceptions/lab.toml" in answer.err and "`every rule` (exceptions/lab.toml" in answer.err
    lines = [orjson.loads(line) for line in (tmp_path / "again" / "e.ndjson").read_bytes().splitlines()]
    assert lines[-1]["exported_exception_list_item_count"] == 3
    again = load_exceptions([tmp_path / "again"])
    assert not again.problems
    whole, first, second = again.items
    before = load_exceptions([tmp_path / "exceptions"]).items
    (given,) = entries(before[:1])
    (made,) = entries([whole])
    expected = [one for one in given if one[0] != "user.name"]
    assert [one for one in made if one[0] != "user.name"] == expected
    assert [one for one in made if one[0] == "user.name"] == [
        ("user.name", False, {"r*"}, []),
        ("user.name", False, {"x?"}, []),
    ]
    assert (whole.os, whole.expires, whole.reason) == (
        ("linux",),
        before[0].expires.replace(microsecond=999_000) if before[0].expires else None,
        "tests",
    )
    assert entries([first, second]) == [
        [("process.name", True, {"n*"}, []), ("host.name", True, {"a"}, [])],
        [("process.name", True, {"c*"}, []), ("host.name", True, {"a"}, [])],
    ]


def test_a_list_that_a_rule_refers_to_is_missed_until_it_is_here(command: Command, tmp_path: Path) -> None:
    path = write_rule(tmp_path)
    agents = "list_id = 'endpoint_list'\ntype = 'endpoint'\nnamespace_type = 'agnostic'\n"
    head = "[[rule.exceptions_list]]\n"
    path.write_text(f"{path.read_text()}{head}list_id = 'known-good'\n{head}{agents}")
    answer = command("check")
    assert "warning: no file of exceptions has an item of the list `known-good`" in answer.out
    assert "[[rule.exceptions_list]]\n" in answer.out and answer.out.startswith("rules/nc.toml:14:1: ")
    assert "endpoint_list" not in answer.out and answer.out.endswith("0 errors, 1 warning\n")
    item = {"list_id": "known-good", "item_id": "i", "type": "simple", "name": "i", "description": "i"}
    entry = {"field": "host.name", "type": "match", "operator": "included", "value": "lab"}
    write_exceptions(tmp_path, orjson.dumps(item | {"entries": [entry]}).decode(), "exceptions/e.ndjson")
    assert command("check").out.endswith("0 errors, 0 warnings\n")
    write_events(tmp_path / "e.ndjson", ONE, "e2 exec 10:02:00.000 name=nc host=lab")
    assert command("once", "--events", "e.ndjson", *NOW, "-o", "json").json["created"] == 1


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("scope", ["event", "alert"])
def test_a_run_tells_of_an_exception_that_removes_everything(scope: str, command: Command, tmp_path: Path) -> None:
    write_exceptions(tmp_path, LAB.replace('when = { "host.name" = "lab" }', f"where = 'true'\nscope = '{scope}'"))
    answer = command("once", "--events", "e.ndjson", *NOW)
    told = "exception `lab` hits every event: nothing is found" in answer.out
    assert told or "Left out by exceptions: 3 events (lab 3)" in answer.out


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("scope", ["event", "alert"])
def test_the_counts_of_a_run_add_up_also_where_a_window_is_searched_again(
    scope: str, command: Command, tmp_path: Path
) -> None:
    write_exceptions(tmp_path, f"{LAB}scope = '{scope}'\n")
    excepted = []
    for _ in range(2):
        (run,) = command("once", "--events", "e.ndjson", *NOW, "-o", "json").json["runs"]
        assert run["matches"] == run["created"] + run["duplicates"] + run["suppressed"] + run["capped"]
        excepted.append([one["events"] for one in run.get("excepted", ())])
    assert excepted == [[1], []]


@pytest.mark.usefixtures("lab")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(command: Command, tmp_path: Path) -> None:
    write_exceptions(tmp_path, LAB.replace('"lab" }', '{ in = "hosts.txt" } }'))
    os.mkfifo(tmp_path / "exceptions" / "hosts.txt")
    answer = command("exceptions", "list")
    assert answer.code == 1
    assert "the value list exceptions/hosts.txt cannot be read: is a pipe, expected a file" in answer.err
    os.mkfifo(tmp_path / "pipe.toml")
    answer = command("rules", "list", "--overrides", "pipe.toml")
    assert answer.code == 3 and "pipe.toml: is no regular file, expected a file of overrides" in answer.err
