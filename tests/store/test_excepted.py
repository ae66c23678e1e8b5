"""The events that exceptions left out, asked of each of the stores: kept once, for a time, and no alerts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.store.elasticsearch.elasticsearch_store import ElasticsearchStores
from runner.store.excepted_store import KEPT_OF_RULE, KeptEvent
from runner.store.protocol import AlertFilter, Stores
from runner.store.sqlite.retention import Retention
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import iso
from tests.store.alerts import Made, alert_id, at, found
from tests.store.test_contract import store as store

NOW = at(60)
EVERY = AlertFilter()


def event(
    name: str, minute: float = 0, *, rule: str = "rule-1", until: datetime = NOW + timedelta(days=7), **fields: Any
) -> KeptEvent:
    document = {**Made(rule).alert(name).document, "kibana.alert.original_time": iso(at(minute))}
    return KeptEvent(alert_id(name), rule, document | fields, until)


async def kept(store: Stores, wanted: AlertFilter = EVERY, now: datetime = NOW) -> list[str]:
    names = {alert_id(name): name for name in "abcdefgh"}
    return [names.get(one.id, one.id) for one in await store.alerts.excepted.find(wanted, now)]


async def test_the_newest_events_go_first_and_come_back_equal(store: Stores) -> None:
    assert await kept(store) == []
    odd = event("b", 7, message="東京 \ud83e \x00", n=2**70, deep={"a": [{"b": [[]]}]})
    made = [event("a", 3), odd, event("c", 5)]
    made[2] = replace(made[2], document={**made[2].document, "kibana.alert.original_time": "no time"})
    await store.alerts.excepted.keep(made, NOW)
    back = await store.alerts.excepted.find(EVERY, NOW)
    assert [one.id for one in back] == [alert_id(name) for name in "bac"]
    assert (back[0], back[1].until) == (odd, made[0].until)
    assert await kept(store, AlertFilter(limit=2)) == ["b", "a"]


async def test_an_event_is_kept_once(store: Stores) -> None:
    await store.alerts.excepted.keep([event("a", message="first"), event("a", message="second")], NOW)
    await store.alerts.excepted.keep([event("a", message="third"), event("b", 1)], NOW)
    back = await store.alerts.excepted.find(EVERY, NOW)
    assert [(one.id, one.document.get("message")) for one in back] == [(alert_id("b"), None), (alert_id("a"), "first")]


async def test_the_filters_of_alerts(store: Stores) -> None:
    made = [
        event("a", 1, rule="one", host={"name": "db"}),
        event("b", 2, rule="two", user={"name": "ann"}),
        event("c", 3, rule="two", process={"name": "nc"}),
    ]
    made[2] = replace(made[2], document={**made[2].document, "@timestamp": iso(at(30)), "kibana.alert.severity": "low"})
    await store.alerts.excepted.keep(made, NOW)
    for wanted, names in (
        (AlertFilter(rule="two"), "cb"),
        (AlertFilter(host="db"), "a"),
        (AlertFilter(user="ann"), "b"),
        (AlertFilter(since=at(30)), "c"),
        (AlertFilter(until=at(29)), "ba"),
        (AlertFilter(text="NC"), "c"),
        (AlertFilter(severities=("high",)), "ba"),
        (AlertFilter(rule="two", limit=1), "c"),
    ):
        assert await kept(store, wanted) == list(names), wanted


async def test_they_are_no_alerts(store: Stores) -> None:
    await store.alerts.excepted.keep([event("a")], NOW)
    assert await found(store.alerts) == []
    assert await store.alerts.existing_ids([alert_id("a")]) == frozenset()
    assert await store.ledger.read() == {}
    assert await store.ledgers.sources() == ()
    if isinstance(store, ElasticsearchStores):
        assert await store.board.read() == {}


async def test_what_is_over_is_not_shown_and_removed(store: Stores) -> None:
    await store.alerts.excepted.keep([event("a", until=at(70)), event("b", until=at(80))], NOW)
    assert await kept(store, now=at(70)) == ["b", "a"] or await kept(store, now=at(70)) == ["a", "b"]
    assert await kept(store, now=at(71)) == ["b"]
    await store.alerts.excepted.keep([event("c", until=at(500))], at(130))  # an hour after the first
    assert await kept(store, now=NOW) == ["c"]


async def test_of_a_rule_only_the_last_ones_stay(store: Stores) -> None:
    many = [event(f"n{number}", number / 100) for number in range(KEPT_OF_RULE + 5)]
    await store.alerts.excepted.keep([event("a", rule="rule-2")], NOW - timedelta(hours=2))
    await store.alerts.excepted.keep(many[:10], NOW)
    await store.alerts.excepted.keep(many[10:], NOW + timedelta(hours=1))  # an hour after what was too much was removed
    left = {one.id for one in await store.alerts.excepted.find(EVERY, NOW)}
    assert len(left) == KEPT_OF_RULE + 1 and alert_id("a") in left
    if not isinstance(store, ElasticsearchStores):  # there those that end first are removed, here all end alike
        assert left.isdisjoint(one.id for one in many[:5])


async def test_a_file_is_pruned_by_itself_and_read_without_the_table(tmp_path: Path) -> None:
    path = tmp_path / "alerts.db"
    writer = SqliteStore(path)
    reader = SqliteStore.open_existing(path)
    assert await reader.excepted.find(EVERY, NOW) == []
    await writer.excepted.keep([event("a", until=at(70)), event("b", until=at(500))], NOW)
    assert len(await reader.excepted.find(EVERY, NOW)) == 2
    removed = await SqliteStore(path, retention=Retention()).prune(at(71))
    assert (removed.alerts, removed.runs, removed.excepted) == (0, 0, 1)
    assert [one.id for one in await reader.excepted.find(EVERY, NOW)] == [alert_id("b")]
    await reader.close()
    await writer.close()


@pytest.mark.slow
async def test_leases_are_seen_among_many_of_them(request: pytest.FixtureRequest) -> None:
    """Notes of leases stand in the same index; of these no more than 10,000 documents are read."""
    from runner.cluster.connection import Connection
    from runner.cluster.elasticsearch import open_client
    from runner.store.leases import Change, Note
    from tests.store.conftest import store_in

    client = open_client(Connection(hosts=(request.getfixturevalue("elasticsearch_url"),)))
    stores = store_in(client, request.getfixturevalue("namespace"))
    for rule in range(6):
        await stores.alerts.excepted.keep([event(f"{rule}.{n}", rule=f"r{rule}") for n in range(1_900)], NOW)
    await stores.board.post([Change("runner", Note("me", (), 1))])
    assert (await stores.board.read()).keys() == {"runner"}
    await client.close()
