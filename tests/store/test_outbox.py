"""What every outbox promises, in an SQLite file and in a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.errors import StoreError
from runner.notify.owed_item import item_maker
from runner.store.elasticsearch.alerts import ElasticsearchAlerts
from runner.store.elasticsearch.announced import AnnouncedAlerts
from runner.store.elasticsearch.elasticsearch_store import ElasticsearchStores
from runner.store.outbox import Incident, Outbox, OutboxItem, OutboxMessage, message_id
from runner.store.protocol import AlertStore
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.notify.owing import HOOK, an_alert, an_item
from tests.store.alerts import START, Made, alert_id, at

ITEM_OF = item_maker(HOOK, lambda: START)


class Place:
    """An outbox with the alerts it is of."""

    def __init__(self, alerts: AlertStore, outbox: Outbox) -> None:
        self.alerts, self.outbox = alerts, outbox

    async def taken_in(self, target: str = "soc") -> list[str]:
        while await self.outbox.take_in(target, ITEM_OF):
            pass
        return [item.id for item in await self.outbox.waiting(target, 1_000)]


@pytest.fixture
async def sqlite_place(tmp_path: Path) -> AsyncIterator[Place]:
    store = SqliteStore(tmp_path / "state.db")
    yield Place(store, store.outbox)
    await store.close()


@pytest.fixture
def cluster_place(store: ElasticsearchStores) -> Place:
    alerts = store.alerts
    assert isinstance(alerts, ElasticsearchAlerts)
    return Place(AnnouncedAlerts(alerts, alerts.outbox, lambda: {"soc": ITEM_OF}), alerts.outbox)


@pytest.fixture(params=["sqlite", pytest.param("elasticsearch", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue("sqlite_place" if request.param == "sqlite" else "cluster_place")
    return found


def message(*items: OutboxItem) -> OutboxMessage:
    return OutboxMessage(message_id("soc", items), "digest", items, START)


async def test_alerts_wait_from_their_creation_on(place: Place) -> None:
    await place.outbox.open("soc", START)
    alerts = [
        an_alert("low", severity="low"),
        an_alert("critical", severity="critical"),
        an_alert("other", severity="low"),
    ]
    await place.alerts.create(alerts)
    await place.alerts.create(alerts)
    found = await place.taken_in()
    assert found[0] == alert_id("critical")
    assert sorted(found) == sorted(alert.id for alert in alerts)
    assert (await place.outbox.backlog("soc")).items == 3
    assert (await place.outbox.backlog("soc")).oldest == START


async def test_building_blocks_wait_for_nobody(place: Place) -> None:
    await place.outbox.open("soc", START)
    made = Made()
    await place.alerts.create([made.alert("b1", "building_block"), made.alert("shell", "shell")])
    assert await place.taken_in() == [alert_id("shell")]


async def test_a_message_and_its_items_until_it_is_done(place: Place) -> None:
    record = await place.outbox.open("soc", START)
    await place.alerts.create([an_alert(name) for name in "abc"])
    await place.taken_in()
    items = {item.id: item for item in await place.outbox.waiting("soc", 10)}
    one, two = message(items[alert_id("a")], items[alert_id("b")]), message(items[alert_id("c")])
    record = replace(record, sent=(START, at(1)))
    await place.outbox.make("soc", [one, two], record)
    assert await place.outbox.waiting("soc", 10) == []
    assert list(await place.outbox.pending("soc")) == [one, two]
    backlog = await place.outbox.backlog("soc")
    assert (backlog.items, backlog.messages) == (3, 2)
    failed = replace(two, tries=3, not_before=at(5), error="answered 500")
    record = replace(record, messages=1, alerts=2, failures=1, last_error="answered 500", not_before=at(2))
    await place.outbox.note("soc", [one], [failed], record)
    assert list(await place.outbox.pending("soc")) == [failed]
    assert await place.outbox.open("soc", at(9)) == record
    await place.outbox.note("soc", [failed], [], record)
    assert (await place.outbox.backlog("soc")).items == 0
    assert await place.taken_in() == []
    assert await place.outbox.targets() == {"soc": record}


async def test_what_is_forgotten_begins_anew(place: Place) -> None:
    await place.outbox.open("soc", START)
    await place.alerts.create([an_alert("a")])
    await place.taken_in()
    await place.outbox.forget("soc")
    assert await place.outbox.targets() == {}
    assert (await place.outbox.open("soc", at(9))).since == at(9)
    assert await place.taken_in() == []


async def test_incidents_with_their_notices(place: Place) -> None:
    await place.outbox.open("soc", START)
    incident = Incident("events", 3, START, "no event since noon", 2.5)
    notice = OutboxItem("health:events:1:begun", START, 3)
    await place.outbox.set_incident("events", incident, {"soc": [notice]})
    await place.outbox.set_incident("events", incident, {"soc": [notice]})
    assert await place.outbox.incidents() == {"events": incident}
    assert await place.outbox.waiting("soc", 10) == [notice]
    await place.outbox.set_incident("events", None, {})
    assert await place.outbox.incidents() == {}


async def test_a_file_of_before_has_no_outbox_and_nothing_is_owed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.create([an_alert("a")])
    await store.close()
    reader = SqliteStore.open_existing(tmp_path / "state.db")
    assert await reader.outbox.targets() == {}
    assert await reader.outbox.incidents() == {}
    await reader.close()


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["before the alerts", "after the alerts"])
async def test_a_process_that_dies_while_it_creates_leaves_nothing_untold(
    store: ElasticsearchStores, cluster_place: Place, dies: str
) -> None:
    """What was announced and is not there yet waits for the next search; nothing is sent twice for it."""
    alerts = store.alerts
    assert isinstance(alerts, ElasticsearchAlerts)

    class Dying:
        async def create(self, made: Any) -> Any:
            if dies == "after the alerts":
                await alerts.create(made)
            raise StoreError("killed")

        def __getattr__(self, name: str) -> Any:
            return getattr(alerts, name)

    await cluster_place.outbox.open("soc", START)
    dying = AnnouncedAlerts(Dying(), alerts.outbox, lambda: {"soc": ITEM_OF})  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        await dying.create([an_alert("a")])
    assert await cluster_place.taken_in() == ([] if dies == "before the alerts" else [alert_id("a")])
    await cluster_place.alerts.create([an_alert("a")])
    assert await cluster_place.taken_in() == [alert_id("a")]


@pytest.mark.slow
async def test_a_message_that_was_done_when_its_items_were_not_removed_is_known(
    store: ElasticsearchStores, cluster_place: Place
) -> None:
    """A second runner that comes late with an alert that was sent meanwhile owes nothing again."""
    record = await cluster_place.outbox.open("soc", START)
    await cluster_place.alerts.create([an_alert("a")])
    (item,) = await cluster_place.outbox.waiting("soc", 10)
    sent = message(item)
    await cluster_place.outbox.make("soc", [sent], record)
    await cluster_place.outbox.note("soc", [sent], [], record)
    alerts = store.alerts
    assert isinstance(alerts, ElasticsearchAlerts)
    await alerts.outbox.add({"soc": [item]})
    assert await cluster_place.taken_in() == []


def test_ids_of_messages_are_those_of_target_and_items() -> None:
    items = [an_item("a"), an_item("b", START + timedelta(minutes=5))]
    assert message_id("soc", items) == message_id("soc", items[::-1]) != message_id("other", items)
    other: Mapping[str, Any] = items[0].as_json()
    assert other["added"] == 1_772_445_600_000_000_000
