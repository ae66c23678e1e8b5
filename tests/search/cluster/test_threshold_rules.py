"""Threshold rules in a cluster: what is asked, and that it finds what the same events in files come to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from runner.alerts.bursts import counted_events
from runner.cluster.elasticsearch import Connection, Retry, open_client
from runner.search.cluster import threshold_pass
from runner.search.cluster.cluster_search import ClusterSearch
from runner.search.files.file_search import FileSearch
from runner.search.protocol import Search, SearchResult
from tests.compiled import compiled
from tests.elasticsearch.proxy import Proxy
from tests.search.lab import MAPPINGS, fill, process, request, results, rule, save_hits


def counting(field: Any, value: int, index: str, cardinality: tuple[str, int] | None = None, **more: Any) -> Any:
    threshold: dict[str, Any] = {"field": field, "value": value}
    if cardinality is not None:
        threshold["cardinality"] = [{"field": cardinality[0], "value": cardinality[1]}]
    return rule(
        "*", type="threshold", language="kuery", index=(index,), threshold=threshold, **{"from": "now-9m"} | more
    )


async def searched(search: Search, of: Any) -> SearchResult:
    await search.prepare([compiled(of)])
    (found,) = await results(search, request(of))
    return found


async def in_cluster(url: str, of: Any) -> SearchResult:
    client = open_client(Connection(hosts=(url,)), retry=Retry(first_wait=0.0, longest_wait=0.0))
    try:
        return await searched(ClusterSearch(client), of)
    finally:
        await client.close()


def counted(found: SearchResult) -> dict[tuple[Any, ...], list[tuple[int, bytes, frozenset[Any]]]]:
    """By key the events of a result."""
    assert (found.error, found.buckets is not None) == (None, True)
    assert found.buckets is not None
    buckets, unreadable = counted_events(found.buckets)
    assert not unreadable
    return {terms: [(event.time, event.digest, event.values) for event in events] for terms, events in buckets}


async def both(proxy: Proxy, index: str, folder: Path, of: Any) -> dict[tuple[Any, ...], list[Any]]:
    """The buckets of a rule in the cluster, which are those of the same documents in a file."""
    save_hits(proxy.url, index, folder / "hits.ndjson")
    here = counted(await in_cluster(proxy.url, of))
    files = FileSearch([folder / "hits.ndjson"])
    try:
        assert here == counted(await searched(files, of))
    finally:
        await files.close()
    return here


@pytest.mark.parametrize(
    ("field", "values", "keys"),
    [
        ("user.name", ["a", ["b", "a"], "B"], {("a",): 2, ("b",): 1, ("B",): 1}),
        ("process.pid", [7, "7", [8, 7]], {(7,): 3, (8,): 1}),
        ("source.ip", ["::1", "0:0::1", "10.0.0.1"], {("::1",): 2, ("10.0.0.1",): 1}),
        ("event.created", ["2026-03-02T10:00:00.5Z", 1772445600500], {(1772445600500,): 2}),
    ],
)
async def test_keys_of_every_type(
    plain_proxy: Proxy, namespace: str, tmp_path: Path, field: str, values: list[Any], keys: dict[Any, int]
) -> None:
    index = f"{namespace}-logs"
    fill(plain_proxy.url, index, [process(place, "x", **{field: one}) for place, one in enumerate(values)])
    found = await both(plain_proxy, index, tmp_path, counting([field], 1, index))
    assert {key: len(events) for key, events in found.items()} == keys
    assert all(type(key[0]) is type(wanted[0]) for key, wanted in zip(sorted(found), sorted(keys), strict=True))


async def test_combinations_and_events_without_a_value(plain_proxy: Proxy, namespace: str, tmp_path: Path) -> None:
    index = f"{namespace}-logs"
    documents = [
        process(1, "x", **{"user.name": ["a", "b"], "process.pid": [1, 2]}),
        process(2, "x", **{"user.name": "a", "process.pid": 2}),
        process(3, "x", **{"user.name": "a"}),
    ]
    fill(plain_proxy.url, index, documents)
    found = await both(plain_proxy, index, tmp_path, counting(["user.name", "process.pid"], 1, index))
    assert {key: len(events) for key, events in found.items()} == {("a", 1): 1, ("a", 2): 2, ("b", 1): 1, ("b", 2): 1}
    found = await both(plain_proxy, index, tmp_path, counting(["user.name", "process.pid"], 2, index))
    assert list(found) == [("a", 2)]


async def test_values_of_the_cardinality_field(plain_proxy: Proxy, namespace: str, tmp_path: Path) -> None:
    index = f"{namespace}-logs"
    documents = [
        process(1, "x", **{"user.name": "a", "source.ip": ["10.0.0.1", "10.0.0.2"]}),
        process(2, "x", **{"user.name": "a"}),
        process(3, "x", **{"user.name": "b", "source.ip": "10.0.0.1"}),
        process(4, "x", **{"user.name": "b", "source.ip": "10.0.0.1"}),
    ]
    fill(plain_proxy.url, index, documents)
    of = counting(["user.name"], 2, index, ("source.ip", 2))
    found = await both(plain_proxy, index, tmp_path, of)
    assert [(key, [values for _, _, values in events]) for key, events in found.items()] == [
        (("a",), [frozenset({"10.0.0.1", "10.0.0.2"}), frozenset()])
    ]
    nothing = counting(["user.name"], 2, index, ("no.such", 1))
    assert await both(plain_proxy, index, tmp_path, nothing) == {}


async def test_without_fields_every_event_counts_beyond_ten_thousand(
    plain_proxy: Proxy, namespace: str, tmp_path: Path
) -> None:
    index = f"{namespace}-logs"
    fill(plain_proxy.url, index, (process(place / 40, "x") for place in range(12_000)))
    found = await both(plain_proxy, index, tmp_path, counting([], 11_000, index))
    assert [(key, len(events)) for key, events in found.items()] == [((), 12_000)]
    assert await both(plain_proxy, index, tmp_path, counting([], 12_001, index)) == {}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pages of three keys, and two keys of whose events one search reads."""
    monkeypatch.setattr(threshold_pass, "KEYS_A_PAGE", 3)
    monkeypatch.setattr(threshold_pass, "_NARROWED", 2)
    yield


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("field", [["user.name"], ["user.name", "host.id"]])
@pytest.mark.parametrize("most", [100, 4])
async def test_pages_of_keys(
    plain_proxy: Proxy,
    namespace: str,
    tmp_path: Path,
    field: list[str],
    most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threshold_pass, "_MOST_NARROWED", most)
    index = f"{namespace}-logs"
    names = [f"u{place:02}" for place in range(20)]
    documents = [process(place, "x", **{"user.name": names[place % 20 : place % 20 + 2]}) for place in range(30)]
    fill(plain_proxy.url, index, documents)
    found = await both(plain_proxy, index, tmp_path, counting(field, 3, index))
    assert len(found) == 10
    asked = [sent.json for sent in plain_proxy.requests_on("/_search", "POST") if "aggs" in sent.json]
    assert len(asked) > 6


