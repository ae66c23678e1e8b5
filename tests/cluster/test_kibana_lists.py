"""Exception lists and value lists as they are read from Kibana, and what is said when they cannot be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runner.cluster.connection import Connection
from runner.cluster.kibana import Kibana
from runner.cluster.kibana_lists import KibanaLists
from runner.cluster.transport import Retry
from runner.errors import AccessError, ClusterError, UnreachableError, WrongAnswerError
from tests.cluster.kibana_stand_in import StandIn

ENTRY = {"field": "host.name", "type": "match", "operator": "included", "value": "db-01"}


def lists_of(stand_in: StandIn, space: str = "default", **more: Any) -> KibanaLists:
    connection = Connection(hosts=(stand_in.url,), **more)
    return KibanaLists(Kibana(connection, space=space, retry=Retry(attempts=2, first_wait=0.0, longest_wait=0.0)))


@pytest.fixture
async def lists(stand_in: StandIn) -> AsyncIterator[KibanaLists]:
    made = lists_of(stand_in)
    yield made
    await made.close()


@pytest.mark.parametrize(("count", "requests"), [(1, 1), (1_000, 1), (1_001, 2), (10_000, 10), (10_001, 3)])
async def test_every_item_is_read(count: int, requests: int, stand_in: StandIn, lists: KibanaLists) -> None:
    for number in range(count):
        stand_in.except_("known", f"i{number}", ENTRY)
    found = await lists.items("known", "single")
    assert found is not None
    assert {item["item_id"] for item in found} == {f"i{number}" for number in range(count)}
    assert len(stand_in.requests) == requests


@pytest.mark.parametrize("lines", [1, 10_000, 10_002])
async def test_an_export_that_is_cut_is_refused(lines: int, stand_in: StandIn, lists: KibanaLists) -> None:
    for number in range(10_001):
        stand_in.except_("known", f"i{number}", ENTRY)
    stand_in.exported_lines = lines
    with pytest.raises(WrongAnswerError, match=r"items?, and not as many as its last line says"):
        await lists.items("known", "single")


async def test_lists_of_the_space_and_of_all_spaces(stand_in: StandIn) -> None:
    stand_in.spaces = ("default", "soc")
    stand_in.except_("known", "here", ENTRY, space="soc")
    stand_in.except_("known", "everywhere", ENTRY, space="*")
    stand_in.values["soc", "hosts"] = ["db-01", " db-02", "", "db-01", "# no comment"]
    lists = lists_of(stand_in, "soc", username="ann", password="secret-1")
    for namespace, item in (("single", "here"), ("agnostic", "everywhere")):
        found = await lists.items("known", namespace)
        assert found is not None
        assert [one["item_id"] for one in found] == [item]
    assert await lists.values("hosts") == ("db-01", "db-02", "# no comment")
    assert all(path.startswith("/s/soc/api/") for _, path, _ in stand_in.requests)
    assert {headers["authorization"][:6] for _, _, headers in stand_in.requests} == {"Basic "}
    await lists.close()


async def test_what_does_not_exist(stand_in: StandIn, lists: KibanaLists) -> None:
    stand_in.except_("known", "one", ENTRY)
    assert await lists.items("other", "single") is None
    assert await lists.items("known", "agnostic") is None
    assert await lists.values("hosts") is None
    nowhere = lists_of(stand_in, "nowhere")
    with pytest.raises(ClusterError, match="has no space `nowhere`"):
        await nowhere.items("known", "single")
    await nowhere.close()


async def test_what_may_not_be_read(stand_in: StandIn, lists: KibanaLists) -> None:
    stand_in.may_read_lists = False
    for reading in (lists.items("known", "single"), lists.values("hosts")):
        with pytest.raises(AccessError, match=r"may not read the .* list .*`Security: Read`.*`\.items-default`"):
            await reading


async def test_a_list_that_changes_under_the_reader(stand_in: StandIn, lists: KibanaLists) -> None:
    for number in range(2_001):
        stand_in.except_("known", f"i{number}", ENTRY)
    stand_in.moving = True
    with pytest.raises(ClusterError, match="it was changed while it was read"):
        await lists.items("known", "single")


@pytest.mark.parametrize("body", ["", "[]", "<html>", '{"data": []}', '{"data": [1], "total": 1}', '{"data": 1}'])
async def test_what_is_no_answer_of_kibana(body: str, stand_in: StandIn, lists: KibanaLists) -> None:
    stand_in.fail_next(200, body.encode())
    with pytest.raises(UnreachableError, match="could not read the exception list `known`: the answer"):
        await lists.items("known", "single")


async def test_it_is_tried_again(stand_in: StandIn, lists: KibanaLists) -> None:
    stand_in.except_("known", "one", ENTRY)
    stand_in.fail_next(503, json.dumps({"message": "starting"}).encode())
    found = await lists.items("known", "single")
    assert found is not None and len(found) == 1
    stand_in.fail_next(503, json.dumps({"message": "starting"}).encode(), times=2)
    with pytest.raises(ClusterError, match=r"starting \(HTTP 503\)"):
        await lists.items("known", "single")
