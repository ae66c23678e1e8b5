"""The table of `check`: how many rules of each type run over files, how many in a cluster, and why others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.table import Table

from runner.cli.console import counted, table
from runner.rules.load import EventPlace, is_supported
from runner.rules.rule import Rule, RuleType

_ONLY_IN_A_CLUSTER: dict[RuleType, str] = {
    "esql": "a cluster evaluates ES|QL",
    "machine_learning": "jobs of a cluster find the anomalies",
}


@dataclass(frozen=True, slots=True)
class BrokenRules:
    """The ids of rules with errors, and of those that cannot be run over files by their filters."""

    anywhere: Collection[str]
    over_files: Collection[str]

    def why_not(self, rule: Rule, place: EventPlace) -> str:
        """Why a rule cannot be run at a place; an empty text if it can."""
        if not is_supported(rule, place):
            return _ONLY_IN_A_CLUSTER.get(rule.type, "not supported yet")
        if rule.query_unread:
            return "its saved query cannot be read"
        if rule.rule_id in self.anywhere:
            return "an error, see above"
        if place == "files" and rule.rule_id in self.over_files:
            return "a filter that is not known here, see above"
        return ""


def type_table(rules: Sequence[Rule], broken: BrokenRules) -> Table:
    """A row for each type of rule."""
    numbers = ("rules", "over files", "in a cluster", "off")
    shown = table("type", *numbers, "why not over files", right=numbers, wrapped=("why not over files",))
    for kind in sorted({rule.type for rule in rules}):
        own = [rule for rule in rules if rule.type == kind]
        over_files = Counter(broken.why_not(rule, "files") for rule in own)
        in_a_cluster = Counter(broken.why_not(rule, "cluster") for rule in own)
        reasons = [
            reason if count == len(own) else f"{counted(count, 'rule')}: {reason}"
            for reason, count in over_files.items()
            if reason
        ]
        off = sum(not rule.enabled for rule in own)
        numbers = (f"{len(own):,}", f"{over_files['']:,}", f"{in_a_cluster['']:,}", f"{off:,}" if off else "")
        shown.add_row(kind, *numbers, "; ".join(reasons))
    return shown
