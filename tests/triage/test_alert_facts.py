"""What an alert says beyond its events."""

from __future__ import annotations

from typing import Any

import pytest

from runner.triage.details.alert_facts import alert_facts

PARAMETERS = "kibana.alert.rule.parameters"


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ({"host": {"name": "a"}}, ""),
        (
            {
                "kibana.alert.threshold_result": {
                    "terms": [{"field": "user.name", "value": "ann"}],
                    "count": 12,
                    "from": "2026-03-02T10:00:00Z",
                    "cardinality": [{"field": "host.id", "value": 3}],
                },
                "kibana.alert.original_time": "2026-03-02T10:04:00.000Z",
                PARAMETERS: {"threshold": {"value": 10, "cardinality": [{"field": "host.id", "value": 2}]}},
            },
            """Counted
  events: 12 (the rule asks for 10 or more)
  user.name: ann
  different values of host.id: 3 (the rule asks for 2 or more)
  first event: 2026-03-02T10:00:00.000Z
  last event: 2026-03-02T10:04:00.000Z""",
        ),
        (
            {
                "kibana.alert.new_terms": ["ann", "curl"],
                PARAMETERS: {"new_terms_fields": ["user.name", "process.name"], "history_window_start": "now-7d"},
            },
            """New terms
  user.name: ann (new together)
  process.name: curl (new together)
  looked back to: now-7d (from the rule's run)""",
        ),
        (
            {
                "job_id": "rare_process",
                "record_score": 91.2345,
                "function": "rare",
                "actual": [1.0],
                "typical": [0.00123456],
                "by_field_name": "process.name",
                "by_field_value": "nc",
                "influencers": [{"influencer_field_name": "host.name", "influencer_field_values": ["a", "b"]}],
                PARAMETERS: {"anomaly_threshold": 75},
            },
            """Anomaly
  job: rare_process
  score: 91.23 (the rule asks for 75 or more)
  function: rare
  actual: 1
  typical: 0.001235
  by process.name: nc
  influenced by host.name: a, b""",
        ),
        (
            {
                "threat.enrichments": [
                    {
                        "indicator": {"type": "ipv4-addr", "ip": "203.0.113.7", "provider": "p"},
                        "feed": {"name": "Feed"},
                        "matched": {
                            "field": "destination.ip",
                            "atomic": "203.0.113.7",
                            "type": "indicator_match_rule",
                            "index": "logs-ti_x",
                            "id": "1",
                        },
                    },
                    "no object",
                ]
            },
            """Indicator 1
  matched: destination.ip: 203.0.113.7 (indicator_match_rule)
  feed: Feed
  type: ipv4-addr
  ip: 203.0.113.7
  provider: p
  document: logs-ti_x/1""",
        ),
    ],
)
def test_the_facts_of_an_alert(document: dict[str, Any], shown: str) -> None:
    lines = []
    for section in alert_facts(document):
        lines.append(section.title)
        lines += [f"  {one.label}: {one.value}{f' ({one.meaning})' if one.meaning else ''}" for one in section.details]
    assert "\n".join(lines) == shown
