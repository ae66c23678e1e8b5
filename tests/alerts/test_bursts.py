"""Bursts of threshold rules: which events count together, and the alert that is made of them."""

from __future__ import annotations

from typing import Any

import pytest

from runner.alerts.alert import AlertGroup
from runner.alerts.bursts import CountedEvent, burst_of, bursts_in, counted_events, hit_id, key_of, match_of
from runner.alerts.cap import candidate_for
from runner.alerts.event_fields import FieldTypes
from runner.alerts.groups import Group
from runner.alerts.suppression import instance_id, keyed, suppressed_alert
from runner.rules.rule import Rule
from runner.rules.rule_tables import Threshold
from runner.search.protocol import Bucket, BucketEvent, Buckets, Hit
from tests.alerts.cases import CONTEXT, build_alerts

R = "2f1d9c80-7b3a-4f6e-8d25-91c4e0a6b7d3"
MINUTE = 60 * 10**9


def rule(**fields: Any) -> Rule:
    return Rule.model_validate(
        {
            "rule_id": R, "name": "Burst", "description": "d", "type": "threshold", "query": "*", "severity": "low",
            "risk_score": 21, "index": ["logs-system.auth-*", "auditbeat-*"],
            "threshold": {"field": ["host.id", "user.name"], "value": 2},
        } | fields
    )  # fmt: skip


def events(*minutes: float, values: tuple[str, ...] = ()) -> list[CountedEvent]:
    """An event for each minute; the value of each is one of `values`."""
    given = [frozenset({value}) for value in values] or [frozenset[str]()] * len(minutes)
    return [
        CountedEvent(int(minute * MINUTE), bytes([place]) * 12, value)
        for place, (minute, value) in enumerate(zip(minutes, given, strict=True))
    ]


@pytest.mark.parametrize(
    ("minutes", "value", "expected"),
    [
        ((0, 1, 2), 3, [[0, 1, 2]]),
        ((0, 1), 3, []),
        ((0, 5, 9, 10), 3, [[0, 5, 9]]),
        ((0, 5, 9.01, 10), 3, [[5, 9.01, 10]]),
        ((0, 9, 18, 27), 2, [[0, 9], [18, 27]]),
        ((0, 0, 0, 0), 2, [[0, 0, 0, 0]]),
        ((0, 10, 20), 1, [[0], [10], [20]]),
    ],
)
def test_a_burst_is_as_long_as_the_look_back_at_most(minutes: Any, value: int, expected: list[list[float]]) -> None:
    found = bursts_in(events(*minutes), Threshold(field=("a",), value=value), 9 * MINUTE)
    assert [[one.time / MINUTE for one in burst] for burst in found] == expected


