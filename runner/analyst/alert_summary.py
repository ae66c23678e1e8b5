"""Summaries of alerts for lists: on a terminal, in JSON, on a page, in a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runner.alerts.alert_texts import found_summary, suppressed_count
from runner.alerts.event_fields import text_at
from runner.alerts.event_time import event_order
from runner.store.protocol import AlertFilter, StoredAlert
from runner.triage.same_event import Sighting
from runner.triage.verdict import verdict_of

SeenBy = Mapping[str, Sequence[Sighting]]
"""Of alerts by id, those on the same event from another source."""
NO_OTHERS: SeenBy = {}


def shown_alerts(selected: AlertFilter, building_blocks: bool) -> AlertFilter:
    """The filter with what is only there to be built on, or without."""
    return replace(selected, building_blocks=building_blocks, of_building_block_rules=building_blocks)


def by_event_time(alerts: Iterable[StoredAlert]) -> list[StoredAlert]:
    """The alerts by the time of their events, earliest first; those without a readable time before all others."""
    return sorted(alerts, key=lambda alert: event_order(alert.document))


def summary(alert: StoredAlert, seen_by: SeenBy = NO_OTHERS) -> dict[str, Any]:
    """The fields of an alert that a list shows."""
    document = alert.document
    verdict = verdict_of(document)
    return {
        "id": alert.id,
        "detected": document.get("@timestamp"),
        "event_time": document.get("kibana.alert.original_time"),
        "severity": str(document.get("kibana.alert.severity", "")),
        "risk_score": document.get("kibana.alert.risk_score"),
        "rule_id": document.get("kibana.alert.rule.rule_id"),
        "rule": str(document.get("kibana.alert.rule.name", "")),
        "host": text_at(document, "host.name") or text_at(document, "host.id"),
        "user": text_at(document, "user.name"),
        "reason": document.get("kibana.alert.reason"),
        "found": found_summary(document) or None,
        "suppressed": suppressed_count(document),
        "status": document.get("kibana.alert.workflow_status"),
        "verdict": verdict.reason or None,
        "note": verdict.note or None,
        "status_by": verdict.by or None,
        "status_at": verdict.at or None,
        "assignees": list(verdict.assignees),
        "tags": list(verdict.tags),
        "also_seen_by": [other.as_json() for other in seen_by.get(alert.id, ())],
    }
