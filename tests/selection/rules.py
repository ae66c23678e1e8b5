"""The rules that the specifications of overrides are about, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.selection import SelectedRules, select_rules
from tests.scenarios.timeline import rule_text

_THREAT = (
    '[[rule.threat]]\nframework = "MITRE ATT&CK"\ntactic = { id = "TA0002", name = "Execution", reference = "r" }\n'
)
_SUPPRESSION = '[rule.alert_suppression]\ngroup_by = ["host.id"]\n'
_RULES: dict[str, tuple[dict[str, Any], str]] = {
    "one": ({"severity": "low", "tags": ["OS: Linux", "Tactic: Execution"], "note": "Own."}, _THREAT + _SUPPRESSION),
    "two": ({"severity": "high", "tags": ["OS: Windows"], "to": "now-2m"}, ""),
    "off": ({"enabled": False}, ""),
    "old": ({"tags": ["OS: Linux"]}, '[metadata]\nmaturity = "deprecated"\n'),
}


def written_rules(folder: Path) -> Path:
    """A folder of rule files in a folder."""
    rules = folder / "rules"
    rules.mkdir()
    for name, (fields, more) in _RULES.items():
        text = rule_text(name, {"query": "any where true", "index": ["logs-a*"], "from": "now-9m"} | fields)
        (rules / f"{name}.toml").write_text(text + more)
    return rules


def with_overrides(folder: Path, text: str) -> SelectedRules:
    """The rules of a folder with a file of overrides beside them."""
    (folder / "overrides.toml").write_text(text.removeprefix("\n") if text.startswith("\n[") else text)
    return select_rules([folder / "rules"])
