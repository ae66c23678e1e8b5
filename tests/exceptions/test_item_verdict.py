"""What is said of an exception and an event agrees with what the engine does."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.events.fields.schema import Schema, schema_from_mapping, shipped_schema
from runner.exceptions import load_exceptions
from runner.exceptions.item_verdict import judge_item, nearest_item
from tests.exceptions.cases import CASES, DOCUMENTS, MAPPING, load_cases

SCHEMA = schema_from_mapping(MAPPING)
SHIPPED = Schema(shipped_schema().fields, lenient=True)
EVENT = {
    "@timestamp": "2026-03-01T10:00:00Z",
    "process": {"name": "sh", "pid": 4, "args": ["sh", "-c"], "parent": {"executable": "/opt/agent"}},
    "source": {"ip": "10.1.2.3"},
    "host": {"os": {"type": "linux"}},
}


@pytest.mark.slow
def test_a_verdict_is_what_the_engine_decides(tmp_path: Path) -> None:
    for case, item in zip(CASES, load_cases(tmp_path), strict=True):
        verdicts = {id_: judge_item(item, SCHEMA, document, now_ns=0) for id_, document in DOCUMENTS.items()}
        assert {id_ for id_, one in verdicts.items() if one.met} == (case.hits or set()), case.name
        assert all(bool(one.refused) == (case.hits is None) for one in verdicts.values()), case.name
        assert all(one.reason() for one in verdicts.values()), case.name


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ('when = { "process.name" = "sh" }', 'process.name is "sh"'),
        ('when = { "process.name" = { is_not = "sh" } }', 'process.name is not "sh" (found "sh") does not hold'),
        ('when = { "process.name" = ["sh", "ls"] }', 'process.name is one of "sh", "ls" (found "sh")'),
        ('when = { "process.args" = "-c" }', 'process.args is "-c" (found "sh", "-c")'),
        ('when = { "process.name" = { is = "SH", any_case = true } }', 'process.name is "SH" in any case'),
        ('when = { "process.name" = { not_like = "s*" } }', 'process.name is not like "s*" (found "sh") does not hold'),
        ('when = { "user.name" = { exists = true } }', "user.name has a value (found no value) does not hold"),
        ('when = { "user.name" = { exists = false } }', "user.name has no value (found no value)"),
        ('when = { "process.pid" = 4 }', 'process.pid is "4"'),
        ('when = { "source.ip" = { in_net = ["10.0.0.0/8"] } }', 'source.ip is in "10.0.0.0/8" (found "10.1.2.3")'),
        ('when = { "process.name" = { in = "names.txt" } }', 'process.name is in names.txt (2 values) (found "sh")'),
        ('when = { "process.name" = "sh" }\nos = ["linux"]', 'process.name is "sh" and the operating system is linux'),
        (
            "where = 'process.pid > 4 and process.name == \"sh\"'",
            "process.pid > 4 (found 4) does not hold",
        ),
        ("where = 'true'", "it hits every event"),
        ("where = 'false'", "false does not hold"),
        (
            'when = { "process.pid" = "x" }',
            'it removes nothing: cannot read ["x"] as a value of field [process.pid] of type [long]',
        ),
    ],
)
def test_what_is_said(tmp_path: Path, condition: str, said: str) -> None:
    (tmp_path / "names.txt").write_text("sh\nls\n")
    (tmp_path / "e.toml").write_text(
        f'[[exception]]\nname = "e"\nreason = "r"\nexpires = "never"\nall_rules = true\n{condition}\n'
    )
    loaded = load_exceptions([tmp_path])
    assert not loaded.problems
    (item,) = loaded.items
    assert judge_item(item, SHIPPED, EVENT, now_ns=0).reason().startswith(said)


def test_the_nearest_misses_by_fewest_conditions(tmp_path: Path) -> None:
    conditions = ['"process.name" = "x"', '"process.name" = "x", "process.pid" = 4', '"user.name" = "x", "a.b" = "c"']
    for number, text in enumerate(conditions):
        head = f'[[exception]]\nname = "e{number}"\nreason = "r"\nexpires = "never"\nall_rules = true\n'
        (tmp_path / f"{number}.toml").write_text(f"{head}when = {{ {text} }}\n")
    nearest = nearest_item(load_exceptions([tmp_path]).items, SHIPPED, EVENT, now_ns=0)
    assert nearest is not None
    assert nearest.item.name == "e1"
    assert nearest_item([], SHIPPED, EVENT, now_ns=0) is None
