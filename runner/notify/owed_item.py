"""What an alert becomes for a target: an item of its outbox, with as much of the alert as it takes to tell it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from runner.alerts.event_fields import value_at
from runner.notify.target import RANKS, NotificationTarget, rank_of
from runner.notify.template import document_value, on_one_line
from runner.store.outbox import ItemOf, OutboxItem

_FIELDS = {
    "time": "kibana.alert.original_time",
    "severity": "kibana.alert.severity",
    "risk": "kibana.alert.risk_score",
    "rule": "kibana.alert.rule.name",
    "host": "host.name",
    "user": "user.name",
    "reason": "kibana.alert.reason",
}


def item_maker(target: NotificationTarget, now: Callable[[], datetime]) -> ItemOf:
    """The function that makes the items of a target."""

    def item_of(id_: str, document: Mapping[str, Any] | None) -> OutboxItem | None:
        if not target.alerts:
            return None
        if document is None:  # told all the same: it may be of any severity
            summary = {"rule": "an alert whose stored document is damaged", "severity": "critical"}
            return OutboxItem(id_, now(), RANKS["critical"], summary=summary)
        if not target.filter.admits(document):
            return None
        group = "\n".join(document_value(document, name) for name in target.group_by)
        return OutboxItem(id_, now(), rank_of(document), group, alert_summary(target, id_, document))

    return item_of


def alert_summary(target: NotificationTarget, id_: str, document: Mapping[str, Any]) -> dict[str, str]:
    """What is kept of an alert, by the names that templates have for it."""
    summary = {name: document_value(document, path) for name, path in _FIELDS.items()}
    summary["time"] = summary["time"] or str(value_at(document, "@timestamp") or "")
    summary["url"] = on_one_line(target.link_to(id_, document), 2_000)
    return {name: text for name, text in summary.items() if text}


def health_item(key: str, at: datetime, *, title: str, text: str, is_over: bool = False) -> OutboxItem:
    """The notice that something is wrong with the runner since that time, or no longer."""
    phase = "over" if is_over else "begun"
    severity = "low" if is_over else "high"
    summary = {
        "rule": on_one_line(title),
        "reason": on_one_line(text, 1_000),
        "severity": severity,
        "time": at.isoformat(timespec="seconds"),
    }
    return OutboxItem(f"health:{key}:{at.isoformat()}:{phase}", at, RANKS[severity], summary=summary)
