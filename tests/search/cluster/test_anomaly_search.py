"""Rules of type machine_learning: the jobs they ask about, what is said of these, and the records they take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runner import eql
from runner.cluster.elasticsearch import Connection, Elastic, Retry, open_client
from runner.exceptions.item import ExceptionItem
from runner.rules.rule import Rule
from runner.search.cluster.anomaly_search import AnomalySearch
from runner.search.protocol import SearchRequest, SearchResult
from runner.windows import Window
from tests.compiled import compiled
from tests.elasticsearch.proxy import Proxy

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=45))
RECORDS = "/_search"


@pytest.fixture
async def client(plain_proxy: Proxy) -> AsyncIterator[Elastic]:
    client = open_client(Connection(hosts=(plain_proxy.url,)), retry=Retry(first_wait=0.0, longest_wait=0.0))
    yield client
    await client.close()


def rule(*jobs: str) -> Rule:
    named = {"rule_id": "r-1", "name": "Rare", "type": "machine_learning", "machine_learning_job_id": jobs}
    return Rule.model_validate(
        named | {"description": "d", "severity": "low", "risk_score": 1, "anomaly_threshold": 50}
    )


async def result(client: Elastic, of: Rule, *exceptions: ExceptionItem) -> SearchResult:
    asked = SearchRequest(replace(compiled(of), exceptions=exceptions), WINDOW, 101)
    (only,) = [one async for one in AnomalySearch(client).run([asked])]
    return only


def jobs(proxy: Proxy, *, state: str = "opened", feed: str = "started", there: bool = True) -> None:
    """Answer as a cluster with the job `rare`, whose buckets are of an hour."""
    config = {"job_id": "rare", "analysis_config": {"bucket_span": "1h"}, "datafeed_config": {"query_delay": "90s"}}
    proxy.answer_next(200, {"jobs": [{"job_id": "rare", "state": state}] * there}, on="rare/_stats")
    proxy.answer_next(200, {"jobs": [config] * there}, on="/_ml/anomaly_detectors/rare")
    feeds = [{"state": feed, "timing_stats": {"job_id": "rare"}}] * there
    proxy.answer_next(200, {"datafeeds": feeds}, on="/_ml/datafeeds")


def records(proxy: Proxy, *hits: dict[str, Any]) -> None:
    answer = {"_shards": {"total": 1, "failed": 0}, "hits": {"hits": list(hits)}}
    proxy.answer_next(200, answer, on=RECORDS)


async def test_the_search_reaches_back_by_two_buckets_and_the_delay(plain_proxy: Proxy, client: Elastic) -> None:
    jobs(plain_proxy)
    source = {"timestamp": 1772445600000, "record_score": 60, "by_field_name": "process.name", "by_field_value": "nc"}
    records(plain_proxy, {"_index": ".ml-anomalies-shared", "_id": "r1", "_source": source, "sort": [1]})
    found = await result(client, rule("rare"))
    assert (found.error, found.warnings) == (None, ())
    (sent,) = plain_proxy.requests_on(RECORDS)
    within = sent.json["query"]["bool"]["filter"][0]["range"]["timestamp"]
    assert (within["gte"], within["lte"]) == ("2026-03-02T07:58:30.000Z", "2026-03-02T10:45:00.000Z")
    assert found.matches[0].hits[0].source["@timestamp"] == "2026-03-02T10:00:00.000Z"
    assert found.matches[0].hits[0].source["process"] == {"name": ["nc"]}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"there": False}, "the job rare is not there"),
        ({"state": "closed"}, "the job rare is not started (its state is closed)"),
        ({"feed": "stopped"}, "the datafeed of the job rare is not started (stopped)"),
    ],
)
async def test_a_job_that_does_not_run_is_a_warning(
    plain_proxy: Proxy, client: Elastic, how: dict[str, Any], said: str
) -> None:
    jobs(plain_proxy, **how)
    records(plain_proxy)
    found = await result(client, rule("rare"))
    assert (found.error, len(found.warnings), said in found.warnings[0]) == (None, 1, True)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("current license is non-compliant for [ml]", "no licence for machine learning"),
        ("action [cluster:monitor/xpack/ml/job/get] is unauthorized for user [x]", "may not be read"),
    ],
)
async def test_what_hides_the_jobs_is_a_warning(plain_proxy: Proxy, client: Elastic, reason: str, said: str) -> None:
    plain_proxy.fail_next(403, on="/_ml/", kind="security_exception", reason=reason)
    records(plain_proxy)
    found = await result(client, rule("rare"))
    assert (found.error, len(found.warnings), said in found.warnings[0]) == (None, 1, True)


async def test_failed_shards_leave_the_window_owed(plain_proxy: Proxy, client: Elastic) -> None:
    jobs(plain_proxy)
    failed = {"_shards": {"total": 2, "failed": 1, "failures": [{"index": "i", "reason": {"reason": "lost"}}]}}
    plain_proxy.answer_next(200, {**failed, "hits": {"hits": []}}, on=RECORDS)
    found = await result(client, rule("rare"))
    assert ("lost" in str(found.error), found.retryable) == (True, True)


async def test_an_exception_that_records_cannot_be_asked_for_is_told(plain_proxy: Proxy, client: Elastic) -> None:
    jobs(plain_proxy)
    records(plain_proxy)
    condition = ExceptionItem("lab", "lab", all_rules=True, where=eql.parse('any where process.name == "nc"'))
    plain_proxy.answer_next(
        200,
        {"indices": ["i"], "fields": {"process.name": {"keyword": {"type": "keyword", "searchable": True}}}},
        on="_field_caps",
    )
    found = await result(client, rule("rare"), condition)
    assert found.error is None
    assert [text for text in found.warnings if "exception `lab` removes nothing" in text]
