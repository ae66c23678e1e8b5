"""The rules that come with the project: their queries are the specification and must not change by a letter."""

from __future__ import annotations

import hashlib

import pytest

from runner.rules.load import load_rules
from runner.rules.rule import ANOMALIES
from tests.paths import ROOT

RULES = ROOT / "rules"
EXAMPLES = {rule.rule_id: rule for rule in load_rules([RULES / "examples"]).rules}
SHELL = "48b3d2e3-f4e8-41e6-95e6-9b2091228db3"
CHILD = "76e4d92b-61c1-4a95-ab61-5fd94179a1ee"
LOADED = {rule.rule_id: rule for rule in load_rules([RULES / "linux"]).rules}


def test_all_files_load_without_a_word() -> None:
    loaded = load_rules([RULES])
    assert loaded.problems == ()
    assert set(LOADED) == {SHELL, CHILD}
    assert {rule.rule_id for rule in loaded.rules} == LOADED.keys() | EXAMPLES.keys()


def test_the_examples_are_of_every_type_and_those_over_files_are_on() -> None:
    kinds = {(rule.type, rule.language): rule.enabled for rule in EXAMPLES.values()}
    in_kql = ("query", "threshold", "new_terms", "threat_match")
    over_files = (("query", "lucene"), *((kind, "kuery") for kind in in_kql))
    only_there = (("esql", "esql"), ("machine_learning", "kuery"))
    assert kinds == dict.fromkeys(over_files, True) | dict.fromkeys(only_there, False)
    for rule in EXAMPLES.values():
        assert (rule.author, rule.license) == (("rule-runner",), "Apache-2.0")
        assert all(pattern.startswith("logs-endpoint.events.") for pattern in rule.index) or rule.index == ANOMALIES
        assert rule.path.with_suffix(".test.toml").exists() is rule.enabled


@pytest.mark.parametrize(
    ("rule_id", "digest"),
    [
        (SHELL, "19a9b7ef2520d78566af61874105442f98fddcb305793ef78b204ec5ed1e5aec"),
        (CHILD, "dd3e31e870a837ba7b3c7ff968d32057dd312750401a03736e8f06fb7d2db6af"),
    ],
)
def test_the_query_is_the_published_one(rule_id: str, digest: str) -> None:
    assert hashlib.sha256(LOADED[rule_id].query.encode()).hexdigest() == digest


@pytest.mark.parametrize("rule_id", [SHELL, CHILD])
def test_what_both_rules_have(rule_id: str) -> None:
    rule = LOADED[rule_id]
    assert (rule.index, rule.from_, rule.interval, rule.to) == (("logs-endpoint.events.*",), "now-9m", "5m", "now")
    assert (rule.severity, rule.risk_score, rule.max_signals) == ("medium", 47, 100)
    assert (rule.author, rule.license) == (("Elastic",), "Elastic License v2")
    execution, control = rule.threat
    assert (execution.framework, control.framework) == ("MITRE ATT&CK", "MITRE ATT&CK")
    assert [(t.id, [s.id for s in t.subtechnique]) for t in execution.technique] == [("T1059", ["T1059.004"])]
    assert [(t.id, t.name) for t in control.technique] == [("T1071", "Application Layer Protocol")]
    assert (execution.tactic.id, control.tactic.id) == ("TA0002", "TA0011")
    for heading in ("## Triage and analysis", "### Possible investigation steps", "### False positive analysis",
                    "### Response and remediation"):  # fmt: skip
        assert f"{heading}\n" in rule.note
    assert rule.setup.startswith("## Setup\n")


def test_what_differs() -> None:
    shell, child = LOADED[SHELL], LOADED[CHILD]
    assert (shell.name, shell.version) == ("Potential Reverse Shell", 1)
    assert (child.name, child.version) == ("Potential Reverse Shell via Suspicious Child Process", 10)
    assert set(child.tags) - set(shell.tags) == {"Resources: Investigation Guide"}
    assert len(shell.references) == 1
    assert child.references == ()


def test_the_notice_names_every_rule_and_its_licence() -> None:
    notice = (RULES / "NOTICE.txt").read_text()
    assert notice.startswith("What this notice covers")
    assert "Elastic License 2.0" in notice
    for rule in LOADED.values():
        assert f"{rule.name} ({rule.rule_id})" in notice