def test_the_cardinality_is_of_the_burst_alone() -> None:
    threshold = Threshold.model_validate({"field": ["a"], "value": 1, "cardinality": [{"field": "b", "value": 2}]})
    given = events(0, 1, 11, 12, values=("x", "x", "x", "y"))
    found = list(bursts_in(given, threshold, 9 * MINUTE))
    assert [[one.time // MINUTE for one in burst] for burst in found] == [[11, 12]]


def test_the_ids_of_hits_are_those_of_kibana() -> None:
    moment = "2026-03-02T10:05:01.000Z"
    found = hit_id(R, moment, ["host.id", "user.name"], ["web-01", "root"])
    assert found == "104f1fc6-6dbe-5a66-a005-282d8b952e9d"
    assert hit_id(R, moment, [], []) == "1ac0936d-68c9-528e-8a08-8e90f76e0dec"


def made(by: Rule, *terms: Any, **more: Any) -> AlertGroup:
    burst = burst_of(by, terms, events(0, 1.5, **more), "default")
    group = build_alerts(match_of(burst, by), by, CONTEXT)
    assert group is not None
    return group


def test_the_alert_has_the_key_and_what_was_counted() -> None:
    threshold = {"field": ["host.id", "user.name"], "value": 2, "cardinality": [{"field": "source.ip", "value": 1}]}
    document = made(rule(threshold=threshold), "web-01", "root", values=("a", "b")).head.document
    assert document["kibana.alert.threshold_result"] == {
        "terms": [{"field": "host.id", "value": "web-01"}, {"field": "user.name", "value": "root"}],
        "cardinality": [{"field": "source.ip", "value": 2}],
        "count": 2,
        "from": "1970-01-01T00:00:00.000Z",
    }
    assert (document["host.id"], document["user.name"]) == ("web-01", "root")
    assert document["kibana.alert.original_time"] == "1970-01-01T00:01:30.000Z"
    assert document["kibana.alert.depth"] == 1
    (ancestor,) = document["kibana.alert.ancestors"]
    assert (ancestor["type"], ancestor["index"]) == ("event", "logs-system.auth-*,auditbeat-*")
    assert document["kibana.alert.rule.rule_type_id"] == "siem.thresholdRule"
    assert document["kibana.alert.rule.category"] == "Threshold Rule"
    assert document["kibana.alert.rule.parameters"]["threshold"] == threshold
    assert not any(name.startswith("kibana.alert.original_event") for name in document)


def test_overrides_see_the_key() -> None:
    mapping = [{"field": "user.name", "operator": "equals", "value": "root", "severity": "critical"}]
    by = rule(severity_mapping=mapping, rule_name_override="host.id")
    document = made(by, "web-01", "root").head.document
    assert (document["kibana.alert.severity"], document["kibana.alert.rule.name"]) == ("critical", "web-01")


def test_a_field_alone_and_an_empty_one_are_lists() -> None:
    assert rule(threshold={"field": "host.id", "value": 1}).threshold == Threshold(field=("host.id",), value=1)
    assert rule(threshold={"field": "", "value": 1}).threshold == Threshold(field=(), value=1)
    document = made(rule(threshold={"field": [], "value": 1})).head.document
    assert document["kibana.alert.threshold_result"]["terms"] == []
    assert document["kibana.alert.rule.parameters"]["threshold"] == {"field": [], "value": 1}


def test_the_id_is_of_rule_space_key_and_first_event() -> None:
    one, other = rule(), rule(rule_id="other")
    ids = {
        burst_of(by, terms, given, space).alert_id
        for by in (one, other)
        for terms in (("a", "b"), ("b", "a"), ("a", 1), ("a", "1"))
        for given in (events(0, 1), events(0, 1)[1:])
        for space in ("default", "lab")
    }
    assert len(ids) == 32
    assert burst_of(one, ("a", "b"), events(0, 1), "s").alert_id == burst_of(one, ("a", "b"), events(0), "s").alert_id
    assert key_of(one, ("a", "b"), "s") != key_of(rule(threshold={"field": ["x", "y"], "value": 2}), ("a", "b"), "s")


def test_suppression_groups_by_the_key() -> None:
    by = rule(alert_suppression={"duration": {"value": 1, "unit": "h"}})
    match = match_of(burst_of(by, ("web-01", "root"), events(0, 1), "default"), by)
    candidate = candidate_for(match, by, "default")
    place = keyed(candidate, by, space="default", types=FieldTypes(), now=CONTEXT.now)
    assert place is not None
    assert place.terms == ({"field": "host.id", "value": "web-01"}, {"field": "user.name", "value": "root"})
    assert place.key == instance_id(tuple(reversed(place.terms)), by, "default")  # of the sorted values
    assert (place.place.start, place.place.end) == (0, MINUTE)
    group = Group(candidate.head, CONTEXT.now, 0, MINUTE, frozenset({place.place.digest}), CONTEXT.now)
    built = build_alerts(match, by, CONTEXT)
    assert built is not None
    document = suppressed_alert(built, place, group).head.document
    assert document["kibana.alert.suppression.docs_count"] == 0
    assert document["kibana.alert.rule.parameters"]["alert_suppression"] == {"duration": {"value": 1, "unit": "h"}}


def test_plain_documents_with_the_same_content_count_each() -> None:
    bucket = Bucket(("a",), tuple(BucketEvent(number, 0) for number in range(3)))
    plain, unreadable = counted_events(Buckets([bucket], lambda number: Hit("", "", {"a": 1})))
    ((_, found),) = plain
    assert (len(found), unreadable) == (3, [])
    ((_, indexed),) = counted_events(Buckets([bucket], lambda number: Hit("logs", "1", {})))[0]
    assert len(indexed) == 1
