"""Rules that read alerts in a cluster: they see those of rules that read events, by every way of asking."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from runner.cluster.elasticsearch import Connection, open_client
from runner.search.cluster.cluster_search import ClusterSearch
from runner.setup.mappings import alert_mappings
from runner.windows import iso
from tests.compiled import compiled
from tests.elasticsearch.proxy import Proxy
from tests.search.lab import NOON, fill, found_ids, request, results, rule

REPLACED = {
    "constant_keyword": "keyword", "flattened": "object", "match_only_text": "text", "scaled_float": "double",
    "version": "keyword", "wildcard": "keyword",
}  # fmt: skip


def alert(second: int, rule_id: str, user: str, *indices: str) -> dict[str, Any]:
    return {
        "@timestamp": iso(NOON + timedelta(seconds=second)),
        "event": {"kind": "signal"},
        "user": {"name": user},
        "kibana.alert.rule.rule_id": rule_id,
        "kibana.alert.rule.name": rule_id,
        "kibana.alert.rule.indices": list(indices),
    }


ALERTS = [
    alert(1, "base", "ann", "logs-endpoint.events.*"),
    alert(2, "base", "bob", "logs-endpoint.events.*", "auditbeat-*"),
    alert(3, "on-alerts", "ann", ".alerts-security.*"),
    alert(4, "both", "ann", "logs-*", ".alerts-security.alerts-default"),
    alert(5, "other", "ann", "logs-*"),
]


@pytest.fixture(params=["eql_proxy", "plain_proxy"])
def proxy(request: pytest.FixtureRequest, namespace: str) -> Proxy:
    made: Proxy = request.getfixturevalue(request.param)
    mapped = alert_mappings(REPLACED)["properties"]
    mappings = {"properties": {name: mapped[name] for name in ("@timestamp", "event", "user", "kibana", "signal")}}
    fill(made.url, f".alerts-security.{namespace}", ALERTS, mappings=mappings)
    return made


@pytest.mark.slow
async def test_alerts_of_rules_that_read_alerts_are_not_seen(proxy: Proxy, namespace: str) -> None:
    on_alerts: dict[str, Any] = {"index": (f".alerts-security.{namespace}",), "from": "now-9m"}
    kql = on_alerts | {"type": "query", "language": "kuery"}
    threshold = {"field": ["user.name"], "value": 1, "cardinality": [{"field": "signal.rule.name", "value": 2}]}
    history = {"new_terms_fields": ("user.name",), "history_window_start": "now-1h"}
    rules = [
        rule("event.kind: signal", **kql),
        rule('signal.rule.name: "base"', **kql),
        rule('any where kibana.alert.rule.rule_id != "other"', **on_alerts),
        rule("event.kind: signal", **(kql | {"type": "threshold", "rule_id": "counts"}), threshold=threshold),
        rule("event.kind: signal", **(kql | {"type": "new_terms", "rule_id": "terms"}), **history),
    ]
    client = open_client(Connection(hosts=(proxy.url,)))
    search = ClusterSearch(client)
    try:
        await search.prepare([compiled(one) for one in rules])
        answered = {one.request.rule.rule_id: one for one in await results(search, *map(request, rules))}
    finally:
        await client.close()
    found = [answered[one.rule_id] for one in rules]
    assert [one.error for one in found] == [None] * 5
    assert [found_ids(one) for one in found[:3]] == [[["0"], ["1"], ["4"]], [["0"], ["1"]], [["0"], ["1"]]]
    assert found[3].buckets is not None
    assert [(one.terms, len(one.events)) for one in found[3].buckets.found] == [(("ann",), 2)]
    assert found_ids(found[4]) == [["0"], ["1"]]
