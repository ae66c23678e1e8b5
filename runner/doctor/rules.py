"""Whether the rules themselves can be run."""

from __future__ import annotations

from runner.doctor.checks import Check, RuleName
from runner.rules.load import LoadedRules


def look_at_rules(loaded: LoadedRules) -> list[Check]:
    """Every error of the rules' files and queries, and how many rules there are to run."""
    names = {rule.rule_id: rule.name for rule in (*loaded.rules, *loaded.unsupported)}
    remedy = "correct the file; `rule-runner check` shows the line"
    checks = [
        Check(
            "rule",
            str(problem.file),
            "problem",
            str(problem),
            remedy,
            (RuleName(problem.rule_id, names[problem.rule_id]),) if problem.rule_id in names else (),
        )
        for problem in loaded.errors
    ]
    enabled = sum(rule.enabled for rule in loaded.rules)
    found = f"{enabled} EQL {'rule is' if enabled == 1 else 'rules are'} turned on"
    if off := len(loaded.rules) - enabled:
        found += f", {off} off"
    if loaded.unsupported:
        found += f", {len(loaded.unsupported)} are of other types and not run"
    if not enabled:
        remedy = "name rule files or folders with --rules (RUNNER_RULES)"
        return [*checks, Check("rule", "all", "problem", found, remedy)]
    return [*checks, Check("rule", "all", "ok", found)]