async def test_the_searches_are_those_of_kibana(plain_proxy: Proxy, namespace: str) -> None:
    index = f"{namespace}-logs"
    fill(plain_proxy.url, index, [process(1, "x", **{"user.name": "a"})])
    await in_cluster(plain_proxy.url, counting(["user.name", "host.id"], 1, index, ("process.name", 1)))
    sent = [one.json for one in plain_proxy.requests_on("/_search", "POST")]
    keys = sent[0]["aggs"]["keys"]
    assert keys["composite"] == {
        "size": 10_000,
        "sources": [{"k0": {"terms": {"field": "user.name"}}}, {"k1": {"terms": {"field": "host.id"}}}],
    }
    assert keys["aggs"]["values"]["cardinality"] == {"field": "process.name", "precision_threshold": 40_000}
    assert sent[0]["size"] == 0
    assert all(one.get("_source") is False for one in sent[1:] if "aggs" not in one), "no document is read"
    await in_cluster(plain_proxy.url, counting([], 1, index))
    assert any(one.json.get("track_total_hits") is True for one in plain_proxy.requests_on("/_search", "POST"))


async def test_a_field_that_cannot_be_grouped_by_is_an_error_with_its_name(plain_proxy: Proxy, namespace: str) -> None:
    index = f"{namespace}-logs"
    fill(plain_proxy.url, index, [process(1, "x", message="m")])
    found = await in_cluster(plain_proxy.url, counting(["message"], 1, index))
    assert "field `message` is of type [text], which events cannot be grouped by" in str(found.error)
    assert found.buckets is None


async def test_too_many_events_are_an_error_with_its_cure(
    plain_proxy: Proxy, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threshold_pass, "MOST_EVENTS", 3)
    index = f"{namespace}-logs"
    fill(plain_proxy.url, index, [process(place, "x") for place in range(4)])
    found = await in_cluster(plain_proxy.url, counting(["host.id"], 2, index))
    assert "4 events of 1 keys meet the threshold in one window, expected at most 3" in str(found.error)


async def test_no_index_is_told(plain_proxy: Proxy, namespace: str) -> None:
    found = await in_cluster(plain_proxy.url, counting(["host.id"], 1, f"{namespace}-nothing-*"))
    assert (found.error, found.blind) == (None, True)
    with Elasticsearch(plain_proxy.url) as client:
        client.indices.create(index=f"{namespace}-nothing-1", mappings=MAPPINGS)
    found = await in_cluster(plain_proxy.url, counting(["host.id"], 1, f"{namespace}-nothing-*"))
    assert (found.error, counted(found)) == (None, {})
