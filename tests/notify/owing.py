"""Alerts, items and targets for the tests of notifications."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from runner.alerts.alert import Alert
from runner.notify.target import RANKS, NotificationTarget
from runner.store.outbox import OutboxItem
from runner.windows import iso
from tests.store.alerts import START, alert_id

HOOK = NotificationTarget("soc", "webhook", "http://127.0.0.1:1/", timeout=timedelta(seconds=60))


def an_alert(name: object, *, severity: str = "high", **fields: Any) -> Alert:
    """An alert of one rule on one host; fields given are laid over it."""
    id_ = alert_id(name)
    document = {
        "@timestamp": iso(START),
        "host": {"name": "web-01", "id": "h1"},
        "user": {"name": "ada"},
        "process": {"name": "nc", "args": ["nc", "-e", "/bin/sh"]},
        "kibana.alert.uuid": id_,
        "kibana.alert.severity": severity,
        "kibana.alert.risk_score": 47,
        "kibana.alert.reason": f"process event {name} created {severity} alert Netcat.",
        "kibana.alert.original_time": iso(START),
        "kibana.alert.rule.rule_id": "rule-1",
        "kibana.alert.rule.name": "Netcat",
        "kibana.alert.rule.tags": ["OS: Linux", "Tactic: Execution"],
        **fields,
    }
    return Alert(id_, "rule-1", "event", document)


def an_item(name: object, added: datetime = START, *, severity: str = "high", group: str = "") -> OutboxItem:
    summary = {"rule": "Netcat", "severity": severity, "host": "web-01", "time": iso(added)}
    return OutboxItem(alert_id(name), added, RANKS[severity], group, summary)
