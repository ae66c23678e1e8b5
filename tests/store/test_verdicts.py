"""Verdicts on alerts, in each of the stores."""

from __future__ import annotations

from typing import Any

from runner.store.changes import UpdateResult
from runner.store.protocol import Stores
from runner.store.verdicts import (
    Author,
    assign_decision,
    close_alerts,
    decide,
    status_decision,
    tag_decision,
)
from runner.triage.verdict import AlertVerdict, verdict_of
from runner.windows import iso
from tests.store.alerts import Made, alert_id, at, found
from tests.store.test_contract import store as store

ANN, BOB = Author("ann", at(60)), Author("bob", at(90))
NEW: dict[str, Any] = {
    "kibana.alert.workflow_status": "open",
    "kibana.alert.workflow_tags": [],
    "kibana.alert.workflow_assignee_ids": [],
}


async def one(store: Stores, name: str = "a") -> AlertVerdict:
    return verdict_of((await store.alerts.get(alert_id(name)))[0].document)


async def test_an_alert_is_closed_and_opened_again(store: Stores) -> None:
    await store.alerts.create([Made().alert("a", **NEW)])
    closed = status_decision("closed", ANN, reason="false_positive", note="backup")
    assert (await decide(store.alerts, await found(store.alerts), closed)).changed == {alert_id("a")}
    assert await one(store) == AlertVerdict("closed", "false_positive", "backup", "ann", iso(at(60)), (), ())
    again = await decide(store.alerts, await found(store.alerts), status_decision("closed", BOB))
    assert again.unchanged == {alert_id("a")}
    await decide(store.alerts, await found(store.alerts), status_decision("open", BOB))
    assert await one(store) == AlertVerdict("open", "", "backup", "bob", iso(at(90)), (), ())


async def test_a_reason_given_before_stays_until_there_is_another(store: Stores) -> None:
    await store.alerts.create([Made().alert("a", **NEW)])
    for status, reason, expected in (
        ("acknowledged", "true_positive", "true_positive"),
        ("closed", None, "true_positive"),
        ("closed", "duplicate", "duplicate"),
    ):
        decision = status_decision(status, ANN, reason=reason)  # type: ignore[arg-type]
        await decide(store.alerts, await found(store.alerts), decision)
        verdict = await one(store)
        assert (verdict.status, verdict.reason) == (status, expected)


async def test_blocks_that_were_left_behind_follow_a_shell_that_is_closed(store: Stores) -> None:
    group = Made().group("g")
    closed = {**NEW, "kibana.alert.workflow_status": "closed", "kibana.alert.workflow_user": "ann"}
    shell = Made().alert("g", "shell", **{"kibana.alert.group.id": alert_id("g"), **closed})
    await store.alerts.create([*group[:-1], shell])
    result = await decide(store.alerts, await found(store.alerts), status_decision("closed", BOB))
    assert result == UpdateResult(unchanged=frozenset({alert_id("g")}))
    assert await one(store, "g/1") == await one(store, "g")


async def test_alerts_are_given_to_people(store: Stores) -> None:
    await store.alerts.create([Made().alert("a", **NEW)])
    await decide(store.alerts, await found(store.alerts), assign_decision(["ann", "bob", "ann"]))
    assert (await one(store)).assignees == ("ann", "bob")
    await decide(store.alerts, await found(store.alerts), assign_decision([""]))
    assert (await one(store)).assignees == ()


async def test_tags_come_and_go_and_those_of_others_stay(store: Stores) -> None:
    await store.alerts.create([Made().alert("a"), Made().alert("b", **NEW)])
    seen = await found(store.alerts)
    await decide(store.alerts, seen, tag_decision(["x", "y"], ()))
    result = await decide(store.alerts, seen, tag_decision(["z"], {"x"}))  # which was read before
    assert result.changed == {alert_id("a"), alert_id("b")}
    assert not result.conflicts
    assert [(await one(store, name)).tags for name in "ab"] == [("y", "z")] * 2


async def test_a_list_of_ids_is_closed(store: Stores) -> None:
    await store.alerts.create([Made().alert("a", **NEW), Made().alert("b", **NEW), *Made().group("g")])
    ids = [alert_id(name) for name in ("a", "g", "missing")]
    result = await close_alerts(store.alerts, ids, ANN, reason="false-positive")
    assert result == UpdateResult(changed=frozenset(ids[:2]), missing=frozenset(ids[2:]))
    assert [(await one(store, name)).reason for name in ("a", "b", "g", "g/0")] == [
        "false_positive", "", "false_positive", "false_positive",
    ]  # fmt: skip
