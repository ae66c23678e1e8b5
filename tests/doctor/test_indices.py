"""What the doctor says of the rules' indices, fields and events in a real node."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from runner.cluster.connection import Connection
from tests.doctor.examination import examined, the, told
from tests.elasticsearch.proxy import EVERY, Proxy
from tests.search.lab import NOON, PROPERTIES, fill, process, rule

NOW = NOON + timedelta(minutes=1)


def ingested(second: float, late: float) -> dict[str, Any]:
    """A process event that was ingested so many seconds late."""
    return process(second, "bash", **{"event.ingested": (NOON + timedelta(seconds=second + late)).isoformat()})


async def test_patterns_and_blind_rules(elasticsearch_url: str, namespace: str) -> None:
    fill(elasticsearch_url, f"{namespace}-one", [process(1, "bash")])
    fill(elasticsearch_url, f"{namespace}-two", [process(2, "bash")])
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.put_alias(index=f"{namespace}-two", name=f"{namespace}-alias")
    seeing = rule("any where 1 == 1", index=[f"{namespace}-*", f"{namespace}none-*"], name="seeing")
    blind = rule("any where 2 == 2", index=[f"{namespace}none-*"], name="blind")
    also = rule("any where 3 == 3", index=[f"{namespace}none", "-other*"], name="also blind")
    checks = await examined(Connection(hosts=(elasticsearch_url,)), [seeing, blind, also], now=NOW)
    assert f"ok {namespace}-*: 2 indices, 1 alias" in told(checks, "index")
    assert f"ok {namespace}none: nothing there" in told(checks, "index")
    problems = {
        check.subject: [one.name for one in check.rules]
        for check in checks
        if check.name == "index" and check.outcome == "problem"
    }
    assert problems == {f"{namespace}none-*": ["blind"], f"-other*, {namespace}none": ["also blind"]}


async def test_what_is_a_problem_is_not_fine_as_well(elasticsearch_url: str, namespace: str) -> None:
    checks = await examined(Connection(hosts=(elasticsearch_url,)), [rule(index=[f"{namespace}-none-*"])], now=NOW)
    assert [(check.subject, check.outcome) for check in checks if check.name == "index"] == [
        (f"{namespace}-none-*", "problem")
    ]


async def test_data_streams_are_counted_as_such(elasticsearch_url: str, namespace: str) -> None:
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.put_index_template(
            name=namespace, index_patterns=[f"{namespace}-*"], data_stream={}, priority=500, template={}
        )
        client.index(index=f"{namespace}-stream", document={"@timestamp": NOON.isoformat()}, refresh=True)
    checks = await examined(Connection(hosts=(elasticsearch_url,)), [rule(index=[f"{namespace}-*"])], now=NOW)
    assert f"ok {namespace}-*: 1 data stream" in told(checks, "index")


async def test_fields_that_no_index_has(elasticsearch_url: str, namespace: str) -> None:
    fill(elasticsearch_url, f"{namespace}-one", [process(1, "bash")])
    index = [f"{namespace}-one"]
    rules = [
        rule('process where process.name == "a"', index=index, name="fits"),
        rule('process where ?process.nothing == "a"', index=index, name="says that it may be missing"),
        rule('process where process.hash.md5 == "a"', index=index, name="misses md5"),
        rule(
            "sequence by process.hash.md5 [any where true] [process where no.such == 1]", index=index, name="misses two"
        ),
        rule("any where true", index=index, name="misses tiebreaker", tiebreaker_field="event.sequence"),
        rule("process where true", index=index, name="misses category", event_category_override="no.category"),
    ]
    checks = await examined(Connection(hosts=(elasticsearch_url,)), rules, now=NOW)
    missing = {check.subject: [one.name for one in check.rules] for check in checks if check.name == "field"}
    assert missing == {
        "process.hash.md5": ["misses md5", "misses two"],
        "no.such": ["misses two"],
        "event.sequence": ["misses tiebreaker"],
        "no.category": ["misses category"],
    }
    assert {check.outcome for check in checks if check.name == "field"} == {"problem"}


async def test_a_runtime_field_is_there(elasticsearch_url: str, namespace: str) -> None:
    fill(elasticsearch_url, f"{namespace}-one", [process(1, "bash")])
    rules = [rule('process where my.own == "a"', index=[f"{namespace}-one"])]
    connection = Connection(hosts=(elasticsearch_url,))
    assert the(await examined(connection, rules, now=NOW), "field", "my.own").outcome == "problem"
    own = {"my.own": {"type": "keyword"}}
    checks = await examined(connection, rules, now=NOW, runtime_mappings=own)
    assert the(checks, "field", f"{namespace}-one").outcome == "ok"


async def test_fields_with_conflicting_types(elasticsearch_url: str, namespace: str) -> None:
    other = {"properties": {**PROPERTIES, "process": {"properties": {"pid": {"type": "keyword"}}}}}
    fill(elasticsearch_url, f"{namespace}-one", [process(1, "bash")])
    fill(elasticsearch_url, f"{namespace}-two", [process(1, "bash")], mappings=other)
    rules = [
        rule("process where process.pid == 1", index=[f"{namespace}-*"], name="reads pid"),
        rule('process where user.name == "root"', index=[f"{namespace}-*"], name="reads user"),
    ]
    checks = await examined(Connection(hosts=(elasticsearch_url,)), rules, now=NOW)
    (conflict,) = [check for check in checks if check.name == "query"]
    assert conflict.outcome == "problem"
    assert "mapped as [2] incompatible types" in conflict.found
    assert [one.name for one in conflict.rules] == ["reads pid"]


@pytest.mark.parametrize(
    ("age", "outcome", "expected"),
    [
        (timedelta(minutes=8), "ok", "the newest event is 8 m old"),
        (timedelta(minutes=40), "ok", "the newest event is 40 m old"),
        (timedelta(days=3), "warning", "the newest event is 3 d old: further back than these rules look (6 m)"),
        (timedelta(hours=-1), "warning", "the newest event is 1 h ahead of our time"),
    ],
)
async def test_the_newest_event(
    elasticsearch_url: str, namespace: str, age: timedelta, outcome: str, expected: str
) -> None:
    fill(elasticsearch_url, f"{namespace}-one", [process(0, "bash"), process(-60, "bash")])
    pattern = f"{namespace}-*"
    checks = await examined(Connection(hosts=(elasticsearch_url,)), [rule(index=[pattern])], now=NOON + age)
    found = the(checks, "events", pattern)
    assert found.outcome == outcome
    assert expected in found.found
    assert bool(found.rules) == (outcome == "warning")


async def test_an_index_without_events_or_without_timestamps(elasticsearch_url: str, namespace: str) -> None:
    fill(elasticsearch_url, f"{namespace}-one", [{"event.category": "process"}])
    fill(elasticsearch_url, f"{namespace}-two", [], mappings={"properties": {"event": {"type": "object"}}})
    rules = [rule(index=[f"{namespace}-one"]), rule("any where 2 == 2", index=[f"{namespace}-two"])]
    checks = await examined(Connection(hosts=(elasticsearch_url,)), rules, now=NOW)
    for name in ("one", "two"):
        found = the(checks, "events", f"{namespace}-{name}")
        assert (found.outcome, found.found) == ("warning", "no event with `@timestamp` is there")


async def test_events_that_arrive_later_than_windows_overlap(elasticsearch_url: str, namespace: str) -> None:
    fill(elasticsearch_url, f"{namespace}-one", [ingested(-20, 5), ingested(-10, 90), ingested(0, 20)])
    pattern = f"{namespace}-*"
    rules = [
        rule("any where 1 == 1", index=[pattern], name="overlaps by a minute"),
        rule("any where 2 == 2", index=[pattern], name="overlaps by four", from_="now-9m"),
        rule("any where 3 == 3", index=[pattern], name="by ingest time", timestamp_override="event.ingested"),
    ]
    checks = await examined(Connection(hosts=(elasticsearch_url,)), rules, now=NOW)
    found = the(checks, "lag", pattern)
    assert found.outcome == "warning"
    assert "of the newest 3 events the slowest arrived 1 m 30 s after it happened, the median 20 s" in found.found
    assert [one.name for one in found.rules] == ["overlaps by a minute"]
    assert "timestamp_override" in found.remedy
    calm = await examined(Connection(hosts=(elasticsearch_url,)), [rules[2]], now=NOW)
    assert the(calm, "lag", pattern).outcome == "ok"


async def test_remote_clusters(eql_proxy: Proxy) -> None:
    known: Mapping[str, Any] = {"berlin": {"connected": True}, "bern": {"connected": False}}
    eql_proxy.answer_next(200, known, on="_remote/info")
    rules = [
        rule("any where 1 == 1", index=["berlin:logs-*"], name="there"),
        rule("any where 2 == 2", index=["ber*:logs-*", "no:logs-*"], name="away"),
    ]
    checks = await examined(Connection(hosts=(eql_proxy.url,)), rules, now=datetime.now(UTC))
    assert told(checks, "remote") == [
        "problem ber*: not connected: bern",
        "ok berlin: connected: berlin",
        "problem no: no remote cluster has this name; there are berlin, bern",
    ]
    assert not [check for check in checks if check.name == "index"]


async def test_one_check_that_fails_stops_no_other(eql_proxy: Proxy, namespace: str, elasticsearch_url: str) -> None:
    fill(elasticsearch_url, f"{namespace}-one", [process(0, "bash")])
    eql_proxy.fail_next(400, on="_field_caps")
    eql_proxy.fail_next(400, on="_nodes/stats")
    eql_proxy.fail_next(500, on="_resolve", kind="some_exception", reason="out of order")
    eql_proxy.cut_next(on="_license", times=EVERY)
    pattern = f"{namespace}-*"
    rules = [rule(index=[pattern]), rule("any where 2 == 2", index=[f"{namespace}-one"])]
    checks = await examined(Connection(hosts=(eql_proxy.url,)), rules, now=NOW)
    looked_up = {check.subject: check.outcome for check in checks if check.name == "index"}
    assert sorted(looked_up.values()) == ["ok", "problem"]
    assert {"host", "version", "licence", "clock", "eql", "index", "events", "field", "setup"} <= {
        check.name for check in checks
    }
    assert any("can not be reached" in check.found for check in checks if check.name == "licence")
    assert any(check.outcome == "ok" for check in checks if check.name == "events")


async def test_shards_that_do_not_answer(eql_proxy: Proxy, namespace: str, elasticsearch_url: str) -> None:
    fill(elasticsearch_url, f"{namespace}-one", [process(0, "bash")])
    partial = {"_shards": {"failed": 1}, "hits": {"hits": []}}
    eql_proxy.answer_next(200, partial, on="/_search")
    checks = await examined(Connection(hosts=(eql_proxy.url,)), [rule(index=[f"{namespace}-*"])], now=NOW)
    assert told(checks, "events") == [f"warning {namespace}-*: not all shards answered: failed shards: 1"]


async def test_nothing_is_written(eql_proxy: Proxy, namespace: str, elasticsearch_url: str) -> None:
    fill(elasticsearch_url, f"{namespace}-one", [process(0, "bash")])
    await examined(Connection(hosts=(eql_proxy.url,)), [rule(index=[f"{namespace}-*"])], now=NOW)
    harmless = ("_eql/search", "_search", "_field_caps", "_security/user/_has_privileges")
    for request in eql_proxy.requests:
        assert request.method in ("GET", "HEAD") or request.path.endswith(harmless), request
    assert not eql_proxy.kept


async def test_rules_over_the_same_indices_share_the_requests(eql_proxy: Proxy, namespace: str) -> None:
    rules = [rule(f"any where {number} == 1", index=[f"{namespace}-*", "logs-*"]) for number in range(40)]
    await examined(Connection(hosts=(eql_proxy.url,)), rules, now=NOW)
    assert len(eql_proxy.requests_on("_field_caps")) == 1
    assert len(eql_proxy.requests_on("_resolve")) == 2
    assert len(eql_proxy.requests) < 30


async def test_who_we_are_may_stay_unknown(eql_proxy: Proxy) -> None:
    """As behind a gateway that keeps the security API to itself."""
    eql_proxy.fail_next(403, on="_security", times=EVERY, kind="security_exception")
    checks = await examined(Connection(hosts=(eql_proxy.url,)), [rule()], now=NOW)
    assert the(checks, "identity", "cluster").outcome == "warning"
    assert the(checks, "privilege", "all").outcome == "warning"
    assert the(checks, "eql", "cluster").outcome == "ok"
