"""MITRE ATT&CK as rules and alerts cover it."""

from __future__ import annotations

from typing import Any

from runner.analyst.coverage import coverage_of, navigator_layer
from tests.alerts.cases import rule


def threat(tactic: str, name: str, *techniques: str, sub: str = "") -> dict[str, Any]:
    def entry(id_: str) -> dict[str, Any]:
        return {"id": id_, "name": f"Name of {id_}", "reference": f"https://attack.mitre.org/{id_}"}

    found = [entry(id_) | ({"subtechnique": [entry(sub)]} if sub else {}) for id_ in techniques]
    return {"framework": "MITRE ATT&CK", "tactic": entry(tactic) | {"name": name}, "technique": found}


SHELL = threat("TA0002", "Execution", "T1059")
RULES = [
    (rule(rule_id="a", name="A", threat=(threat("TA0002", "Execution", "T1059", sub="T1059.004"),)), True),
    (
        rule(rule_id="b", name="B", threat=(threat("TA0002", "Execution", "T1059"), threat("TA0011", "C2", "T1105"))),
        False,
    ),
    (rule(rule_id="c", name="C", threat=(threat("TA9999", "Of another matrix"),)), True),
    (rule(rule_id="d", name="D"), True),
]


def test_tactics_in_the_order_of_the_matrix_with_rules_and_alerts() -> None:
    tactics = coverage_of(RULES, {"a": 3, "b": 4})
    assert [(one.id, one.name, one.run, len(one.rules), one.alerts) for one in tactics] == [
        ("TA0002", "Execution", 1, 2, 7),
        ("TA0011", "Command and Control", 0, 1, 4),
        ("TA9999", "Of another matrix", 1, 1, 0),
    ]
    (shell,) = tactics[0].techniques.values()
    assert (shell.id, shell.run, shell.alerts, list(shell.subtechniques)) == ("T1059", 1, 7, ["T1059.004"])
    assert tactics[2].techniques == {}


def test_a_layer_scores_techniques_by_the_rules_that_are_run() -> None:
    layer = navigator_layer(coverage_of(RULES, {"a": 3}), "mine")
    assert [(one["techniqueID"], one["tactic"], one["score"]) for one in layer["techniques"]] == [
        ("T1059", "execution", 1),
        ("T1059.004", "execution", 1),
        ("T1105", "command-and-control", 0),
    ]
    assert layer["techniques"][0]["comment"] == "A\nB"
    assert navigator_layer([], "none")["techniques"] == []
