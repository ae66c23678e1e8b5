"""Changes of stored alerts, asked of each of the stores."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.alerts.event_fields import value_at
from runner.json_text import read_document, write_json
from runner.store.changes import AlertChange, UpdateResult, partial_document, set_fields
from runner.store.protocol import Stores
from tests.store.alerts import Made, alert_id, found
from tests.store.test_contract import store as store

STATUS, TAGS, COUNT = (
    "kibana.alert.workflow_status",
    "kibana.alert.workflow_tags",
    "kibana.alert.suppression.docs_count",
)
MADE = Made()
CLOSED: dict[str, Any] = {STATUS: "closed", "kibana.alert.workflow_reason": "false_positive"}


def change(name: str, fields: dict[str, Any], **more: Any) -> AlertChange:
    return AlertChange(alert_id(name), fields, **more)


def counted(number: int) -> dict[str, Any]:
    return {COUNT: number}


async def value_of(store: Stores, name: str, field: str = STATUS) -> Any:
    return value_at((await store.alerts.get(alert_id(name)))[0].document, field)


def ids(*names: str) -> frozenset[str]:
    return frozenset(map(alert_id, names))


async def test_nothing_but_the_named_fields_changes(store: Stores) -> None:
    odd: list[Any] = [1, 1.5, -(2**63), 2**64 - 1, None, True, {"x": []}, 'é "q" \\ \n']
    opened: dict[str, Any] = {STATUS: "open", TAGS: []}
    alerts = [MADE.alert(name, n=odd, **opened) for name in "ab"]
    await store.alerts.create(alerts)
    result = await store.alerts.update([change("a", CLOSED | {TAGS: ["x", "y"]})])
    assert result == UpdateResult(changed=ids("a"))
    stored = {one.id: one.document for one in await found(store.alerts)}
    assert stored[alert_id("a")] == {**alerts[0].document, **CLOSED, TAGS: ["x", "y"]}
    assert stored[alert_id("b")] == alerts[1].document


async def test_a_repeat_changes_nothing_and_an_unknown_id_is_told(store: Stores) -> None:
    await store.alerts.create([MADE.alert("a"), MADE.alert("b")])
    await store.alerts.update([change("a", CLOSED)])
    result = await store.alerts.update([change("a", CLOSED), change("b", CLOSED), change("c", CLOSED)])
    assert result == UpdateResult(changed=ids("b"), unchanged=ids("a"), missing=ids("c"))
    assert await store.alerts.update([]) == UpdateResult()


async def test_none_takes_a_value_away(store: Stores) -> None:
    await store.alerts.create([MADE.alert("a", **CLOSED)])
    gone = change("a", {"kibana.alert.workflow_reason": None, "kibana.alert.workflow_user": None})
    assert (await store.alerts.update([gone])).changed == ids("a")
    assert await value_of(store, "a", "kibana.alert.workflow_reason") is None
    assert (await store.alerts.update([gone])).unchanged == ids("a")


async def test_a_change_is_made_only_to_what_is_as_expected(store: Stores) -> None:
    await store.alerts.create([MADE.alert("a", **counted(3)), MADE.alert("b")])
    changes = [change(name, {COUNT: 4}, expected={COUNT: 3}) for name in "ab"]
    assert await store.alerts.update(changes) == UpdateResult(changed=ids("a"), conflicts=ids("b"))
    assert await store.alerts.update(changes) == UpdateResult(conflicts=ids("a", "b"))
    assert await value_of(store, "b", COUNT) is None
    first = change("b", {COUNT: 1}, expected={COUNT: None, STATUS: None})
    assert (await store.alerts.update([first])).changed == ids("b")


async def test_changes_of_one_alert_come_one_after_another(store: Stores) -> None:
    await store.alerts.create([MADE.alert("a", **counted(0))])
    changes = [change("a", {COUNT: number + 1}, expected={COUNT: number}) for number in range(4)]
    assert (await store.alerts.update(changes)).changed == ids("a")
    assert await value_of(store, "a", COUNT) == 4


async def test_of_writers_at_once_each_counts_or_knows_that_it_did_not(store: Stores) -> None:
    await store.alerts.create([MADE.alert("a", **counted(0))])

    async def add() -> None:
        while True:
            seen = await value_of(store, "a", COUNT)
            result = await store.alerts.update([change("a", {COUNT: seen + 1}, expected={COUNT: seen})])
            if result.changed:
                return

    await asyncio.gather(*(add() for _ in range(6)))
    assert await value_of(store, "a", COUNT) == 6


async def test_writers_of_other_fields_do_not_undo_each_other(store: Stores) -> None:
    await store.alerts.create([MADE.alert("a", **counted(1))])
    fields: list[dict[str, Any]] = [{STATUS: "closed"}, {TAGS: ["x"]}, {COUNT: 7}, {"kibana.alert.workflow_user": "u"}]
    results = await asyncio.gather(*(store.alerts.update([change("a", one)]) for one in fields))
    assert all(result.changed for result in results)
    document = (await store.alerts.get(alert_id("a")))[0].document
    assert {name: document.get(name) for one in fields for name in one} == {
        n: v for one in fields for n, v in one.items()
    }


async def test_building_blocks_go_with_their_shell(store: Stores) -> None:
    await store.alerts.create([*MADE.group("g", 12), *MADE.group("other")])
    blocks = [f"g/{number}" for number in range(12)]
    alone = await store.alerts.update([change("g", {COUNT: 1})])
    assert alone == UpdateResult(changed=ids("g"))
    assert await value_of(store, "g/0", COUNT) is None
    refused = change("g", CLOSED, expected={STATUS: "acknowledged"}, with_blocks=True)
    assert (await store.alerts.update([refused])).conflicts == ids("g")
    assert {await value_of(store, name) for name in blocks} == {None}
    for outcome in (UpdateResult(changed=ids("g")), UpdateResult(unchanged=ids("g"))):
        assert await store.alerts.update([change("g", CLOSED, with_blocks=True)]) == outcome
    assert {await value_of(store, name) for name in blocks} == {"closed"}
    assert await value_of(store, "other/0") is None


async def test_a_thousand_at_once(store: Stores) -> None:
    await store.alerts.create([MADE.alert(number) for number in range(1_100)])
    result = await store.alerts.update([change(str(number), CLOSED) for number in range(1_100)])
    assert len(result.changed) == 1_100
    assert all(one.document[STATUS] == "closed" for one in await found(store.alerts))


def test_only_fields_of_the_alert_itself_can_be_changed() -> None:
    with pytest.raises(ValueError, match=r"host\.name cannot be changed"):
        AlertChange("a", {"host.name": "x"})
    with pytest.raises(ValueError, match="cannot be changed to an object"):
        AlertChange("a", {STATUS: {"x": 1}})


NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)
DOCUMENTS = st.recursive(
    st.integers(0, 2), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
).filter(lambda value: isinstance(value, dict))


@given(DOCUMENTS, st.sampled_from(["a", "a.b", "a.b.c", "b.c"]))
def test_a_value_is_set_in_any_spelling(document: Any, name: str) -> None:
    before = value_at(document, name)
    part = partial_document(document, {name: 9})
    copy = read_document(write_json(document))
    assert set_fields(copy, {name: 9})
    assert value_at(copy, name) == 9
    if before is not None:
        assert value_at(_merged(document, part), name) == 9
    assert not set_fields(copy, {name: 9})


def _merged(document: Any, part: Any) -> Any:
    """What a cluster makes of a partial document."""
    if not isinstance(document, dict) or not isinstance(part, dict):
        return part
    return document | {name: _merged(document.get(name), value) for name, value in part.items()}
