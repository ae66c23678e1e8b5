"""Rules of Kibana's exports as rule files: the same rule, whatever its values look like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import RunnerError
from runner.rules.kibana_import import read_export
from runner.rules.load import load_rules

RULE: dict[str, Any] = {
    "id": "9c1f", "rule_id": "web-shell", "name": "Web Shell!", "description": "d", "type": "eql", "language": "eql",
    "query": 'process where process.name == "sh" and\n  process.args : "C:\\\\x"', "index": ["logs-*"],
    "from": "now-540s", "to": "now", "interval": "5m", "severity": "medium", "risk_score": 47, "enabled": True,
    "created_at": "2026-01-01T00:00:00.000Z", "actions": [], "setup": "", "exceptions_list": [],
    "threat": [
        {"framework": "MITRE ATT&CK", "tactic": {"id": "TA0011", "name": "C2", "reference": "x"}, "technique": []}
    ],
}  # fmt: skip
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
VALUES = st.recursive(
    st.one_of(TEXTS, st.booleans(), st.integers(-(2**60), 2**60), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)


def without_null(value: Any) -> Any:
    """The value without what TOML cannot hold."""
    if isinstance(value, dict):
        return {key: without_null(one) for key, one in value.items() if one is not None}
    return [without_null(one) for one in value if one is not None] if isinstance(value, list) else value


def test_the_rule_is_the_same(tmp_path: Path) -> None:
    (rule,) = read_export(json.dumps(RULE) + "\n", "x.ndjson").rules
    assert (rule.file_name, rule.left_out, rule.has_actions) == ("web_shell.toml", ("created_at", "id"), False)
    (tmp_path / rule.file_name).write_text(rule.text)
    loaded = load_rules([tmp_path])
    assert loaded.problems == ()
    (read,) = loaded.rules
    assert (read.query, read.from_, read.rule_id) == (RULE["query"], "now-540s", "web-shell")
    table = tomli.loads(rule.text)["rule"]
    assert table == {key: RULE[key] for key in table}


@given(meta=st.dictionaries(TEXTS, VALUES, max_size=4), query=TEXTS)
def test_any_value_is_read_back(meta: dict[str, Any], query: str) -> None:
    text = json.dumps(RULE | {"meta": meta, "query": query}, ensure_ascii=True)
    (rule,) = read_export(text, "x").rules
    table = tomli.loads(rule.text)["rule"]
    assert table.get("query", "") == query
    assert table.get("meta", {}) == without_null(meta)


def test_rules_of_one_name_have_a_file_each() -> None:
    found = read_export("\n".join([json.dumps(RULE)] * 2 + [json.dumps(RULE | {"name": "\u65e5"})]), "x").rules
    assert [rule.file_name for rule in found] == ["web_shell.toml", "web_shell_2.toml", "rule.toml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "x:1: is not JSON"),
        ("[]", "x:1: found no JSON object"),
        ('\n{"a": 1}', "x:2: neither a rule nor an exception"),
        ('{"exported_count": 0}', "x: has no rule"),
    ],
)
def test_what_is_no_export_is_said(text: str, said: str) -> None:
    with pytest.raises(RunnerError) as raised:
        read_export(text, "x")
    assert said in str(raised.value)
