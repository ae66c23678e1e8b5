"""The requests to Kibana, what is installed there, and what is said when that does not work."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from runner.cluster.connection import Connection
from runner.cluster.kibana import Kibana
from runner.cluster.transport import Retry
from runner.errors import AccessError, ClusterError, StoreError, UnreachableError
from runner.setup.install_saved_objects import install_objects
from runner.setup.saved_objects import KibanaNames, saved_objects
from tests.cluster.kibana_stand_in import StandIn

pytestmark = pytest.mark.slow

NAMES = KibanaNames(space="default", alerts="rule-runner-alerts-default", runs="rule-runner-runs-default")
OBJECTS = saved_objects(NAMES)
LABELS = (
    "data view rule-runner-default-own-alerts in Kibana",
    "data view rule-runner-default-runs in Kibana",
    "saved search rule-runner-default-own-search in Kibana",
    "dashboard rule-runner-default-own-dashboard in Kibana",
)


def kibana_of(stand_in: StandIn, space: str = "default", *, path: str = "", **more: Any) -> Kibana:
    connection = Connection(hosts=(stand_in.url + path,), **more)
    return Kibana(connection, space=space, retry=Retry(attempts=3, first_wait=0.0, longest_wait=0.0))


@pytest.fixture
async def kibana(stand_in: StandIn) -> AsyncIterator[Kibana]:
    made = kibana_of(stand_in)
    yield made
    await made.close()


def aged(stand_in: StandIn, version: int, *, edited: bool) -> None:
    """Make dashboard and search those that an older version of ours installed."""
    for (space, kind, id_), item in list(stand_in.objects.items()):
        if kind != "index-pattern":
            item["attributes"]["description"] = f"Old. Objects of rule-runner, version {version}."
            item["attributes"]["title"] = "old"
            if edited:
                stand_in.edit(space, kind, id_, title="mine")


# What is installed


async def test_the_objects_are_created_and_then_left(stand_in: StandIn, kibana: Kibana) -> None:
    first = await install_objects(kibana, OBJECTS)
    assert first.created == LABELS
    assert (first.updated, first.unchanged, first.warnings) == ((), (), ())
    assert stand_in.ids() == {item["id"] for item in OBJECTS}
    before = json.dumps(sorted(stand_in.objects.items()))
    second = await install_objects(kibana, OBJECTS)
    assert second.unchanged == LABELS
    assert (second.created, second.updated, second.warnings) == ((), (), ())
    assert json.dumps(sorted(stand_in.objects.items())) == before


async def test_what_is_stored_is_what_was_sent(stand_in: StandIn, kibana: Kibana) -> None:
    await install_objects(kibana, OBJECTS)
    for item in OBJECTS:
        stored = stand_in.objects[("default", item["type"], item["id"])]
        assert {name: stored[name] for name in item} == item


async def test_a_user_s_changes_of_this_version_stay(stand_in: StandIn, kibana: Kibana) -> None:
    await install_objects(kibana, OBJECTS)
    stand_in.edit("default", "dashboard", NAMES.dashboard, title="mine")
    report = await install_objects(kibana, OBJECTS)
    assert report.unchanged == LABELS
    assert stand_in.objects[("default", "dashboard", NAMES.dashboard)]["attributes"]["title"] == "mine"


async def test_an_older_version_that_nobody_changed_is_brought_up_to_date(stand_in: StandIn, kibana: Kibana) -> None:
    await install_objects(kibana, OBJECTS)
    aged(stand_in, 0, edited=False)
    report = await install_objects(kibana, OBJECTS)
    assert report.updated == LABELS[2:]
    assert report.unchanged == LABELS[:2]
    assert stand_in.objects[("default", "dashboard", NAMES.dashboard)]["attributes"]["title"] != "old"


async def test_an_older_version_that_was_changed_stays_and_is_named(stand_in: StandIn, kibana: Kibana) -> None:
    await install_objects(kibana, OBJECTS)
    aged(stand_in, 0, edited=True)
    report = await install_objects(kibana, OBJECTS)
    assert report.updated == ()
    assert report.warnings[1] == (
        f"{LABELS[3]} is of version 0, ours is 1, and it was edited since; "
        "`rule-runner setup --replace-kibana-objects` puts ours in its place"
    )
    assert stand_in.objects[("default", "dashboard", NAMES.dashboard)]["attributes"]["title"] == "mine"
    replaced = await install_objects(kibana, OBJECTS, replace=True)
    assert replaced.updated == LABELS
    assert stand_in.objects[("default", "dashboard", NAMES.dashboard)]["attributes"]["title"] != "mine"


async def test_a_newer_version_stays(stand_in: StandIn, kibana: Kibana) -> None:
    await install_objects(kibana, OBJECTS)
    aged(stand_in, 99, edited=False)
    report = await install_objects(kibana, OBJECTS)
    assert (report.updated, report.warnings) == ((), ())


async def test_an_object_of_somebody_else_stays_and_is_named(stand_in: StandIn, kibana: Kibana) -> None:
    await install_objects(kibana, OBJECTS)
    stand_in.edit("default", "dashboard", NAMES.dashboard, description="")
    (warning,) = (await install_objects(kibana, OBJECTS)).warnings
    assert "its description does not say that it is rule-runner's" in warning


async def test_a_data_view_of_another_alias_stays_and_is_named(stand_in: StandIn, kibana: Kibana) -> None:
    await install_objects(kibana, OBJECTS)
    other = saved_objects(replace(NAMES, alerts="elsewhere"))
    (warning,) = (await install_objects(kibana, other)).warnings
    assert "shows `rule-runner-alerts-default`, expected `elsewhere`" in warning


async def test_what_is_missing_comes_back_and_the_rest_is_not_touched(stand_in: StandIn, kibana: Kibana) -> None:
    await install_objects(kibana, OBJECTS)
    del stand_in.objects[("default", "search", NAMES.search)]
    stand_in.requests.clear()
    report = await install_objects(kibana, OBJECTS)
    assert report.created == LABELS[2:3]
    (path,) = [path for _, path, _ in stand_in.requests if "_import" in path]
    assert path.endswith("overwrite=false")


async def test_a_space_has_objects_of_its_own(stand_in: StandIn, kibana: Kibana) -> None:
    stand_in.spaces = ("default", "soc")
    await install_objects(kibana, OBJECTS)
    soc = kibana_of(stand_in, "soc")
    names = KibanaNames(space="soc", alerts="rule-runner-alerts-soc", runs="rule-runner-runs-soc")
    try:
        report = await install_objects(soc, saved_objects(names))
    finally:
        await soc.close()
    assert len(report.created) == 4
    assert stand_in.ids("soc") == {item["id"] for item in saved_objects(names)}
    assert stand_in.requests[-1][1].startswith("/s/soc/api/saved_objects/")


async def test_an_id_that_another_space_has_is_said(stand_in: StandIn) -> None:
    stand_in.spaces = ("default", "soc")
    stand_in.objects[("other", "dashboard", NAMES.dashboard)] = {}
    soc = kibana_of(stand_in, "soc")
    try:
        report = await install_objects(soc, OBJECTS)
    finally:
        await soc.close()
    (warning,) = report.warnings
    assert f"was stored as {NAMES.dashboard}-copy" in warning


async def test_a_reference_to_nothing_is_said(kibana: Kibana) -> None:
    with pytest.raises(
        StoreError, match=r"saved search .*: what it refers to is not there: index-pattern rule-runner-"
    ):
        await install_objects(kibana, OBJECTS[2:])


async def test_a_conflict_that_comes_in_between_is_said(stand_in: StandIn, kibana: Kibana) -> None:
    error = {"type": "dashboard", "id": NAMES.dashboard, "error": {"type": "conflict"}}
    body = {"success": False, "successCount": 3, "errors": [error], "successResults": []}
    stand_in.version = "9.2.0"
    await kibana.check_version()
    stand_in.fail_next(200, json.dumps(body).encode())
    done = await kibana.store(OBJECTS, overwrite=False)
    assert done.failures == {NAMES.dashboard: "there is another object of that id"}
    assert done.ids == {}


# How it is reached


@pytest.mark.parametrize(
    ("login", "header"),
    [
        ({"username": "elastic", "password": "p:w"}, f"Basic {base64.b64encode(b'elastic:p:w').decode()}"),
        ({"api_key": "aWQ6a2V5"}, "ApiKey aWQ6a2V5"),
        ({"bearer_token": "token"}, "Bearer token"),
    ],
)
async def test_whoever_may_log_in_to_the_cluster_may_do_so_here(
    stand_in: StandIn, login: Mapping[str, Any], header: str
) -> None:
    stand_in.authorization = header
    kibana = kibana_of(stand_in, **login)
    try:
        assert len((await install_objects(kibana, OBJECTS)).created) == 4
    finally:
        await kibana.close()
    assert all(headers["kbn-xsrf"] for _, _, headers in stand_in.requests)


async def test_a_base_path_belongs_to_the_address(stand_in: StandIn) -> None:
    stand_in.base_path = "/kibana"
    right, wrong = kibana_of(stand_in, path="/kibana"), kibana_of(stand_in)
    try:
        assert len((await install_objects(right, OBJECTS)).created) == 4
        with pytest.raises(ClusterError, match=r"no API of Kibana \(HTTP 404\).*server\.basePath"):
            await install_objects(wrong, OBJECTS)
    finally:
        await right.close()
        await wrong.close()


async def test_a_failure_that_passes_is_tried_again(stand_in: StandIn, kibana: Kibana) -> None:
    stand_in.fail_next(503, b"Kibana server is not ready yet", times=2)
    assert await kibana.check_version() == "8.19.3"
    stand_in.fail_next(429, b"{}")
    assert len((await install_objects(kibana, OBJECTS)).created) == 4


# What is said


async def test_one_that_does_not_become_ready_is_named(stand_in: StandIn, kibana: Kibana) -> None:
    stand_in.fail_next(503, b"Kibana server is not ready yet", times=3)
    with pytest.raises(ClusterError, match=r"could not read its status: Kibana server is not ready yet \(HTTP 503\)"):
        await kibana.check_version()


async def test_a_version_that_is_too_old_is_named(stand_in: StandIn, kibana: Kibana) -> None:
    stand_in.version = "8.8.2"
    with pytest.raises(ClusterError, match=r"is of version 8\.8\.2; 8\.9 or newer is needed"):
        await install_objects(kibana, OBJECTS)
    assert stand_in.objects == {}


@pytest.mark.parametrize("version", ["8.9.0", "8.19.3", "9.0.0", "9.4.1", "10.0.0-SNAPSHOT"])
async def test_versions_from_8_9_on_will_do(stand_in: StandIn, kibana: Kibana, version: str) -> None:
    stand_in.version = version
    assert await kibana.check_version() == version


async def test_a_wrong_password_is_named_without_it(stand_in: StandIn) -> None:
    stand_in.authorization = "Basic x"
    kibana = kibana_of(stand_in, username="elastic", password="hunter2-secret")
    try:
        with pytest.raises(AccessError, match=r'does not accept user "elastic": Unauthorized') as raised:
            await install_objects(kibana, OBJECTS)
    finally:
        await kibana.close()
    assert "hunter2" not in str(raised.value)


async def test_a_missing_privilege_is_named_with_what_grants_it(stand_in: StandIn) -> None:
    stand_in.may_write = False
    kibana = kibana_of(stand_in, username="reader", password="secret-1")
    try:
        with pytest.raises(AccessError) as raised:
            await install_objects(kibana, OBJECTS)
    finally:
        await kibana.close()
    assert str(raised.value).startswith(
        'user "reader" may not import saved objects in Kibana\'s space `default`: '
        "Unable to bulk_create index-pattern,search,dashboard; it takes a role with the Kibana privilege "
        "`Saved Objects Management: All`"
    )


async def test_no_right_to_read_an_object_is_named(stand_in: StandIn, kibana: Kibana) -> None:
    error = {"statusCode": 403, "error": "Forbidden", "message": "Unable to bulk_get dashboard:x"}
    body = {"statusCode": 400, "attributes": {"objects": [{"type": "dashboard", "id": "x", "error": error}]}}
    stand_in.fail_next(400, json.dumps(body).encode())
    with pytest.raises(AccessError, match=r"may not read the dashboard x .*Unable to bulk_get"):
        await kibana.read("dashboard", "x")


async def test_a_space_that_is_not_there_is_named(stand_in: StandIn) -> None:
    kibana = kibana_of(stand_in, "sok")
    try:
        with pytest.raises(ClusterError, match=r"has no space `sok`: make it, or name another \(RUNNER_SPACE\)"):
            await install_objects(kibana, OBJECTS)
    finally:
        await kibana.close()


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (200, b"<html>hello</html>", {}, "what answers there is not Kibana"),
        (200, b'{"name": "x"}', {}, "what answers there is not Kibana"),
        (
            200,
            b'{"tagline": "You Know"}',
            {"x-elastic-product": "Elasticsearch"},
            "there is Elasticsearch; write Kibana",
        ),
        (400, b'{"error": {}}', {"x-elastic-product": "Elasticsearch"}, "there is Elasticsearch; write Kibana"),
        (302, b"", {"location": "/spaces/enter"}, "redirects to /spaces/enter; write Kibana's own address"),
        (
            302,
            b"",
            {"location": "http://ann:pw@host/x"},
            "redirects to http://host/x; write Kibana's own",
        ),
        (
            500,
            b'{"message": "An internal server error occurred"}',
            {},
            r"An internal server error occurred \(HTTP 500\)",
        ),
    ],
)
async def test_another_server_is_told_from_kibana(
    stand_in: StandIn, kibana: Kibana, *, status: int, body: bytes, headers: Mapping[str, str], said: str
) -> None:
    stand_in.fail_next(status, body, headers=headers)
    with pytest.raises(ClusterError, match=said):
        await kibana.check_version()


async def test_one_that_is_away_is_unreachable() -> None:
    connection = Connection(hosts=("http://127.0.0.1:1",))
    kibana = Kibana(connection, retry=Retry(attempts=2, first_wait=0.0, longest_wait=0.0))
    try:
        with pytest.raises(
            UnreachableError, match=r"Kibana at http://127\.0\.0\.1:1 can not be reached: .*\(2 attempts\)"
        ):
            await kibana.check_version()
    finally:
        await kibana.close()
