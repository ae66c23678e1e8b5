"""Files of exceptions: what is read of them, every problem with its place, and what a broken one keeps."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runner.exceptions import load_exceptions
from tests.paths import SPECS
from tests.search.lab import rule

CASES = tomllib.loads((SPECS / "exceptions/problems.toml").read_text())["case"]
OWN = """
[[exception]]
name = "{name}"
reason = "r"
expires = {expires}
{rules}
[exception.when]
"host.name" = {value}
"""


def own(
    path: Path, name: str = "A", value: str = '"a"', *, expires: str = '"never"', rules: str = "all_rules = true"
) -> None:
    path.write_text(OWN.format(name=name, value=value, expires=expires, rules=rules))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_problems(case: Mapping[str, Any], tmp_path: Path) -> None:
    file = tmp_path / case.get("name", "own.toml")
    file.write_text(case["file"].removeprefix("\n"))
    loaded = load_exceptions([file])
    assert [item.name for item in loaded.items] == case["items"]
    found = [f"{one.line}:{one.column}: {one.severity}: {one.message}" for one in loaded.problems]
    assert len(found) == len(case["problems"]), found
    for one, expected in zip(found, case["problems"], strict=True):
        assert one.startswith(expected)


def test_a_folder_with_files_of_all_forms_and_lists(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    own(tmp_path / "a.toml", value='{ in = "deep/names.txt" }')
    (tmp_path / "deep/names.txt").write_text("\n# hosts\n a \nb\n\nb\n")
    (tmp_path / "deep/more.ndjson").write_text(
        '{"list_id":"l","type":"simple","name":"K","entries":'
        '[{"field":"a","type":"list","operator":"excluded","list":{"id":"names","type":"keyword"}}]}\n'
    )
    (tmp_path / "x.test.toml").write_text("nothing")
    loaded = load_exceptions([tmp_path])
    assert not loaded.problems
    (own_item, kibana) = loaded.items
    assert own_item.entries[0].value_list is not None
    assert own_item.entries[0].value_list.values == ("a", "b")
    assert kibana.entries[0].value_list is own_item.entries[0].value_list or kibana.entries[0].value_list is not None
    assert (kibana.id, kibana.entries[0].included) == ("l/K", False)


def test_names_are_unique(tmp_path: Path) -> None:
    own(tmp_path / "a.toml")
    own(tmp_path / "b.toml", value='"b"')
    loaded = load_exceptions([tmp_path])
    assert [item.entries[0].values for item in loaded.items] == [("a",)]
    (problem,) = loaded.problems
    assert problem.message == f"another exception is called `A`: {tmp_path / 'a.toml'}:2"


@pytest.mark.parametrize(
    ("rules", "applies"),
    [
        ('rules = ["id"]', True),
        ('rules = ["The name"]', True),
        ('rules = ["the name"]', False),
        ('tags = ["x", "OS: Linux"]', True),
        ('tags = ["os: linux"]', False),
        ("all_rules = true", True),
    ],
)
def test_which_rules_it_is_for(rules: str, applies: bool, tmp_path: Path) -> None:
    own(tmp_path / "a.toml", rules=rules)
    of = rule(rule_id="id", name="The name", tags=("OS: Linux",))
    assert bool(load_exceptions([tmp_path]).for_rule(of, datetime(2026, 3, 1, tzinfo=UTC))) is applies


def test_a_list_is_for_the_rules_that_refer_to_it_in_their_file_or_in_the_export(tmp_path: Path) -> None:
    lines = [
        '{"list_id":"l","namespace_type":"agnostic","type":"simple","name":"K","entries":'
        '[{"field":"a","type":"exists","operator":"included"}]}',
        '{"rule_id":"exported","exceptions_list":[{"list_id":"l","namespace_type":"agnostic"}]}',
    ]
    (tmp_path / "k.ndjson").write_text("\n".join(lines))
    loaded, at = load_exceptions([tmp_path]), datetime(2026, 3, 1, tzinfo=UTC)
    assert loaded.for_rule(rule(rule_id="exported"), at)
    assert loaded.for_rule(rule(exceptions_list=[{"list_id": "l", "namespace_type": "agnostic"}]), at)
    assert not loaded.for_rule(rule(exceptions_list=[{"list_id": "l"}]), at)
    assert not loaded.for_rule(rule(), at)


@pytest.mark.parametrize(
    ("expires", "last", "first_after"),
    [
        ("2026-09-30", "2026-09-30T23:59:59.999999+00:00", "2026-10-01T00:00:00+00:00"),
        ('"2026-09-30"', "2026-09-30T23:59:59+00:00", "2026-10-01T00:00:00+00:00"),
        ("2026-09-30T12:00:00Z", "2026-09-30T12:00:00+00:00", "2026-09-30T12:00:00.000001+00:00"),
        ("2026-09-30T12:00:00+02:00", "2026-09-30T10:00:00+00:00", "2026-09-30T10:00:01+00:00"),
    ],
)
def test_it_applies_up_to_its_end(expires: str, last: str, first_after: str, tmp_path: Path) -> None:
    own(tmp_path / "a.toml", expires=expires)
    loaded = load_exceptions([tmp_path])
    assert loaded.for_rule(rule(), datetime.fromisoformat(last))
    assert not loaded.for_rule(rule(), datetime.fromisoformat(first_after))


def test_what_is_broken_later_keeps_its_last_good_version(tmp_path: Path) -> None:
    own(tmp_path / "a.toml")
    own(tmp_path / "b.toml", "B")
    first = load_exceptions([tmp_path])
    (tmp_path / "a.toml").write_text("[[exception")
    second = load_exceptions([tmp_path], first)
    assert [item.name for item in second.items] == ["A", "B"]
    assert second.items == first.items
    assert [one.message for one in second.problems][-1] == (
        "kept the last good version of `A`: the file is broken since its last change"
    )
    third = load_exceptions([tmp_path], second)
    assert third.items == first.items
    (tmp_path / "b.toml").unlink()
    own(tmp_path / "a.toml", value='"changed"')
    last = load_exceptions([tmp_path], third)
    assert [item.entries[0].values for item in last.items] == [("changed",)]
    assert not last.problems


def test_a_changed_value_list_is_read_again(tmp_path: Path) -> None:
    own(tmp_path / "a.toml", value='{ in = "names.txt" }')
    names = tmp_path / "names.txt"
    names.write_text("a")
    first = load_exceptions([tmp_path])
    assert load_exceptions([tmp_path], first).items[0] is first.items[0]
    names.write_text("a\nb")
    os.utime(names, ns=(1, 1))
    second = load_exceptions([tmp_path], first)
    assert second.items[0].entries[0].value_list is not None
    assert second.items[0].entries[0].value_list.values == ("a", "b")
    names.unlink()
    third = load_exceptions([tmp_path], second)
    assert third.items == second.items
    assert "no such file" in third.problems[0].message.lower()


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    loaded = load_exceptions([tmp_path / "gone"])
    assert not loaded.items
    assert [one.message for one in loaded.problems] == ["no such file or folder"]
