"""The table of `check`: which rules run where, by type, and why others do not."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Command

RULE = """
[rule]
rule_id = "{name}"
name = "{name}"
description = "d"
severity = "low"
risk_score = 21
{more}
"""
QUERY = 'type = "query"\nlanguage = "kuery"\nindex = ["logs-*"]\n'


def test_rules_by_type_with_where_they_run(command: Command) -> None:
    Path("rules").mkdir()
    rules = {
        "fine": QUERY + "query = 'process.name: b'",
        "off": QUERY + "query = 'process.name: b'\nenabled = false",
        "no-query": QUERY + "query = 'process.name: (b'",
        "filtered": QUERY + "query = 'process.name: b'\nfilters = [{ query = { geo_shape = {} } }]",
        "saved": 'type = "saved_query"\nsaved_id = "none"\nindex = ["logs-*"]',
        "esql": 'type = "esql"\nlanguage = "esql"\nquery = "from logs-* | limit 5"',
    }
    for name, more in rules.items():
        Path(f"rules/{name}.toml").write_text(RULE.format(name=name, more=more))
    lines = [line.rstrip() for line in command("check", "rules").out.splitlines()]
    start = next(number for number, line in enumerate(lines) if line.startswith("type "))
    assert [line.split(maxsplit=4) for line in lines[start + 1 :]] == [
        ["esql", "1", "0", "1", "a cluster evaluates ES|QL"],
        ["query", "4", "2", "3", "1  1 rule: a filter that is not known here, see above; 1 rule: an error, see above"],
        ["saved_query", "1", "0", "0", "its saved query cannot be read"],
    ]


def test_rules_of_one_type_need_no_table(command: Command) -> None:
    Path("rules").mkdir()
    Path("rules/fine.toml").write_text(RULE.format(name="fine", more=QUERY + "query = 'process.name: b'"))
    assert command("check", "rules").out == "1 file, 1 rule: 0 errors, 0 warnings\n"
