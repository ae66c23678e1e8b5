"""The overview of stored alerts: the same counts and pages from every store, whatever the filter."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from runner.store.changes import AlertChange
from runner.store.elasticsearch.alerts import ElasticsearchAlerts
from runner.store.overview import COUNTED, MOST_BINS, OverviewRequest, overview_of, time_bins
from runner.store.protocol import AlertFilter, Stores
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.store.alerts import Made, alert_id, at, found
from tests.store.test_contract import store as store
from tests.store.test_filters import document, stored


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"statuses": ("open", "acknowledged")},
        {"severities": ("low",)},
        {"user": "ann"},
        {"host": "h1"},
        {"rule": "r-1"},
        {"rule": "SHELL over network"},
        {"tag": "night"},
        {"text": "NIGHTLY"},
        {"since": at(2), "until": at(4)},
        {"event_since": at(20)},
        {"building_blocks": True, "of_building_block_rules": False},
        {"of_building_block_rules": False},
        {"rule_id": "r-2"},
        {"host": "nobody"},
    ],
)
async def test_an_overview_is_what_the_alerts_themselves_say(store: Stores, wanted: dict[str, Any]) -> None:
    await stored(store)
    request = OverviewRequest(AlertFilter(**wanted), size=3)
    expected = overview_of(await found(store.alerts, **wanted), request)
    given = await store.alerts.overview(request)
    assert given.total == expected.total
    in_cluster = isinstance(store.alerts, ElasticsearchAlerts)  # counts an alert of several users for each of them
    same = [name for name in COUNTED if not (in_cluster and name == "user")]
    assert {name: given.counts[name] for name in same} == {name: expected.counts[name] for name in same}
    assert sum(one.alerts for one in given.bins) == sum(one.alerts for one in expected.bins)
    assert [one.id for one in given.alerts if "original_time" in str(one.document)] == [
        one.id for one in expected.alerts if "original_time" in str(one.document)
    ]


async def test_pages_follow_one_another(store: Stores) -> None:
    times = [document(original_time=f"2026-03-02T10:00:{number:02}.000Z") for number in range(7)]
    await store.alerts.create([Made().alert(number, **fields) for number, fields in enumerate(times)])
    pages = [
        [one.id for one in (await store.alerts.overview(OverviewRequest(AlertFilter(), start, 3))).alerts]
        for start in (0, 3, 6, 9)
    ]
    expected = [alert_id(number) for number in range(6, -1, -1)]
    assert pages == [expected[:3], expected[3:6], expected[6:], []]


async def test_changes_and_new_alerts_are_counted_at_once(store: Stores) -> None:
    await store.alerts.create([Made().alert("a", **document(workflow_status="open"))])
    assert _statuses(await store.alerts.overview(OverviewRequest(AlertFilter()))) == {"open": 1}
    await store.alerts.update([AlertChange(alert_id("a"), {"kibana.alert.workflow_status": "closed"})])
    await store.alerts.create([Made().alert("b", **document(workflow_status="open"))])
    assert _statuses(await store.alerts.overview(OverviewRequest(AlertFilter()))) == {"open": 1, "closed": 1}
    assert set((await store.alerts.overview(OverviewRequest(AlertFilter()))).counts) == set(COUNTED)


def _statuses(overview: Any) -> dict[str, int]:
    return {one.value: one.alerts for one in overview.counts["status"]}


async def test_what_another_program_writes_to_the_file_is_seen(tmp_path: Path) -> None:
    """Also a program that knows nothing of the columns, as one of a version before."""
    store = SqliteStore(tmp_path / "a.db")
    await store.create([Made().alert("a"), Made().alert("b")])
    assert (await store.overview(OverviewRequest(AlertFilter()))).total == 2
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute(
        "UPDATE alerts SET document = CAST(replace(CAST(document AS TEXT), 'high', 'low') AS BLOB) WHERE seq = 1"
    )
    other.execute("DELETE FROM alerts WHERE seq = 2")
    other.close()
    seen = await store.overview(OverviewRequest(AlertFilter()))
    assert (seen.total, [one.value for one in seen.counts["severity"]]) == (1, ["low"])
    await store.close()


async def test_a_file_that_is_only_read_has_the_same_overview(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    await store.create([Made().alert("a"), Made("r-2").alert("b")])
    reading = SqliteStore.open_existing(tmp_path / "a.db")
    before = await reading.overview(OverviewRequest(AlertFilter()))
    assert await store.overview(OverviewRequest(AlertFilter())) == before
    assert await reading.overview(OverviewRequest(AlertFilter())) == before
    await reading.close()
    await store.close()


def test_bars_are_few_whatever_the_span() -> None:
    for exponent in range(0, 63):
        assert len(time_bins([(0, "low"), (2**exponent, "high")])) <= 2
        every = [(number * 2**exponent // 500, "low") for number in range(500)]
        assert len(time_bins(every)) <= MOST_BINS
    assert time_bins([]) == ()
