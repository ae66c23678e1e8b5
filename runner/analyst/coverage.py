"""MITRE ATT&CK as rules and alerts cover it: a matrix of tactics and techniques, and a layer for ATT&CK Navigator.

The names of techniques are those that the rules have. Layers: https://github.com/mitre-attack/attack-navigator/tree/
master/layers (format 4.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from runner.rules.rule import Rule

_TACTICS: Final = {
    "TA0043": "Reconnaissance",
    "TA0042": "Resource Development",
    "TA0001": "Initial Access",
    "TA0002": "Execution",
    "TA0003": "Persistence",
    "TA0004": "Privilege Escalation",
    "TA0005": "Defense Evasion",
    "TA0006": "Credential Access",
    "TA0007": "Discovery",
    "TA0008": "Lateral Movement",
    "TA0009": "Collection",
    "TA0011": "Command and Control",
    "TA0010": "Exfiltration",
    "TA0040": "Impact",
}
"""The tactics of the Enterprise matrix, in its order."""


@dataclass(frozen=True, slots=True)
class CoveringRule:
    """A rule as far as the matrix looks at it."""

    rule_id: str
    name: str
    is_run: bool
    alerts: int


@dataclass(slots=True)
class CoveredTechnique:
    """A technique, or a sub-technique, of one tactic, with the rules that name it or one of its sub-techniques."""

    id: str
    name: str
    rules: dict[str, CoveringRule] = field(default_factory=dict)
    subtechniques: dict[str, CoveredTechnique] = field(default_factory=dict)

    @property
    def run(self) -> int:
        """How many of the rules are run."""
        return sum(rule.is_run for rule in self.rules.values())

    @property
    def alerts(self) -> int:
        return sum(rule.alerts for rule in self.rules.values())


@dataclass(slots=True)
class CoveredTactic:
    """A tactic with its techniques; `rules` are those that name it, with or without a technique."""

    id: str
    name: str
    rules: dict[str, CoveringRule] = field(default_factory=dict)
    techniques: dict[str, CoveredTechnique] = field(default_factory=dict)

    @property
    def run(self) -> int:
        return sum(rule.is_run for rule in self.rules.values())

    @property
    def alerts(self) -> int:
        return sum(rule.alerts for rule in self.rules.values())


def coverage_of(rules: Iterable[tuple[Rule, bool]], alerts: Mapping[str, int]) -> list[CoveredTactic]:
    """The matrix of rules, each with whether it is run; `alerts` are counts by rule id. Empty tactics are left out."""
    tactics = {id_: CoveredTactic(id_, name) for id_, name in _TACTICS.items()}
    for rule, is_run in rules:
        covering = CoveringRule(rule.rule_id, rule.name, is_run, alerts.get(rule.rule_id, 0))
        for threat in rule.threat:
            tactic = tactics.setdefault(threat.tactic.id, CoveredTactic(threat.tactic.id, threat.tactic.name))
            tactic.rules[rule.rule_id] = covering
            for given in threat.technique:
                technique = tactic.techniques.setdefault(given.id, CoveredTechnique(given.id, given.name))
                technique.rules[rule.rule_id] = covering
                for sub in given.subtechnique:
                    below = technique.subtechniques.setdefault(sub.id, CoveredTechnique(sub.id, sub.name))
                    below.rules[rule.rule_id] = covering
    return [
        CoveredTactic(one.id, one.name, one.rules, dict(sorted(one.techniques.items(), key=_by_name)))
        for one in tactics.values()
        if one.rules
    ]


def _by_name(item: tuple[str, CoveredTechnique]) -> tuple[str, str]:
    return item[1].name, item[0]


def navigator_layer(tactics: Iterable[CoveredTactic], name: str) -> dict[str, Any]:
    """The matrix as a layer: the score of a technique is how many rules that are run cover it."""
    techniques = [
        {
            "techniqueID": technique.id,
            "tactic": tactic.name.lower().replace(" ", "-"),
            "score": technique.run,
            "comment": "\n".join(sorted(rule.name for rule in technique.rules.values())[:50]),
            "enabled": True,
            "metadata": [
                {"name": "rules", "value": str(len(technique.rules))},
                {"name": "rules that are run", "value": str(technique.run)},
                {"name": "alerts", "value": str(technique.alerts)},
            ],
            "showSubtechniques": False,
        }
        for tactic in tactics
        for parent in tactic.techniques.values()
        for technique in (parent, *parent.subtechniques.values())
    ]
    most = max((int(str(one["score"])) for one in techniques), default=1)
    return {
        "name": name,
        "versions": {"attack": "16", "navigator": "5.1.0", "layer": "4.5"},
        "domain": "enterprise-attack",
        "description": "Rules of rule-runner by technique; the score is how many of them are run",
        "gradient": {"colors": ["#ffffff", "#7db8da", "#1d6fa5"], "minValue": 0, "maxValue": max(most, 1)},
        "techniques": techniques,
        "hideDisabled": False,
    }
