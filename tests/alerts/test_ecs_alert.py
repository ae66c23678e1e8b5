"""Alerts in the form of external alerts, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.alerts.alert import Alert
from runner.alerts.ecs_alert import alert_document, external_document, is_external
from runner.alerts.event_fields import flat_values, value_at
from tests.alerts.cases import CONTEXT, build_alerts, event, hit, indexed, rule, sequence

STREAM = "logs-rule_runner.alerts-soc"
TACTIC = {"id": "TA0002", "name": "Execution", "reference": "https://attack.mitre.org/tactics/TA0002/"}
TECHNIQUE = {
    "id": "T1059",
    "name": "Command and Scripting Interpreter",
    "reference": "https://attack.mitre.org/techniques/T1059/",
    "subtechnique": [{"id": "T1059.004", "name": "Unix Shell", "reference": "https://attack.mitre.org/x/"}],
}
SOURCE: Mapping[str, Any] = {
    "@timestamp": "2026-03-02T10:02:31.412Z",
    "message": "Endpoint process event",
    "event": {
        "kind": "event",
        "category": ["process"],
        "module": "endpoint",
        "action": "exec",
        "ingested": "2026-03-02",
    },
    "data_stream": {"type": "logs", "dataset": "endpoint.events.process", "namespace": "default"},
    "rule": {"name": "a rule of the sensor"},
    "process": {"name": "bash", "args": ["bash", "-i"]},
    "host": {"name": "web-01"},
}


def made(source: Mapping[str, Any] = SOURCE, **changes: Any) -> Alert:
    ruled = rule(
        severity="high",
        risk_score=73,
        version=4,
        references=["https://example.org/a"],
        threat=[{"framework": "MITRE ATT&CK", "tactic": TACTIC, "technique": [TECHNIQUE]}],
        **changes,
    )
    group = build_alerts(event(source), ruled, replace(CONTEXT, kibana_url="https://kibana", data_view="view"))
    assert group is not None
    return group.head


def external(document: Mapping[str, Any]) -> dict[str, Any]:
    return external_document(document, stream=STREAM)


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    return dict(flat_values(document))


def test_it_says_in_ecs_what_it_is() -> None:
    alert = made()
    found = flat(external(alert.document))
    expected = {
        "event.kind": "alert",
        "event.category": ["intrusion_detection"],
        "event.type": ["info"],
        "event.module": "rule_runner",
        "event.dataset": "rule_runner.alerts",
        "event.id": alert.id,
        "event.severity": 73,
        "event.risk_score": 73,
        "event.ingested": alert.document["@timestamp"],
        "event.action": "exec",
        "message": alert.document["kibana.alert.reason"],
        "rule.id": rule().rule_id,
        "rule.name": "Lab rule",
        "rule.version": "4",
        "rule.ruleset": "rule-runner",
        "rule.reference": ["https://example.org/a"],
        "threat.framework": ["MITRE ATT&CK"],
        "threat.tactic.name": ["Execution"],
        "threat.technique.id": ["T1059"],
        "threat.technique.subtechnique.id": ["T1059.004"],
        "data_stream.type": "logs",
        "data_stream.dataset": "rule_runner.alerts",
        "data_stream.namespace": "soc",
        "process.name": "bash",
        "host.name": "web-01",
        "event.url": alert.document["kibana.alert.url"],
    }
    assert {name: found.get(name) for name in expected} == expected


def test_kibana_can_not_take_it_for_one_of_its_own() -> None:
    names = flat(external(made().document))
    assert not [name for name in names if name.split(".")[0] in ("kibana", "signal")]
    assert names["rule_runner.alert.uuid"] == made().id


def test_a_field_is_not_there_twice() -> None:
    """A dotted and a nested spelling of one field would be two values of it."""
    found = external(made().document)
    assert "category" not in found["event"]
    assert "data_stream" not in found
    assert "rule" not in found


def test_the_alert_comes_back_with_every_value() -> None:
    alert = made()
    back = alert_document(external(alert.document))
    assert flat(back) == flat(alert.document)
    assert value_at(back, "rule.name") == "a rule of the sensor"
    assert value_at(back, "message") == "Endpoint process event"


def test_a_document_in_another_form_stays_as_it_is() -> None:
    alert = made()
    assert alert_document(alert.document) == alert.document
    assert not is_external(alert.document)
    assert is_external(external(alert.document))


def test_a_sequence_is_one_alert_and_its_events_are_events() -> None:
    group = build_alerts(sequence(indexed(1, SOURCE), indexed(2, SOURCE)), rule(), CONTEXT)
    assert group is not None
    kinds = [external(alert.document)["event.kind"] for alert in group.alerts]
    assert kinds == ["event", "event", "alert"]


def test_a_rule_does_not_feed_on_its_own_external_alerts() -> None:
    stored = external(made().document)
    found = event(stored)
    assert build_alerts(found, rule(), CONTEXT) is None
    other = build_alerts(found, rule(rule_id="another"), CONTEXT)
    assert other is not None
    document = other.head.document
    assert document["kibana.alert.depth"] == 2
    assert not [name for name in document if name.startswith("rule_runner")]


def test_the_original_is_not_changed() -> None:
    alert = made()
    before = flat(alert.document)
    external(alert.document)
    assert flat(alert.document) == before


leaves = st.one_of(st.text(max_size=5), st.integers(), st.lists(st.text(max_size=3), min_size=1, max_size=3))
names = st.sampled_from(
    ["category", "kind", "module", "action", "id", "name", "version", "tactic", "dataset", "reference", "other"]
)
inner = st.dictionaries(names, leaves, min_size=1, max_size=4)
sources = st.dictionaries(st.sampled_from(["event", "rule", "data_stream", "host"]), inner)
alert_fields = st.dictionaries(
    st.sampled_from(
        ["uuid", "severity", "risk_score", "reason", "url", "group.index", "rule.name", "rule.version", "rule.rule_id"]
    ).map("kibana.alert.{}".format),
    leaves,
)


@given(sources, alert_fields, st.booleans())
def test_there_and_back_loses_nothing(source: dict[str, Any], fields: dict[str, Any], dotted: bool) -> None:
    document = {**(flat(source) if dotted else source), "event.kind": "signal", **fields}
    if not dotted and "event" in document:
        document["event"] = {name: value for name, value in document["event"].items() if name != "kind"} or {"x": "y"}
    assert flat(alert_document(external(document))) == flat(document)


@pytest.mark.parametrize(("is_external_", "field"), [(False, "kibana.alert.uuid"), (True, "rule_runner.alert.uuid")])
def test_outside_the_security_app_the_link_leads_to_discover(is_external_: bool, field: str) -> None:
    context = replace(
        CONTEXT, space="blue", kibana_url="https://k/base/", data_view="rr-view", is_external=is_external_
    )
    group = build_alerts(event({"x": 1}), rule(), context)
    assert group is not None
    document = group.head.document
    assert document["kibana.alert.url"] == (
        "https://k/base/s/blue/app/discover#/?_g=(time:(from:'2026-03-02T10:04:01.204Z',to:'2026-03-02T10:06:01.204Z'))"
        f"&_a=(dataSource:(dataViewId:'rr-view',type:dataView),index:'rr-view',query:(language:kuery,query:'{field}:%22{group.head.id}%22'))"
    )


def test_hits_keep_their_own_alert_fields_out() -> None:
    found = hit({"rule_runner": {"alert": {"uuid": "x"}}, "process": {"name": "bash"}})
    group = build_alerts(event(found.source), rule(), CONTEXT)
    assert group is not None
    assert "rule_runner" not in group.head.document
