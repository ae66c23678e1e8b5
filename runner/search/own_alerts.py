"""Rules that read alerts (`.alerts-security*`): which these are, and which alerts they see.

They see the alerts of all rules that read events, and none of a rule that reads alerts, itself among them: so no alert
comes of an alert of its own, over however many rules, and what there is to find has an end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from runner.rules.rule import Rule
from runner.search.protocol import SearchResult

ALERTS: Final = ".alerts-security.alerts-"
"""How the name of an index, or an alias, of alerts begins; what follows is the space."""
_BEGINNINGS: Final = (".alerts-security", ".internal.alerts-security", ".siem-signals")
WithAlerts: TypeAlias = Callable[[Sequence[SearchResult]], AsyncIterator[SearchResult]]
"""Makes results over files and stored alerts of those over files."""

SIGNAL_NAMES: Final[Mapping[str, str]] = {
    "signal.depth": "kibana.alert.depth",
    "signal.original_time": "kibana.alert.original_time",
    "signal.reason": "kibana.alert.reason",
    "signal.status": "kibana.alert.workflow_status",
    "signal.group.id": "kibana.alert.group.id",
    "signal.group.index": "kibana.alert.group.index",
    "signal.threshold_result.count": "kibana.alert.threshold_result.count",
    **{
        f"signal.rule.{old}": f"kibana.alert.rule.{new}"
        for old, new in (
            ("author", "author"), ("building_block_type", "building_block_type"), ("created_at", "created_at"),
            ("created_by", "created_by"), ("description", "description"), ("enabled", "enabled"),
            ("false_positives", "false_positives"), ("from", "from"), ("id", "uuid"), ("immutable", "immutable"),
            ("interval", "interval"), ("license", "license"), ("max_signals", "max_signals"), ("name", "name"),
            ("note", "note"), ("references", "references"), ("rule_id", "rule_id"),
            ("rule_name_override", "rule_name_override"), ("tags", "tags"), ("timeline_id", "timeline_id"),
            ("timeline_title", "timeline_title"), ("timestamp_override", "timestamp_override"), ("to", "to"),
            ("type", "type"), ("version", "version"),
        )
    },
    "signal.rule.risk_score": "kibana.alert.risk_score",
    "signal.rule.severity": "kibana.alert.severity",
}  # fmt: skip
"""The names that alerts had before Kibana 8, with those of today: Kibana's index has them as aliases."""


def reads_alerts(rule: Rule) -> bool:
    """Whether the rule names an index of alerts, beside others or alone."""
    return any(pattern.startswith(_BEGINNINGS) for pattern in rule.index)


async def alerts_last(results: AsyncIterator[SearchResult], stored: WithAlerts | None) -> AsyncIterator[SearchResult]:
    """The results over files; those of rules that read alerts last, as `stored` makes them of these and of the alerts
    that are stored, those of the results before among them."""
    held: list[SearchResult] = []
    async for result in results:
        if stored is not None and reads_alerts(result.request.rule):
            held.append(result)
        else:
            yield result
    if stored is not None and held:
        async for result in stored(held):
            yield result


def filters_of(rule: Rule) -> tuple[Mapping[str, Any], ...]:
    """The filters of the rule, of one that reads alerts with that of the alerts that it does not see."""
    return (*rule.filters, _UNSEEN) if reads_alerts(rule) else rule.filters


_UNSEEN: Final[Mapping[str, Any]] = {
    "meta": {"negate": True},
    "query": {
        "bool": {
            "should": [{"prefix": {"kibana.alert.rule.indices": {"value": name}}} for name in _BEGINNINGS],
            "minimum_should_match": 1,
        }
    },
}
