"""The groups of alert suppression, and alerts by their ids, asked of each of the stores."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from runner.alerts.groups import Group, KeyGroups
from runner.store.elasticsearch.elasticsearch_store import ElasticsearchStores
from runner.store.protocol import Stores
from tests.service.suppressing import Event, Place, Runner, expected_counts, interleaved, suppressing
from tests.store.alerts import START, Made, alert_id
from tests.store.test_contract import store as store

MADE = Made()
KEPT = START + timedelta(days=8)


def group(name: str, *counted: int, is_written: bool = False) -> Group:
    digests = frozenset(number.to_bytes(12) for number in counted)
    return Group(alert_id(name), START + timedelta(microseconds=7), -5, 2**62, digests, START, is_written)


def record(key: str, *groups: Group) -> KeyGroups:
    return KeyGroups(key, "rule-1", groups, KEPT)


async def test_groups_are_read_back_equal(store: Stores) -> None:
    groups = store.alerts.groups
    assert await groups.read(["a", "b"]) == {}
    made = [record("a", group("x", 1, 2), group("y", 3, is_written=True)), record("b", group("z", 4))]
    written = await groups.replace(made, START)
    assert written.keys() == {"a", "b"} and None not in written.values()
    assert await groups.read(["a", "b", "c"]) == {"a": made[0], "b": made[1]}
    assert {key: one.version for key, one in (await groups.read(["a", "b"])).items()} == {
        key: one.version for key, one in written.items() if one is not None
    }


async def test_only_what_was_read_is_replaced(store: Stores) -> None:
    groups = store.alerts.groups
    (first,) = (await groups.replace([record("a", group("x", 1))], START)).values()
    assert first is not None
    assert await groups.replace([record("a", group("y", 2))], START) == {"a": None}
    second = replace(first, groups=(group("x", 1, 2),))
    outcome = await groups.replace([second, record("b", group("z", 3))], START)
    assert outcome == {"a": second, "b": record("b", group("z", 3))}
    assert await groups.replace([replace(first, groups=())], START) == {"a": None}
    assert (await groups.read(["a"]))["a"].groups[0].count == 1


async def test_of_writers_at_once_each_counts_or_knows_that_it_did_not(store: Stores) -> None:
    groups = store.alerts.groups
    await groups.replace([record("a", group("x", 0))], START)

    async def add(number: int) -> None:
        while True:
            one = (await groups.read(["a"]))["a"]
            more = group("x", number)
            joined = replace(one.groups[0], counted=one.groups[0].counted | more.counted)
            if (await groups.replace([replace(one, groups=(joined,))], START))["a"] is not None:
                return

    await asyncio.gather(*(add(number) for number in range(1, 7)))
    assert (await groups.read(["a"]))["a"].groups[0].count == 6


async def test_what_may_be_forgotten_goes(store: Stores) -> None:
    groups = store.alerts.groups
    await groups.replace([record("a", group("x", 1))], START)
    if isinstance(store, ElasticsearchStores):
        await store.ledger.read()  # makes what was written visible to searches
    await groups.replace(
        [replace(record("b", group("y", 2)), until=KEPT + timedelta(days=2))], KEPT + timedelta(days=1)
    )
    assert (await groups.read(["a", "b"])).keys() == {"b"}


async def test_alerts_are_read_by_their_ids(store: Stores) -> None:
    await store.alerts.create([MADE.alert(number) for number in range(1_100)])
    ids = [alert_id(number) for number in range(1_099)]
    found = await store.alerts.by_ids([*ids, ids[0], alert_id("other"), ids[1][:12]])
    assert found.keys() == set(ids)
    assert all(one.id == id_ and one.document["kibana.alert.uuid"] == id_ for id_, one in found.items())
    assert await store.alerts.by_ids([]) == {}


async def test_runs_that_are_killed_and_doubled_count_every_match_once(store: Stores) -> None:
    rule = suppressing(suppression={"duration": {"value": 12, "unit": "m"}})
    events = [Event(number, number * 1.3, "abc"[number % 3]) for number in range(18)]
    ends = (5, 10, 15, 20, 25)
    place = Place(store.alerts, store.ledger)
    kills = (frozenset({3, 11, 12, 30, 41}), frozenset({5, 8, 21, 35, 52}))
    turns = [number * number // 3 % 2 for number in range(120)]
    await interleaved([Runner(place, rule, events, ends, kill_at=kill) for kill in kills], turns)
    assert await place.counts() == expected_counts(events, ends, 12)
