"""Rules, hits and contexts for the tests of alerts, and the reader of their spec files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from runner.alerts import build
from runner.alerts.alert import AlertGroup
from runner.alerts.build import AlertContext
from runner.alerts.cap import candidate_for
from runner.rules.rule import Rule
from runner.search.protocol import Hit, Match
from tests.paths import SPECS

FOLDER = SPECS / "alerts"
NOW = datetime(2026, 3, 2, 10, 5, 1, 204000, tzinfo=UTC)
CONTEXT = AlertContext(now=NOW, execution_id="run-1")
RULE: Mapping[str, Any] = {
    "rule_id": "2f1d9c80-7b3a-4f6e-8d25-91c4e0a6b7d3",
    "name": "Lab rule",
    "description": "A rule of the lab.",
    "type": "eql",
    "language": "eql",
    "severity": "medium",
    "risk_score": 47,
    "query": "any where true",
    "index": ["logs-*"],
}


def rule(**changes: Any) -> Rule:
    return Rule.model_validate({**RULE, **changes})


def hit(source: Mapping[str, Any], *, index: str = "", id_: str = "", fields: Mapping[str, Any] | None = None) -> Hit:
    return Hit(index, id_, source, fields or {})


def indexed(number: int, source: Mapping[str, Any] | None = None) -> Hit:
    """A hit of a data stream with an id of its own."""
    return hit(
        source or {"@timestamp": "2026-03-02T10:02:31.412Z"},
        index=f".ds-logs-a-b-2026.03.01-{number:06}",
        id_=f"id{number}",
    )


def event(source: Mapping[str, Any]) -> Match:
    return Match((hit(source),), is_sequence=False)


def sequence(*hits: Hit) -> Match:
    return Match(hits, is_sequence=True)


def build_alerts(match: Match, by: Rule, context: AlertContext) -> AlertGroup | None:
    return build.build_alerts(candidate_for(match, by, context.space), by, context)


def read_spec(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def spec_match(spec: Mapping[str, Any]) -> Match:
    hits = (hit(h["_source"], index=h["_index"], id_=h["_id"], fields=h.get("fields")) for h in spec["hits"])
    return Match(tuple(hits), is_sequence=spec["is_sequence"])


def spec_context(spec: Mapping[str, Any]) -> AlertContext:
    dates = {name: datetime.fromisoformat(spec["context"][name]) for name in ("now", "created_at")}
    return AlertContext(**{**spec["context"], **dates})
