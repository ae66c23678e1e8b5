"""Alert suppression in runs: which alerts come of which matches, and that each match counts once, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.service.execution import LARGEST_SIZE, size_for
from runner.store.changes import AlertChange
from runner.store.memory import MemoryStore
from runner.store.protocol import AlertFilter
from runner.store.sqlite.retention import Retention
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.service.suppressing import (
    START,
    Event,
    Place,
    Runner,
    expected_counts,
    interleaved,
    suppressing,
    totals,
)

pytestmark = pytest.mark.slow

HOURLY = suppressing(suppression={"duration": {"value": 1, "unit": "h"}})
ENDS = tuple(range(5, 35, 5))


def memory() -> Place:
    store = MemoryStore()
    return Place(store, store)


async def test_matches_of_one_key_are_one_alert_that_counts_the_others() -> None:
    place = memory()
    events = [Event(1, 1), Event(2, 2, "b"), Event(3, 3), Event(4, 4), Event(5, 7, "b"), Event(6, 8, "c")]
    run = await place.run(HOURLY, events, 5)
    assert (run.matches, run.created, run.suppressed, run.duplicates) == (4, 2, 2, 0)
    run = await place.run(HOURLY, events, 10)
    assert (run.matches, run.created, run.suppressed, run.duplicates) == (5, 1, 1, 3)
    assert await place.counts() == {"e1": 2, "e2": 1, "e6": 0}


async def test_the_fields_of_a_suppressed_alert() -> None:
    place = memory()
    await place.run(HOURLY, [Event(1, 1), Event(2, 3)], 5)
    await place.run(HOURLY, [Event(3, 8)], 10)
    (stored,) = [one async for one in place.alerts.find(AlertFilter())]
    fields = {name: value for name, value in stored.document.items() if name.startswith("kibana.alert.suppression")}
    assert fields == {
        "kibana.alert.suppression.terms": [{"field": "host.name", "value": ["a"]}],
        "kibana.alert.suppression.start": "2026-03-02T10:01:00.000Z",
        "kibana.alert.suppression.end": "2026-03-02T10:08:00.000Z",
        "kibana.alert.suppression.docs_count": 2,
    }
    assert len(stored.document["kibana.alert.instance.id"]) == 40
    assert stored.document["kibana.alert.start"] == stored.document["@timestamp"] == "2026-03-02T10:05:00.000Z"
    assert stored.document["kibana.alert.last_detected"] == "2026-03-02T10:10:00.000Z"


async def test_without_a_duration_each_run_has_its_own_alerts() -> None:
    place, rule = memory(), suppressing()
    events = [Event(1, 1), Event(2, 2), Event(3, 6), Event(4, 7)]
    for end in (5, 10, 10):
        await place.run(rule, events, end)
    assert await place.counts() == {"e1": 1, "e3": 1}


async def test_what_lacks_a_field_is_a_group_or_stays_as_it_is() -> None:
    events = [Event(1, 1, None), Event(2, 2, None), Event(3, 3)]
    for strategy, counts in (("suppress", {"e1": 1, "e3": 0}), ("doNotSuppress", {"e1": None, "e2": None, "e3": 0})):
        place = memory()
        run = await place.run(suppressing(suppression={"missing_fields_strategy": strategy}), events, 5)
        assert (await place.counts(), run.created + run.suppressed) == (counts, 3)


async def test_the_cap_is_of_new_alerts_alone_and_splits_no_group() -> None:
    place, rule = memory(), suppressing(max_signals=2, suppression={"duration": {"value": 1, "unit": "h"}})
    events = [Event(number, number / 10, "abc"[number % 3]) for number in range(1, 31)]
    run = await place.run(rule, events, 5)
    assert (run.created, run.suppressed, run.capped, run.complete) == (2, 18, 10, False)
    assert "10 more new matches are left for the next run" in run.messages[0]
    run = await place.run(rule, events, 5)
    assert (run.created, run.suppressed, run.capped, run.duplicates, run.complete) == (1, 9, 0, 20, True)
    assert set((await place.counts()).values()) == {9}


async def test_known_and_suppressed_matches_cost_no_place() -> None:
    place, rule = memory(), suppressing(max_signals=1, suppression={"duration": {"value": 1, "unit": "h"}})
    await place.run(rule, [Event(1, 1)], 5)
    events = [Event(number, 2 + number / 1_000) for number in range(1, 3_001)]
    run = await place.run(rule, [*events, Event(9_999, 8, "late")], 10)
    assert (run.created, run.suppressed, run.complete) == (1, 2_999, True)
    assert await place.counts() == {"e1": 2_999, "e9999": 0}


async def test_closing_an_alert_ends_its_window() -> None:
    place, events = memory(), [Event(1, 1), Event(2, 6), Event(3, 11), Event(4, 12)]
    await place.run(HOURLY, events, 5)
    (stored,) = [one async for one in place.alerts.find(AlertFilter())]
    for status, counts in (("acknowledged", {"e1": 1}), ("closed", {"e1": 1, "e3": 1})):
        await place.alerts.update([AlertChange(stored.id, {"kibana.alert.workflow_status": status})])
        await place.run(HOURLY, events, 10 if status == "acknowledged" else 15)
        assert await place.counts() == counts


async def test_alerts_from_before_suppression_take_no_matches_in() -> None:
    place, events = memory(), [Event(1, 1), Event(2, 2), Event(3, 6)]
    await place.run(HOURLY.model_copy(update={"alert_suppression": None}), events, 5)
    await place.run(HOURLY, events, 10)
    assert await place.counts() == {"e1": None, "e2": None, "e3": 0}


async def test_a_replay_after_the_group_was_forgotten_finds_its_alert_again() -> None:
    store = MemoryStore()
    place, events = Place(store, store), [Event(1, 1), Event(2, 2), Event(3, 3)]
    await place.run(HOURLY, events, 5)
    store.groups = type(store.groups)()
    run = await place.run(HOURLY, events, 5)
    assert (run.created, await place.counts()) == (0, {"e1": 2})


async def test_matches_on_own_alerts_are_not_counted() -> None:
    place = memory()
    await place.run(HOURLY, [Event(1, 1)], 5)
    (stored,) = [one async for one in place.alerts.find(AlertFilter())]
    own = tuple((name, value) for name, value in stored.document.items() if name.startswith("kibana."))
    run = await place.run(HOURLY, [Event(2, 2), Event(3, 3, more=own)], 5)
    assert (run.created, run.suppressed) == (0, 1)


async def test_an_alert_that_the_store_rejects_takes_no_matches_with_it() -> None:
    place = memory()
    bad = Event(1, 1, more=(("x", {1, 2}),))
    run = await place.run(suppressing(max_signals=1), [bad, Event(2, 2), Event(3, 3)], 5)
    assert (run.created, run.suppressed, run.status, await place.counts()) == (1, 1, "warning", {"e2": 1})
    assert "1 alert was rejected" in run.messages[0]


EVENTS = st.lists(st.tuples(st.integers(0, 280), st.sampled_from(["a", "b", None])), min_size=1, max_size=14).map(
    lambda found: [Event(number, tenths / 10, host) for number, (tenths, host) in enumerate(found)]
)
LASTS = st.sampled_from([None, 4, 5, 10, 12, 60])
KILLS = st.lists(st.integers(1, 60), max_size=5, unique=True).map(frozenset)


def of_duration(lasts: int | None, **more: Any) -> Any:
    duration = {} if lasts is None else {"duration": {"value": lasts, "unit": "m"}}
    return suppressing(suppression=duration, **more)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(EVENTS, LASTS, KILLS, KILLS, st.lists(st.integers(0, 1), max_size=200))
def test_every_match_counts_once_whatever_stops_or_doubles_the_runs(
    events: list[Event], lasts: int | None, kills: frozenset[int], others: frozenset[int], turns: list[int]
) -> None:
    """Two runners make the same runs at once, each killed between any two calls of the store."""

    async def check() -> None:
        place, rule = memory(), of_duration(lasts)
        runners = [Runner(place, rule, events, ENDS, kill_at=kill) for kill in (kills, others)]
        await interleaved(runners, turns)
        assert await place.counts() == expected_counts(events, ENDS, lasts)

    asyncio.run(check())


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS, LASTS, KILLS, KILLS, st.lists(st.integers(0, 1), max_size=100))
def test_so_it_is_in_a_file(
    events: list[Event], lasts: int | None, kills: frozenset[int], others: frozenset[int], turns: list[int]
) -> None:
    async def check(folder: str) -> None:
        rule = of_duration(lasts)
        stores = [SqliteStore(Path(folder) / "state.db") for _ in range(2)]
        places = [Place(store, store) for store in stores]
        work = [
            Runner(place, rule, events, ENDS, kill_at=kill) for place, kill in zip(places, (kills, others), strict=True)
        ]
        await interleaved(work, turns)
        assert await places[0].counts() == expected_counts(events, ENDS, lasts)
        for store in stores:
            await store.close()

    with TemporaryDirectory() as folder:
        asyncio.run(check(folder))


@settings(deadline=None, max_examples=100)
@given(EVENTS, KILLS, st.integers(1, 2), st.permutations(ENDS), st.lists(st.integers(0, 1), max_size=200))
def test_the_cap_the_order_of_runs_and_repeats_change_no_count(
    events: list[Event], kills: frozenset[int], cap: int, ends: Sequence[float], turns: list[int]
) -> None:
    """While one window of suppression covers all runs there is one alert a key, and all of its matches count there."""

    async def check() -> None:
        place = memory()
        rule = suppressing(max_signals=cap, suppression={"duration": {"value": 1, "unit": "h"}})
        orders = ([*ends, *ends[:2]], [*reversed(ends)])
        await interleaved([Runner(place, rule, events, order, kill_at=kills) for order in orders], turns)
        found = {one.number for one in events if any(end - 9 < one.minute <= end for end in ENDS)}
        hosts: dict[str | None, int] = {}
        for one in events:
            if one.number in found:
                hosts[one.host] = hosts.get(one.host, -1) + 1
        assert sorted(map(str, (await place.counts()).values())) == sorted(map(str, hosts.values()))

    asyncio.run(check())


async def test_a_deleted_alert_takes_no_more(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db", retention=Retention(alerts=timedelta(minutes=1)))
    place, events = Place(store, store), [Event(1, 2), Event(2, 6), Event(3, 7)]
    await place.run(HOURLY, events, 5)
    await store.prune(START + timedelta(minutes=7))
    run = await place.run(HOURLY, events, 10)
    assert (run.created, run.suppressed, run.duplicates, await place.counts()) == (1, 1, 1, {"e2": 1})
    await store.close()


async def test_a_run_says_what_it_did_with_every_match() -> None:
    place = memory()
    events = [Event(number, number % 27, "abcd"[number % 4]) for number in range(80)]
    for end in ENDS:
        run = await place.run(HOURLY, events, end)
        assert run.matches == run.created + run.duplicates + run.suppressed + run.capped
    assert totals(place.runs) == {"created": 4, "suppressed": 76, "capped": 0}
    assert place.runs[0].started > START


@pytest.mark.parametrize("lasts", [None, 60])
async def test_a_rule_that_groups_searches_for_everything_at_once(lasts: int | None) -> None:
    assert size_for(of_duration(lasts)) == LARGEST_SIZE
    assert size_for(of_duration(lasts).model_copy(update={"alert_suppression": None})) == 101
