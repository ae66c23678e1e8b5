"""Filters and orders of stored alerts, asked of each of the stores."""

from __future__ import annotations

from typing import Any

import pytest

from runner.store.protocol import AlertFilter, Stores
from runner.windows import iso
from tests.store.alerts import Made, alert_id, at, found, found_ids
from tests.store.test_contract import store as store


def document(**fields: Any) -> dict[str, Any]:
    return {f"kibana.alert.{name.replace('__', '.')}": value for name, value in fields.items()}


async def stored(store: Stores) -> Stores:
    """Alerts a to d, detected in this order, of events that were in another, and a sequence g."""
    opened = document(
        workflow_status="open", severity="low", rule__name="Shell over Network", rule__tags=["OS: Linux"],
        reason="process event with nc", original_time=iso(at(50)),
    )  # fmt: skip
    closed = document(
        workflow_status="closed", severity="high", rule__name="Backup", workflow_tags=["night"],
        original_time=iso(at(10)), workflow_reason="false_positive",
    )  # fmt: skip
    block_rule = document(workflow_status="open", building_block_type="default", original_time=iso(at(30)))
    alerts = [
        Made("r-1", 1).alert("a", user={"name": ["root", "ann"], "id": "0"}, **opened),
        Made("r-2", 2).alert("b", process={"args": ["tar", "--Nightly"], "pid": 417}, **closed),
        Made("r-3", 3).alert("c", user={"name": "ann"}, **block_rule),
        Made("r-1", 4).alert("d", **document(workflow_status="acknowledged")),
        *Made("r-4", 5).group("g"),
    ]
    await store.alerts.create(alerts)
    return store


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "gdcba"),
        ({"statuses": ("open",)}, "ca"),
        ({"statuses": ("closed", "acknowledged")}, "db"),
        ({"severities": ("low",)}, "a"),
        ({"severities": ("low", "high")}, "gdcba"),
        ({"user": "ann"}, "ca"),
        ({"user": "0"}, "a"),
        ({"user": "an"}, ""),
        ({"rule": "r-1"}, "da"),
        ({"rule": "shell over network"}, "a"),
        ({"rule": "Shell"}, ""),
        ({"tag": "OS: Linux"}, "a"),
        ({"tag": "night"}, "b"),
        ({"text": "NIGHTLY"}, "b"),
        ({"text": "with nc"}, "a"),
        ({"text": "417"}, "b"),
        ({"text": "over net"}, "a"),
        ({"text": "web-0"}, "gdcba"),
        ({"text": "false_positive"}, ""),
        ({"of_building_block_rules": False}, "gdba"),
        ({"of_building_block_rules": False, "user": "ann"}, "a"),
        ({"event_since": at(30)}, "ca"),
        ({"event_until": at(30)}, "cb"),
        ({"event_since": at(20), "event_until": at(40)}, "c"),
        ({"newest": "event", "limit": 3}, "acb"),
        ({"newest": "event", "limit": 1, "statuses": ("closed",)}, "b"),
        ({"text": "web", "limit": 2}, "gd"),
        ({"statuses": ("open",), "limit": 1}, "c"),
    ],
)  # fmt: skip
async def test_filters(store: Stores, wanted: dict[str, Any], expected: str) -> None:
    await stored(store)
    assert await found_ids(store.alerts, **wanted) == [alert_id(name) for name in expected]


async def test_events_of_sequences_stay_beside_a_filter_for_alerts_of_rules(store: Stores) -> None:
    await stored(store)
    shown = await found_ids(store.alerts, building_blocks=True, of_building_block_rules=False, rule="r-4")
    assert set(shown) == {alert_id("g"), alert_id("g/0"), alert_id("g/1")}


async def test_rare_alerts_among_many_are_found(store: Stores) -> None:
    await store.alerts.create([Made(minute=number).alert(number, note=f"n{number}") for number in range(1_300)])
    assert await found_ids(store.alerts, text="n7", limit=200) == [
        alert_id(number) for number in range(1_299, -1, -1) if f"n{number}".startswith("n7")
    ]
    assert [one.id for one in await found(store.alerts, text="n12", limit=1)] == [alert_id(1_299)]


def test_without_conditions_everything_is_admitted() -> None:
    assert AlertFilter().admits({})
